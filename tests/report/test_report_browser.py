"""The report in a real browser, from a file as one opens it out of a mail: it draws, it answers, it fetches nothing."""

import json
import os
import shutil

import pytest
from test_report import record, rows, swept  # noqa: F401

from gptx.report.__main__ import report

BROWSER = os.environ.get("GPTX_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
WHY = "no browser: install chromium, or give its path as GPTX_TEST_BROWSER"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=WHY)]
TRACES = "place => document.querySelector(place).data.map(t => ({name: t.name, meta: t.meta.arm, x: t.x, y: t.y, line: t.line}))"
MAIN = ".plot[data-figure='0']"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"], timeout=120_000)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def visited() -> dict:
    """Pages that several tests share: opening one takes seconds."""
    return {}


def visit(browser, folder):
    """The report of a folder in a browser that notes what goes wrong and what it fetches."""
    report(str(folder), out=str(folder / "report.html"))
    page = browser.new_page(viewport={"width": 1280, "height": 5000})  # all plots are in sight, so all are drawn
    page.set_default_timeout(120_000)
    page.file, page.asked, page.wrong = (folder / "report.html").as_uri(), [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on(
        "console", lambda message: page.wrong.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(page.file)
    page.evaluate("find('details:has(.plot)').forEach((part) => { part.open = true; })")  # what is folded is not drawn
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every(place => place.querySelector('.main-svg'))"
    )
    return page


@pytest.fixture
def sweep(browser, visited, record):  # noqa: F811
    """The page of three arms of two seeds, as it is when it has just been opened."""
    if "sweep" not in visited:
        folder = swept(record, rates=("1e-3", "3e-3", "1e-2"), seeds=(0, 1))
        record("sweep/" + 60 * "long", []).joinpath("run.json").write_text("{")  # is told, however long its name is
        visited["sweep"] = visit(browser, folder)
    page = visited["sweep"]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 5000})
    page.evaluate("change({x: 'steps', key: 'validation/loss', smooth: 20, hidden: [], log: {}})")
    return page


@pytest.fixture
def single(browser, visited, record):  # noqa: F811
    """The page of one run that went back."""
    if "single" not in visited:
        found = rows(**{"updates/median": 1e-3})
        folder = record("one", [*found[:40], *found[30:]])
        event = {"step": 30, "event": "rollback", "left": 40, "text": "back"}
        (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
        visited["single"] = visit(browser, folder)
    return visited["single"]


def named(page, place: str = MAIN) -> list[str]:
    return sorted({trace["name"] for trace in page.evaluate(TRACES, place)})


def curve(page, place: str = MAIN) -> dict:
    """The line of the first arm, not its band."""
    return next(t for t in page.evaluate(TRACES, place) if t["meta"] == 0 and t["line"].get("width") != 0)


@pytest.mark.parametrize("kind", ["sweep", "single"])
def test_every_plot_is_drawn_nothing_goes_wrong_and_nothing_is_fetched(kind, request):
    page = request.getfixturevalue(kind)
    assert page.locator(".plot").count() >= 4
    assert page.wrong == []
    assert page.asked == [page.file]


@pytest.mark.parametrize("kind", ["sweep", "single"])
def test_the_page_is_no_wider_than_a_phone(kind, request):
    page = request.getfixturevalue(kind)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.main-svg')].every(drawing => drawing.clientWidth < 390)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = "() => [...document.querySelectorAll('table')].filter(each => each.scrollWidth > 366).length"
    assert page.evaluate(wide) == 0  # the difference, in the last column, is in sight


@pytest.mark.parametrize(("width", "height", "kind"), [(1280, 800, "wide"), (390, 844, "narrow")])
def test_question_answer_figure_and_how_sure_fit_on_the_first_screen(browser, sweep, width, height, kind):
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(sweep.file)
    ends = {name: page.locator(name).first.bounding_box() for name in (".question", "h1", f".{kind}", ".sure > p")}
    assert all(box and box["y"] + box["height"] <= height for box in ends.values()), ends
    assert ends["h1"]["height"] < height / 4
    assert page.locator(".plot .main-svg").count() == 0 or kind == "wide"  # a phone has folded the curves
    other = {"wide": "narrow", "narrow": "wide"}[kind]
    assert not page.locator(f".{other}").is_visible()
    page.close()


def test_a_part_that_was_unfolded_stays_so_when_the_page_is_renewed(browser, sweep):
    page = browser.new_page()
    page.goto(sweep.file)
    page.get_by_text("Learning rate and other signals").click()
    page.wait_for_function(
        "() => document.querySelectorAll('[data-part=\"Learning rate and other signals\"] .main-svg').length"
    )
    page.reload()
    assert page.get_attribute("[data-part='Learning rate and other signals']", "open") is not None
    assert page.get_attribute("[data-part='Environment']", "open") is None
    page.close()


def test_the_tool_bar_of_a_plot_does_not_lie_over_its_legend(single):
    single.locator(MAIN).hover()
    bar, legend = (single.locator(f"{MAIN} {part}").first.bounding_box() for part in (".modebar", ".legend"))
    assert bar["y"] + bar["height"] <= legend["y"] or bar["x"] >= legend["x"] + legend["width"]


def test_a_click_in_the_legend_hides_an_arm_everywhere_and_another_brings_it_back(sweep):
    first, *others = sweep.locator(".arm").all_inner_texts()
    assert named(sweep) == sorted([first, *others])
    sweep.locator(".arm").first.click()
    assert named(sweep) == named(sweep, ".plot[data-figure='1']") == sorted(others)
    sweep.locator(".arm").first.click()
    assert named(sweep) == sorted([first, *others])
    sweep.locator(".arm").first.dblclick()
    assert named(sweep) == [first]


def test_the_axis_the_metric_the_scale_and_the_smoothing_can_be_chosen(sweep):
    assert curve(sweep)["x"] == [20, 40, 60]
    sweep.select_option("[data-set=x]", "tokens")
    assert curve(sweep)["x"] == pytest.approx([20 * 256, 40 * 256, 60 * 256], rel=1e-3)
    sweep.select_option("[data-set=x]", "FLOPs")
    assert curve(sweep)["x"][-1] == pytest.approx(60 * 256 * 6000, rel=1e-3)
    sweep.select_option("[data-set=x]", "minutes")
    assert curve(sweep)["x"][-1] == pytest.approx(sum(256 / (1000 + step) for step in range(1, 61)) / 60, rel=1e-3)
    sweep.select_option("[data-set=x]", "steps")
    sweep.select_option("[data-set=key]", "train/loss")
    losses = [2.05 + 3 / step for step in range(1, 61)]
    sweep.select_option("[data-set=smooth]", "1")
    assert curve(sweep)["y"] == pytest.approx(losses, rel=1e-4)
    sweep.select_option("[data-set=smooth]", "10")
    assert curve(sweep)["y"][30] == pytest.approx(sum(losses[26:36]) / 10, rel=1e-4)
    assert curve(sweep)["y"][0] == pytest.approx(losses[0], rel=1e-4)
    assert curve(sweep)["y"][-1] == pytest.approx(sum(losses[-5:]) / 5, rel=1e-4)
    scale = "place => document.querySelector(place).layout.yaxis.type"
    assert sweep.evaluate(scale, MAIN) == "linear"
    sweep.click(".log[data-group=main]")
    assert sweep.evaluate(scale, MAIN) == "log"
    sweep.click(".log[data-group=main]")
    assert sweep.evaluate(scale, MAIN) == "linear"
    assert sweep.wrong == []


def test_a_branch_that_a_rollback_discarded_is_drawn_dashed(single):
    (gone,) = (trace for trace in single.evaluate(TRACES, MAIN) if trace["name"].startswith("discarded"))
    assert gone["line"]["dash"] not in (None, "solid")
    assert (gone["x"][0], gone["x"][-1]) == (30, 40)
    assert {"training", "validation", "incidents"} <= set(named(single))


def test_lines_differ_without_colours(sweep):
    lines = [trace["line"] for trace in sweep.evaluate(TRACES, MAIN) if trace["line"].get("width") != 0]
    assert len({line["dash"] for line in lines}) == len(lines) == 3


def test_a_reader_in_the_dark_gets_a_dark_page(sweep):
    colour = "getComputedStyle(document.body).backgroundColor"
    paper, line = sweep.evaluate(colour), curve(sweep)["line"]["color"]
    sweep.emulate_media(color_scheme="dark")
    assert sweep.evaluate(colour) != paper
    sweep.wait_for_function(  # the plots are drawn again a moment later
        "([place, before]) => document.querySelector(place).data.find(t => t.meta.arm === 0 && t.line.width !== 0)"
        ".line.color !== before",
        arg=[MAIN, line],
    )


def test_an_arm_that_is_hidden_stays_so_when_the_page_is_renewed_with_one_more_before_it(browser, record):  # noqa: F811
    folder = swept(record, rates=("1e-3", "1e-2"), seeds=(0,))
    page = visit(browser, folder)
    page.evaluate("change({hidden: [page.arms[0]]})")
    record("sweep/new", rows(), "optim.lr=1e-4", "seed=0")
    report(str(folder), out=str(folder / "report.html"))
    page.reload()
    assert page.evaluate("page.arms") == ["learning rate 0.0001", "learning rate 0.001", "learning rate 0.01"]
    assert named(page) == ["learning rate 0.0001", "learning rate 0.01"]
    assert page.wrong == []
    page.close()
