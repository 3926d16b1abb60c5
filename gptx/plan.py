"""See what a composition means before it runs:  python -m gptx.plan decay model=gpt2_124m   (help shows more)."""

import inspect
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from gptx import check, mistakes, paths, preflight
from gptx.check import ConfigError
from gptx.rank import world_size

PAGE = """See what a composition means before it runs; every override of gptx.train may follow.

  python -m gptx.plan decay [overrides]       which parameters are decayed, by name, with counts
  python -m gptx.plan schedule [overrides]    the learning rate at chosen updates
"""


def decay(cfg) -> list[str]:
    """Every parameter by name under its group, with shape and count (exercise 12 of the tutorial)."""
    import torch

    vocabulary = check.build(cfg.data).vocab_size
    with torch.device("meta"):
        model = check.build(cfg.model)(vocab_size=vocabulary)
    names = {id(p): name for name, p in model.named_parameters()}
    default = cfg.optim.get("weight_decay", library_default(cfg.optim._target_, "weight_decay"))
    lines = []
    for group in check.build(cfg.decay)(model):
        size = sum(p.numel() for p in group["params"])
        strength = group.get("weight_decay", default)
        lines.append(f"{group['name']}: {size:,} in {len(group['params'])} tensors, weight decay {strength:g}")
        lines += [f"  {names[id(p)]:40} {'x'.join(map(str, p.shape)):>14} {p.numel():>14,}" for p in group["params"]]
    return lines


def library_default(target: str, name: str) -> float:
    """The value that a class gives an argument that the config leaves out; 0 if it has no such argument."""
    parameter = inspect.signature(check.find(target, "optim")).parameters.get(name)
    return 0.0 if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def schedule(cfg) -> list[str]:
    """The learning rate at update 1, at every tenth of the run, and at the end."""
    curve, steps = check.build(cfg.schedule), cfg.steps
    chosen = sorted({1, *(round(steps * i / 10) for i in range(1, 11))} - {0})
    return [f"update {step:>8,}   lr {cfg.optim.lr * curve(step):.3e}" for step in chosen]


def own_configs(words: list[str]) -> list[str]:
    """The overrides, with `--config-dir FOLDER` as the search path that it is for gptx.train."""
    if "--config-dir" not in words:
        return words
    at = words.index("--config-dir")
    folders = words[at + 1 : at + 2]
    if not folders or not Path(folders[0]).is_dir():
        raise ConfigError(f"--config-dir {' '.join(folders)}: no such folder")
    return [*words[:at], *words[at + 2 :], f"hydra.searchpath=[file://{Path(folders[0]).resolve()}]"]


def main(words: list[str] | None = None) -> None:
    """The command: the first word says what to show, the others compose a recipe as gptx.train would."""
    words = sys.argv[1:] if words is None else words
    what = {"decay": decay, "schedule": schedule}.get(words[0] if words else "")
    if what is None:
        unknown = words and words[0] not in ("help", "-h", "--help")
        raise SystemExit(f"error: {words[0]}: nothing to plan of that name; decay or schedule" if unknown else PAGE)
    from gptx import train  # noqa: F401  registers the experiments and the name of run folders

    try:
        with initialize_config_dir(paths.CONF, version_base="1.3"):
            cfg = compose("train", own_configs(words[1:]))
        preflight.examine(cfg, world_size())
        print("\n".join(what(cfg)))
    except HydraException as error:
        raise SystemExit(f"config error: {mistakes.explain(error, words[1:])}") from None
    except (ConfigError, ValueError) as error:
        raise SystemExit(f"config error: {error}") from None


if __name__ == "__main__":
    main()
