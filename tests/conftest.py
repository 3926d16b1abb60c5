"""Fixtures that every test may use: a composed trainer, the command line, a private token cache."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gptx.config import compose, validate
from gptx.job.build import trainer_of

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # scipy's minimiser waits for threads ten times as long as it computes
torch.set_num_threads(1)  # tiny models spin on more, and one thread repeats bit for bit
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # behind & in a script; the runs of the tests would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

TINY = ["data=text", "model.context=32", "model.width=32", "model.depth=2", "model.heads=2", "batch.tokens=256",
        "batch.micro=4", "log=[jsonl]", "precision=fp32", "device=cpu", "steps=6", "observe.validation.windows=8"]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def token_cache(tmp_path_factory):
    """A token cache of this test process, so that no test reads what another version wrote."""
    os.environ["GPTX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_MODE"] = "offline"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A small text that a model can learn."""
    file = tmp_path_factory.mktemp("text") / "rhyme.txt"
    file.write_text("".join(f"{i} green bottles hanging on the wall, and if {i % 7} should fall\n" for i in range(400)))
    return file


@pytest.fixture
def composed(corpus):
    """composed("optim=adamw", ...): a small run's checked config, as the command line would compose it."""

    def make(*overrides: str):
        cfg = compose.composed([*TINY, f"data.path={corpus}", *overrides])
        validate.check(cfg, allow=cfg.allow_targets)
        return cfg

    return make


@pytest.fixture
def build(composed, tmp_path):
    """build("optim=adamw", ...): a small Trainer whose checkpoints go to a fresh folder."""

    def make(*overrides: str, folder: str = "run"):
        trainer = trainer_of(composed(*overrides))
        trainer.checkpoints.place(tmp_path / folder)
        trainer.sinks.clear()
        return trainer

    return make


@pytest.fixture
def command(tmp_path, corpus):
    """command("train", "steps=3"): runs a command in a fresh folder; its CompletedProcess."""

    def run(module: str, *words: str, tiny: bool = True, cwd: Path = tmp_path, timeout: float = 120, **environment):
        words = (*TINY, f"data.path={corpus}", *words) if tiny and module == "train" else words
        return subprocess.run(
            [sys.executable, "-m", *(["gptx.train"] if module == "train" else ["gptx", module]), *words],
            cwd=cwd, capture_output=True, text=True, timeout=timeout,
            env=os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"} | environment,
        )  # fmt: skip

    return run
