"""Every experiment runs, every arm of its sweep is one that can, and every page says what its reader needs."""

import math
import os
import re
from functools import partial

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gptx.config import compose, paths, validate
from gptx.config.rules import examine
from gptx.job.build import trainer_of

FOLDERS = sorted(file.parent for file in (paths.ROOT / "experiments").glob("*/experiment.yaml"))
NAMES = [folder.name for folder in FOLDERS]
SHRUNK = ["steps=3", "model.context=32", "model.width=32", "model.depth=1", "model.heads=2", "batch.tokens=256",
          "batch.micro=4", "compile=eager", "precision=fp32", "device=cpu",
          "data.tokenizer=bytes"]  # fmt: skip
each_experiment = partial(pytest.mark.parametrize, "name", NAMES)


def recipe(name):
    return OmegaConf.load(paths.ROOT / "experiments" / name / "experiment.yaml")


def on(corpus, name):
    """Overrides that let the experiment read a local text instead of its own data."""
    known = set(OmegaConf.load(paths.ROOT / "conf/data/text.yaml"))
    ours = [f"~data.{key}" for key in recipe(name).get("data") or {} if key not in known]
    return [f"experiment={name}", "data=text", f"data.path={corpus}", *ours]


def composed(overrides):
    cfg = compose.composed(overrides)
    validate.check(cfg, allow=cfg.allow_targets)
    return cfg


def started(cfg, folder):
    trainer = trainer_of(cfg)
    trainer.checkpoints.place(folder)
    trainer.sinks.clear()
    return trainer


def arms(name):
    """The overrides of each cell of the experiment's sweep, of one seed; one empty cell where it is a single run."""
    params = OmegaConf.select(recipe(name), "hydra.sweeper.params") or {}
    grid = [f"{key}={values}" for key, values in params.items() if key != "seed"]
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(grid), None)[0]


@each_experiment()
def test_every_experiment_takes_three_updates(corpus, tmp_path, name):
    warmup = ["schedule.warmup=1"] * ("warmup" in composed([f"experiment={name}"]).schedule)
    trainer = started(composed([*on(corpus, name), *SHRUNK, *warmup]), tmp_path)
    trainer.fit()
    assert trainer.step == 3
    assert 0 < trainer.latest["train/loss"] < 10


@pytest.mark.slow
@each_experiment()
def test_every_arm_of_an_experiment_is_a_run_of_its_own_that_may_start(corpus, name):
    cells = arms(name)
    found = []
    for overrides in cells:
        cfg = composed([f"experiment={name}", *overrides])
        examine(cfg, world=1)
        found.append(OmegaConf.to_container(cfg, resolve=False))
    assert all(found.index(one) == number for number, one in enumerate(found)), "two arms are one recipe"


@pytest.mark.slow
@pytest.mark.skipif("TIKTOKEN_CACHE_DIR" not in os.environ, reason="TIKTOKEN_CACHE_DIR: where tiktoken keeps GPT-2's")
def test_gpt2_124m_shrunk_in_batch_alone_begins_at_the_loss_of_a_guess_and_on_its_own_warmup(tmp_path):
    source = paths.ROOT / "gptx"  # in place of OpenWebText, which is a download of gigabytes
    trainer = started(composed([*on(source, "gpt2_124m"), "data.tokenizer=gpt2", "batch.tokens=1024", "compile=eager",
                                "device=cpu", "observe.validation.windows=1"]), tmp_path)  # fmt: skip
    rows = []
    trainer.sinks.append(lambda step, scalars: rows.append(scalars))
    trainer.steps = 3
    trainer.fit()
    assert sum(p.numel() for p in trainer.model.parameters()) // 1_000_000 == 124
    assert rows[0]["train/loss"] == pytest.approx(math.log(50257), abs=0.3)
    assert [row["train/lr"] for row in rows] == pytest.approx([3e-4 * step / 500 for step in (1, 2, 3)])


@pytest.mark.parametrize("name", sorted(f.name for f in (paths.ROOT / "experiments").iterdir() if f.is_dir()))
def test_every_page_says_what_was_asked_run_and_found_or_that_it_was_not_run(name):
    page = paths.ROOT / "experiments" / name / "README.md"
    assert page.exists(), f"{page} is missing"
    text = page.read_text()
    needed = {"a question": r"\?", "the command": rf"python -m gptx[. ]\w+ .*{name}|make \w+", "a number": r"\d\.\d"}
    if not re.search("(?i)not (measured|run)", text):
        needed |= {
            "a verdict": r"(?i)verdict|reading",
            "the hardware": r"(?i)\b(cores?|cpu|gpu|epyc|h100|h200)\b",
            "the version of PyTorch": r"torch \d\.\d+",
            "the date": r"20\d\d-\d\d-\d\d",
        }
    missing = [what for what, pattern in needed.items() if not re.search(pattern, text)]
    assert not missing, f"experiments/{name}/README.md lacks {missing}"
