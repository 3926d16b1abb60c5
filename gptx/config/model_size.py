"""The size of the model that a config means, before it is trained; by it, 20x and 1e15flop become steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gptx.config.build import build
from gptx.config.errors import ConfigError, refusal
from gptx.units.amounts import power

OWN_MODEL = "gptx.ingredients.model.gpt.GPT"
_MOST = 10**15  # parameters: no machine has memory for them


def vocabulary(cfg: Any) -> int:
    """The size of the data's vocabulary: by the name of the tokenizer if that says it, else the text is read."""
    from gptx.ingredients.data.tokenizers import vocabulary_size

    own = str(cfg.data._target_).startswith("gptx.ingredients.data.")
    return (own and vocabulary_size(str(cfg.data.get("tokenizer")))) or build(cfg.data).vocab_size


def own_values(model: Any) -> dict[str, Any]:
    """The values of gptx's own model; none of another model, and none if one of them cannot be."""
    values = {str(key): model[key] for key in model if not str(key).startswith("_")}
    least = min((value for value in values.values() if type(value) is int), default=0)
    return values if model._target_ == OWN_MODEL and least > 0 else {}


def model_size(cfg: Any, vocab_size: int, most: int = _MOST) -> tuple[int, int]:
    """Parameters of a checked config's model, and FLOPs of a token's forward and backward pass: of GPT by arithmetic;
    another is built without data, and has 6 FLOPs a parameter unless it counts them. Raises ConfigError."""
    import torch

    from gptx.ingredients.model.size import size

    if values := own_values(cfg.model):
        found = size(vocab_size=vocab_size, **values)
        return found.parameters, found.flops
    try:
        with torch.device("meta"), at_most(most):
            model = build(cfg.model)(vocab_size=vocab_size)
            total = sum(each.numel() for each in model.parameters())
    except (ValueError, TypeError) as error:
        raise refusal("model", error) from None
    except (RuntimeError, OverflowError) as error:
        raise ConfigError(f"model: it cannot be built without data ({' '.join(str(error).split())})") from None
    count = getattr(model, "flops_per_token", None)
    return total, count() if count else 6 * total


@contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Ends the building of a model that registers far more parameters. Raises ConfigError."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    found = 0

    def count(module: Any, name: str, parameter: Any) -> None:
        nonlocal found
        found += parameter.numel() if parameter is not None else 0
        if found > 4 * parameters:  # some are registered more than once
            raise ConfigError(f"model: more than {power(found)} parameters; no machine has memory for them")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
