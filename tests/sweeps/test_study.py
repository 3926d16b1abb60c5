"""What a study searches, how it tells trials that diverge or fail from the others, and that it goes on where it was."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY
from filelock import FileLock

from gptx.config.errors import ConfigError
from gptx.runs.folder import RunFolder
from gptx.sweeps import pool
from gptx.sweeps import search as study

optuna = pytest.importorskip("optuna", reason="the extra study is not installed")


def test_a_space_is_what_is_written_as_one_and_the_rest_are_overrides():
    found, rest = study.parse_space(
        ["optim.lr=log:1e-4..1e-1", "steps=200", "schedule.warmup=choice:0,5%", "model.depth=int:2..8"]
    )
    assert rest == ["steps=200"]
    assert {key: study.corners(each) for key, each in found.items()} == {
        "optim.lr": ["0.0001", "0.1"],
        "schedule.warmup": ["0", "5%"],
        "model.depth": ["2", "8"],
    }
    assert found["optim.lr"].log
    assert study.space_text(0.0123456) == "0.01235"


def test_a_best_value_near_an_end_of_its_range_is_known_for_it():
    log, whole, choice = study.parse_space(["a=log:1e-4..1", "b=int:2..8", "c=choice:0,1"])[0].values()
    assert [study.at_end(log, value) for value in (1.2e-4, 2e-4, 0.01, 0.9)] == [True, False, False, True]
    assert [study.at_end(whole, value) for value in (2, 3, 8)] == [True, False, True]
    assert not study.at_end(choice, "0")


def test_a_search_for_a_metric_of_one_s_own_asks_which_way_it_goes():
    with pytest.raises(ConfigError, match=r"metric=mine/accuracy: nothing says .* add better=higher or better=lower"):
        study.study("optim.lr=log:1e-6..1e2", name="lr", metric="mine/accuracy")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optim.lr=1e-3", "nothing to search: give a key as log:"),
        ("optim.lr=log:0..1", "optim.lr=log:0..1: the first number must be below the second, and above 0"),
        ("optim.lr=float:1..0", "the first number must be below the second"),
        ("optim.lr=float:1..inf", "the first number must be below the second"),
        ("optim.lr=float:1,2", "a range is written LOW..HIGH"),
        ("model.depth=int:1.5..3", "model.depth=int:1.5..3: whole numbers"),
        ("schedule=choice:cosine", "at least two different values"),
    ],
)
def test_a_range_that_is_none_is_refused_in_one_line(word, message):
    with pytest.raises(ConfigError, match=f"^.*{re.escape(message)}[^\\n]*$"):
        study.parse_space([word])


def test_without_optuna_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'python -m gptx study needs the package optuna: pip .* "gptx\[study\]"'):
        study.study("optim.lr=log:1e-4..1e-1", name="lr")


def test_a_study_at_work_is_not_begun_a_second_time(tmp_path):
    with (
        study.alone(tmp_path),
        pytest.raises(ValueError, match="another process makes the trials of this study"),
        study.alone(tmp_path),
    ):
        pass
    with study.alone(tmp_path):  # afterwards it is free again
        pass


class Ended:
    """A process that ended before anybody looked."""

    returncode = 0

    def poll(self) -> int:
        return self.returncode

    def send_signal(self, number: int) -> None:
        raise AssertionError("it has ended")


def trained(trial, folder: Path, process) -> study.Trial:
    """A trial of Optuna's whose process is that one."""
    made = study.Trial(folder, [], 1, trial=trial)
    made.process = process
    return made


@pytest.fixture
def search(tmp_path, monkeypatch):
    """search(trials): a study whose runs are a parabola in log10 of the rate, lowest at 1e-2; above 10 they diverge,
    and the third one fails."""
    monkeypatch.setattr("gptx.sweeps.pool.time.sleep", lambda _: None)
    monkeypatch.setattr(study, "checked_space", lambda *_: (1, 1))
    monkeypatch.chdir(tmp_path)

    def start(words: list[str], folder: Path, **_) -> Ended:
        rate = float(words[-1].partition("=")[2])
        folder.mkdir(parents=True)
        loss = 1 + (math.log10(rate) + 2) ** 2
        row = {"step": 10, "validation/loss": math.nan if rate > 10 else loss}
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        if folder.name.startswith("002"):
            RunFolder(folder).write(state="failed", error="no disk")
        elif rate > 10:
            RunFolder(folder).write(state="failed", error="the loss is NaN", diverged=True)
        else:
            RunFolder(folder).write(state="finished", result={})
        return Ended()

    monkeypatch.setattr(pool, "start_run", start)
    return lambda trials, **more: study.study("optim.lr=log:1e-6..1e2", name="lr", trials=trials, **more)


@pytest.mark.slow
def test_a_search_finds_the_lowest_point_and_the_same_command_makes_only_what_is_missing(search, capsys):
    assert search(25) == 1  # one failed
    said = capsys.readouterr().out
    assert "runs/lr: 0 of 25 trials made" in said
    assert said.count("FAILED  ") == 1
    assert "002," in said.partition("FAILED  ")[2].split()[0]
    assert said.count("diverged  ") == len(
        [f for f in Path("runs/lr").glob("0*") if "diverged" in (f / "run.json").read_text()]
    )
    best = float(re.search(r"with optim.lr=(\S+)", said)[1])
    assert abs(math.log10(best) + 2) < 0.5
    losses = {f: json.loads((f / "metrics.jsonl").read_text())["validation/loss"] for f in Path("runs/lr").glob("0*")}
    finished = {f: loss for f, loss in losses.items() if RunFolder(f).read()["state"] == "finished"}
    assert str(min(finished, key=finished.get)) in said  # what is to be run again is the best
    search(25)  # makes up for the one that failed
    assert "24 of 25 trials made" in capsys.readouterr().out
    search(25)
    assert len(list(Path("runs/lr").glob("0*"))) == 26
    rates = [f.name.partition("=")[2] for f in Path("runs/lr").glob("0*")]
    assert len(set(rates)) == len(rates)  # a start anew draws anew


@pytest.mark.slow
def test_a_search_where_higher_is_better_finds_the_highest_and_says_that_it_is_near_an_end(search, capsys):
    assert search(12, metric="validation/loss", better="higher") == 1
    said = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"^finished .* ([\d.]+)$", said, re.MULTILINE)]
    assert f"best         validation/loss {max(losses):.4f}" in said
    assert "near an end of its range" in said  # the parabola is highest where the rate is lowest


@pytest.mark.slow
def test_a_folder_with_another_study_is_refused(search, monkeypatch):
    search(3)
    with pytest.raises(
        ValueError, match=r"^runs/lr holds another study: metric=validation/loss .*; choose another name="
    ):
        study.study("optim.lr=log:1e-5..1e2", name="lr", trials=3)


@pytest.mark.slow
def test_a_trial_above_the_median_of_those_before_it_is_ended_at_the_same_update_and_one_below_is_not(tmp_path):
    found = optuna.create_study(pruner=optuna.pruners.MedianPruner())
    searched = study.parse_space(["optim.lr=log:1e-4..1e-1"])[0]
    for loss in (1.0, 2.0, 3.0, 4.0, 5.0):
        before = found.ask(searched)
        before.report(loss, 10)
        found.tell(before, loss - 1)  # they went on to fall

    class AtWork(Ended):
        signals: tuple[int, ...] = ()

        def poll(self):
            return None

        def send_signal(self, number: int) -> None:
            self.signals += (number,)

    search = study.Search(found, searched, [], tmp_path, "validation/loss", 1)
    for loss, ended in ((2.9, False), (3.1, True)):
        folder = tmp_path / str(loss)
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 10, "validation/loss": loss}) + "\n")
        RunFolder(folder).write(state="interrupted")
        trial = trained(found.ask(searched), folder, AtWork())
        search.look(trial)
        search.look(trial)
        assert trial.process.signals == ((signal.SIGINT,) if ended else ())
        if ended:
            search.tell(trial)
            assert found.trials[-1].state.name == "PRUNED"


@pytest.mark.slow
def test_a_trial_that_another_process_holds_is_neither_failed_nor_made(tmp_path, capsys):
    found = optuna.create_study()
    searched = study.parse_space(["optim.lr=log:1e-4..1e-1"])[0]
    trial = trained(found.ask(searched), tmp_path, Ended())
    RunFolder(tmp_path).write(state="running")
    with FileLock(tmp_path / ".lock"):
        study.Search(found, searched, [], tmp_path, "validation/loss", 1).tell(trial)
    assert found.trials[0].state.name == "RUNNING"
    assert "FAILED" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_finished_run_that_another_command_made_is_no_result_of_a_trial(tmp_path, capsys):
    found = optuna.create_study()
    searched = study.parse_space(["optim.lr=log:1e-4..1e-1"])[0]
    RunFolder(tmp_path).write(state="finished")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "validation/loss": 1.5}\n')
    (tmp_path / "process.log").write_text("config error: it holds another run\n")
    for code, state in ((1, "FAIL"), (0, "COMPLETE")):
        process = Ended()
        process.returncode = code
        trial = trained(found.ask(searched), tmp_path, process)
        search = study.Search(found, searched, [], tmp_path, "validation/loss", 1)
        search.tell(trial)
        assert search.failed == bool(code)
        assert found.trials[-1].state.name == state
    assert "not of this trial: config error: it holds another run" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_that_is_stopped_ends_its_trials_and_the_same_command_goes_on_with_them(tmp_path, corpus):
    words = [*TINY, f"data.path={corpus}", "name=lr", "trials=2", "parallel=2", "optim.lr=log:1e-4..1e-2", "steps=600"]
    command = [sys.executable, "-m", "gptx", "study", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as process:
        end = time.monotonic() + 200
        while sum(file.stat().st_size > 0 for file in (tmp_path / "runs/lr").glob("*/metrics.jsonl")) < 2:
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
        assert process.wait(100) == 130, process.stdout.read()
    folders = sorted((tmp_path / "runs/lr").glob("0*"))
    assert [RunFolder(folder).state for folder in folders] == ["interrupted"] * 2
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert sorted((tmp_path / "runs/lr").glob("0*")) == folders  # no other one was drawn
    assert all("continues after step" in (folder / "train.log").read_text() for folder in folders)
    assert "trials       2 complete" in again.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trials_are_ordinary_runs(command, tmp_path, corpus):
    words = [*TINY, f"data.path={corpus}", "name=lr", "trials=3", "parallel=2", "optim.lr=log:1e-4..1e-2"]
    made = command("study", *words, timeout=400)
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count("finished  ") == 3
    folders = sorted(f for f in (tmp_path / "runs/lr").iterdir() if (f / "run.json").exists())
    assert [folder.name[:4] for folder in folders] == ["000,", "001,", "002,"]
    results = {f: json.loads((f / "run.json").read_text())["result"]["validation/loss"] for f in folders}
    best = min(results, key=results.get)
    assert f"best         validation/loss {results[best]:.4f}" in made.stdout
    assert f"python -m gptx rerun runs/lr/{best.name}" in made.stdout
    assert command("status", "runs/lr").stdout.splitlines()[-2].startswith("3 of 3 finished, 18 of 18")
    refused = command("study", *words[:-1], "optim.lrr=log:1e-4..1e-2")
    assert refused.stderr == "error: optim.lrr: no such key; did you mean 'optim.lr'?\n"
