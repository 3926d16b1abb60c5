"""TensorBoard's own reader finds the numbers, texts and events of a run, each step once."""

from types import SimpleNamespace

import pytest

from gptx.config.errors import ConfigError
from gptx.ingredients.log.tensorboard import Tensorboard

pytest.importorskip("tensorboard")


def opened(folder, start=0, every=10):
    sink = Tensorboard(every=every)
    sink.open(SimpleNamespace(folder=folder, start=start))
    return sink


def read(folder):
    """What TensorBoard shows: steps and values of each curve, and of each text."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    curves = {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    texts = {
        tag.removesuffix("/text_summary"): [(e.step, e.tensor_proto.string_val[0].decode()) for e in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }
    return (*({tag: found for tag, found in each.items() if found} for each in (curves, texts)),)


def test_rows_texts_and_events_are_there_and_a_resume_and_a_rollback_repeat_no_step(tmp_path):
    sink = opened(tmp_path, every=2)
    for step in range(1, 8):
        sink(
            step,
            {"train/loss": step + 0.5, **({"validation/loss": 4.0, "sample/text": "a\n\x1bb"} if step == 5 else {})},
        )
    sink.close("preempted")
    sink = opened(tmp_path, start=4, every=2)
    for step in range(5, 11):
        sink(step, {"train/loss": step + 0.25})
    sink.event(10, "spike", {"text": "the loss jumped", "onset": 9})
    sink.event(8, "rollback", {"text": "from step 10 back to 8"})
    for step in range(9, 13):
        sink(step, {"train/loss": step + 0.75})
    sink.close("finished")
    curves, texts = read(tmp_path)
    assert curves["train/loss"] == [(2, 2.5), (4, 4.5), (6, 6.25), (8, 8.25), (10, 10.75), (12, 12.75)]
    assert "validation/loss" not in curves  # of a step that was made again
    assert texts == {
        "sample/text": [(5, "    a\n    \N{REPLACEMENT CHARACTER}b")],
        "event/spike": [(10, "    the loss jumped")],
        "event/rollback": [(8, "    from step 10 back to 8")],
    }


def test_a_run_writes_what_it_logs(build, tmp_path):
    trainer = build("observe=[validation,samples]", "observe.validation.every=3", "observe.samples.every=6", "steps=6")
    sink, rows = opened(tmp_path, every=1), []
    trainer.sinks += [sink, lambda step, scalars: rows.append(scalars)]
    trainer.fit()
    sink.close("finished")
    curves, texts = read(tmp_path)
    assert curves["train/loss"] == [(i, pytest.approx(row["train/loss"])) for i, row in enumerate(rows, 1)]
    assert [step for step, _ in curves["validation/loss"]] == [3, 6]
    ((step, text),) = texts["sample/text"]
    assert (step, text.startswith("    ")) == (6, True)


def test_a_disk_that_fails_costs_one_warning_and_not_the_run(tmp_path, monkeypatch, caplog):
    sink = opened(tmp_path, every=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sink.writer, "add_scalar", full)
    for step in (1, 2):
        sink(step, {"train/loss": 1.0})
    sink.event(2, "rollback", {"text": "back"})
    sink.close("finished")
    assert [record.getMessage() for record in caplog.records] == [
        "TensorBoard lacks step 1 (No space left on device); training goes on"
    ]


def test_without_the_package_the_run_is_refused_in_one_line(composed, monkeypatch):
    from gptx.config.build import build

    cfg = composed("log=[tensorboard]")
    assert isinstance(build(cfg.log)["tensorboard"], Tensorboard)
    monkeypatch.setattr("gptx.ingredients.log.tensorboard.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"^log.tensorboard: log=tensorboard needs the package tensorboard: pip install"
    ):
        build(cfg.log)


def test_closing_what_was_never_opened_is_allowed():
    Tensorboard(every=1).close("failed")
