"""The chart of laws in a real browser: it draws, it answers, it fetches nothing."""

import math
import os
import shutil

import pytest
from test_plan_chart import KNOWN, OWN, drawn, shown, trained

from gptx.estimate.laws import PUBLISHED
from gptx.plan.chart import chart_of
from gptx.plan.chart_files import chart

BROWSER = os.environ.get("GPTX_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
WHY = "no browser: install chromium, or give its path as GPTX_TEST_BROWSER"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=WHY)]
TRACES = "place => document.querySelector(place).data.map(t => ({name: t.name, x: t.x, y: t.y, line: t.line}))"
COMPUTE, SIZES = ".plot[data-figure='0']", ".plot[data-figure='1']"
OWN_COMPUTE = ".plot[data-figure='4']"


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """The page of two published laws and of an own one with runs, in a browser that notes what goes wrong."""
    playwright = pytest.importorskip("playwright.sync_api")
    file = tmp_path_factory.mktemp("chart") / "chart.html"
    laws = [PUBLISHED["hoffmann_rounded"], PUBLISHED["besiroglu"], drawn(OWN)]
    chart(file, laws, flops=1e19, known=KNOWN, runs=trained())
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"], timeout=240_000)
        page = opened.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(240_000)
        page.file, page.asked, page.wrong = f"file://{file}", [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda told: page.wrong.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(page.file)
        page.wait_for_function("() => document.querySelectorAll('.plot .main-svg').length >= 2")
        yield page
        opened.close()


@pytest.fixture
def page(visit):
    """The page as it is when it has just been opened."""
    visit.set_viewport_size({"width": 1280, "height": 1400})
    visit.emulate_media(color_scheme="light")
    chosen(visit, 0)
    return visit


def chosen(page, law: int) -> None:
    """Choose a law and wait until its plots are there."""
    page.select_option("[data-set=key]", str(law))
    drawn = "at => document.querySelectorAll(`.plot[data-figure='${at}'] .main-svg`).length > 0"
    page.wait_for_function(drawn, arg=2 * law + 1)


def named(page, place: str, name: str) -> list[dict]:
    return [trace for trace in page.evaluate(TRACES, place) if (trace["name"] or "").startswith(name)]


def test_both_plots_are_drawn_nothing_goes_wrong_and_nothing_is_fetched(page):
    assert named(page, COMPUTE, "lowest loss")
    assert named(page, SIZES, "20 tokens per parameter")
    assert (page.wrong, page.asked) == ([], [page.file])


def test_a_law_can_be_chosen_and_the_words_follow(page):
    def diamond(place: str) -> float:
        (found,) = named(page, place, "1e19 FLOPs")
        return found["x"][0]

    assert diamond(SIZES) == pytest.approx(228e6, rel=5e-3)
    assert "228M parameters on 7.31B tokens" in page.locator("main").inner_text()
    chosen(page, 1)
    assert diamond(".plot[data-figure='3']") == pytest.approx(262e6, rel=5e-3)
    assert page.locator("p.question:visible").all_inner_texts()[0].startswith("At 1e19 FLOPs besiroglu's law")
    assert page.locator(".plot:visible").count() == 2
    chosen(page, 2)
    title = page.evaluate("place => document.querySelector(place).layout.yaxis.title.text", OWN_COMPUTE)
    assert title == "loss, nats a byte"
    assert page.wrong == []


def test_own_runs_are_points_of_their_own_and_the_axes_hold_all(page):
    chosen(page, 2)
    (runs,) = named(page, OWN_COMPUTE, "your runs")
    assert runs["y"] == pytest.approx([run.loss for run in trained()], rel=1e-5)
    low, high = page.evaluate("place => document.querySelector(place).layout.xaxis.range", OWN_COMPUTE)
    for trace in page.evaluate(TRACES, OWN_COMPUTE):
        assert all(low <= math.log10(x) <= high for x in trace["x"])


def test_models_have_numbers_and_sizes_their_names_in_the_plot(page):
    chosen(page, 2)
    told = page.locator(f"{OWN_COMPUTE} .textpoint").all_text_contents()
    found = chart_of(OWN, flops=1e19, known=KNOWN, runs=trained())
    sizes = [label for size in shown(found, "flops", "size") for label in size.labels]
    assert {*sizes, "1", "2", "3", "4"} <= set(told)
    assert "1 GPT-3 175B" in page.locator("main").inner_text()


def test_the_band_of_a_law_with_draws_is_drawn(page):
    filled = "place => document.querySelector(place).data.filter(trace => trace.fill === 'tonexty').length"
    assert page.evaluate(filled, COMPUTE) == 0
    chosen(page, 2)
    assert page.evaluate(filled, OWN_COMPUTE) == len(
        shown(chart_of(OWN, flops=1e19, known=KNOWN, runs=trained()), "flops", "best")
    )


def test_what_is_beyond_the_fit_is_dashed(page):
    dashes = [trace["line"]["dash"] for trace in page.evaluate(TRACES, COMPUTE) if trace["line"].get("width") == 2.5]
    assert dashes.count("solid") == 1
    assert len(dashes) == 3


def test_the_page_is_no_wider_than_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.main-svg')].every(drawing => drawing.clientWidth < 390)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_reader_in_the_dark_gets_dark_plots(page):
    line = named(page, COMPUTE, "lowest loss")[0]["line"]["color"]
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "([place, before]) => document.querySelector(place).data.find(t => (t.name || '').startsWith('lowest')).line.color !== before",
        arg=[COMPUTE, line],
    )
    assert page.wrong == []
