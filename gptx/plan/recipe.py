"""The whole plan of a composition: its size, what it costs and should reach, and what is doubtful about it."""

import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from gptx import check
from gptx.check import ConfigError
from gptx.footprint import Footprint
from gptx.hardware import DEVICES, find
from gptx.laws import PUBLISHED, RULE, Law
from gptx.plan import machines
from gptx.plan.decay import vocabulary
from gptx.plan.doubts import doubts, proportion
from gptx.plan.effort import Effort, effort
from gptx.plan.machines import Place
from gptx.plan.memory import foreseen, table

SUBWORDS = 16_000  # entries of a vocabulary from which tokens are like those of the published laws, which had 32,000
VOCABULARIES = {"gpt2": 50_257, "bytes": 257}


def recipe(
    arms: dict,
    *,
    hardware: str = "",
    devices: str = "1",
    price: str = "",
    probe: str = "",
    law: str = "",
    vocab: str = "",
) -> list[str]:
    """What every arm is, costs and should reach: on `hardware`, in time and money, or measured here by a probe.

    `vocab` stands for the data's vocabulary, so that the data is not asked. Raises ConfigError or ValueError.
    """
    place = placed(hardware, devices, price)
    laws = [chosen(law)] if law else list(PUBLISHED.values())
    if probe not in ("", "true", "false"):
        raise ConfigError(f"probe={probe}: true measures this machine's speed for a few seconds, false does not")
    lines = []
    for name, cfg in arms.items():
        lines += [f"{name}:"] * bool(name)
        for label, told in plan(cfg, place, laws, vocab, measured=probe == "true"):
            lines += [f"{label if first else '':11}{line}".rstrip() for first, line in zip([True] + [False] * 99, told, strict=False)]
    return lines
