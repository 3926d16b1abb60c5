"""The report of a run: what it shows is what was recorded, and it needs nothing but itself."""

import html as entities
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy
import pytest
import yaml
from omegaconf import OmegaConf

from gptx.compare.verdict import Verdict
from gptx.config import presets
from gptx.files import in_one_step
from gptx.report import panels, several
from gptx.report.__main__ import _Asked, _gathered, report
from gptx.runs.run import Run
from gptx.show import plots
from gptx.units.amounts import spell

CHOICES = {group: option for group, option in presets.defaults().items() if isinstance(option, str)} | {"data": "text"}


class Page(HTMLParser):
    """The text that a reader sees, tags and whatever a browser would load."""

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
        self.loads += [tag] if tag in ("link", "iframe", "object", "embed", "img") else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
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


@pytest.fixture(autouse=True)
def library(request, monkeypatch):
    """The 4.5 MB of plotly, which only a browser needs, are in the pages of slow tests alone."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr("gptx.show.page.library", lambda: "const Plotly = {};")


COMPOSED: dict[tuple[str, ...], str] = {}  # composing takes longer than all else here


@pytest.fixture
def record(composed, tmp_path):
    """record("name", rows, "optim.lr=1e-2"): a run folder that holds what such a run would have left."""

    def make(name: str, found: list[dict], *overrides: str):
        folder = tmp_path / "runs" / name
        (folder / "checkpoints/step_00000060").mkdir(parents=True)
        values = [override for override in overrides if override.startswith(("optim.lr=", "seed="))]
        options = tuple(override for override in overrides if override not in values)
        if options not in COMPOSED:
            COMPOSED[options] = OmegaConf.to_yaml(composed(*options), resolve=True)
        config = OmegaConf.create(COMPOSED[options])
        OmegaConf.save(OmegaConf.merge(config, OmegaConf.from_dotlist(values)), folder / "config.yaml")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        values = {"state": "finished", "choices": CHOICES, "overrides": list(overrides), "parameters": {"total": 1536, "non_embedding": 1000},
                  "result": found[-1] if found else {}, "versions": {"torch": "2.13"}, "data": {"name": "text", "train_tokens": 9},
                  "memory": {"predicted": 1_250_000_000, "measured": None}, "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T01:02:03+00:00"}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(values))
        return folder

    return make


def text_of(folder) -> str:
    return re.sub(r"\s+", " ", " ".join(Page((folder / "report.html").read_text()).words))


def gathered(folder):
    return _gathered([folder], _Asked("validation/loss", "", "", "", "", [], 20, "", add=False))


def paged(folder, **options):
    """Only the page, which is quicker than all three files."""
    report(str(folder), out=str(folder / "report.html"), **options)


def drawn(folder) -> dict:
    """What the page's script draws."""
    return json.loads(re.search(r'id="data">(.*?)</script>', (folder / "report.html").read_text())[1])


def figure(folder, title: str) -> dict:
    """The figure below a heading of the page."""
    place = r'<h3>([^<]*) <small>(?:(?!</h3>).)*</h3><div class="plot" data-figure="(\d+)"'
    found = re.findall(place, (folder / "report.html").read_text())
    (place,) = (int(place) for heading, place in found if heading == title)
    return drawn(folder)["figures"][place]


def test_the_page_is_whole_and_loads_nothing(record):
    folder = record("one", rows(**{"updates/median": 1e-3, "sample/text": "a <script src='http://x'>"}))
    paged(folder)
    written = (folder / "report.html").read_text()
    page = Page(written)
    assert page.open == []
    assert page.loads == []
    assert not re.search(r"@import|url\((?!#)", re.sub(r"<script.*?</script>", "", written, flags=re.DOTALL))
    assert "default-src 'none'" in written


@pytest.mark.slow
def test_the_page_holds_all_of_plotly_and_is_whole_with_it_and_the_picture_is_one(record):
    folder = record("one", rows())
    report(str(folder))
    written = (folder / "report.html").read_text()
    page = Page(written)
    assert len(written) > 3e6
    assert (page.open, page.loads) == ([], [])
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_numbers_of_the_page_are_those_of_the_record(record):
    folder = record("one", rows())
    paged(folder, smooth=5)
    recorded = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    shown, last = text_of(folder), recorded[-1]
    assert f"{last['validation/loss']:.4f} validation loss" in shown
    assert f"{last['validation/perplexity']:.2f} validation perplexity" in shown
    assert f"{last['validation/bits_per_byte']:.4f} bits per byte" in shown
    assert f"{sum(row['train/loss'] for row in recorded[-5:]) / 5:.4f} training loss, mean of 5" in shown
    assert "15.36k tokens, 10.0 per parameter" in shown
    assert "1:02:03" in shown
    assert "peak memory predicted 1.25 GB" in shown


def test_the_best_validation_loss_is_shown_where_it_is_not_the_last(record):
    found = rows()
    found[19]["validation/loss"] = 1.5
    folder = record("one", found)
    paged(folder)
    assert "1.5000 best, after step 20" in text_of(folder)


def test_a_validation_loss_that_is_not_of_the_end_says_of_which_update_it_is(record):
    folder = record("one", rows(steps=70))
    paged(folder)
    assert "3.1500" not in text_of(folder)
    assert "2.1500 validation loss, nats per token, after step 60" in text_of(folder)
    assert "3.0000 bits per byte, after step 60" in text_of(folder)


def test_training_is_drawn_beside_validation_by_the_same_loss(record):
    found = [row | {"train/cross_entropy": row["train/loss"] - 10} for row in rows()]
    folder = record("smoothed", found)
    paged(folder)
    loss, perplexity = (panel["data"][0] for panel in drawn(folder)["figures"][:2])
    assert max(loss["y"]) < 0
    assert max(perplexity["y"]) < 1


def test_the_noise_scale_is_drawn_also_where_it_has_no_band_yet(record):
    found = rows(**{"noise_scale/tokens": 900.0})
    for row in found[30:]:
        if "noise_scale/tokens" in row:
            row |= {"noise_scale/low": 500.0, "noise_scale/high": 2000.0}
    folder = record("noisy", found)
    paged(folder)
    (line,) = figure(folder, "Gradient noise scale")["data"]
    assert (line["x"], line["y"]) == ([20, 40, 60], [900, 900, 900])
    assert (line["meta"]["low"], line["meta"]["high"]) == ([None, 500, 500], [None, 2000, 2000])


def test_of_an_update_made_twice_the_last_line_counts(record):
    found = rows()
    folder = record("one", [*found[:40], found[39] | {"validation/loss": 9.75}])
    paged(folder)
    assert "9.7500 validation loss" in text_of(folder)


def test_a_signal_that_was_not_recorded_is_left_out_of_page_and_picture_and_the_page_says_how_to_record_it(record):
    without, having = record("without", rows()), record("having", rows(**{"updates/median": 1e-3, "updates/equilibrium": 2e-3, "updates/blocks.0.mlp.up.weight": 1e-3}))  # fmt: skip
    for folder in (without, having):
        paged(folder)
        for title in ("Loss", "Perplexity", "Gradient norm", "Learning rate"):
            assert title in text_of(folder)
        assert "not recorded" not in text_of(folder)
        assert "observe=[validation,updates]" in text_of(folder)
    assert "Update / weight" not in text_of(without)
    shown = [panel.title for panel in panels.picture(gathered(without))]
    assert shown == ["Loss", "Perplexity", "Gradient norm", "Learning rate", "Speed"]
    assert "AdamW's equilibrium" in [curve["name"] for curve in figure(having, "Update / weight")["data"]]


def test_what_an_observer_recorded_gets_a_panel_and_what_none_did_gets_none(record):
    panels = {"clip/share": "Clip pressure", "noise_scale/tokens": "Gradient noise scale",
              "activations/blocks.0/rms": "Activations", "throughput/mfu": "Model FLOPs utilisation"}  # fmt: skip
    folder = record("watched", rows())
    for recorded in (("clip/share", "activations/blocks.0/rms"), ("noise_scale/tokens", "throughput/mfu")):
        found = rows(**dict.fromkeys(recorded, 0.5))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        paged(folder)
        shown = text_of(folder)
        assert [key for key, title in panels.items() if title in shown] == [key for key in panels if key in recorded]


def test_the_recipe_marks_what_is_not_as_in_conf_and_nothing_else(record, composed):
    config = OmegaConf.to_container(composed("optim.lr=1e-2"), resolve=True)
    tiny = {"model.context", "model.width", "model.depth", "model.heads", "batch.tokens", "batch.micro", "steps", "device",
            "observe.validation.windows", "data.path", "precision.compute"}  # fmt: skip
    changed = presets.departures(config, CHOICES)
    assert set(changed) - tiny == {"optim.lr"}
    assert changed["optim.lr"] == 3e-3
    folder = record("one", rows(), "optim.lr=1e-2")
    paged(folder)
    marked = re.findall(r'class="changed">([^<]*)<', (folder / "report.html").read_text())
    assert "lr 0.01 (0.003)" in marked
    assert not [words for words in marked if words.startswith(("warmup", "weight_decay"))]


def swept(record, rates=("1e-3", "1e-2"), seeds=(0, 1, 2)):
    """A sweep over rates and seeds; each seed shifts the loss by a tenth, each rate by one."""
    for i, rate in enumerate(rates):
        for seed in seeds:
            found = [{k: v + i + seed / 10 if k.endswith("/loss") else v for k, v in row.items()} for row in rows()]
            folder = record(f"sweep/lr={rate},seed={seed}", found, f"optim.lr={rate}", f"seed={seed}")
    return folder.parent


def test_runs_alike_but_for_their_seeds_are_one_line_in_a_band(record):
    folder = swept(record)
    paged(folder)
    page = drawn(folder)
    curves = [curve for curve in page["figures"][0]["data"] if curve["meta"]["key"] == "validation/loss"]
    assert [curve["name"] for curve in curves] == page["arms"] == ["learning rate 0.001", "learning rate 0.01"]
    recorded = [row["validation/loss"] for row in rows() if "validation/loss" in row]
    for i, curve in enumerate(curves):
        assert curve["x"] == [20, 40, 60]
        assert curve["y"] == pytest.approx([loss + i + 0.1 for loss in recorded], rel=1e-5)
        assert curve["meta"]["low"] == pytest.approx([loss + i for loss in recorded], rel=1e-5)
        assert curve["meta"]["high"] == pytest.approx([loss + i + 0.2 for loss in recorded], rel=1e-5)


def test_the_line_of_an_arm_ends_where_a_seed_diverges_or_is_not_as_far(record):
    folder = swept(record, rates=("1e-3",))
    paged(folder)
    whole = drawn(folder)["figures"][0]["data"][0]
    file = folder / "lr=1e-3,seed=1" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    gone = [re.sub(r'"validation/loss": [\d.]+', '"validation/loss": NaN', line) for line in lines[20:]]
    for rest, told in ((gone, True), ([], False)):
        file.write_text("".join([*lines[:20], *rest]))
        paged(folder)
        curve = drawn(folder)["figures"][0]["data"][0]
        assert curve["x"] == [20, 40, 60]
        assert curve["y"] == [whole["y"][0], None, None]
        for key in ("low", "high"):
            assert curve["meta"][key] == [whole["meta"][key][0], None, None]
        assert ("diverged in" in text_of(folder)) == told


def test_every_update_is_given_in_tokens_flops_and_minutes(record):
    folder = swept(record)
    paged(folder)
    clock = drawn(folder)["clocks"][0]
    seconds = sum(256 / (1000 + step) for step in range(1, 61))
    assert clock["steps"][0] == clock["tokens"][0] == clock["minutes"][0] == 0
    assert clock["tokens"] == [256 * step for step in clock["steps"]]
    assert clock["minutes"][-1] == pytest.approx(seconds / 60, rel=1e-5)
    assert clock["FLOPs"] == [6000 * tokens for tokens in clock["tokens"]]


def test_a_run_that_branched_off_another_spent_the_time_of_its_own_updates(record):
    folder = record("one", [row | {"train/tokens_per_second": 128.0} for row in rows()[40:]])  # of 256 tokens: 2 s
    assert Run.of(folder, folder).seconds == pytest.approx(20 * 2)
    paged(folder)
    assert drawn(folder)["clocks"][0]["minutes"][-1] == pytest.approx(20 * 2 / 60, rel=1e-5)


def test_what_the_arms_differ_in_is_a_table_of_facts(record):
    folder = swept(record)
    for spoilt in ("", "{"):
        if spoilt:
            (folder / "lr=1e-3,seed=0" / "run.json").write_text(spoilt)  # seed 1 is the first that both have
        paged(folder)
        differing = (folder / "report.html").read_text().split("What differs between the arms</h2>")[1]
        table = differing.split("</table>")[0]
        heads, cells = re.findall("<th>(.*?)</th>", table), re.findall("<td.*?>(.*?)</td>", table)
        assert [name for name in heads if "rate" not in name] == ["arm"]
        assert (cells[0], cells[len(heads)]) == ("learning rate 0.001", "learning rate 0.01")
        assert "0.001" in cells[1:]
        assert "0.01" in cells[len(heads) + 1 :]


def test_of_values_in_brackets_the_table_of_facts_shows_those_that_differ(record):
    for width in (16, 32):
        folder = record(f"sweep/{width}", rows(), f"model.width={width}")
    paged(folder.parent)
    shown = re.search("What differs between the arms (.*?) Command and recipe", text_of(folder.parent))[1]
    assert "width 16" in shown
    assert "width 32" in shown
    assert "heads" not in shown
    for each in ("16", "32"):
        (folder.parent / each / "config.yaml").write_text((folder / "config.yaml").read_text())
    paged(folder.parent)
    assert "Nothing but the seeds." in text_of(folder.parent)


def test_a_branch_that_a_rollback_gave_up_is_drawn_dashed_and_its_events_are_marked(record):
    found = rows()
    again = [row | {"train/loss": 2.0} for row in found[30:]]
    bad = [row | {"train/loss": 9.0} for row in found[30:40]]
    folder = record("sweep/one", [*found[:30], *bad, *again])
    other = record("sweep/two", rows(), "optim.lr=1e-2")
    (folder / "events.jsonl").write_text(
        json.dumps({"step": 30, "event": "rollback", "left": 40, "text": "back"}) + "\n"
    )
    for place, key in ((folder, ""), (other.parent, "train/loss")):
        paged(place)
        curves = [curve for curve in drawn(place)["figures"][0]["data"] if curve["meta"]["key"] == key]
        (gone,) = (curve for curve in curves if curve["name"].startswith("discarded"))
        (marked,) = (curve for curve in curves if curve["name"] == "incidents")
        assert gone["x"] == list(range(30, 41))
        assert gone["y"][1:] == [9.0] * 10
        assert marked["x"] == [30]
        assert marked["text"] == ["rollback: back"]
        assert "rollback: back" in text_of(place)


def test_many_arms_are_drawn_side_by_side_on_one_axis(record):
    for rate in ("1e-3", "3e-3", "1e-2", "3e-2"):
        for schedule in ("constant", "cosine"):
            made = record(f"sweep/{rate}{schedule}", rows(), f"optim.lr={rate}", f"schedule={schedule}")
            written = json.loads((made / "run.json").read_text())
            written["choices"]["schedule"] = schedule
            (made / "run.json").write_text(json.dumps(written))
    paged(made.parent)
    page = drawn(made.parent)
    rates = ("0.001", "0.003", "0.01", "0.03")
    for rate in rates:
        panel = figure(made.parent, f"learning rate {rate}")
        assert panel["layout"]["meta"]["group"] == "main"
        assert {curve["line"]["color"] for curve in panel["data"]} == {"var(--curve0)", "var(--curve1)"}
    assert len([panel for panel in page["figures"] if panel["layout"]["meta"]["group"] == "main"]) == len(rates)
    switches = re.findall(r'data-arms="([^"]*)">(?:<svg.*?</svg>)?([^<]*)<', (made.parent / "report.html").read_text())
    assert switches[:6] == [
        ("[0, 1, 2, 3]", "schedule constant"),
        ("[4, 5, 6, 7]", "schedule cosine"),
        *((f"[{i}, {i + 4}]", rate) for i, rate in enumerate(rates)),
    ]
    assert len(switches) == 6 + 8  # and single arms


def test_the_question_of_the_experiment_comes_before_the_answer(record, tmp_path, monkeypatch):
    folder = swept(record)
    for file in folder.glob("*/run.json"):
        file.write_text(file.read_text().replace('"choices": {', '"choices": {"experiment": "rates", '))
    readme = tmp_path / "experiments" / "rates" / "README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text("# rates\n\n**Question.** Which rate\nis `best`?\n\nMore.\n")
    monkeypatch.setattr("gptx.config.paths.ROOT", tmp_path)
    paged(folder)
    report(str(folder), out=str(folder / "report.md"))
    told = text_of(folder)
    assert 0 < told.index("Which rate is best?") < told.index("learning rate 0.001 ")
    assert "**Question.** Which rate is best?" in (folder / "report.md").read_text()


def test_the_summary_has_the_tables_of_the_page(record):
    folder = swept(record)
    paged(folder)
    report(str(folder), out=str(folder / "report.md"))
    summary = (folder / "report.md").read_text()
    (shown,) = re.findall(r"<section><h3>All arms</h3>(.*?)</section>", (folder / "report.html").read_text(), re.DOTALL)
    numbers = re.findall(r'<td class="number"[^>]*>([^<]+)</td>', shown)
    assert len(numbers) == 6
    assert all(f"| {number} |" in summary for number in numbers)
    assert "](report.png)" in summary


def test_a_line_cut_in_the_middle_is_left_out_and_told(record):
    folder = swept(record)
    with (folder / "lr=1e-3,seed=0" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 61, "train/lo')
    paged(folder)
    assert re.search(r"seed=0.{0,80}1 of the lines of metrics.jsonl cannot be read", text_of(folder))


def test_a_metric_that_no_run_has_is_refused_in_one_line(record):
    folder = swept(record)
    with pytest.raises(ValueError, match=r"^no run has the metric validation/accuracy; recorded: train/loss"):
        paged(folder, metric="validation/accuracy")
    assert not (folder / "report.html").exists()


def test_runs_without_the_usual_metric_are_drawn_with_what_there_is(record, capsys):
    for rate in ("1e-3", "1e-2"):
        found = [{k: v for k, v in row.items() if not k.startswith("validation/")} for row in rows()]
        folder = record(f"sweep/lr={rate}", found, f"optim.lr={rate}").parent
    paged(folder)
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("No run has the metric validation/loss; recorded: train/loss") for line in printed)
    assert len(drawn(folder)["arms"]) == 2


def test_results_that_stand_in_an_experiment_are_kept_where_no_run_has_the_metric(record, tmp_path):
    folder, experiment = record("one", rows()).parent, tmp_path / "experiments" / "one"
    kept = folder / "one" / "run.json"
    kept.write_text(kept.read_text().replace('"choices": {', '"choices": {"experiment": "one", '))
    experiment.mkdir(parents=True)
    text = "<!-- results: written by x -->\nold\n<!-- /results -->\n"
    for name in ("README.md", "results.json"):
        (experiment / name).write_text(text)
    with pytest.raises(ValueError, match="no run has the metric validation/los;") as error:
        paged(folder, metric="validation/los", readme=str(experiment))
    assert "recorded: train/loss" in str(error.value)
    assert {(experiment / name).read_text() for name in ("README.md", "results.json")} == {text}


def test_the_page_of_another_experiment_is_not_written(record, tmp_path):
    folder, experiment = record("one", rows()), tmp_path / "experiments" / "other"
    experiment.mkdir(parents=True)
    text = "<!-- results: written by x -->\nold\n<!-- /results -->\n"
    (experiment / "README.md").write_text(text)
    with pytest.raises(ValueError, match="is a run of experiment=none, not of other"):
        paged(folder, readme=str(experiment))
    assert (experiment / "README.md").read_text() == text


def test_two_processes_that_write_the_same_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    file = tmp_path / "report.md"

    def slowly(part):
        part.write_text("mine")
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 0)
            in_one_step(file, lambda part: part.write_text("theirs"))
        assert file.read_text() == "theirs"

    in_one_step(file, slowly)
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_whose_record_is_spoilt_is_told_and_the_others_are_drawn(record):
    folder = swept(record)
    (folder / "lr=1e-3,seed=0" / "run.json").write_text('{"state": "fini')
    paged(folder)
    assert len(drawn(folder)["arms"]) == 2
    assert re.search(r"seed=0.{0,120}cannot be read", text_of(folder))


def test_a_run_that_failed_says_why(record):
    folder = record("one", rows())
    values = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(values | {"state": "failed", "error": "out of memory"}))
    paged(folder)
    assert "The run is failed: out of memory" in text_of(folder)


def test_a_watched_page_is_renewed_until_the_runs_have_ended(record, monkeypatch):
    folder = record("one", rows())
    values, pages = json.loads((folder / "run.json").read_text()), []
    states = iter(["running", "running", "finished"])
    monkeypatch.setattr("gptx.runs.folder.RunFolder.state", property(lambda _: state))
    state = next(states)

    def pause(_):
        nonlocal state
        pages.append(drawn(folder)["renew"])
        state = next(states)

    monkeypatch.setattr("time.sleep", pause)
    report(str(folder), out=str(folder / "report.html"), watch=True)
    assert len(pages) == 2
    assert all(pages)
    assert not drawn(folder)["renew"]
    assert values["state"] == "finished"


def test_a_sweep_that_was_given_up_is_not_watched_for_ever(record, monkeypatch):
    folder, pauses = swept(record, rates=("1e-3",), seeds=(0,)), []
    (folder / "sweep.jsonl").write_text(json.dumps({"folder": "lr=1e-3,seed=1"}) + "\n")
    monkeypatch.setattr("gptx.report.__main__._PATIENCE", 3)
    monkeypatch.setattr("time.sleep", lambda _: pauses.append(1) if len(pauses) < 9 else pytest.fail("still watched"))
    paged(folder, watch=True)
    assert len(pauses) == 3
    assert not drawn(folder)["renew"]


@pytest.mark.slow
def test_a_hundred_runs_of_ten_thousand_updates_make_a_page_in_time(record):
    import time

    text = "".join(json.dumps(row) + "\n" for row in rows(10_000))
    spiked = json.dumps(rows(10_000)[5_431] | {"train/loss": 77.0}) + "\n"
    for arm in range(100):
        folder = record(f"sweep/lr={arm + 1}", [], f"optim.lr={1e-5 * (arm + 1)}")
        lines = text.splitlines(keepends=True)
        (folder / "metrics.jsonl").write_text("".join([*lines[:5_431], spiked, *lines[5_432:]]) if arm == 7 else text)
    before = time.process_time()  # of this process alone: others may use the machine
    paged(folder.parent)
    assert time.process_time() - before < 20
    assert (folder.parent / "report.html").stat().st_size < 15e6
    curves = (curve for curve in drawn(folder.parent)["figures"][0]["data"])
    training = [curve["meta"] for curve in curves if curve["meta"]["key"] == "train/loss"]
    assert len(training) == 100
    assert [meta["arm"] for meta in training if max(meta["high"]) == 77] == [7]


@pytest.mark.parametrize(
    "name", ["a.html", *(pytest.param(f"a.{it}", marks=pytest.mark.slow) for it in ("png", "svg")), "a.md"]
)
def test_out_may_name_one_file(record, tmp_path, name):
    report(str(record("one", rows())), out=str(tmp_path / "new" / name))
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


def diverged(record):
    gone = {"train/loss": math.nan, "train/grad_norm": math.inf, "validation/loss": math.nan}
    found = [row | {key: value for key, value in gone.items() if key in row and row["step"] > 30} for row in rows()]
    return record("one", found)


def test_the_page_of_a_run_that_diverged_draws_gaps_and_the_best_loss_is_a_number(record):
    folder = diverged(record)
    paged(folder)
    (training,) = (curve for curve in drawn(folder)["figures"][0]["data"] if curve["name"] == "training")
    assert [x for x, y in zip(training["x"], training["y"], strict=True) if y is None] == list(range(31, 61))
    assert "2.2500 best, after step 20" in text_of(folder)


@pytest.mark.slow
def test_the_picture_of_a_run_that_diverged_is_drawn(record):
    folder = diverged(record)
    report(str(folder), out=str(folder / "report.png"))
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_smoothing_is_the_mean_of_the_finite_values_around_and_ends_where_a_run_diverges():
    values = numpy.array([1.0, 3.0, math.nan, 5.0, 9.0])
    assert plots.smoothed(values, 3).tolist() == pytest.approx([1, 2, math.nan, 7, 7], nan_ok=True)
    assert plots.smoothed(values, 1).tolist() == pytest.approx(values.tolist(), nan_ok=True)
    assert plots.smoothed(numpy.arange(9.0), 4)[4] == (3 + 4 + 5 + 6) / 4


def test_a_smoothed_loss_that_falls_steeply_does_not_trail_behind_at_the_start():
    falling = 5 - numpy.arange(40.0) / 10
    assert plots.smoothed(falling, 9)[:-4].tolist() == pytest.approx(falling[:-4].tolist())


def test_a_long_curve_keeps_its_spikes_when_it_is_thinned():
    steps, values = numpy.arange(100_000.0), numpy.ones(100_000)
    values[54_321] = 50.0
    kept = plots.thinned(steps, values)
    assert len(kept) <= plots.POINTS + 2
    assert 54_321 in kept


def test_a_stretch_has_the_mean_of_its_values_and_keeps_the_spike_and_the_dip():
    values = numpy.ones(10_000)
    values[5_432], values[77], values[9_999] = 50.0, -3.0, math.nan
    made, width = plots.stretches(plots.Curve("", numpy.arange(10_000.0), values, smooth=20), 100)
    assert (len(made.steps), width) == (100, 100)
    assert made.values[54] == pytest.approx(1.49)
    assert (made.high.max(), made.low.min()) == (50, -3)
    assert made.steps[-1] == 9_999
    assert made.values[-1] == 1


@pytest.mark.parametrize(("text", "options", "message"), [
    (None, {}, "no step recorded yet"),
    ("", {}, "no step recorded yet"),
    ('{"loss": 1}\n', {}, "no step recorded yet"),
    ('{"step": 1}\n', {"smooth": 0}, "smooth=0 must be at least 1"),
    ('{"step": 1, "train/loss": 2.5}\n', {"out": "picture.jpg"}, "out=picture.jpg: must be a folder, or a file that ends in .html, .png, .svg or .md"),
    ('{"step": 1, "train/loss": 2.5}\n', {"out": "r.json"}, "out=r.json: must be a folder, or a file that ends in .html, .png, .svg or .md"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused_in_one_line(record, tmp_path, text, options, message):
    folder = record("one", [])
    (folder / "metrics.jsonl").write_text(text) if text is not None else (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=message) as error:
        report(str(folder), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("value", "label"), [(0, "0"), (0.5, "0.5"), (3e-4, "3e-4"), (20_000, "20k"), (1.25e-5, "1.25e-5"), (2.5e9, "2.5B")])  # fmt: skip
def test_labels_are_short(value, label):
    assert spell(value) == label


def test_the_summary_counts_a_repeated_run_as_the_tables_do(record):
    folder = None
    for name, loss, seed in (("a", 2.0, 0), ("a2", 2.2, 0), ("b", 3.1, 1)):
        for lr in (1e-3, 1e-2):
            folder = record(f"sweep/{name}{lr}", rows(**{"validation/loss": loss}), f"optim.lr={lr}", f"seed={seed}")
    report(str(folder.parent), out=str(folder.parent / "report.md"))
    assert "| 2.60 ± 0.71 |" in (folder.parent / "report.md").read_text()


def parts(folder) -> dict[str, str]:
    """The HTML of each part of the page that can be folded, by its title, and of the first screen."""
    first, *rest = (folder / "report.html").read_text().split("<main>")[1].split('<details data-part="')
    return {"": first} | {part.split('"')[0]: part for part in rest}


def test_the_first_screen_is_question_answer_one_figure_and_how_sure_and_all_else_is_folded(record):
    folder = swept(record)
    paged(folder)
    found, (answer,) = parts(folder), re.findall(r"<h1[^>]*>(.*?)</h1>", (folder / "report.html").read_text())
    assert "How does validation loss depend on the learning rate?" in found[""]
    assert answer.endswith("than learning rate 0.001 in validation loss.")
    assert "Differences from learning rate 0.001 over 3 seeds, with 95 % intervals: 1 of 1 significant." in found[""]
    assert found[""].index("<h1") < found[""].index("<figure") < found[""].index('class="sure"')
    assert found[""].count("<figure") == 1
    assert 'class="plot"' not in found[""]
    assert [title for title, part in found.items() if part.split(">")[0].endswith(" open")] == ["Curves of all arms"]
    assert set(found) >= {
        "The numbers",
        "What differs between the arms",
        "Command and recipe",
        "Incidents",
        "Environment",
    }


def test_the_figure_is_drawn_for_a_wide_screen_and_a_phone_in_the_page_s_colours_with_ids_of_its_own(record):
    folder = swept(record)
    paged(folder)
    wide, narrow = re.findall(r'<svg class="(?:wide|narrow)".*?</svg>', parts(folder)[""], re.DOTALL)
    for svg, kind in ((wide, "wide"), (narrow, "narrow")):
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(set(ids)) == len(ids)
        assert all(each.startswith(kind) for each in ids)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(ids)
        assert not re.search("#[0-9a-f]{6}", svg)
        assert {"var(--muted)", "var(--line)", "var(--card)", "var(--curve0)"} <= set(re.findall(r"var\([^)]+\)", svg))
        width, least = (float(re.search(each, svg)[1]) for each in (r'viewBox="0 0 ([\d.]+)', r"min-width: (\d+)px"))
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
        assert min(sizes) * least / width >= 11.9  # pixels, however narrow the screen
        assert (
            least <= {"wide": 640, "narrow": 390 - 2 * (12 + 1 + 8)}[kind]
        )  # margins of page and figure, and its line


def test_warnings_and_sentences_beyond_the_first_are_folded_but_counted(record):
    answer = Verdict({}, "Yes.", [f"Sentence {i}." for i in range(5)], [f"Careful {i}." for i in range(3)], [])
    found = replace(gathered(swept(record)), answer=answer)
    first, rest = several.report_page(found).split('class="sure">')[1].split("<details>", 1)
    assert all(text in first for text in ("Sentence 0.", "Sentence 2.", "Careful 0.", "Careful 1."))
    assert rest.startswith("<summary>3 more</summary>")
    assert all(text in rest.split("</details>")[0] for text in ("Sentence 3.", "Sentence 4.", "Careful 2."))


def test_the_page_holds_the_commands_that_made_the_runs_and_the_recipe_of_the_baseline(record):
    folder = swept(record)
    lines = [("lr=1e-3,seed=0", "python -m gptx.train a"), ("lr=1e-2,seed=0", "python -m gptx.train b"),
             ("lr=1e-2,seed=1", "python -m gptx.train b"), ("of/another", "python -m gptx.train c")]  # fmt: skip
    written = (json.dumps({"folder": name, "overrides": [], "command": command}) for name, command in lines)
    (folder / "sweep.jsonl").write_text("".join(f"{line}\n" for line in written))
    config = yaml.safe_load((folder / "lr=1e-3,seed=0" / "config.yaml").read_text())
    (folder / "of" / "another").mkdir(parents=True)
    paged(folder)
    typed, recipe = re.findall(r"<pre>(.*?)</pre>", parts(folder)["Command and recipe"], re.DOTALL)
    assert typed == "python -m gptx.train a\npython -m gptx.train b\npython -m gptx.train c"
    assert yaml.safe_load(entities.unescape(recipe)) == config


def test_each_arm_has_a_sample_that_was_recorded_or_the_command_that_writes_one(record):
    record("sweep/a", [*rows(), {"step": 61, "sample/text": "to be <or> not"}], "optim.lr=1e-3")
    folder = record("sweep/b", rows(), "optim.lr=1e-2").parent
    paged(folder)
    told = re.findall(r"<h3>(.*?) <small>(.*?)</small></h3>.*?<pre>(.*?)</pre>", parts(folder)["Text that the arms write"], re.DOTALL)  # fmt: skip
    assert told[0] == ("learning rate 0.001", "seed 0, after step 61", "to be &lt;or&gt; not")
    assert told[1][::2] == ("learning rate 0.01", f"python -m gptx sample {folder / 'b'}")


def test_a_failed_or_diverged_run_does_not_enlarge_the_axes_of_the_others(record):
    folder = swept(record, seeds=(0,))
    lost = [{k: v * 1000 if k.endswith("/loss") and row["step"] > 20 else v for k, v in row.items()} for row in rows()]
    failed = record("sweep/failed", lost, "optim.lr=1")
    (failed / "run.json").write_text((failed / "run.json").read_text().replace('"finished"', '"failed"'))
    paged(folder)
    for key in ("validation/loss", "train/loss"):
        curves = [curve for curve in drawn(folder)["figures"][0]["data"] if curve["meta"]["key"] == key]
        gone = next(curve["y"] for curve in curves if curve["name"] == "learning rate 1")
        sound = [y for curve in curves if curve["name"] != "learning rate 1" for y in curve["y"]]
        assert any(y is None for y in gone)
        assert {y for y in gone if y is not None}
        assert max(y for y in gone if y is not None) <= max(sound) + (max(sound) - min(sound))  # not thousands
