"""The trained model of a run folder, for sampling and export."""

from pathlib import Path

import torch

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.config.keys import differences, recipe
from gptx.config.model_size import at_most
from gptx.config.moved import current
from gptx.config.validate import checked
from gptx.ingredients import checkpoints
from gptx.ingredients.parallel import find_device
from gptx.runs.folder import RunFolder
from gptx.trainer import copy


def load(folder: Path, *, checkpoint: str = "newest", weights: str = "judged", device: str = "auto",
         allow_targets: tuple[str, ...] = ()):  # fmt: skip
    """Model and tiktoken encoding of a checkpoint (newest, best or step_00000100) of a run; `weights` judged or ema.
    Raises ValueError if there is no run, checkpoint or such weights, ConfigError for a class that is not allowed."""
    if weights not in ("judged", "ema"):
        raise ValueError(f"weights={weights} is unknown; one of judged, ema")
    run, saved = RunFolder(folder).begun(), folder / "checkpoints"
    parts = [name for name in ("model", "decay", "parametrization") if name in run.config]
    for name in ("model", *parts):
        run.known(f"{name}._target_", "config.yaml")
    config = run.literal(*parts, "steps", "batch")
    with run.naming("config.yaml"):
        cfg = checked(config, parts, allow_targets)
    encoding, state = run.encoding, checkpoints.chosen_state(folder, checkpoint)
    own, there = recipe(run.config), current(state.get("recipe"))  # which older states lack
    if found := [line for line in differences(there or own, own) if line.startswith("model.")]:
        raise ConfigError(f"{folder / 'config.yaml'}: the checkpoint is of another model: {'; '.join(found[:3])}")
    with run.naming("config.yaml"):
        _refuse_other_shapes(cfg, encoding.n_vocab, state, saved)
        model = build(cfg.model)(vocab_size=encoding.n_vocab)
        if "parametrization" in parts:  # it may scale what the model computes
            build(cfg.parametrization)(model, build(cfg.decay)(model))
        checkpoints.refuse_other_model(state, model, saved)
        model.load_state_dict(state["model"])
    copy(_judged(state, weights, model, folder), model.parameters())
    return model.to(find_device(device)).eval(), encoding


def _judged(state: dict, weights: str, model, folder: Path) -> list:
    """The weights to use instead of the trained ones. Raises ValueError if there are none, or another model's."""
    given = state.get("judged") or []
    if weights == "ema":
        averaged = state.get("observers", {}).get("ema")
        if not averaged:
            raise ValueError(f"weights=ema: {folder} keeps no averaged weights; it would with observe=[validation,ema]")
        given = averaged.get("weights") if isinstance(averaged, dict) else None
    shapes = [getattr(each, "shape", None) for each in given] if isinstance(given, list) else [None]
    if shapes and shapes != [parameter.shape for parameter in model.parameters()]:
        raise ValueError(f"{folder / 'checkpoints'}: its weights={weights} are not those of the config's model")
    return given


def _refuse_other_shapes(cfg, vocab_size: int, state: dict, where: Path) -> None:
    """Raise ValueError unless the config's model has the weights of the state; this takes no memory for either."""
    try:
        with torch.device("meta"), at_most(sum(tensor.numel() for tensor in state["model"].values())):
            checkpoints.refuse_other_model(state, build(cfg.model)(vocab_size=vocab_size), where)
    except (RuntimeError, OverflowError) as error:
        raise ConfigError(f"model: it cannot be built without data ({' '.join(str(error).split())})") from None
