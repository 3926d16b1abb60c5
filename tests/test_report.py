"""The report of a run: what it shows is what was recorded, and it needs nothing but itself."""

import json
import math
import re
from html.parser import HTMLParser

import numpy
import pytest
from omegaconf import OmegaConf

from gptx import presets
from gptx.report import curves
from gptx.report.__main__ import report

CHOICES = {group: option for group, option in presets.defaults().items() if isinstance(option, str)} | {"data": "text"}


class Page(HTMLParser):
    """Text, tags and whatever a browser would load."""

    def __init__(self, text: str):
        super().__init__()
        self.words, self.open, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [
            value
            for name, value in attributes
            if name in ("src", "href", "srcset", "data", "xlink:href") and not value.startswith("#")
        ]
        self.loads += [tag] if tag in ("script", "link", "iframe", "object", "embed", "img") else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def rows(steps: int = 60, **more) -> list[dict]:
    """What a run of `steps` updates would have recorded."""
    found = []
    for step in range(1, steps + 1):
        loss = 2 + 3 / step
        row = {"step": step, "train/loss": loss, "train/perplexity": math.exp(loss), "train/grad_norm": 1 / step,
               "train/lr": 3e-3 * step / steps, "train/tokens": 256 * step, "train/tokens_per_second": 1000.0 + step}  # fmt: skip
        if step % 20 == 0:
            row |= {
                "validation/loss": loss + 0.1,
                "validation/perplexity": math.exp(loss + 0.1),
                "validation/bits_per_byte": 3.0,
            } | more
        found.append(row)
    return found


@pytest.fixture
def record(composed, tmp_path):
    """record("name", rows, "optim.lr=1e-2"): a run folder that holds what such a run would have left."""

    def make(name: str, found: list[dict], *overrides: str):
        folder = tmp_path / "runs" / name
        (folder / "checkpoints/step_00000060").mkdir(parents=True)
        OmegaConf.save(composed(*overrides), folder / "config.yaml", resolve=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        values = {"state": "finished", "choices": CHOICES, "overrides": list(overrides), "parameters": {"total": 1536},
                  "result": found[-1] if found else {}, "versions": {"torch": "2.13"}, "data": {"name": "text", "train_tokens": 9},
                  "memory": {"predicted": 1_250_000_000, "measured": None}, "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T01:02:03+00:00"}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(values))
        return folder

    return make


def text_of(folder) -> str:
    return re.sub(r"\s+", " ", " ".join(Page((folder / "report.html").read_text()).words))


def test_the_page_is_whole_and_loads_nothing(record):
    folder = record("one", rows(**{"updates/median": 1e-3, "sample/text": "a <script src='http://x'>"}))
    report(str(folder))
    written = (folder / "report.html").read_text()
    page = Page(written)
    assert page.open == []
    assert page.loads == []
    assert not re.search(r"@import|url\((?!#)", written)
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_numbers_of_the_page_are_those_of_the_record(record):
    folder = record("one", rows())
    report(str(folder), smooth=5)
    recorded = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    shown, last = text_of(folder), recorded[-1]
    assert f"{last['validation/loss']:.4f} validation loss" in shown
    assert f"{last['validation/perplexity']:.2f} validation perplexity" in shown
    assert f"{last['validation/bits_per_byte']:.4f} bits per byte" in shown
    assert f"{sum(row['train/loss'] for row in recorded[-5:]) / 5:.4f} training loss, mean of 5" in shown
    assert "15.36k tokens, 10.0 a parameter" in shown
    assert "1:02:03" in shown
    assert "peak memory predicted 1.250 GB" in shown


def test_the_best_validation_loss_is_shown_where_it_is_not_the_last(record):
    found = rows()
    found[19]["validation/loss"] = 1.5
    folder = record("one", found)
    report(str(folder))
    assert "1.5000 best, after update 20" in text_of(folder)


def test_of_an_update_made_twice_the_last_line_counts(record):
    found = rows()
    folder = record("one", [*found[:40], found[39] | {"validation/loss": 9.75}])
    report(str(folder))
    assert "9.7500 validation loss" in text_of(folder)


def test_the_five_signals_of_the_dashboard_are_there_and_a_missing_one_says_how_to_record_it(record):
    without, having = record("without", rows()), record("having", rows(**{"updates/median": 1e-3, "updates/equilibrium": 2e-3, "updates/blocks.0.mlp.up.weight": 1e-3}))  # fmt: skip
    for folder in (without, having):
        report(str(folder))
        for title in ("Loss", "Perplexity", "Gradient norm", "Learning rate", "Update / weight"):
            assert title in text_of(folder)
    assert "train with observe=[validation,updates]" in text_of(without)
    assert "observe=[validation,updates]" not in text_of(having)
    assert "equilibrium" in text_of(having)


@pytest.mark.parametrize(("key", "title"), [
    ("clip/share", "Clip pressure"), ("noise_scale/tokens", "Gradient noise scale"), ("activations/blocks.0/rms", "Activations"),
    ("throughput/mfu", "Model FLOPs utilisation"),
])  # fmt: skip
def test_what_an_observer_recorded_gets_a_panel(record, key, title):
    plain, watched = record("plain", rows()), record("watched", rows(**{key: 0.5}))
    for folder in (plain, watched):
        report(str(folder), out=str(folder / "page.html"))
    assert title not in (plain / "page.html").read_text()
    assert title in (watched / "page.html").read_text()


def test_the_recipe_marks_what_is_not_as_in_conf_and_nothing_else(record, composed):
    config = OmegaConf.to_container(composed("optim.lr=1e-2"), resolve=True)
    tiny = {"model.context", "model.width", "model.depth", "model.heads", "batch.tokens", "batch.micro", "steps", "device",
            "observe.validation.windows", "data.path", "precision.compute"}  # fmt: skip
    changed = presets.differences(config, CHOICES)
    assert set(changed) - tiny == {"optim.lr"}
    assert changed["optim.lr"] == 3e-3
    folder = record("one", rows(), "optim.lr=1e-2")
    report(str(folder))
    marked = re.findall(r'class="changed">([^<]*)<', (folder / "report.html").read_text())
    assert "lr 0.01 (0.003)" in marked
    assert not [words for words in marked if words.startswith(("warmup", "weight_decay"))]


def test_several_runs_are_on_the_same_axes_the_best_first(record):
    good, bad = rows(), [row | {"train/loss": 5.0} for row in rows()]
    bad[-1]["validation/loss"] = 4.5
    folders = [record("sweep/bad", bad), record("sweep/good", good)]
    report(str(folders[0].parent))
    written = (folders[0].parent / "report.html").read_text()
    assert Page(written).loads == []
    assert 0 < written.index(">good</td>") < written.index(">bad</td>")
    assert written.count("<svg ") == 3
    assert (folders[0].parent / "report.png").exists()


@pytest.mark.parametrize("name", ["a.html", "a.png", "a.svg"])
def test_out_may_name_one_file(record, tmp_path, name):
    report(str(record("one", rows())), out=str(tmp_path / "new" / name))
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


def test_a_run_that_diverged_is_drawn(record):
    found = [
        row | ({"train/loss": math.nan, "train/grad_norm": math.inf} if row["step"] > 30 else {}) for row in rows()
    ]
    folder = record("one", found)
    report(str(folder))
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (folder / "report.html").read_text()


def test_smoothing_is_the_mean_of_the_last_values_that_are_finite():
    values = numpy.array([1.0, 3.0, math.nan, 5.0, 9.0])
    assert curves.smoothed(values, 3).tolist() == pytest.approx([1, 2, 2, 4, 7])


def test_a_long_curve_keeps_its_spikes_when_it_is_thinned():
    steps, values = numpy.arange(100_000.0), numpy.ones(100_000)
    values[54_321] = 50.0
    kept, drawn = curves.thinned(steps, values)
    assert len(kept) <= curves.POINTS + 2
    assert drawn[kept == 54_321] == 50.0


@pytest.mark.parametrize(("text", "options", "message"), [
    (None, {}, "no update recorded yet"),
    ("", {}, "no update recorded yet"),
    ('{"loss": 1}\n', {}, "no update recorded yet"),
    ('{"step": 1}\n', {"smooth": 0}, "smooth=0 must be at least 1"),
    ('{"step": 1, "train/loss": 2.5}\n', {"out": "picture.jpg"}, "out=picture.jpg: the name must end in .html, .png, .svg, .md"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused_in_one_line(record, tmp_path, text, options, message):
    folder = record("one", [])
    (folder / "metrics.jsonl").write_text(text) if text is not None else (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=message) as error:
        report(str(folder), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("value", "label"), [(0, "0"), (0.5, "0.5"), (3e-4, "3e-4"), (20_000, "20k"), (1.25e-5, "1.25e-5"), (2.5e9, "2.5B")])  # fmt: skip
def test_labels_are_short(value, label):
    assert curves.spell(value) == label
