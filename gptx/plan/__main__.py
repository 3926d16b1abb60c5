"""See what a composition means before it runs:  python -m gptx.plan decay model=gpt2_124m   (help shows more)."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from gptx import check, mistakes, paths, preflight, runs
from gptx.check import ConfigError
from gptx.plan.coordinates import coordinates
from gptx.plan.decay import decay
from gptx.plan.memory import memory
from gptx.plan.schedule import schedule
from gptx.rank import world_size

PAGE = """See what a composition means before it runs; every override of gptx.train may follow, lists as in a sweep too.

  python -m gptx.plan decay [overrides]       which parameters are decayed, by name, with counts
  python -m gptx.plan schedule [overrides]    the learning rate at chosen updates, and what looks odd about it
      at=1,500,50%                            the updates; every tenth of the run if not given
      out=warmups.png                         draws the curves on one figure (.png or .svg)
  python -m gptx.plan memory [overrides]      bytes of weights, gradients, moments and activations
  python -m gptx.plan coordinates [overrides] trains a few updates at several widths: does a rate carry over?
      widths=64,128,256 updates=4             the standard parametrization beside muP, based on the first width

  vocab=50257 stands for the data's vocabulary, which is else asked of the data (decay, memory).

  python -m gptx.plan schedule steps=100000 schedule.warmup=500,2000,5000 out=warmups.png
  python -m gptx.plan memory model=gpt2_124m memory=store,recompute vocab=50257
"""
SUBJECTS: dict[str, tuple[Callable, tuple[str, ...]]] = {  # with the keys that are their own, not overrides
    "decay": (decay, ("vocab",)),
    "schedule": (schedule, ("at", "out")),
    "memory": (memory, ("vocab",)),
    "coordinates": (coordinates, ("widths", "updates")),
}


def arms(words: list[str]) -> Iterable[tuple[str, list[str]]]:
    """The jobs that the overrides mean, lists expanded as in a sweep: what sets each apart, and its overrides."""
    lines = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)[0]
    every = [{runs.key(override): override for override in line} for line in lines]
    swept = [key for key in every[0] if len({line[key] for line in every}) > 1]
    for line, overrides in zip(every, lines, strict=True):
        yield ", ".join(line[key] for key in swept), overrides


def composed(words: list[str]) -> dict:
    """The checked config of every arm, by what sets it apart; "" where there is one. Raises ConfigError."""
    found = {}
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        for name, overrides in arms(words):
            cfg = compose("train", overrides)
            try:
                preflight.examine(cfg, world_size())
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}" if name else str(error)) from None
            found[name] = cfg
    return found


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
    if not words or words[0] in ("help", "-h", "--help"):
        print(PAGE)
        return
    if words[0] not in SUBJECTS:
        raise SystemExit(f"error: {words[0]}: nothing to plan of that name{check.nearest(words[0], SUBJECTS)}")
    show, keys = SUBJECTS[words[0]]
    from gptx import train  # noqa: F401  registers the experiments and the name of run folders

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as gptx.train
    own = dict(word.split("=", 1) for word in words[1:] if "=" in word and word.split("=")[0] in keys)
    try:
        rest = [word for word in words[1:] if word.split("=")[0] not in own]
        print("\n".join(show(composed(own_configs(rest)), **own)))
    except HydraException as error:
        raise SystemExit(f"config error: {mistakes.explain(error, rest)}") from None
    except (ConfigError, ValueError, OSError) as error:
        raise SystemExit(f"config error: {check.refusal('', error)}") from None


if __name__ == "__main__":
    main()
