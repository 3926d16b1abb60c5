"""What is known of a sweep without asking its processes, who a process is, and what launchers refuse."""

import io
import itertools
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from conftest import TINY
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gptx.config import arguments, keys
from gptx.config.errors import ConfigError
from gptx.config.keys import recipe
from gptx.config.recorded import recorded
from gptx.distributed import rank
from gptx.estimate.memory import _CHARACTERS, prediction
from gptx.ingredients.log import typed_command
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run
from gptx.sweeps import jobs, local, pool, preflight, status
from gptx.sweeps.listing import kinship
from gptx.sweeps.status import status as status_of
from gptx.units.amounts import clock
from gptx.units.printable import streams


@pytest.fixture
def cells(tmp_path) -> Path:
    """A sweep of six cells, of which SLURM has some in its queue."""
    names = {"done": {"state": "finished", "result": {"validation/loss": 1.25}}, "lost": {"state": "running"},
             "bad": {"state": "failed", "error": "the text is too short"}, "put_back": {"state": "preempted"},
             "waiting": None, "never": None}  # fmt: skip
    manifest.note(tmp_path, [{"folder": name, "overrides": [f"seed={i}"]} for i, name in enumerate(names)])
    for name, record in names.items():
        if record:
            (tmp_path / name).mkdir()
            RunFolder(tmp_path / name).write(**record)
    (tmp_path / "put_back/metrics.jsonl").write_text('{"step": 7, "train/loss": 1.0}\n')
    manifest.note(tmp_path, [{"folder": "waiting", "job": "5_1"}, {"folder": "put_back", "job": "5_0"}])
    return tmp_path


def states(folder: Path, capsys) -> dict[str, str]:
    assert status_of(str(folder))
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[:-2]]
    return {Path(line[1]).name: " ".join([line[0], *line[2:]]) for line in lines}


def test_status_tells_cells_that_ended_from_those_that_wait_and_those_that_never_began(cells, capsys, monkeypatch):
    monkeypatch.setattr(status, "queue", lambda: {"5_1": "PENDING", "5_0": "RUNNING"})
    with FileLock(cells / "lost/.lock"):
        assert states(cells, capsys)["lost"] == "running"
    found = states(cells, capsys)
    assert found.pop("put_back").startswith("running step 7 of ?, ")
    assert found == {
        "done": "finished validation loss 1.2500",
        "lost": "killed",
        "bad": "failed the text is too short",
        "waiting": "queued job 5_1",
        "never": "missing",
    }
    monkeypatch.setattr(status, "queue", dict)
    assert states(cells, capsys)["put_back"] == "preempted step 7 of ?"
    assert states(cells, capsys)["waiting"] == "missing"


@pytest.mark.parametrize("words", [["nowhere"], ["runs", "more"]])
def test_the_status_command_refuses_in_one_line(words):
    with pytest.raises(SystemExit, match=r"^error: .+$"):
        arguments.call(status_of, words)


def test_the_exit_code_of_status_tells_whether_all_is_finished(cells, capsys):
    with pytest.raises(SystemExit) as end:
        arguments.call(status_of, [str(cells)])
    assert end.value.code == 1
    assert capsys.readouterr().out.splitlines()[-2] == "1 of 6 finished"
    for cell in cells.iterdir():
        if cell.name not in ("sweep.jsonl", "done"):
            RunFolder(cell).write(state="finished", result={})
    for name in ("waiting", "never"):
        (cells / name).mkdir()
        RunFolder(cells / name).write(state="finished", result={})
    arguments.call(status_of, [str(cells)])  # ends without a code


def test_a_sweep_is_written_down_whole_before_its_first_cell_and_another_adds_to_it(tmp_path):
    for seeds in ((0, 1), (1, 2)):
        folders = [tmp_path / f"seed={seed}" for seed in seeds]
        made = [SimpleNamespace(words=[f"seed={seed}"], digest="", arm=None, asked="") for seed in seeds]
        jobs._note(tmp_path, dict(zip(folders, made, strict=True)), "", {})
    assert list(manifest.noted(tmp_path)) == ["seed=0", "seed=1", "seed=2"]
    assert manifest.noted(tmp_path)["seed=2"]["overrides"] == ["seed=2"]


def test_a_line_that_a_kill_cut_costs_neither_the_others_nor_the_next(tmp_path):
    manifest.note(tmp_path, [{"folder": "first", "job": "1"}])
    with (tmp_path / "sweep.jsonl").open("a") as file:
        file.write('{"folder": "sec')
    manifest.note(tmp_path, [{"folder": "third", "job": "3"}])
    assert manifest.noted(tmp_path) == {
        "first": {"folder": "first", "job": "1"},
        "third": {"folder": "third", "job": "3"},
    }


def branch_and_whole(folder: Path) -> list[status.Work]:
    """The work of a run of 100 updates, and of one that branched off after 900 and made the next 100."""
    for name, first in (("whole", 1), ("branch", 901)):
        (folder / name).mkdir()
        RunFolder(folder / name).write(state="finished", recipe={"steps": 1000}, parameters={"non_embedding": 1000})
        rows = [{"step": i, "train/tokens": 64 * i, "train/tokens_per_second": 32.0} for i in range(first, first + 100)]
        (folder / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [status.work(Run.of(folder / name)) for name in ("whole", "branch")]


def test_a_branch_made_as_much_as_a_run_of_as_many_updates_of_its_own(tmp_path):
    whole, branch = branch_and_whole(tmp_path)
    assert (whole.step, branch.step) == (100, 1000)
    assert (
        (whole.own, whole.tokens, whole.flops) == (branch.own, branch.tokens, branch.flops) == (100, 6400, 6e3 * 6400)
    )
    assert whole.seconds == branch.seconds == 200.0


def test_the_time_left_goes_by_the_updates_that_a_branch_made_itself():
    half = status.Work(step=950, own=50, steps=1000, tokens=3200, seconds=100.0, wall=100.0)  # 2 s each
    assert status.total([("running", half)], 1).endswith("about 1:40 left at 1 at a time")


def test_the_time_left_is_not_that_of_all_updates_where_cells_end_before_their_last():
    early = status.Work(step=100, own=100, steps=1000, tokens=6400, seconds=50.0, wall=50.0)
    each = [("finished", early), ("finished", early), ("missing", status.Work()), ("missing", status.Work())]
    assert status.total(each, 1).endswith("about 1:40 left at 1 at a time")


def test_of_several_signals_only_another_ctrl_c_is_another_request():
    with pool.requests_to_end() as came:
        assert not came()
        for number, counts in ((signal.SIGTERM, True), (signal.SIGHUP, False), (signal.SIGTERM, False), (signal.SIGINT, True),
                               (signal.SIGINT, True)):  # fmt: skip
            signal.raise_signal(number)
            assert (came(), came()) == (counts, False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_so_but_not_in_what_is_started_meanwhile():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's script, behind &
    try:
        with pool.requests_to_end() as came:
            signal.raise_signal(signal.SIGINT)
            assert not came()
            with subprocess.Popen(["sleep", "60"]) as process:
                pool.ask_to_end(process)
                assert process.wait(10) == -signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


def job(folder: Path, code: int, seconds: float = 0.0) -> pool.Job:
    """A run that was started so long ago and has ended."""
    made = pool.Job(folder, [], threads=1, started=time.time() - seconds)
    made.process = mock.Mock(returncode=code)
    return made


def test_the_time_left_of_a_sweep_counts_the_start_of_each_run(tmp_path, capsys):
    launched = local.Local(parallel=1, tasks_per_node=1, gpus_per_node=None)
    launched.places, launched.configs = 1, dict.fromkeys(tmp_path / name for name in ("one", "two", "three"))
    (tmp_path / "one").mkdir()
    RunFolder(tmp_path / "one").write(state="finished", recipe={"steps": 10}, result={})
    rows = [{"step": i, "train/tokens": 64 * i, "train/tokens_per_second": 320.0} for i in range(1, 11)]  # 0.2 s each
    (tmp_path / "one/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    launched.ended(job(tmp_path / "one", 0, seconds=15))
    assert capsys.readouterr().out.endswith("about 0:30 left at 1 at a time\n")


def test_a_cell_that_ends_beside_an_unreadable_one_is_told_and_those_that_ended_are_not_read_again(tmp_path, capsys):
    launched = local.Local(parallel=2, tasks_per_node=1, gpus_per_node=None)
    names = "bad", "one", "other"
    launched.places, launched.configs = 2, dict.fromkeys(tmp_path / name for name in names)
    for name in names:
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).write(state="finished", result={"validation/loss": 1.0})
    (tmp_path / "bad/run.json").write_text('{"state":')
    read = []
    with mock.patch.object(status, "work", side_effect=lambda run: read.append(run.name) or status.Work()):
        for name in ("one", "other"):
            launched.ended(job(tmp_path / name, 0))
    assert capsys.readouterr().out.count("2 of 3 finished") == 2
    assert read.count("one") == 1


def test_a_cell_whose_folder_another_sweep_took_has_failed_and_a_report_at_the_end_says_so_too(
    tmp_path, capsys, composed
):
    own, others = (recorded(composed(f"steps={steps}")) for steps in (6, 3))
    launched = local.Local(parallel=2, tasks_per_node=1, gpus_per_node=None)
    launched.places, launched.configs = 2, {tmp_path / name: own for name in ("own", "taken")}
    for name, config in (("own", own), ("taken", others)):
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).write(state="finished", recipe=recipe(config), result={"validation/loss": 1.25})
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 3, "train/loss": 1.0}\n')
    for name, code in (("own", 0), ("taken", 1)):
        launched.ended(job(tmp_path / name, code))
    assert status.table(launched.configs) == 1
    said = capsys.readouterr().out
    assert said.count("1 of 2 finished") == 3
    assert said.count("1.2500") == 2  # of the own one alone
    words = f"{tmp_path / 'taken'}  the run there is another command's: schedule.total was 3, is 6; steps was 3, is 6"
    assert f"FAILED       {words}" in said
    assert f"failed       {words}" in said
    assert status.standing(tmp_path / "taken")[1].step == 3
    assert status.standing(tmp_path / "taken", own)[1].step == 0


def until(true, seconds: float = 300) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.1)


SUBMITTED = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "77", "SUBMITIT_LOCAL_NTASKS": "4",
             "SUBMITIT_LOCAL_GLOBALID": "3", "SUBMITIT_LOCAL_LOCALID": "1", "SUBMITIT_LOCAL_JOB_NUM_NODES": "2"}  # fmt: skip
ALONE = SUBMITTED | {"SUBMITIT_LOCAL_NTASKS": "1", "SUBMITIT_LOCAL_GLOBALID": "0"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "9"}  # as in a shell of salloc


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, None, "")),
        (SLURM, (0, 1, None, "")),
        (SUBMITTED, (3, 4, "1", "77")),
        (ALONE, (0, 1, None, "77")),
        (SUBMITTED | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, (1, 2, "0", "77")),
    ],
)
def test_torchrun_says_who_a_process_is_then_submitit_and_never_slurm(environment, expected):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    with mock.patch.dict(os.environ, environment):
        found = rank.rank(), rank.world_size(), os.environ.get("LOCAL_RANK"), rank.job()
        assert found == expected


def test_a_job_knows_its_own_run_after_a_requeue_and_a_new_job_does_not(tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from gptx.job.run import _requeued

    RunFolder(tmp_path).write(state="running", job="77")
    assert not _requeued(RunFolder(tmp_path))
    with mock.patch.dict(os.environ, ALONE):
        assert _requeued(RunFolder(tmp_path))
        RunFolder(tmp_path).write(state="running", job="76")
        assert not _requeued(RunFolder(tmp_path))


def test_the_refusal_of_a_job_that_waited_is_recorded_unless_the_run_is_finished_or_at_work(tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from gptx.job.run import note_failure

    def noted(state: str) -> str:
        RunFolder(tmp_path).write(state=state)
        note_failure(tmp_path, ConfigError("holds another run"), sweep=False)
        return RunFolder(tmp_path).read()["state"]

    assert noted("preempted") == "preempted"  # a person sees the refusal
    with mock.patch.dict(os.environ, ALONE):
        assert noted("finished") == "finished"
        with FileLock(tmp_path / ".lock"):
            assert noted("running") == "running"
        assert noted("preempted") == "failed"


def sweep_of(**launcher):
    choice = {"runtime": {"choices": {"hydra/launcher": "slurm"}}}
    defaults = OmegaConf.load(Path(preflight.__file__).parents[2] / "conf/hydra/launcher/slurm.yaml")
    return OmegaConf.create({"hydra": choice | {"launcher": {**OmegaConf.to_container(defaults), **launcher}}})


def test_a_sweep_needs_no_plugin_of_hydra(command, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *more: None if name == 'hydra_plugins' else find(name, *more)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    made = command("train", "--multirun", "schedule=constant,warmup", "steps=2", "hydra.launcher.parallel=1",
                   PYTHONPATH=path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "2 of 2 finished" in made.stdout


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "gptx.sweeps.slurm", raising=False)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r'hydra/launcher=slurm needs the package submitit: pip .* "gptx\[slurm\]"'):
        preflight._find_launcher(sweep_of())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"nodes": 0}, "hydra.launcher.nodes=0 must be a whole number"),
        ({"timeout_min": "4h"}, "hydra.launcher.timeout_min='4h' must be a whole number"),
        ({"timeout_min": 2}, "is not more than the 120 s in which the run saves"),
        ({"timeout_min": 10, "max_num_timeout": 0}, "below 13 minutes a preemption counts as a time-out"),
    ],
)
def test_limits_that_would_lose_the_run_are_refused_before_anything_is_submitted(limits, message):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    with pytest.raises(ConfigError, match=message):
        preflight._find_launcher(sweep_of(**limits))


def test_schedulers_may_send_several_signals_and_a_person_may_press_ctrl_c_twice():
    program = """
import os, signal
from gptx.job.signals import _stopping as stopping

class Trainer:
    asked = ""
    def stop(self, reason):
        self.asked = reason

trainer = Trainer()
with stopping(trainer):
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
        signal.raise_signal(number)
    print(trainer.asked, flush=True)
    signal.raise_signal(signal.SIGINT)
    print("not reached", flush=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (-signal.SIGINT, "SIGUSR2\n")


def test_the_end_of_the_terminal_is_a_request_to_end_unless_it_is_ignored():
    program = """
import signal
from gptx.job.signals import _stopping as stopping

class Trainer:
    asked = ""
    def stop(self, reason):
        self.asked = reason

trainer = Trainer()
for ignored in (signal.SIG_IGN, signal.SIG_DFL):
    signal.signal(signal.SIGHUP, ignored)
    with stopping(trainer):
        signal.raise_signal(signal.SIGHUP)
        print(repr(trainer.asked), signal.getsignal(signal.SIGHUP) == ignored, flush=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.stdout == "'' True\n'SIGHUP' False\n", result.stderr


def test_a_terminal_that_is_gone_takes_no_command_along(monkeypatch):
    leader, follower = pty.openpty()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.FileIO(follower, "w", closefd=False), encoding="ascii"))
    streams(lasting=True)
    print("seen \u957f", flush=True)
    assert os.read(leader, 100) == b"seen \\u957f\r\n"
    os.close(leader)
    for stream in (sys.stdout, sys.stderr):
        print("lost", file=stream, flush=True)
    with pytest.raises(OSError, match="Input/output error"):
        os.write(follower, b"as a plain stream would")
    os.close(follower)


@pytest.mark.parametrize(
    ("code", "asked", "state"),
    [(130, True, "interrupted"), (1, True, "interrupted"), (-2, False, "interrupted"), (143, False, "preempted"),
     (-1, False, "preempted"), (1, False, "failed"), (-9, False, "failed")],
)  # fmt: skip
def test_a_run_that_was_stopped_while_it_started_has_not_failed(tmp_path, code, asked, state):
    pool.note_end(tmp_path / "run", code, asked=asked)
    assert RunFolder(tmp_path / "run").state == state
    assert bool(RunFolder(tmp_path / "run").read().get("error")) == (state == "failed")
    pool.note_end(tmp_path / "run", 1)
    assert RunFolder(tmp_path / "run").state == state


PIECES = ["a", " ", "'", '"', "\\", ",", "=", "[", "}", "$", "\u957f", "#", "~"]


def test_any_text_is_one_value_for_hydra_and_any_command_one_line_for_a_shell():
    parser = OverridesParser.create()
    for text in ("".join(signs) for count in (1, 2, 3) for signs in itertools.product(PIECES, repeat=count)):
        value = keys.quoted(text)
        assert keys.unquoted(value) == text
        if len(text) < 3:
            assert parser.parse_override(f"from={value}").value() == text
        assert shlex.split(typed_command("sample", f"runs/{text}")) == [
            "python",
            "-m",
            "gptx",
            "sample",
            f"runs/{text}",
        ]


SWEPT = [("optim.lr=1e-3", ""), ("schedule=constant", ""), ("optim=lion", ""), ("model.dropout=0.1", ""), ("steps=3", ""),
         ("decay=everything", ""), ("precision=bf16", ""), ("batch.micro=2", ""), ("model.width=64", "weights"),
         ("model=llama_nano", "weights"), ("data.tokenizer=chars", "weights and batches"),
         ("batch.tokens=512", "batches"), ("data.order=written", "batches"), ("batch=short_first", "batches"),
         ("model.context=16", "weights and batches")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "differs"), SWEPT)
def test_what_a_sweep_says_its_arms_share_is_what_they_share(build, composed, arm, differs):
    def began(trainer) -> tuple[list, list]:
        batches = [trainer.data(first, 8) for first in (0, 8)]
        cut = [batch.cut(trainer.batch.context_at(1, trainer.data.context)).inputs for batch in batches]
        return list(trainer.model.state_dict().values()), [torch.tensor(trainer.batch.tokens_at(1)), *cut]

    def same(one: list, other: list) -> bool:
        return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    found = [began(build(*words)) for words in ((), (arm,))]
    alike = [same(one, other) for one, other in zip(*found, strict=True)]
    said = kinship([OmegaConf.to_container(composed(*words), resolve=True) for words in ((), (arm,))])
    assert alike == ["weights" not in differs, "batches" not in differs]
    assert ("not initial weights" in said, "not batches" in said) == tuple(not each for each in alike), said
    assert said.startswith("runs with the same seed share")


def test_arms_of_different_seeds_share_nothing_to_speak_of(composed):
    configs = [OmegaConf.to_container(composed(f"seed={seed}"), resolve=True) for seed in (0, 1)]
    assert kinship(configs) == ""
    assert kinship([*configs, configs[0]]) == "runs with the same seed share initial weights and batches"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_on_this_machine_runs_each_cell_in_a_process_of_its_own_and_then_only_what_failed(command, tmp_path):
    (tmp_path / "short.txt").write_text("long enough for a context of 8, but not for one of 64. " * 4)
    words = ["--multirun", "hydra.launcher.parallel=2", "name=local", "steps=3", "data.path=short.txt",
             "model.context=64,8", "batch.tokens=64", "batch.micro=1"]  # fmt: skip
    result = command("train", *words, timeout=200)
    assert result.returncode == 1, result.stdout + result.stderr
    records = [json.loads((tmp_path / f"runs/local/model.context={n}/run.json").read_text()) for n in (8, 64)]
    assert [record["state"] for record in records] == ["finished", "failed"]
    assert "the validation text of short.txt" in records[1]["error"]
    assert records[0]["hardware"]["threads"] == 1
    assert "threads=1" in records[0]["overrides"]
    assert "1 of 2 finished" in command("status", "runs/local").stdout
    again = command("train", *words)
    assert again.stdout.count("started ") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_that_is_stopped_ends_its_cells_and_the_same_command_goes_on_where_they_were(tmp_path, corpus):
    words = [*TINY, f"data.path={corpus}", "--multirun", "schedule=constant,cosine", "seed=0,1", "name=cut", "steps=300",
             "hydra.launcher.parallel=2"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = [tmp_path / f"runs/cut/schedule=constant,seed={seed}" for seed in (0, 1)]
    command = [sys.executable, "-m", "gptx.train", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=environment) as process:
        until(lambda: all((folder / "metrics.jsonl").exists() for folder in first))
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 128 + signal.SIGINT
    assert [RunFolder(folder).state for folder in first] == ["interrupted"] * 2
    assert len(list((tmp_path / "runs/cut").glob("*/run.json"))) == 2  # no other one was started
    RunFolder(first[1]).write(state="running")  # as after a kill: nobody holds the folder
    assert RunFolder(first[1]).state == "killed"
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=500)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("started ") == 4
    assert all("continues after step" in (folder / "train.log").read_text() for folder in first)
    assert not status_of(str(tmp_path / "runs/cut"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_signals_at_once_leave_every_cell_its_checkpoint(tmp_path, corpus):
    slow = ["steps=1000", "batch.tokens=65536", "model.width=64"]  # an update takes longer than the signals are apart
    words = [*TINY, f"data.path={corpus}", "--multirun", "seed=0,1", "name=cut", *slow, "hydra.launcher.parallel=2"]
    folders = [tmp_path / f"runs/cut/seed={seed}" for seed in (0, 1)]
    command = [sys.executable, "-m", "gptx.train", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=environment) as process:
        until(lambda: all(status.work(Run.of(folder)).step for folder in folders))
        for number in (signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == 128 + signal.SIGINT
    assert [RunFolder(folder).state for folder in folders] == ["interrupted"] * 2
    assert all(list((folder / "checkpoints").glob("step_*")) for folder in folders)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_cannot_be_read_is_replaced_where_that_is_asked_and_refused_where_not(command, tmp_path):
    words = ["--multirun", "seed=0,1", "name=two", "steps=2", "hydra.launcher.parallel=2"]
    folder = tmp_path / "runs/two/seed=0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"state":')
    assert "overwrite=true starts afresh" in command("train", *words).stderr
    made = command("train", *words, "overwrite=true", timeout=200)
    assert made.returncode == 0, made.stdout + made.stderr
    assert RunFolder(folder).read()["state"] == "finished"


def test_the_rest_of_a_sweep_takes_as_long_as_the_cells_so_far(tmp_path, capsys):
    def cell(name: str, state: str, updates: int, **record) -> None:
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name).write(
            state=state, recipe={"steps": 100}, parameters={"non_embedding": 1000}, result={}, **record
        )
        rows = [{"step": i, "train/tokens": 64 * i, "train/tokens_per_second": 32.0} for i in range(1, updates + 1)]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    times = {
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:05:00+00:00",
    }  # 300 s, 200 of them in updates
    cell("done", "finished", 100, **times)
    cell("half", "preempted", 50)
    manifest.note(tmp_path, [{"folder": name} for name in ("done", "half", "never")])
    status_of(str(tmp_path))
    *_, half, never, last, compare = capsys.readouterr().out.splitlines()
    assert half.endswith("step 50 of 100, 1:40, 3,200 tokens, 1.92e7 FLOPs")  # 2 s each; 6 x 1,000 a token
    assert never.startswith("missing")
    assert compare == f"compare      python -m gptx report {tmp_path}"
    rest = (50 + 100) * 2 * 300 / 200  # seconds
    assert last == ("1 of 3 finished, 150 of 300 steps, 5:00, 9,600 tokens, 5.76e7 FLOPs, about "
                    f"{clock(rest)} left at 1 at a time")  # fmt: skip
    each = [
        (run.state, status.work(run)) for run in map(Run.of, (tmp_path / name for name in ("done", "half", "never")))
    ]
    assert status.total(each, at_once=2).endswith(f"about {clock(rest / 2)} left at 2 at a time")
    rows = [{"step": i, "train/tokens": 64 * i, "train/tokens_per_second": 32.0} for i in range(51, 76)]
    (tmp_path / "half" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    branched = status.work(Run.of(tmp_path / "half"))  # off a run of 50 updates
    assert status.total([("preempted", branched)]).endswith(f"about {clock(25 * 2)} left at 1 at a time")


def machine(monkeypatch, cores: int, gpus: int, memory: int = 64 * 10**9) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(pool, "cores", lambda: cores)
    monkeypatch.setattr(pool, "machine_memory", lambda: memory)
    monkeypatch.setattr(pool, "visible_gpus", lambda: list(map(str, range(gpus))))
    monkeypatch.setattr("gptx.ingredients.parallel.find_device", lambda device: torch.device("cuda" if gpus else "cpu"))


@pytest.mark.parametrize(
    ("cores", "gpus", "cells", "tasks", "threads", "expected"),
    [(2, 0, 12, 1, None, 2), (8, 0, 3, 1, None, 3), (8, 0, 12, 1, 4, 2), (2, 0, 1, 1, None, 1), (8, 0, 12, 4, None, 2),
     (16, 4, 12, 1, None, 4), (16, 4, 12, 2, None, 2), (16, 1, 12, 1, None, 1), (2, 0, 12, 1, 8, 1)],
)  # fmt: skip
def test_a_machine_runs_a_cell_a_core_or_one_a_gpu(monkeypatch, cores, gpus, cells, tasks, threads, expected):
    machine(monkeypatch, cores, gpus)
    configs = [OmegaConf.create({"threads": threads, "device": "auto"})] * cells
    assert pool.room(configs, tasks) == expected


@pytest.mark.slow
def test_no_more_cells_run_at_once_than_fit_in_memory(monkeypatch, composed):
    needed = 2 * prediction(composed(), 257).peak + pool._RESERVE
    machine(monkeypatch, 64, 0, memory=int(3.5 * needed / pool._SHARE))
    assert pool.runs_in_memory([composed(), composed("seed=1")]) == 3
    machine(monkeypatch, 64, 0, memory=1)
    assert pool.runs_in_memory([composed()]) == 1


@pytest.mark.parametrize("tokenizer", ["bytes", "gpt2", "bpe:300", "bpe:32768", "chars"])
def test_memory_is_planned_for_as_many_tokens_as_the_tokenizer_has(monkeypatch, composed, tokenizer):
    config, seen = composed(f"data.tokenizer={tokenizer}"), []
    monkeypatch.setattr("gptx.estimate.memory.prediction", lambda config, size: seen.append(size))
    pool.runs_in_memory([config, composed()])
    known = {"bytes": 257, "gpt2": 50_257, "chars": _CHARACTERS}
    assert seen == list(dict.fromkeys([known.get(tokenizer) or int(tokenizer[4:]), 257]))


@pytest.mark.parametrize(
    ("tasks", "again", "sent"),
    [(1, False, ["SIGINT"]), (1, True, ["SIGINT", "SIGTERM"]), (2, False, ["SIGTERM"]), (2, True, ["SIGTERM"])],
)
def test_a_second_request_ends_a_run_that_is_busy_outside_of_python_too(tasks, again, sent):
    process = mock.Mock()
    pool.ask_to_end(process, tasks, again=again)
    assert [signal.Signals(call.args[0]).name for call in process.send_signal.call_args_list] == sent
