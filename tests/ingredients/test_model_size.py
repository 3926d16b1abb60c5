"""The arithmetic of sizes against the models themselves, and against the published counts."""

import inspect
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gptx.config import paths
from gptx.ingredients.model.gpt import GPT, parameter_counts
from gptx.ingredients.model.size import Size, size

PRESETS = sorted(file.stem for file in Path(paths.CONF, "model").glob("*.yaml"))
SMALL = {"context": 24, "width": 48, "depth": 3, "heads": 4}
VARIANTS: list[dict] = [
    {},
    {"kv_heads": 2},
    {"kv_heads": 1, "bias": False},
    {"positions": "rope"},
    {"norm": "rmsnorm"},
    {"norm": "rmsnorm", "bias": False},
    {"mlp": "relu2"},
    {"mlp": "swiglu"},
    {"mlp": "swiglu", "bias": False},
    {"qk_norm": True},
    {"tied": False},
    {"bias": False},
    {"vocab_multiple": 1},
    {"vocab_multiple": 100},
    {"softcap": 15.0, "init": "zero_out", "mask": "document", "dropout": 0.1},
    {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "qk_norm": True, "tied": False, "kv_heads": 1},
]


def counted(values: dict) -> Size:
    with torch.device("meta"):
        model = GPT(**values)
    return Size(*parameter_counts(model), model.flops_per_token())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_size_that_arithmetic_says(name):
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        preset = OmegaConf.to_container(compose(f"model/{name}").model)
    values = {key: value for key, value in preset.items() if not key.startswith("_")} | {"vocab_size": 50257}
    assert size(**values) == counted(values)
    assert size(**preset, vocab_size=50257) == size(**values)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: ",".join(f"{k}={v}" for k, v in variant.items()))
def test_every_word_of_a_model_counts_as_it_does_in_the_model(variant):
    values = SMALL | {"vocab_size": 101} | variant
    assert size(**values) == counted(values)


def test_the_published_counts_of_gpt2():
    shapes = {"gpt2": (768, 12, 12), "medium": (1024, 24, 16), "large": (1280, 36, 20), "xl": (1600, 48, 25)}
    found = {
        name: size(vocab_size=50257, context=1024, width=width, depth=depth, heads=heads).parameters
        for name, (width, depth, heads) in shapes.items()
    }
    assert found == {"gpt2": 124_439_808, "medium": 354_823_168, "large": 774_030_080, "xl": 1_557_611_200}


def test_operations_a_token_are_those_of_nanogpt():
    shape = {"context": 1024, "width": 768, "depth": 12, "heads": 12}
    assert float(f"{size(vocab_size=50304, **shape).flops:.3e}") == 8.547e8
    assert size(vocab_size=50257, **shape).flops == size(vocab_size=50304, **shape).flops  # padded to it


def test_what_is_not_said_is_what_the_model_takes():
    model, arithmetic = (inspect.signature(f).parameters for f in (GPT.__init__, size))
    shared = [name for name in arithmetic if name != "without_weights"]
    assert {name: arithmetic[name].default for name in shared} == {name: model[name].default for name in shared}
