"""The arithmetic of what an observer costs; how much it is, is no test."""

from types import SimpleNamespace

import pytest

from gptx.bench import recording
from gptx.bench.frame import Unsaved


def test_a_report_and_the_steps_between_are_told_apart(monkeypatch, capsys):
    trainer = SimpleNamespace(batch=SimpleNamespace(tokens=2048))
    monkeypatch.setattr(recording, "built", lambda name, model, *words: trainer)
    monkeypatch.setattr(recording, "watched", lambda trainer, name: [])
    # seconds of its own and of the whole update; the first of a series warms up, the median of the others counts
    quiet, loud = [(9, 10), (0.1, 2.1), (0.1, 2.1), (0.5, 9.5)], [(9, 10), (2.1, 4.1), (2.1, 4.1), (8.0, 9.0)]
    times = iter([*quiet, *loud])
    monkeypatch.setattr(recording, "timed_step", lambda *_: next(times))
    report, between, every = recording.observer_cost("validation", "nano", turns=3, steps=1000)
    assert (report, between, every) == (pytest.approx(2.0 / 2), pytest.approx(0.1 / 2), 200)
    monkeypatch.setattr(recording, "observer_cost", lambda *_: (report, between, every))
    recording.bench_observers(observer="validation")
    assert capsys.readouterr().out.splitlines()[1].split() == ["validation", "1.000", "200", "5.00%", "5.50%"]


def test_the_clock_runs_in_hooks_and_reports_and_nowhere_else(build, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(recording.time, "process_time", lambda: next(ticks))
    trainer = build("observe=[validation,updates,gradients]", "observe.updates.every=2")
    own = recording.watched(trainer, "updates")
    trainer.checkpoints = Unsaved("one step")
    hooks = 3  # of updates before and after the step, of gradients before it, one tick each
    assert [recording.timed_step(trainer, own)[0] for _ in range(2)] == [hooks, hooks + 1]  # and the report
    assert "updates/median" in trainer.latest


@pytest.mark.parametrize("word", ["observer=updats", "turns=0", "observe=updates"])
def test_a_wrong_word_is_one_line(command, word):
    result = command("bench", "observers", word)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
