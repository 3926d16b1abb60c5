"""A run that is killed again and again ends bit-identical to the one that was left alone, and leaves nothing behind.

Kills come at random instants; GPTX_SOAK_SEED repeats their plan (to the instant only as far as the machine does).
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY
from filelock import FileLock
from metric_rows import read_rows

from gptx.ingredients import checkpoints

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

STEPS, EVERY, PATIENCE = 330, 7, 300  # updates, updates, seconds
RECIPE = [*TINY, f"steps={STEPS}", f"checkpoints.every={EVERY}", "model.dropout=0.1", "batch.tokens=256",
          "hydra.run.dir=run", "observe=[validation,overfitting,updates,ema]", "observe.validation.every=20",
          "observe.updates.every=5", "log=[jsonl,wandb]"]  # fmt: skip
FORGETFUL = """
from gptx.trainer import Trainer
load = Trainer.load_state_dict
Trainer.load_state_dict = lambda self, state: load(self, state | {"optimizer": self.optimizer.state_dict()})
from gptx.train import main
main()
"""


class Soaked:
    """A run in a folder of its own, whose processes are known by a word in their environment."""

    def __init__(self, cwd: Path, corpus: Path, processes: int):
        self.cwd, self.corpus, self.processes = cwd, corpus, processes
        self.run, self.word = cwd / "run", f"soak-{os.getpid()}-{cwd.name}-{processes}"
        for name in ("tmp", "cache"):
            (cwd / name).mkdir(parents=True)

    def start(self, *program: str) -> subprocess.Popen:
        """The same command every time."""
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}", "-m"]
        command = program or ("-m", *(launcher if self.processes > 1 else []), "gptx.train")
        own = {"GPTX_SOAK": self.word, "TMPDIR": str(self.cwd / "tmp"), "GPTX_CACHE": str(self.cwd / "cache")}
        own |= {f"WANDB_{name}_DIR": str(self.cwd / "wandb") for name in ("CONFIG", "CACHE", "DATA")}
        return subprocess.Popen(
            [sys.executable, *command, *RECIPE, f"data.path={self.corpus}"],
            cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=(self.cwd / "output").open("a"), stderr=subprocess.STDOUT,
            env=os.environ | own | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
        )  # fmt: skip

    def living(self) -> dict[int, list[str]]:
        """The command lines of all processes that came of this run, wherever they hang now."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"GPTX_SOAK={self.word}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode().split("\0")
        return found

    def trainers(self) -> list[int]:
        """The processes that train, without torchrun and what is W&B's."""
        return [pid for pid, words in self.living().items() if "gptx.train" in words and "--standalone" not in words]

    def updates(self) -> int:
        """The update that was recorded last."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            return json.loads((self.run / "metrics.jsonl").read_bytes().splitlines()[-1])["step"]
        return 0

    def wait(self, condition, what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what} took more than {PATIENCE} s\n{self.living()}\n{self.output()}"
            time.sleep(0.001)

    def output(self) -> str:
        return (self.cwd / "output").read_text()[-3000:]

    def finish(self, *program: str) -> None:
        assert self.start(*program).wait(PATIENCE) == 0, self.output()

    def kill(self, chance: random.Random, goal: int) -> str:
        """Start the run and end it at an instant that `chance` chooses, past update `goal` or as it starts."""
        process = self.start()
        moment = chance.choice(["start", "update", "save", "save"])
        if moment == "start":
            then = time.monotonic() + chance.uniform(0, 6)  # on a quick machine more than the run lasts
            self.wait(lambda: time.monotonic() >= then or self.updates() >= goal, f"an instant or update {goal}")
        else:
            self.wait(lambda: self.updates() >= goal or process.poll() is not None, f"update {goal}")
            if moment == "save":
                self.wait(lambda: [*self.run.glob("checkpoints/*.part")] or process.poll() is not None, "a save")
            time.sleep(chance.uniform(0, 0.01))
        assert process.poll() is None, f"ended by itself before a kill after update {goal}\n{self.output()}"
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        victims, whom = [process.pid], "it"
        if self.processes > 1 and number == signal.SIGKILL:
            whom = chance.choice(["all", "a rank"])
            ranks = self.trainers()
            victims = [process.pid, *ranks] if whom == "all" or not ranks else [chance.choice(ranks)]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        began, at = time.monotonic(), self.updates()
        assert process.wait(PATIENCE) != 0, self.output()
        gone = time.monotonic() - began
        self.wait(lambda: not self.living(), "the end of all processes")
        return f"{number.name:8} {whom:7} {moment:7} at update {at:3}  ended after {gone:.1f} s, all of it {time.monotonic() - began:.1f} s"

    def left_behind(self) -> list[Path]:
        """Half-written files, and whatever is in its temporary folder but PyTorch's cache and the empty folders of a
        killed wandb, which nobody else can know to be unused."""
        half = [
            p
            for pattern in ("*.part", "*.new", "*.old", "*.gone", "*.tmp", "*.incomplete")
            for p in self.cwd.rglob(pattern)
        ]
        temporary = [p for p in (self.cwd / "tmp").rglob("*") if not p.is_dir() and not p.match("tmp*/port-*.txt")]
        return sorted({*half, *(p for p in temporary if "torchinductor" not in str(p))})


def shared_memory() -> set[str]:
    """Segments of shared memory that no process has mapped or open."""
    used = ""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            used += (folder / "maps").read_text()
            used += "".join(os.readlink(handle) for handle in (folder / "fd").iterdir())
    return {name for name in os.listdir("/dev/shm") if name not in used}


def outcome(run: Path) -> dict:
    """All that the end of a run must agree on, by name: its last checkpoint and its record, but for speeds."""
    state = checkpoints.read_state(sorted(run.glob("checkpoints/step_*[0-9]"))[-1])
    del state["latest"]  # holds tokens/s
    found = dict(leaves(state))
    for row in read_rows(run / "metrics.jsonl"):
        del row["train/tokens_per_second"]
        found |= {f"{key} of update {row['step']}": value for key, value in row.items()}
    return found


def leaves(node, name: str = "checkpoint"):
    """Names and values of everything in a nest of dicts and lists."""
    if isinstance(node, dict | list | tuple):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(child, f"{name}.{key}")
    else:
        yield name, node


def differences(one: dict, other: dict) -> list[str]:
    """Names of what is not the same to the bit."""

    def same(a, b):
        return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b

    return [
        name for name in {**one, **other} if name not in one or name not in other or not same(one[name], other[name])
    ]


@pytest.mark.parametrize(("processes", "kills"), [(1, 20), (2, 10)])
def test_a_run_killed_again_and_again_ends_as_if_it_had_been_left_alone(corpus, tmp_path, processes, kills):
    seed = int(os.environ.get("GPTX_SOAK_SEED", time.time()))
    print(f"\nGPTX_SOAK_SEED={seed}, {processes} processes")
    chance, shared = random.Random(seed), shared_memory()
    whole, cut = (Soaked(tmp_path / name, corpus, processes) for name in ("whole", "cut"))
    whole.finish()
    expected = outcome(whole.run)
    assert expected["checkpoint.step"] == STEPS
    assert f"train/loss of update {STEPS}" in expected

    for number in range(kills):
        print(number + 1, cut.kill(chance, goal=1 + number * (STEPS - 3 * EVERY) // kills), flush=True)
    cut.finish()
    assert differences(outcome(cut.run), expected) == []

    cut.wait(lambda: not cut.living() and not whole.living(), "the end of all processes")
    cut.wait(lambda: not shared_memory() - shared, "shared memory that nobody uses")
    for lock in cut.cwd.rglob("*.lock"):
        with FileLock(lock, blocking=False):
            pass
    assert cut.left_behind() == whole.left_behind() == []


def test_a_run_that_forgets_its_optimizer_is_noticed_by_the_test_above(corpus, tmp_path):
    whole, cut = (Soaked(tmp_path / name, corpus, 1) for name in ("whole", "cut"))
    whole.finish()
    cut.kill(random.Random(1), goal=STEPS // 2)
    cut.finish("-c", FORGETFUL)
    assert "checkpoint.model.blocks" in str(differences(outcome(cut.run), outcome(whole.run)))
