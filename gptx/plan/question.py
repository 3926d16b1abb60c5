"""The words of a budget, read and refused."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gptx.config import paths
from gptx.estimate import laws
from gptx.estimate.laws import PUBLISHED, RULE, Law
from gptx.plan.expectations import LARGEST_VOCABULARY, SUBWORDS
from gptx.plan.split import Split
from gptx.units.amounts import power
from gptx.units.lengths import SCALE

QUANTITIES = {"flops": "1e19", "params": "124M", "tokens": "2.5B"}
KEYS = {**QUANTITIES, "served": "1e12", "law": "", "vocab": "50257", "context": "1024", "out": ""}  # with an example
LARGEST_CONTEXT = 10**8  # tokens of a sequence; the longest known have some 10^7
REFIT = "besiroglu"  # judges where nothing else is asked for: the others do not fit their own runs (arXiv:2404.10102)
ROUNDING = 0.05  # by which three numbers with two digits each may miss 6 N D
SMALLEST, LARGEST = 1e3, 1e14  # parameters that are planned for; the largest models known have some 1e12
SHORTEST, LONGEST = 1e3, 1e18  # tokens


@dataclass(frozen=True)
class Question:
    """One of operations, parameters and tokens, the others None; or parameters and tokens together, to be priced."""

    flops: float | None
    parameters: float | None
    tokens: float | None
    served: float | None
    judge: Law
    vocab: int
    context: int
    out: Path | None
    said: str  # the quantities as they were given

    @property
    def priced(self) -> bool:
        return self.parameters is not None and self.tokens is not None

    @property
    def laws(self) -> list[Law]:
        """The published ones, where they count the same nats, and the one that was asked for."""
        alike = list(PUBLISHED.values()) if not self.judge.vocab or self.judge.vocab >= SUBWORDS else []
        return alike if self.judge in alike else [*alike, self.judge]


def asks_for_a_budget(words: Iterable[str]) -> bool:
    """True if one of the words is a quantity's, or if one goes with a quantity and all are of a budget."""
    keys = {word.partition("=")[0] for word in words}
    return bool(keys & {*QUANTITIES} or (keys & {"served", "out"} and keys <= {*KEYS}))


def read(words: list[str]) -> Question:
    """What the words ask. Raises ValueError for words that are none of a budget's, and for impossible amounts."""
    given: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key not in KEYS:
            raise ValueError(unknown(key))
        if not equals or not text or key in given:
            raise ValueError(f"{key}: is given twice" if key in given else f"{word}: a value is needed; {key}=...")
        given[key] = text
    flops, parameters, tokens, served = (
        number(key, given[key]) if key in given else None for key in (*QUANTITIES, "served")
    )
    if flops and parameters and tokens and not 1 / (1 + ROUNDING) <= flops / (6 * parameters * tokens) <= 1 + ROUNDING:
        raise ValueError(
            f"flops={given['flops']} params={given['params']} tokens={given['tokens']}: contradict each other, 6 x "
            f"{power(parameters)} x {power(tokens)} is {power(6 * parameters * tokens)}; leave one of them out"
        )
    if flops and (parameters or tokens):
        parameters, tokens = parameters or flops / 6 / tokens, tokens or flops / 6 / parameters  # type: ignore[operator]
        flops = None
    if not (flops or parameters or tokens):
        raise ValueError(f"{next(iter(given))}={next(iter(given.values()))}: goes with flops=, params= or tokens=")
    refuse_sizes(given, flops, parameters, tokens)
    judge = laws.chosen(given.get("law", REFIT))
    vocab = whole("vocab", ({"vocab": str(judge.vocab)} if judge.vocab else {}) | given, LARGEST_VOCABULARY)
    if judge.vocab and vocab != judge.vocab:
        raise ValueError(f"vocab={given['vocab']}: {judge.name} is of a vocabulary of {judge.vocab}; leave vocab= out")
    context = whole("context", {"context": str(judge.context)} | given, LARGEST_CONTEXT)
    return Question(
        flops, parameters, tokens, served, judge, vocab, context, Path(given["out"]) if "out" in given else None,
        " ".join(f"{key}={given[key]}" for key in (*QUANTITIES, "served") if key in given),
    )  # fmt: skip


def unknown(key: str) -> str:
    """What to say of a key that no budget has: a recipe's, or a misspelt one."""
    from gptx.config.errors import nearest

    if of_a_recipe(key):
        return (
            f"{key}: belongs to a recipe, which flops=, params= and tokens= ask for; plan either a budget, or the "
            "recipe without them"
        )
    return f"{key}: no such key of a budget{nearest(key, KEYS)}"


def of_a_recipe(key: str) -> bool:
    """True for an override's key: what has a dot, a group of conf/, or one of the root."""
    from gptx.config.groups import SETTINGS

    group = key.lstrip("+~").split(".")[0].split("/")[0].split("@")[0]
    return "." in key or Path(paths.CONF, group).is_dir() or group in (*SETTINGS, "steps", "seed", "experiment")


def number(key: str, text: str) -> float:
    """A finite number above zero, with a unit perhaps: 2.5e9 or 2.5B. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?)([kMBT]?)", text)
    value = float(found[1]) * SCALE[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise ValueError(f"{key}={text}: a number above 0, such as {KEYS[key]}")
    return value


def whole(key: str, given: dict[str, str], most: int) -> int:
    """A count, or the usual one. Raises ValueError for what is none, and for more than the most that is planned."""
    value = number(key, given.get(key, KEYS[key]))
    if value != int(value):
        raise ValueError(f"{key}={given[key]}: a whole number, such as {KEYS[key]}")
    if value > most:
        raise ValueError(f"{key}={given[key]}: at most {most:,} are planned, such as {KEYS[key]}")
    return int(value)


def refuse_sizes(given: dict[str, str], flops: float | None, parameters: float | None, tokens: float | None) -> None:
    """Raises ValueError for what is no model's size, with the least and the most that are planned for."""
    said = " ".join(f"{key}={given[key]}" for key in QUANTITIES if key in given)
    if parameters is not None and not SMALLEST <= parameters <= LARGEST:
        raise ValueError(
            f"{said}: a model of {power(parameters)} parameters; {power(SMALLEST)} to {power(LARGEST)} are planned"
        )
    if tokens is not None and not SHORTEST <= tokens <= LONGEST:
        raise ValueError(
            f"{said}: a training on {power(tokens)} tokens; {power(SHORTEST)} to {power(LONGEST)} are planned"
        )
    if parameters is not None:
        return
    size = math.sqrt(flops / 6 / RULE) if flops else (tokens or 0) / RULE
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(
            f"{said}: a model of {power(size)} parameters, at {RULE:g} tokens a parameter; models of {power(SMALLEST)} "
            f"to {power(LARGEST)} are planned"
        )


def refuse_splits(found: Iterable[Split], said: str) -> None:
    """Raises ValueError for a split that is no training, with the least and the most that are planned for."""
    for split in found:
        size, length = (float(f"{each:.9g}") for each in (split.parameters, split.tokens))  # an inverse is not exact
        if not (SMALLEST <= size <= LARGEST and SHORTEST <= length <= LONGEST):
            raise ValueError(
                f"{said}: by {split.by} {power(split.parameters)} parameters on {power(split.tokens)} tokens; planned "
                f"are {power(SMALLEST)} to {power(LARGEST)} parameters and {power(SHORTEST)} to {power(LONGEST)} tokens"
            )
