"""Options of an ingredient: the annotated attributes of its class, with the ranges that the annotations give."""

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from functools import wraps
from itertools import chain
from operator import ge, gt, le, lt
from typing import Annotated, Any, ClassVar, Literal, TypeVar, dataclass_transform, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from gptx.units.lengths import Length

_Function = TypeVar("_Function", bound=Callable)
Natural = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Steps = Annotated[Length, Ge(1)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Gt(0), Le(1)]
Probability = Annotated[float, Ge(0), Lt(1)]
_BOUNDS = {"ge": (ge, "at least"), "gt": (gt, "above"), "le": (le, "at most"), "lt": (lt, "below")}


def check_options(options: Any) -> None:
    """Raise ValueError for the first option of a dataclass that its annotation refuses: `every=0: at least 1`."""
    for option in fields(options):
        _check(option.name, getattr(options, option.name, None), option.type)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Configured:
    """Its subclasses become dataclasses whose options are keywords; a value outside its range raises ValueError."""

    remembered: ClassVar[tuple[str, ...]] = ()  # attributes that a checkpoint keeps: plain values and tensors

    def __init_subclass__(cls, **more) -> None:
        super().__init_subclass__(**more)
        dataclass(kw_only=True, eq=False)(cls)

    __post_init__ = check_options

    def state_dict(self) -> dict:
        return {name: copy(getattr(self, name)) for name in self.remembered}

    def load_state_dict(self, state: dict) -> None:
        for name in self.remembered:
            setattr(self, name, copy(state[name]))


def ranged(group: str) -> Callable[[_Function], _Function]:
    """Have a function check its arguments at each call; a refusal is as `model.width=0: at least 1`."""

    def decorate(function):
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args, **options):
            for name, value in signature.bind(*args, **options).arguments.items():
                _check(f"{group}.{name}", value, signature.parameters[name].annotation)
            return function(*args, **options)

        return checked

    return decorate


def _check(name: str, value: Any, hint: Any) -> None:
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ValueError(f"{name}={value}: one of {', '.join(get_args(hint))}")
    annotated = (getattr(each, "__metadata__", ()) for each in (hint, *get_args(hint)))  # of Count | None
    bounds = [(*_BOUNDS[kind], limit) for bound in chain(*annotated) for kind, limit in asdict(bound).items()]
    if value is not None and not all(fits(value, limit) for fits, _, limit in bounds):
        raise ValueError(f"{name}={value}: {', '.join(f'{words} {limit:,}' for _, words, limit in bounds)}")
