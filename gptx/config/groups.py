"""What each config group and each other root key decides, one row each; every list of their names is derived here.

The words of a row say what may differ between two runs that differ in this key alone:

result    the losses; a run is not continued with another value
digits    the last digits of the losses: the same is computed in another way
weights   the initial weights of a seed
batches   which sequences a step of a seed is trained on
state     shape or meaning of a checkpoint's state
speed     the time that the run takes
measured  what is measured of the run
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gptx.units.lengths import Length


@dataclass(frozen=True)
class Group:
    """A folder of conf/ and of gptx/ingredients/, of the same name; or a root key whose value is of type `kind`."""

    name: str
    decides: str  # words of the list above
    but: Mapping[str, str] = field(default_factory=dict)  # keys below it (several in one text) that decide otherwise
    builds: str = "function"  # of its YAML: a function, an object, or any number of objects, by name
    library: tuple[str, str] | None = None  # a package of PyTorch, and the kind of its classes that it builds too
    kind: Any = None

    @property
    def several(self) -> bool:
        return self.builds == "objects"


ROWS = (
    Group("model", "result weights state speed", library=("torch.nn.", "Module"),
          but={"dropout mask softcap": "result speed", "init": "result weights speed"}),
    Group("parametrization", "result state", but={"_target_": "result weights state", "rates": "result"}),
    Group("data", "result batches state speed", builds="object",
          but={"_target_ path tokenizer dataset sources": "result weights batches state speed"}),  # by the vocabulary
    Group("objective", "result speed", library=("torch.nn.", "Module")),
    Group("optim", "result state speed", library=("torch.optim.", "Optimizer"),
          but={"lr weight_decay eps momentum betas beta2_half_life_tokens tokens": "result"}),
    Group("decay", "result"),
    Group("schedule", "result"),
    Group("clip", "result speed"),
    Group("batch", "result speed", builds="object", but={
          "micro": "digits speed", "tokens doublings growth context_doublings lengthening": "result batches speed"}),
    Group("precision", "result speed", builds="object", but={"weights": "result weights state speed"}),
    Group("memory", "digits speed"),
    Group("compile", "digits speed"),
    Group("parallel", "digits speed", builds="object"),
    Group("guard", "result speed", builds="object"),
    Group("checkpoints", "", builds="object"),
    Group("inject", "result batches"),
    Group("observe", "measured", builds="objects"),
    Group("log", "", builds="objects"),
    Group("sweep", "", builds="object"),  # no ingredient: its room is gptx/sweeps
    Group("steps", "result speed", kind=Length),
    Group("seed", "result weights batches", kind=int),
    Group("from", "result weights batches speed", kind=str | None),
    Group("device", "digits speed", kind=str),
    Group("threads", "digits speed", kind=int | None),
    Group("deterministic", "digits speed", kind=bool),
    Group("name", "", kind=str),
    Group("question", "", kind=dict[str, str | list[str]]),
    Group("overwrite", "", kind=bool),
    Group("dry_run", "", kind=bool),
    Group("allow_targets", "", kind=list[str]),
    Group("record_patch", "", kind=bool),
)  # fmt: skip
GROUPS = {row.name: row for row in ROWS if row.kind is None}
VALUES = {row.name: row.kind for row in ROWS if row.kind is not None}
SETTINGS = {"sweep", *VALUES} - {"steps", "seed"}  # what no Trainer takes
SEEDS = ("seed", "data.seed")  # by which runs are paired, and never compared
_DECIDES = {"experiment": "", "hydra": ""} | {row.name: row.decides for row in ROWS}
_DECIDES |= {f"{row.name}.{key}": words for row in ROWS for keys, words in row.but.items() for key in keys.split()}


def decides(key: str, *words: str) -> bool:
    """True if a dotted key decides one of these, by the row of the longest key above it; an unknown one: the result."""
    parts = re.split(r"[./]", key)
    above = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    found = next((_DECIDES[name] for name in above if name in _DECIDES), "result speed").split()
    return any(word in found for word in words)
