"""Write text with a trained model:  python -m gptx sample runs/default/base prompt="def "   (help shows more)."""

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gptx.config import validate
from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.config.keys import differences, recipe
from gptx.config.moved import current
from gptx.estimate.capacity import at_most
from gptx.runs.folder import RunFolder


def load(
    folder: Path,
    *,
    checkpoint: str = "newest",
    weights: str = "judged",
    device: str = "auto",
    allow_targets: tuple[str, ...] = (),
):
    """Model and tiktoken encoding of a checkpoint of the run in `folder`: newest, best or step_00000100.

    `weights` are those that the run was judged by, or those of its ema. Raises ValueError if there is no run, no
    such checkpoint or no such weights, ConfigError if its config names a class that is not allowed.
    """
    from gptx.ingredients import checkpoints
    from gptx.ingredients.parallel import find
    from gptx.trainer import copy

    if weights not in ("judged", "ema"):
        raise ValueError(f"weights={weights} is unknown; one of judged, ema")
    run = RunFolder(folder).begun()
    parts = [name for name in ("model", "decay", "parametrization") if name in run.config]
    for name in ("model", *parts):
        run.chosen(f"{name}._target_")
    cfg = OmegaConf.create(run.literal(*parts, "steps", "batch"))
    with run.naming("config.yaml"):
        for name in parts:
            validate.walk(cfg[name], name, allow_targets, cfg)
    encoding = run.encoding
    state = checkpoints.chosen(folder, checkpoint)
    refuse_unlike(run.config, state, folder / "config.yaml")
    with run.naming("config.yaml"):
        refuse_other_shapes(cfg, encoding.n_vocab, state, folder / "checkpoints")
        model = build(cfg.model)(vocab_size=encoding.n_vocab)
        if "parametrization" in parts:  # it may scale what the model computes
            build(cfg.parametrization)(model, build(cfg.decay)(model))
        checkpoints.fill(model, state, folder / "checkpoints")
    averaged = state.get("observers", {}).get("ema")
    if weights == "ema" and not averaged:
        raise ValueError(f"weights=ema: {folder} keeps no averaged weights; it would with observe=[validation,ema]")
    ema = averaged.get("weights") if isinstance(averaged, dict) else None
    given = ema if weights == "ema" else state.get("judged") or []
    shapes = [getattr(each, "shape", None) for each in given] if isinstance(given, list) else [None]
    if shapes and shapes != [parameter.shape for parameter in model.parameters()]:
        raise ValueError(f"{folder / 'checkpoints'}: its weights={weights} are not those of the config's model")
    copy(given, model.parameters())
    return model.to(find(device)).eval(), encoding


def refuse_other_shapes(cfg: DictConfig, vocab_size: int, state: dict, where: Path) -> None:
    """Raise ValueError unless the config's model has the weights of the state; neither takes memory for that."""
    import torch

    from gptx.ingredients.checkpoints import refuse_other

    try:
        with torch.device("meta"), at_most(sum(tensor.numel() for tensor in state["model"].values())):
            refuse_other(state, build(cfg.model)(vocab_size=vocab_size), where)
    except (RuntimeError, OverflowError) as error:
        raise ConfigError(f"model: it cannot be built without data ({' '.join(str(error).split())})") from None


def refuse_unlike(config: dict, state: dict, where: Path) -> None:
    """Raise ConfigError where the config's model is not the one that the state is of, if that says so."""
    flat, saved = recipe(config), current(state.get("recipe"))
    of_model = [{k: v for k, v in each.items() if k.startswith("model.")} for each in (saved or flat, flat)]
    if found := differences(*of_model):
        raise ConfigError(f"{where}: the checkpoint is of another model: {'; '.join(found[:3])}")


def sample(
    run: str,
    /,
    *,
    prompt: str = "",
    length: int = 500,
    number: int = 1,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int = 0,
    checkpoint: str = "newest",
    weights: str = "judged",
    device: str = "auto",
    allow_targets: str | None = None,
) -> None:
    r"""Write text with the model of a run.

      python -m gptx sample runs/default/base prompt="def "
      python -m gptx sample runs/default/base checkpoint=best length=300 number=2 top_k=50

    Options:
    prompt: text to continue; \n and \t mean a line end and a tab
    length: tokens to write; an end-of-text token ends a sample early
    number: samples to write
    temperature: 0 always takes the most likely token, 1 samples from the model's own distribution
    top_k: sample from the k most likely tokens only
    top_p: sample from the most likely tokens that have this probability together
    greedy: take the most likely token every time, as temperature=0 does
    seed: the same seed writes the same text
    """
    import torch

    from gptx.ingredients.data.text import beginning, decode
    from gptx.ingredients.model.generate import LONGEST, generate, refuse
    from gptx.trainer import stream

    refuse(temperature, top_k, top_p, [0], length)
    if not 1 <= number <= LONGEST:
        raise ValueError(f"number={number} must be at least 1, and at most {LONGEST:,}")
    trusted = (allow_targets,) if allow_targets else ()
    model, encoding = load(Path(run), checkpoint=checkpoint, weights=weights, device=device, allow_targets=trusted)
    prompt = prompt.replace("\\n", "\n").replace("\\t", "\t")
    documents = RunFolder(Path(run)).known("data.train_documents")
    tokens = beginning(encoding, prompt, documents=documents)
    for i in range(number):
        if number > 1:
            print(f"--- {i + 1} of {number}")
        generator = torch.Generator().manual_seed(stream(seed, "sample", i))
        drawn = generate(model, tokens, length=length, temperature=0.0 if greedy else temperature, top_k=top_k,
                         top_p=top_p, generator=generator)  # fmt: skip
        sys.stdout.write(prompt)
        for piece in decode(encoding, drawn):
            sys.stdout.write(piece)
            sys.stdout.flush()
        print()
