"""What is on the disk is whole at every instant, and training does not wait for it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from gptx.distributed.shards import OFFSET, ROWS, SHAPE
from gptx.ingredients.checkpoints import Checkpoints, chosen_state, files
from gptx.ingredients.checkpoints.files import kept
from gptx.ingredients.checkpoints.shadow import Shadow
from gptx.ingredients.parallel import OneProcess


class Run:
    """A trainer of nothing but a state, whose every value tells `version`."""

    def __init__(self, folder, *, version=0.0, step=0, lookback=0, parallel=None, **settings):
        self.parallel = parallel or OneProcess(torch.device("cpu"))
        self.guard = SimpleNamespace(lookback=lookback)
        self.finished, self.stopped, self.latest = False, "", {}
        self.model = SimpleNamespace(state_dict=lambda: {"w": torch.empty(64, 64)})
        self.version, self.step = version, step
        self.checkpoints = Checkpoints(**{"every": 2, "keep": 2, "keep_every": None, "keep_best": True, **settings})
        self.checkpoints.place(folder)

    def state_dict(self):
        values = torch.full((64, 64), self.version)
        return {"step": self.step, "version": self.version, "model": {"w": values}, "optimizer": {"m": values + 1},
                "latest": self.latest}  # fmt: skip

    def load_state_dict(self, state):
        self.version, self.step = state["version"], state["step"]
        assert torch.equal(state["model"]["w"], torch.full((64, 64), self.version))
        assert torch.equal(state["optimizer"]["m"], torch.full((64, 64), self.version + 1))

    def save(self, step, version=None, loss=None, wait=True):
        self.step, self.version = step, float(step) if version is None else version
        if loss is not None:
            self.latest = {"validation/loss": loss}
        self.checkpoints.save(self, wait=wait)

    def names(self):
        return sorted(path.name for path in self.checkpoints.folder.iterdir())


@pytest.fixture
def held(monkeypatch):
    """Holds every write to the disk until `held.set()`."""
    gate, real = threading.Event(), files.write_state
    monkeypatch.setattr(files, "write_state", lambda *words: (gate.wait(60), real(*words))[1])
    yield gate
    gate.set()


def writers():
    return [thread for thread in threading.enumerate() if thread.name == "checkpoint"]


def test_what_is_written_is_the_state_at_the_call_though_training_goes_on_at_once(build, held):
    from test_checkpoints import everything, same

    trainer = build("steps=6", "checkpoints.every=100", "observe=[validation,ema]", "model.dropout=0.1")
    trainer.steps = 3
    held.set()
    trainer.fit()
    trainer.steps = 6
    held.clear()
    expected = [torch.clone(v) if isinstance(v, torch.Tensor) else v for v in everything(trainer)]
    latest = dict(trainer.latest)
    trainer.checkpoints.save(trainer)
    trainer.set_learning_rate()
    trainer.accumulate_gradients()
    trainer.update("accept")
    trainer.report(1.0, 2.0, 3.0, 4.0)
    assert not same(everything(trainer), expected)
    held.set()
    trainer.checkpoints.wait(strict=True)
    saved = trainer.checkpoints.newest()
    assert saved.pop("latest") == latest
    assert same(everything(SimpleNamespace(state_dict=lambda: saved)), expected)


def test_memory_for_the_copy_is_allocated_once():
    shadow, one = Shadow(), torch.arange(6.0).view(2, 3).T
    tied = {"a": one, "b": [one.detach(), (torch.ones(2), "word")], "plain": {"x": [1]}}
    first = shadow(tied)
    places = [first["a"].data_ptr(), first["b"][1][0].data_ptr()]
    assert first["a"].data_ptr() == first["b"][0].data_ptr() != one.data_ptr()
    one.add_(1)
    second = shadow(tied)
    assert [second["a"].data_ptr(), second["b"][1][0].data_ptr()] == places
    assert torch.equal(second["a"], one)
    assert second["plain"] == {"x": [1]}
    assert second["plain"]["x"] is not tied["plain"]["x"]


def test_one_write_at_a_time_and_a_disk_that_is_too_slow_is_named_once(tmp_path, held, caplog):
    run = Run(tmp_path, keep=9)
    run.save(2, wait=False)
    assert len(writers()) == 1
    threading.Timer(0.2, held.set).start()
    run.save(4, wait=False)  # returns when the first is written
    assert (tmp_path / "checkpoints/step_00000002").exists()
    held.clear()
    threading.Timer(0.2, held.set).start()
    run.save(6, wait=False)
    run.checkpoints.wait()
    assert caplog.text.count("checkpoints.every is too short for this disk") == 1
    assert [path.name[-1] for path in run.checkpoints.saved()] == ["2", "4", "6"]
    assert not writers()


def test_a_failure_of_another_kind_ends_the_run_at_the_next_update(tmp_path, monkeypatch):
    run = Run(tmp_path)
    monkeypatch.setattr(files, "write_state", lambda *words: 1 / 0)
    run.save(2, wait=False)
    while writers():
        time.sleep(0.01)
    run.step = 3
    with pytest.raises(ZeroDivisionError):
        run.checkpoints(run)


def test_a_full_disk_is_told_by_an_update_soon_after_and_leaves_the_checkpoints_before(tmp_path, caplog):
    run = Run(tmp_path)
    run.save(2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))  # no file may be larger: the kernel refuses
    try:
        run.save(4, wait=False)
        while writers():
            time.sleep(0.01)
        with pytest.raises(OSError, match=r"cannot save a checkpoint after step 6 in .*: File too large"):
            run.save(6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caplog.text.count("cannot save a checkpoint after step 4") == 1
    assert "File too large; those saved before stay" in caplog.text
    assert run.names() == ["step_00000002"]
    run.save(8)
    assert run.names() == ["step_00000002", "step_00000008"]


def test_a_folder_that_is_gone_is_made_again_or_named(tmp_path, caplog):
    run = Run(tmp_path / "run")
    run.save(2)
    shutil.rmtree(tmp_path / "run")
    run.save(4)
    assert run.names() == ["step_00000004"]
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file is in the way")
    run.save(6, wait=False)
    run.checkpoints.wait()
    assert "cannot save a checkpoint after step 6" in caplog.text


def test_a_link_among_the_checkpoints_is_removed_as_a_link_and_never_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("precious")
    run = Run(tmp_path, keep=1)
    run.save(2)
    for name in ("00000001", "00000003.old", "00000004", "00000004.part", "00000004.gone"):
        (tmp_path / "checkpoints" / f"step_{name}").symlink_to(victim)
    (tmp_path / "checkpoints/best.part").symlink_to(victim)
    run.checkpoints.begin(run)
    run.save(4, loss=1.0)
    assert run.names() == ["best", "step_00000004"]
    assert not (tmp_path / "checkpoints/step_00000004").is_symlink()
    assert [path.name for path in victim.iterdir()] == ["precious"]


DISK = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.scandir", "shutil.rmtree"}


def killed_at(instant, work):
    """Run `work` in a child that dies by SIGKILL just before its `instant`-th touch of the disk; True if it died."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    touched, real = [], files.Digest.write

    def touch(event="write", words=()):
        if event in DISK | {"write"}:
            touched.append(event)
            if len(touched) > instant:
                os.kill(os.getpid(), signal.SIGKILL)

    files.Digest.write = lambda self, data: (
        touch(),
        real(self, data[: len(data) // 2]),
        touch(),
        real(self, data[len(data) // 2 :]),
        len(data),
    )[-1]
    sys.addaudithook(touch)
    try:
        work()
    finally:
        os._exit(0)


@pytest.mark.parametrize(
    "again",
    [pytest.param(4, id="an update made again"), pytest.param(6, id="a later update", marks=pytest.mark.slow)],
)
def test_a_kill_at_any_instant_of_a_save_leaves_the_old_set_or_the_new_one(tmp_path, monkeypatch, again):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the kernel outlives the process, and it is slow
    whole, found, instant, died = tmp_path / "whole", [], 0, True
    run = Run(whole, keep=1, keep_best=True)
    run.save(2, loss=3.0)
    run.save(4, version=4.0, loss=2.0)
    while died:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "cut", symlinks=True)
        victim = Run(tmp_path / "cut", keep=1)
        died = killed_at(instant, lambda victim=victim: victim.save(again, version=7.0, loss=1.0))
        heir = Run(tmp_path / "cut", keep=1)
        assert heir.checkpoints.restore(heir)
        assert (heir.step, heir.version) in [(4, 4.0), (again, 7.0)], instant
        found.append(heir.version)
        heir.save(8, loss=0.5)
        assert heir.names() == ["best", "step_00000008"], instant
        instant += 1
    assert instant > 20
    assert found == sorted(found)  # the old one up to some instant, the new one from it on
    assert set(found) == {4.0, 7.0}


def test_a_run_whose_every_checkpoint_is_damaged_is_not_begun_again_in_silence(tmp_path, caplog):
    run = Run(tmp_path)
    run.save(2)
    run.save(4)
    for checkpoint in run.checkpoints.saved():
        (checkpoint / "state.sha256").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match=r"none of 2 checkpoints is whole, .* overwrite=true") as told:
        run.checkpoints.restore(run)
    assert "\n" not in str(told.value)
    assert caplog.text.count("is damaged") == 2
    assert not run.checkpoints.restore(run, before=4)  # a rollback has words of its own


def test_a_checkpoint_without_optimizer_state_is_refused(tmp_path):
    run = Run(tmp_path)
    full = run.state_dict
    run.state_dict = lambda: {key: value for key, value in full().items() if key != "optimizer"}
    run.save(2)
    with pytest.raises(ValueError, match=r"holds no optimizer state; .* from=FILE.safetensors"):
        run.checkpoints.restore(run)


@pytest.mark.parametrize(("rule", "stay"), [
    ({}, {90, 100}),
    ({"every": 30}, {30, 60, 90, 100}),
    ({"every": 25}, {30, 50, 80, 90, 100}),
    ({"best": True}, {40, 90, 100}),
    ({"safe": 75}, {70, 80, 90, 100}),
    ({"every": 1000}, {90, 100}),
])  # fmt: skip
def test_the_newest_stay_and_what_else_is_asked_for(rule, stay):
    losses = {step: float("nan") for step in range(0, 101, 10)} | {20: 3.0, 40: 1.0, 50: 1.0, 90: 2.0}
    lookback = 100 - rule.get("safe", 100)
    rule = {"newest": 2, "every": None, "best": False, "safe": 100} | rule
    assert kept(losses, **rule) == stay
    assert kept({step: losses[step] for step in stay}, **rule) == stay  # nothing more goes when asked again
    one_by_one = {}
    for step in sorted(losses):  # as a run does it, which never sees all of them
        one_by_one[step] = losses[step]
        still = kept(one_by_one, **rule | {"safe": step - lookback})
        one_by_one = {s: one_by_one[s] for s in still}
    assert set(one_by_one) == stay


def test_the_best_is_not_deleted_while_it_is_the_best(tmp_path):
    run = Run(tmp_path, keep=1)
    for step, loss in [(2, 3.0), (4, 1.0), (6, float("nan")), (8, 1.5), (10, 1.0)]:
        run.save(step, loss=loss)
    assert run.names() == ["best", "step_00000004", "step_00000010"]
    assert os.readlink(tmp_path / "checkpoints/best") == "step_00000004"
    assert chosen_state(tmp_path, "best")["step"] == files.read_state(tmp_path / "checkpoints/best")["step"] == 4
    assert chosen_state(tmp_path, "newest")["step"] == chosen_state(tmp_path, "step_00000010")["step"] == 10
    with pytest.raises(ValueError, match=r"checkpoint=bset: not in .*; there: newest, step_00000004, step_00000010"):
        chosen_state(tmp_path, "bset")
    run.save(12, loss=0.5)
    assert run.names() == ["best", "step_00000012"]
    run.save(14, loss=0.7)
    run.checkpoints.drop_after(run, 13)
    assert run.names() == ["best", "step_00000012"]
    run.checkpoints.drop_after(run, 1)
    assert run.names() == ["best", "step_00000012"]  # never all there is


class Share(OneProcess):
    """One of two processes, here threads, that each hold a row of every tensor of the model."""

    writers = world_size = 2

    def __init__(self, rank, meeting):
        super().__init__(torch.device("cpu"))
        self.rank, self.meeting = rank, meeting

    def part(self, state):
        first = 32 * self.rank
        halves = {
            name: {k: {ROWS: v[first : first + 32], OFFSET: first, SHAPE: [64, 64]} for k, v in state[name].items()}
            for name in ("model", "optimizer")
        }
        return state | halves if self.rank == 0 else halves

    def gather(self, value):
        self.meeting.wait(60)
        return [value] * 2


class SharedRun(Run):
    """A Run of which `state_dict` is asked together, as the trainer's is."""

    def state_dict(self):
        self.parallel.gather(None)
        return super().state_dict()


@pytest.fixture
def together(tmp_path):
    """together(lambda run: ...): the same in both processes; what each returned or raised."""
    meeting = threading.Barrier(2)
    runs = [SharedRun(tmp_path, parallel=Share(rank, meeting)) for rank in range(2)]

    def do(work):
        outcomes = [None, None]

        def one(rank):
            try:
                outcomes[rank] = work(runs[rank])
            except BaseException as error:
                outcomes[rank] = error

        threads = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "a process waits for one that has given up"
        return outcomes

    return do


def test_each_process_writes_its_part_and_one_process_reads_them_all(together, tmp_path):
    stale = tmp_path / "checkpoints/step_00000002.part"
    stale.mkdir(parents=True)  # of a run on four processes that was killed
    (stale / "state_1of2.sha256").write_text("stale")
    (stale / "state_3of4.pt").write_text("stale")
    assert together(lambda run: run.save(2, version=5.0)) == [None, None]
    (folder,) = (tmp_path / "checkpoints").glob("step_*")
    assert sorted(path.name for path in folder.iterdir()) == [
        "about.json", "state_0of2.pt", "state_0of2.sha256", "state_1of2.pt", "state_1of2.sha256"]  # fmt: skip
    alone = Run(tmp_path)
    assert alone.checkpoints.restore(alone)
    assert (alone.step, alone.version) == (2, 5.0)
    assert together(lambda run: run.checkpoints.restore(run)) == [True, True]
    alone.save(4)
    assert together(lambda run: run.checkpoints.restore(run) and run.step) == [4, 4]

    (folder / "state_1of2.pt").unlink()
    with pytest.raises(ValueError, match=r"not a whole checkpoint: .*state_1of2.pt"):
        files.read_state(folder)


def test_a_part_that_cannot_be_written_fails_the_save_at_once_in_every_process(together, tmp_path, monkeypatch):
    together(lambda run: run.save(2))
    real = files.write_state

    def full(part, file):
        if "1of2" in file.name:
            raise OSError(28, "No space left on device")
        return real(part, file)

    monkeypatch.setattr(files, "write_state", full)
    first, second = together(lambda run: run.save(4))
    assert "after step 4" in str(first)
    assert "No space left on device" in str(second)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step*")] == ["step_00000002"]


def test_a_save_fails_at_once_too_where_a_process_writes_into_what_another_removes(together, tmp_path, monkeypatch):
    real = files.write_state
    halfway, given_up = threading.Event(), threading.Event()

    def full(part, file):
        if "1of2" in file.name:
            halfway.wait(60)
            raise OSError(28, "No space left on device")
        halfway.set()
        given_up.wait(60)
        return real(part, file)

    def filled(path, **where):
        given_up.set()  # what the first process wrote meanwhile keeps the folder from going
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(files, "write_state", full)
    monkeypatch.setattr(os, "rmdir", filled)
    first, second = together(lambda run: run.save(4))
    assert "after step 4 in" in str(first)
    assert "another process could not write its part" in str(first)
    assert "No space left on device" in str(second)
    assert not list((tmp_path / "checkpoints").glob("step*[0-9]"))


def test_a_process_that_is_too_late_is_named(together, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WAITING", 0.3)
    real = files.write_state
    monkeypatch.setattr(files, "write_state", lambda part, file: (time.sleep("1of2" in file.name), real(part, file))[1])
    first, second = together(lambda run: run.save(4))
    assert "state_1of2.pt was not written within 0 s" in str(first)
    assert isinstance(second, OSError)
    assert not list((tmp_path / "checkpoints").glob("step*"))


@pytest.mark.slow
def test_a_process_that_ends_early_waits_for_its_save_and_no_longer(tmp_path):
    ends = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
from test_saving import Run
run = Run(Path({str(tmp_path)!r}))
run.save(2, wait=False)
raise SystemExit(3)
"""
    result = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (3, "")
    heir = Run(tmp_path)
    assert heir.checkpoints.restore(heir)
    assert heir.step == 2


@pytest.mark.slow
def test_a_command_whose_checkpoints_are_all_damaged_refuses_to_begin_again(command, tmp_path):
    assert command("train", "hydra.run.dir=here").returncode == 0
    record = json.loads((tmp_path / "here/run.json").read_text()) | {"state": "interrupted"}
    (tmp_path / "here/run.json").write_text(json.dumps(record))
    for checkpoint in (tmp_path / "here/checkpoints").glob("step*"):
        (checkpoint / "state.pt").write_bytes(b"")
    metrics = (tmp_path / "here/metrics.jsonl").read_text()
    result = command("train", "hydra.run.dir=here")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "config error: here/checkpoints: none of " in result.stderr.replace(f"{tmp_path}/", "")
    assert (tmp_path / "here/metrics.jsonl").read_text() == metrics
