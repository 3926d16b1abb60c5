"""Lengths of a whole run: tokens per parameter and FLOPs become steps when the config is checked, a time when it is run."""

import math
import sys

import pytest
import torch
from omegaconf import OmegaConf

from gptx.config import compose, validate
from gptx.config.errors import ConfigError
from gptx.estimate import speed
from gptx.ingredients.model.gpt import GPT
from gptx.job import resume
from gptx.job.run import train
from gptx.plan.parts import composed_arms
from gptx.runs.folder import RunFolder
from gptx.trainer import Trainer

NANO = {"context": 128, "width": 128, "depth": 4, "heads": 4}


def checked(*words: str):
    cfg = compose.composed(["device=cpu", *words])
    validate.check(cfg, allow=cfg.allow_targets)
    return cfg


def parameters(**values) -> int:
    """Those of a model that is built, without rows that pad its vocabulary."""
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(**values, vocab_multiple=1).parameters())


@pytest.mark.parametrize(("multiple", "width", "tokens"), [(20, 128, 2048), (0.5, 128, 512), (20, 64, 2048)])
def test_tokens_per_parameter_are_those_of_every_parameter_of_the_model(multiple, width, tokens):
    count = parameters(**NANO | {"width": width}, vocab_size=257)
    if width == 128:  # blocks of 12 w^2 + 13 w, the last norm, tied embeddings, positions
        assert count == 4 * (12 * 128**2 + 13 * 128) + 2 * 128 + (257 + 128) * 128
    cfg = checked(f"steps={multiple}x", f"model.width={width}", f"batch.tokens={tokens}")
    assert cfg.steps == round(multiple * count / tokens)
    assert cfg.schedule.total == cfg.steps
    assert cfg.schedule.warmup == round(0.05 * cfg.steps)


def test_flops_are_nanogpt_s_count_of_a_token_which_is_that_of_the_budget():
    each = 6 * (4 * 12 * 128**2 + 320 * 128) + 12 * 4 * 128 * 128  # 257 tokens are padded to 320; attention
    assert checked("steps=1e13flop").steps == round(1e13 / each / 2048)
    assert checked("steps=2.5e12flop").steps == round(2.5e12 / each / 2048)


def test_a_vocabulary_that_only_the_text_has_is_counted_in_the_text(corpus, monkeypatch):
    words = "data=text", f"data.path={corpus}", "data.tokenizer=chars", "steps=20x"
    vocab_size = len({*corpus.read_text()}) + 1  # the end of text
    assert checked(*words).steps == round(20 * parameters(**NANO, vocab_size=vocab_size) / 2048)
    with pytest.raises(ConfigError, match="data: there is no text file"):
        checked(*words, "data.path=nowhere")
    monkeypatch.setenv("GPTX_CACHE", str(corpus.parent / "empty"))
    with pytest.raises(ConfigError, match=r"data: .*cannot be downloaded.*a plan fetches nothing"):
        composed_arms(["data=shakespeare", "steps=20x"])


OWN = """
from torch import nn
class Plain(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.inside = nn.Embedding(vocab_size, 8)
class Counted(Plain):
    def flops_per_token(self):
        return 1000
class Lazy(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.inside = nn.LazyLinear(3)
class Picky(nn.Module):
    def __init__(self, vocab_size):
        raise ValueError("a vocabulary of words is needed")
"""


def test_a_model_of_ones_own_is_built_and_counted_or_refused_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "sizes_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)

    def steps(name: str, length: str) -> int:
        cfg = compose.composed(["allow_targets=[sizes_of_mine.]", "batch.tokens=64", f"steps={length}"])
        cfg.model = {"_target_": f"sizes_of_mine.{name}", "_partial_": True}
        cfg.data.context = 32
        validate.check(cfg, allow=cfg.allow_targets)
        return cfg.steps

    assert steps("Plain", "20x") == round(20 * 257 * 8 / 64)
    assert steps("Plain", "1e9flop") == round(1e9 / (6 * 257 * 8) / 64)
    assert steps("Counted", "1e9flop") == round(1e9 / 1000 / 64)
    for name, said in (("Lazy", "uninitialized parameter"), ("Picky", "a vocabulary of words is needed")):
        with pytest.raises(ConfigError, match=f"^model: .*{said}") as caught:
            steps(name, "20x")
        assert "\n" not in str(caught.value)
    del sys.modules["sizes_of_mine"]


@pytest.mark.parametrize(("word", "said"), [
    ("steps=0x", "steps=0: a run makes at least 1 step"),
    ("steps=-5min", r"steps: '-5min' is not a length; write a number of steps \(500\), tokens .*20x.*1e15flop.*5min"),
    ("steps=1e400flop", "steps: '1e400flop' is more than 2"),
    ("steps=20X", "steps: '20X' is not a length"),
    ("steps=5 min", "steps: '5 min' is not a length"),
    ("steps=90s", "steps: '90s' is not a length"),
    ("steps=5min", "steps=5min: a time becomes steps by the speed that is measured where a run begins"),
    ("schedule.warmup=20x", "schedule.warmup: 20x is a length of a whole run, for steps= alone; write .*2%"),
    ("checkpoints.every=5min", "checkpoints.every: 5min is a length of a whole run, for steps= alone"),
])  # fmt: skip
def test_what_is_no_length_of_a_run_is_refused(word, said):
    with pytest.raises(ConfigError, match=said):
        checked(word)


@pytest.mark.parametrize("length", ["20x", "1e15flop", "10Mtok"])
def test_tokens_are_no_clock_for_a_batch_that_grows(length):
    with pytest.raises(ConfigError, match=f"steps={length}: tokens are no clock for a batch that grows; give steps$"):
        checked(f"steps={length}", "batch=growing")


def small(corpus, *words: str):
    tiny = "model.context=16", "model.width=16", "model.depth=1", "model.heads=2", "batch.tokens=64", "log=[jsonl]"
    return compose.composed(["data=text", f"data.path={corpus}", "device=cpu", "threads=1", *tiny, *words])


@pytest.mark.parametrize(("asked", "said"), [("0min", "a time above 0"), ("1e400h", "below 30 years"),
                                             ("5min", "batch that grows")])  # fmt: skip
def test_a_time_that_no_run_can_take_is_refused_before_it_is_measured(corpus, monkeypatch, asked, said):
    monkeypatch.setattr(speed, "_seconds_per_step", lambda cfg: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=f"^steps={asked}: .*{said}"):
        speed.measured_steps(
            small(corpus, f"steps={asked}", *["batch=growing", "batch.tokens=256"] * (asked == "5min"))
        )


def test_the_speed_is_that_of_the_steps(corpus, monkeypatch):
    taken = iter([2.0, 1.0, 0.5, *(0.25, 0.2, 0.3) * 100])
    clock = [0.0]

    def step(trainer):
        assert torch.get_num_threads() == 1
        assert trainer.batch.tokens == 64
        clock[0] += next(taken)

    monkeypatch.setattr(Trainer, "step_once", step)
    monkeypatch.setattr(speed, "wall", lambda device: clock[0])
    before = torch.get_rng_state()
    found = speed.measured_steps(small(corpus, "steps=5min", "seed=5"))
    assert found == {"asked": "5min", "steps": 1200, "seconds_per_step": pytest.approx(0.25)}  # of 300 s
    assert torch.equal(before, torch.get_rng_state())
    spent = clock[0]
    assert spent == pytest.approx(3.5 + 6 * 0.25)  # about 3 seconds at the speed of the third step
    assert speed.measured_steps(small(corpus, "steps=2h", "seed=5"))["steps"] == 7200 * 4
    assert clock[0] == spent  # once in a process


def test_a_time_is_measured_before_the_first_step_and_recorded_and_never_measured_again(corpus, tmp_path, monkeypatch):
    asked = []

    def measured(cfg):
        asked.append(cfg.steps)
        return 3.0 * len(asked)

    def run(*words: str):
        speed._known.clear()
        return train(small(corpus, "steps=0.2min", "observe.validation.windows=2", *words), tmp_path / "run")

    monkeypatch.setattr(speed, "_seconds_per_step", measured)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "set_learning_rate", lambda trainer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    folder = RunFolder(tmp_path / "run")
    assert folder.read()["measured"] == {"asked": "0.2min", "steps": 4, "seconds_per_step": 3.0}
    assert run() > 0
    record = folder.read()
    assert (record["state"], record["step"], record["recipe"]["steps"], len(asked)) == ("finished", 4, 4, 1)
    assert OmegaConf.load(tmp_path / "run/config.yaml").steps == 4
    assert not math.isnan(run())
    assert len(asked) == 1
    run("overwrite=true")
    assert (folder.read()["step"], len(asked)) == (2, 2)  # 12 s by another speed
    cfg = small(corpus, "steps=0.2min")
    assert resume.count_steps(cfg, folder, afresh=False) == folder.read()["measured"]
    assert cfg.steps == 2
    assert resume.count_steps(cfg, folder, afresh=False) == {}
