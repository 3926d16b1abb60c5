"""What a run recorded, by column: repeated steps, branches that were given up, and lines that were cut."""

import json
from pathlib import Path

import pytest

from gptx.config.errors import ConfigError
from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.custom import Custom
from gptx.runs import metrics


def written(folder: Path, lines: list[str], events: list[dict] = []) -> metrics.Metrics:  # noqa: B006
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return metrics.read_metrics(folder)


def row(step: int, loss: float) -> str:
    return json.dumps({"step": step, "loss": loss})


def test_of_a_step_done_twice_the_later_line_counts(tmp_path):
    found = written(tmp_path, [row(1, 3.0), row(2, 2.0), row(3, 9.0), row(2, 2.5), row(3, 1.0)])
    assert found["loss"][1].tolist() == [3.0, 2.5, 1.0]
    assert found.abandoned == ()


def test_a_branch_that_a_rollback_gave_up_is_kept_aside(tmp_path):
    lines = [row(1, 3.0), row(2, 2.0), row(3, 9.0), row(2, 2.5)]
    found = written(tmp_path, lines, [{"event": "rollback", "step": 1, "left": 3}])
    assert found["loss"][1].tolist() == [3.0, 2.5]
    assert [branch["loss"][1].tolist() for branch in found.abandoned] == [[3.0, 2.0, 9.0]]


def test_two_rollbacks_from_the_same_update_leave_a_branch_each(tmp_path):
    lines = [row(1, 4.0), row(2, 3.0), row(3, 9.0), row(3, 8.0), row(2, 2.5), row(3, 2.0)]
    events = [{"event": "rollback", "step": step, "left": 3} for step in (2, 1)]
    found = written(tmp_path, lines, events)
    assert found["loss"][1].tolist() == [4.0, 2.5, 2.0]
    assert [branch["loss"][1].tolist() for branch in found.abandoned] == [[3.0, 9.0], [4.0, 3.0, 8.0]]


@pytest.mark.parametrize(("lines", "torn"), [
    ([row(1, 3.0), '{"step": 2, "lo', row(3, 1.0)], 1),
    ([row(1, 3.0), '{"step": 2, "loss": 9.0', '"x": 1}', row(3, 1.0)], 2),  # which together would be a row
    ([row(1, 3.0), "[2]", '{"loss": 9.0}', '{"step": "2"}', row(3, 1.0)], 3),
    ([row(1, 3.0), "\x00\x00\xff", row(3, 1.0)], 1),
])  # fmt: skip
def test_lines_that_are_no_rows_are_counted_and_left_out(tmp_path, lines, torn):
    found = written(tmp_path, lines)
    assert found["loss"][1].tolist() == [3.0, 1.0]
    assert found.torn == torn


def test_observers_say_which_way_their_metrics_go():
    class Mine(Observer):
        better = {"mine/accuracy": "higher"}  # noqa: RUF012 - as one writes it

    told = Custom(every=1, function=dict, better={"mine/error": "lower"})
    assert metrics.declared([Mine(every=1), told]) == {"mine/accuracy": "higher", "mine/error": "lower"}
    assert metrics.declared([Custom(every=1, function=dict)]) == {}
    with pytest.raises(ConfigError, match="better of mine/error is up: must be higher or lower"):
        metrics.declared([Custom(every=1, function=dict, better={"mine/error": "up"})])


@pytest.mark.parametrize(
    ("metric", "way"),
    [("validation/loss", "lower"), ("ema/bits_per_byte", "lower"), ("target/step", "lower"), ("throughput/mfu", "higher"),
     ("downstream/parses", "higher"), ("train/grad_norm", ""), ("mine/accuracy", "")],
)  # fmt: skip
def test_which_way_a_metric_of_gptx_goes_is_known_of_its_whole_name(metric, way):
    assert metrics.ours(metric) == way
