"""The chart of laws in a real browser: it draws, it answers, it fetches nothing."""

import math
import os
import shutil

import pytest
from test_plan_chart import KNOWN, OWN, drawn, trained

from gptx.estimate.laws import PUBLISHED
from gptx.plan.chart import chart, content
from gptx.units.amounts import amount

BROWSER = os.environ.get("GPTX_TEST_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
WHY = "no browser: install chromium, or give its path as GPTX_TEST_BROWSER"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=WHY)]
TRACES = "place => document.querySelector(place).data.map(t => ({name: t.name, x: t.x, y: t.y, line: t.line}))"
COMPUTE, SIZES = ".plot[data-across=flops]", ".plot[data-across=parameters]"


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
    visit.select_option("[data-set=law]", "0")
    return visit


def named(page, place: str, name: str) -> list[dict]:
    return [trace for trace in page.evaluate(TRACES, place) if trace["name"] == name]


def test_both_plots_are_drawn_nothing_goes_wrong_and_nothing_is_fetched(page):
    assert page.locator(".plot .main-svg").count() >= 2
    assert named(page, COMPUTE, "best size")
    assert named(page, SIZES, "rule")
    assert (page.wrong, page.asked) == ([], [page.file])


def test_a_law_can_be_chosen_and_the_words_follow(page):
    def diamond() -> float:
        (found,) = named(page, SIZES, "budget")
        return found["x"][0]

    assert diamond() == pytest.approx(228e6, rel=5e-3)
    assert "228M parameters on 7.31B tokens" in page.locator("main").inner_text()
    page.select_option("[data-set=law]", "1")
    assert diamond() == pytest.approx(262e6, rel=5e-3)
    assert page.locator("p.question:visible").all_inner_texts()[0].startswith("At 1e19 operations besiroglu's law")
    page.select_option("[data-set=law]", "2")
    assert (
        page.evaluate("place => document.querySelector(place).layout.yaxis.title.text", COMPUTE) == "loss, nats a byte"
    )
    assert page.wrong == []


def test_own_runs_are_points_of_their_own_and_the_axes_hold_all(page):
    page.select_option("[data-set=law]", "2")
    (runs,) = named(page, COMPUTE, "runs")
    assert runs["y"] == pytest.approx([run[3] for run in trained()], rel=1e-5)
    low, high = page.evaluate("place => document.querySelector(place).layout.xaxis.range", COMPUTE)
    for trace in page.evaluate(TRACES, COMPUTE):
        assert all(low <= math.log10(x) <= high for x in trace["x"])


def test_models_and_the_sizes_that_do_not_come_in_at_the_top_are_named_beside_the_plot(page):
    page.select_option("[data-set=law]", "2")
    told = page.locator(f"{COMPUTE} .annotation-text").all_text_contents()
    found = content(OWN, flops=1e19, known=KNOWN, runs=trained())
    sides = [amount(size.line.places[0].parameters) for size in found.sizes if not size.topped]
    assert sides
    assert {*sides, *(name for name, *_ in KNOWN)} <= set(told)


def test_what_is_beyond_the_fit_is_dashed(page):
    dashes = [trace["line"]["dash"] for trace in named(page, COMPUTE, "best size")]
    assert dashes.count("solid") == 1
    assert len(dashes) == 3


def test_the_page_is_no_wider_than_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.main-svg')].every(drawing => drawing.clientWidth < 390)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_reader_in_the_dark_gets_dark_plots(page):
    line = named(page, COMPUTE, "best size")[0]["line"]["color"]
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "([place, before]) => document.querySelector(place).data.find(t => t.name === 'best size').line.color !== before",
        arg=[COMPUTE, line],
    )
    assert page.wrong == []
