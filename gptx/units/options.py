"""Options of an ingredient: the annotated attributes of its class, with the ranges that the annotations give."""

import operator
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, dataclass_transform, get_args

from annotated_types import Ge, Gt, Le, Lt

from gptx.units.lengths import Length

Natural = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Steps = Annotated[Length, Ge(1)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Gt(0), Le(1)]
BOUNDS = {  # kind: its attribute, what must hold, in words
    Ge: ("ge", operator.ge, "at least"),
    Gt: ("gt", operator.gt, "above"),
    Le: ("le", operator.le, "at most"),
    Lt: ("lt", operator.lt, "below"),
}


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Configured:
    """Its subclasses become dataclasses whose options are keywords; a value outside its range raises ValueError.

    `remembered` names the attributes that a checkpoint keeps: plain values and tensors.
    """

    remembered: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **more) -> None:
        super().__init_subclass__(**more)
        dataclass(kw_only=True, eq=False)(cls)

    def __post_init__(self) -> None:
        check(self)

    def state_dict(self) -> dict:
        return {name: copy(getattr(self, name)) for name in self.remembered}

    def load_state_dict(self, state: dict) -> None:
        for name in self.remembered:
            setattr(self, name, copy(state[name]))


def check(options: Any) -> None:
    """Raise ValueError for the first option of a dataclass outside its range: `every=0: at least 1`."""
    for option in fields(options):
        value, words, inside = getattr(options, option.name, None), [], True
        for hint in (option.type, *get_args(option.type)):  # the latter of `Count | None`
            for bound in getattr(hint, "__metadata__", ()):
                name, holds, word = BOUNDS[type(bound)]
                words.append(f"{word} {getattr(bound, name):,}")
                inside &= value is None or holds(value, getattr(bound, name))
        if not inside:
            raise ValueError(f"{option.name}={value}: {', '.join(words)}")
