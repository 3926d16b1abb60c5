"""A run folder from somebody else, with markup in every field, is shown as text and does nothing."""

import json
import re
import sys

import pytest
from omegaconf import OmegaConf
from test_report import Page, record, rows  # noqa: F401
from test_report_browser import BROWSER, WHY, browser, visit  # noqa: F401

from gptx.config import arguments
from gptx.estimate.laws import Law
from gptx.plan.chart_files import chart
from gptx.plan.split import Split
from gptx.report.__main__ import report
from gptx.units.printable import safe

IMAGE, LINK, SCRIPT = "<img src=x onerror=window.hit=1>", "<a href='javascript:window.hit=1'>x</a>", "</script><script>window.hit=1</script>"  # fmt: skip
HOSTILE = f'{IMAGE} {LINK} <a href="https://x.example">y</a> {SCRIPT} "onload=window.hit=1 [x](javascript:1) $\\frac$ | ` ``` <!-- /results --> %{{x}} \x1b]0;x\x07 \r \u202e \ud800'
NAME = '<img src=x onerror=window.hit=1> "onload=window.hit=1 [x](javascript:1) $\\frac$ | ` <a href=javascript:window.hit=1>x \x1b]0;x\x07 \r \u202e'
ADDRESSES = "src", "href", "xlink:href", "action", "formaction", "srcdoc"
KEPT = {
    "state",
    "started",
    "ended",
    "step",
    "_target_",
    "question",
}  # what a reader has to understand to show the run at all


@pytest.fixture(autouse=True)
def library(request, monkeypatch):
    """The 4.5 MB of plotly, which only a browser needs, are in the pages of slow tests alone."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr("gptx.show.page.library", lambda: "const Plotly = {};")


def poisoned(value, key: str = ""):
    """The same with markup in every text, and in a further key of every dict."""
    if isinstance(value, dict):
        told = {k: v if k in KEPT else poisoned(v, k) for k, v in value.items()}
        return told | {f"{key} {HOSTILE}": next(iter(told.values()), HOSTILE)}
    if isinstance(value, list):
        return [poisoned(each, key) for each in value]
    return f"{key} {HOSTILE}" if isinstance(value, str) else value


@pytest.fixture
def hostile(record):  # noqa: F811
    """A folder of runs at two levels with two seeds each, and every text in it is markup."""
    document = {"name": HOSTILE, "loss": 3.0, "above": 1.0, "sequences": 2, "share": 0.5}
    event = {"step": 30, "event": HOSTILE, "text": HOSTILE, "documents": [document], "sequences": [0, 9]}
    for level in ("a", "b"):
        for seed in (0, 1):
            found = rows(**{f"activations/{HOSTILE}/rms": 1.0, f"updates/{HOSTILE}": 1e-3, "updates/median": 1e-3})
            found[19][f"sample/{HOSTILE}"] = found[39]["sample/text"] = HOSTILE
            folder = record(f"{NAME}/{level}{seed}{NAME}", found, f"seed={seed}")
            (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
            run = poisoned(json.loads((folder / "run.json").read_text()))
            run["choices"]["schedule"] = f"{level} {HOSTILE}"
            run["overrides"] = [f"seed={seed}", f"data.path={level} {HOSTILE}"]
            (folder / "run.json").write_text(json.dumps(run | {"error": HOSTILE, "git": {"sha": HOSTILE}}))
            config = poisoned(OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")))
            config["data"]["path"] = f"{level} {HOSTILE}"
            (folder / "config.yaml").write_text(json.dumps(config))
    return folder.parent


def tags(written: str) -> set[str]:
    """Every tag of a page that could load, link or run something, and every attribute that could."""
    found: set[str] = set()

    class Tags(Page):
        def handle_starttag(self, tag, attributes):
            super().handle_starttag(tag, attributes)
            found.update({tag} & {"a", "img", "iframe", "object", "embed", "link", "base", "form"})
            found.update(name for name, value in attributes if name.startswith("on") or (name in ADDRESSES and "script" in (value or "")))  # fmt: skip

    Tags(re.sub(r"(<script[^>]*>).*?(</script>)", r"\1\2", written, flags=re.DOTALL))
    return found


def drawn(written: str) -> str:
    """The data that the page's script draws."""
    return re.search(r'id="data">(.*?)</script>', written)[1]


def test_the_page_of_a_comparison_and_those_of_its_runs_hold_markup_as_text_alone(hostile):
    for place in (hostile, next(hostile.iterdir())):
        report(str(place), out=str(place / "report.html"))
        written = (place / "report.html").read_text()
        assert written.count("<script") == 3
        assert tags(written) == set()
        assert safe(written) == written
        assert LINK in " ".join(Page(written).words)
        data = json.loads(drawn(written))
        names = [text for figure in data["figures"] for curve in figure["data"] for text in (curve["name"], *curve.get("text", ()))]  # fmt: skip
        assert any("&lt;a href=" in name for name in names)
        assert not [name for name in names if "<" in name]
        assert safe(json.dumps(data, ensure_ascii=False)) == json.dumps(data, ensure_ascii=False)


def test_the_summary_and_the_picture_hold_markup_as_text_alone(hostile):
    from markdown_it import MarkdownIt

    reader = MarkdownIt("gfm-like", {"linkify": False})
    for place in (hostile, next(hostile.iterdir())):
        report(str(place), out=str(place / "report.md"))
        written = (place / "report.md").read_text()
        assert safe(written) == written
        inside = [part for token in reader.parse(written) for part in [token, *(token.children or [])]]
        assert not [part for part in inside if part.type in ("link_open", "html_inline")]
        assert {part.content.strip() for part in inside if part.type == "html_block"} <= {"</details>", "<details><summary>Arms</summary>"}  # fmt: skip
        assert [part.attrs["src"] for part in inside if part.type == "image"] == ["report.png"]
        assert tags(reader.render(written)) == {"img"}


@pytest.mark.slow
def test_pictures_are_drawn_whatever_the_names(hostile):
    for place in (hostile, next(hostile.iterdir())):
        report(str(place), out=str(place / "report.svg"))
        written = (place / "report.svg").read_text()
        assert written.count("<script") == 0
        assert safe(written) == written


def test_what_the_terminal_gets_has_no_escapes(hostile, capsys, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # put back at the end
    arguments.call(report, [str(hostile), f"out={hostile.parent.parent}/report.md"])
    told = capsys.readouterr()
    assert "onerror" in told.out
    assert safe(told.out) == told.out


LAWS = [Law(f"{place} {HOSTILE}", A=40.0, B=60.0, E=0.9, alpha=0.3, beta=0.32, units=HOSTILE, source=HOSTILE,
            operations=(1e15, 1e18), warnings=(HOSTILE,)) for place in "ab"]  # fmt: skip


@pytest.mark.filterwarnings("ignore:constrained_layout")
@pytest.mark.parametrize("kind", ["html", pytest.param("svg", marks=pytest.mark.slow)])
def test_a_chart_of_laws_from_somebody_else_holds_their_words_as_text_alone(kind, tmp_path):
    file = tmp_path / f"chart.{kind}"
    chart(file, LAWS, flops=1e19, known=[Split(HOSTILE, 7e9, 1e12)], runs=[Split(HOSTILE, 1e6, 1e8, loss=3.0)])
    written = file.read_text()
    assert written.count("<script") == (3 if kind == "html" else 0)
    assert safe(written) == written
    if kind == "html":
        assert tags(written) == set()
        assert "\\u003c" not in drawn(written).replace("\\u003cb>", "").replace("\\u003c/b>", "").replace("\\u003cbr>", "")  # fmt: skip


HARMLESS = "() => window.hit === undefined && !document.querySelector('img, iframe, a[*|href]')"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=WHY)
def test_a_browser_shows_the_words_and_runs_nothing(browser, hostile, tmp_path):  # noqa: F811
    for place in (hostile, next(hostile.iterdir())):
        page = visit(browser, place)
        for plot in page.locator(".plot").all()[:3]:
            plot.hover()
        if place == hostile:
            page.locator(".arm").first.click()
        assert page.evaluate(HARMLESS)
        assert page.wrong == []
        assert len(page.asked) == 1
        assert LINK in page.locator("main").inner_text()
        page.close()
    assert LINK in page_of_chart(browser, tmp_path)


def page_of_chart(browser, tmp_path) -> str:  # noqa: F811
    """What the browser shows of the laws."""
    chart(
        tmp_path / "chart.html",
        LAWS,
        flops=1e19,
        known=[Split(HOSTILE, 7e9, 1e12)],
        runs=[Split(HOSTILE, 1e6, 1e8, loss=3.0)],
    )
    page = browser.new_page()
    page.goto(f"file://{tmp_path / 'chart.html'}")
    page.wait_for_function("() => document.querySelectorAll('.plot .main-svg').length >= 2")
    page.select_option("[data-set=key]", "1")
    assert page.evaluate(HARMLESS)
    shown = page.locator(".plot").first.inner_text() + page.locator("main").inner_text()
    page.close()
    return shown
