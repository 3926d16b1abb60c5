"""Files are there whole or as they were, nothing is written through a link, and a disk without locks still has owners."""

import errno
import fcntl
import os
import resource
import shutil
import signal
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from filelock import SoftFileLock
from hydra.core.hydra_config import HydraConfig

from gptx import files
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.config.rules import job_of
from gptx.estimate.laws import PUBLISHED
from gptx.files import Held, lock
from gptx.ingredients.checkpoints import weights
from gptx.ingredients.data.cache import only_process
from gptx.ingredients.log.jsonl import Lines
from gptx.ingredients.log.wandb import next_segment
from gptx.job.run import train
from gptx.plan.chart_files import chart
from gptx.plan.schedule import draw_curves
from gptx.runs import manifest
from gptx.runs.folder import KEPT, RunFolder
from gptx.show.plots import save
from gptx.sweeps import pool

GONE = "2147483646"  # a number that no process has
WRITERS = {
    "text.md": lambda file: files.write_text(file, "x" * 1000),
    "law.json": lambda file: files.in_one_step(file, PUBLISHED["besiroglu"].save),
    "model.safetensors": lambda file: weights.save_weights(file, torch.nn.Linear(9, 99), config={}),
    "rates.png": lambda file: draw_curves({"one": (float, 9)}, file),
    "rates.svg": lambda file: draw_curves({"one": (float, 9)}, file),
    "chart.html": lambda file: chart(file, [PUBLISHED["besiroglu"]]),
    "chart.png": lambda file: chart(file, [PUBLISHED["besiroglu"]]),
    "figure.png": lambda file: save(file, "", lambda axis: None),
}

ADDED = {
    "added.log": lambda file: files.opened(file, "a"),
    "metrics.jsonl": Lines,
    "sweep.jsonl": lambda file: manifest.note(file.parent, [{"folder": "one"}]),
    "process.log": lambda file: pool.start_run([], file.parent, place=0, places=1, threads=1, tasks=1),
    "wandb_id": next_segment,
    "lock": lock,
}  # the others


@pytest.fixture
def victim(tmp_path_factory) -> Path:
    """A file of the user's, in a folder of its own, that nothing may touch."""
    file = tmp_path_factory.mktemp("home") / "precious"
    file.write_text("precious")
    return file


@contextmanager
def full_disk():
    """No file may grow beyond some bytes: the kernel refuses, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_that_names_the_file_which_stays_as_it_was(tmp_path, name):
    file = tmp_path / name
    for there in (False, True):
        if there:
            file.write_text("as it was")
        with full_disk(), pytest.raises(OSError, match="File too large") as told:
            WRITERS[name](file)
        assert str(file) in str(told.value)
        assert "\n" not in str(told.value)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["as it was"] * there


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_whatever_ends_the_writing_leaves_the_file_as_it_was(tmp_path, error):
    def fill(part):
        part.write_text("half")
        raise error

    (tmp_path / "file").write_text("as it was")
    with pytest.raises(error if isinstance(error, type) else OSError):
        files.in_one_step(tmp_path / "file", fill)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["as it was"]


@pytest.mark.parametrize("name", [*WRITERS, *ADDED])
@pytest.mark.parametrize("dangling", [False, True])
def test_nothing_is_written_through_a_link_at_the_files_name(tmp_path, victim, name, dangling):
    target = victim.with_name("new") if dangling else victim
    (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match=f"{name} is a symbolic link, and nothing is written through one; remove it"):
        (WRITERS | ADDED)[name](tmp_path / name)
    assert [path.read_text() for path in victim.parent.iterdir()] == ["precious"]
    assert [path.readlink() for path in tmp_path.iterdir()] == [target]


def test_nothing_is_written_through_a_link_at_the_name_of_the_unfinished_file(tmp_path, victim):
    (tmp_path / f".part.{os.getpid()}.file").symlink_to(victim)
    files.write_text(tmp_path / "file", "new")
    assert victim.read_text() == "precious"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


@pytest.fixture
def trained(corpus, tmp_path):
    """trained(overwrite=True): trains a small run in the folder `run`, in this process."""
    small = ["data=text", f"data.path={corpus}", "model.context=32", "model.width=32", "model.depth=1", "steps=2",
             "batch.tokens=128", "device=cpu", "log=[console,jsonl,postmortem]", "observe=[]", "name=links"]  # fmt: skip
    whole = composed(small, hydra=True)
    HydraConfig.instance().set_config(whole)

    def make(*, overwrite: bool = False) -> Path:
        cfg = job_of(whole)
        cfg.overwrite = overwrite
        train(cfg, tmp_path / "run")
        return tmp_path / "run"

    return make


def test_a_link_at_any_name_in_a_run_folder_is_refused_before_training_or_removed(trained, victim, tmp_path, capsys):
    folder = trained()
    names = {path.name for path in folder.iterdir()} - {"checkpoints"}
    assert {"run.json", "config.yaml", "metrics.jsonl", "train.log", ".lock"} <= names
    names |= {"postmortem.md", "wandb", "wandb_id", "process.log", ".lock.pid"}
    for name in names:
        cut = tmp_path / "run"
        shutil.rmtree(cut / name, ignore_errors=True)
        kept = (cut / name).rename(tmp_path / "kept") if (cut / name).exists() else None
        (cut / name).symlink_to(victim)
        before = {path: path.lstat().st_mtime_ns for path in cut.rglob("*")}
        for overwrite in [False, True][: 1 + (name in KEPT)]:
            with pytest.raises(ConfigError, match=f"{name} is a symbolic link, and nothing is written through one"):
                trained(overwrite=overwrite)
        assert {path: path.lstat().st_mtime_ns for path in cut.rglob("*")} == before
        (cut / name).unlink()
        if kept:
            kept.rename(cut / name)

    (folder / "checkpoints").rename(victim.with_name("big"))
    (folder / "checkpoints").symlink_to(victim.with_name("big"))
    trained()  # finished: a linked folder of checkpoints is no reason to refuse
    for name in names - {*KEPT}:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim)
    capsys.readouterr()
    trained(overwrite=True)
    assert "checkpoints was a symbolic link; the link is removed, what it points to is left" in capsys.readouterr().out
    assert not [path for path in folder.iterdir() if path.is_symlink()]
    assert (victim.with_name("big") / "step_00000002/state.pt").exists()
    assert victim.read_text() == "precious"


def test_a_linked_folder_of_checkpoints_is_written_to_and_one_that_leads_nowhere_refused(trained, victim, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoints").symlink_to(victim.with_name("big"))
    with pytest.raises(
        ConfigError, match=r"run/checkpoints is a symbolic link to .*big, which is no folder; make that"
    ):
        trained()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]
    victim.with_name("big").mkdir()
    trained()
    assert (victim.with_name("big") / "step_00000002/state.pt").exists()
    assert (tmp_path / "run/checkpoints").is_symlink()


@pytest.mark.slow
def test_a_sweep_with_a_link_in_its_folder_starts_nothing(command, tmp_path, victim):
    for name in ("multirun.yaml", "seed=1/process.log"):
        link = tmp_path / "runs/links" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(victim)
        refused = command("train", "--multirun", "name=links", "seed=0,1")
        assert refused.returncode == 1
        assert f"runs/links/{name} is a symbolic link, and nothing is written through one; remove it" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [link]
        link.unlink()
    assert victim.read_text() == "precious"


@pytest.fixture(params=sorted(files.NO_LOCKS), ids=lambda number: errno.errorcode[number])
def without_flock(request, monkeypatch):
    """A disk that has no locks, in each of the ways in which one says so."""

    def flock(*words):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_disk_without_flock_has_locks_that_name_their_owner(tmp_path, without_flock):
    with lock(tmp_path / "lock"):
        here = rf"process {os.getpid()} on {socket.gethostname()}.* \(if that has ended, remove .*/lock.pid\)"
        with pytest.raises(Held, match=here):
            lock(tmp_path / "lock")
    with lock(tmp_path / "lock"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_run_on_a_disk_without_flock_is_running_until_it_is_killed_and_then_continued(tmp_path, without_flock):
    (tmp_path / "run.json").write_text('{"state": "running"}')
    with lock(tmp_path / ".lock"):
        assert RunFolder(tmp_path).state == "running"
    child = os.fork()
    if not child:
        with lock(tmp_path / ".lock"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / ".lock.pid").exists()
    assert RunFolder(tmp_path).state == "killed"
    with lock(tmp_path / ".lock"):
        assert RunFolder(tmp_path).state == "running"


@pytest.mark.parametrize("exchange", [True, False])
def test_what_a_dead_process_left_is_taken_over_but_not_what_another_machine_left(tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(fcntl, "flock", lambda *words: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    if not exchange:  # a disk that cannot exchange two names, where filelock itself removes nothing
        monkeypatch.setattr(SoftFileLock, "_try_break_stale_lock", lambda self: None)
    marker = tmp_path / "lock.pid"
    for left in (f"{GONE}\n{socket.gethostname()}\n", f"{GONE}\n{socket.gethostname()}\n1\n"):
        marker.write_text(left)
        with lock(tmp_path / "lock"):
            assert marker.read_text().split()[0] == str(os.getpid())
    unknown = r"process \? on \? \(if"
    for left, owner in [
        (f"{GONE}\nelsewhere\n", f"process {GONE} on elsewhere"),
        ("", unknown),
        ("1\n\x1b[2J", unknown),
    ]:
        marker.write_text(left)
        with pytest.raises(Held, match=owner):
            lock(tmp_path / "lock")
        assert marker.read_text() == left


def test_a_disk_where_nothing_can_be_locked_is_named(tmp_path, without_flock, monkeypatch):
    def refuse(*words, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(SoftFileLock, "acquire", refuse)
    with pytest.raises(OSError, match=f"^{tmp_path}: nothing can be locked there .*use a folder on another disk$"):
        lock(tmp_path / "lock")


@pytest.mark.parametrize("soft", [False, True])
def test_a_lock_is_waited_for_and_said_once(tmp_path, monkeypatch, soft):
    if soft:
        monkeypatch.setattr(fcntl, "flock", lambda *words: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    monkeypatch.setattr(files, "_LOOK", 0.01)
    told, taken, release = [], threading.Event(), threading.Event()

    def other():
        with lock(tmp_path / "lock"):
            taken.set()
            release.wait(60)

    holder = threading.Thread(target=other)
    holder.start()
    taken.wait(60)
    threading.Timer(0.1, release.set).start()
    with lock(tmp_path / "lock", told.append):
        assert len(told) == 1
    holder.join()


def test_a_lock_that_cannot_be_opened_is_named_and_blocks_no_other_text_of_the_cache(tmp_path):
    (tmp_path / "theirs.partial").mkdir()
    (tmp_path / "theirs.lock").mkdir()  # as a file of another user, it can be opened by nobody else for writing
    (tmp_path / "killed.partial").mkdir()
    with only_process(tmp_path / "ours"):
        assert (tmp_path / "theirs.partial").exists()
        assert not (tmp_path / "killed.partial").exists()
    with pytest.raises(OSError, match=r"theirs.lock cannot be written"), only_process(tmp_path / "theirs"):
        pass
