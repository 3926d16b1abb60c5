"""The options of a budget, read and checked."""

import math
from dataclasses import dataclass
from pathlib import Path

from gptx.estimate.laws import LARGEST_VOCABULARY, PUBLISHED, SUBWORDS, Law, law_named
from gptx.plan.split import Split
from gptx.units.amounts import number, power, whole

QUANTITIES = {"flops": "1e19", "params": "124M", "tokens": "2.5B", "served": "1e12"}  # with an example
REFIT = "besiroglu"  # the default judge: the others do not fit their own runs (arXiv:2404.10102)
_LARGEST_CONTEXT = 10**8  # tokens of a sequence; the longest known have some 10^7
_ROUNDING = 0.05  # by which three numbers with two digits each may miss 6 N D
_SIZES = 1e3, 1e14  # parameters that are planned for; the largest models known have some 1e12
_LENGTHS = 1e3, 1e18  # tokens


@dataclass(frozen=True)
class Question:
    """What a budget is asked for; `one` has its flops, parameters or tokens, `given` is a training to be priced."""

    one: dict[str, float]
    given: Split | None
    served: float | None
    judge: Law
    vocab: int
    context: int
    out: Path | None
    said: str  # the quantities as they were given

    @property
    def laws(self) -> list[Law]:
        """The published laws, if their nats can be compared with the judge's, and the judge."""
        alike = list(PUBLISHED.values()) if not self.judge.vocab or self.judge.vocab >= SUBWORDS else []
        return alike if self.judge in alike else [*alike, self.judge]


def read_question(
    *, law: str = REFIT, vocab: str = "", context: str = "", out: str = "", **quantities: str | None
) -> Question:
    """The question of the options; `quantities` are those of QUANTITIES. Raises ValueError for impossible amounts."""
    given = {key: text for key, text in quantities.items() if text is not None}
    numbers = {key: number(key, text, QUANTITIES[key]) for key, text in given.items()}
    said = " ".join(map("=".join, given.items()))
    one, split = _balanced(said or f"out={out}", numbers)
    judge = law_named(law)
    entries = whole("vocab", vocab or str(judge.vocab or 50257), most=LARGEST_VOCABULARY, example="50257")
    if judge.vocab not in (0, entries):
        raise ValueError(f"vocab={vocab}: {judge.name} is of a vocabulary of {judge.vocab}; leave vocab= out")
    length = whole("context", context or str(judge.context), most=_LARGEST_CONTEXT, example="1024")
    file = Path(out) if out else None
    return Question(one, split, numbers.get("served"), judge, entries, length, file, said)


def _balanced(said: str, numbers: dict[str, float]) -> tuple[dict[str, float], Split | None]:
    """The quantity that is given, or of two and more the FLOPs and the split that they are."""
    names = {"flops": "flops", "params": "parameters", "tokens": "tokens"}
    one = {name: numbers[key] for key, name in names.items() if key in numbers}
    if not one:
        raise ValueError(f"{said}: goes with flops=, params= or tokens=")
    if len(one) == 1:
        return one, None
    tokens = one.get("tokens") or one["flops"] / 6 / one["parameters"]
    split = Split("as given", one.get("parameters") or one["flops"] / 6 / tokens, tokens)
    if abs(math.log(one.get("flops", split.flops) / split.flops)) > math.log1p(_ROUNDING):
        product = f"6 x {power(split.parameters)} x {power(tokens)} is {power(split.flops)}"
        raise ValueError(f"{said}: contradict each other, {product}; leave one of them out")
    return {"flops": split.flops}, split


def planned(split: Split, said: str) -> Split:
    """The split. Raises ValueError for one that is no training, with the least and the most that are planned for."""
    size, length = (float(f"{each:.9g}") for each in (split.parameters, split.tokens))  # an inverse is not exact
    if not (_SIZES[0] <= size <= _SIZES[1] and _LENGTHS[0] <= length <= _LENGTHS[1]):
        ends = "planned are {} to {} parameters and {} to {} tokens".format(*map(power, (*_SIZES, *_LENGTHS)))
        split_so = f"{power(split.parameters)} parameters on {power(split.tokens)} tokens"
        raise ValueError(f"{said}: {split_so} ({split.name}); {ends}")
    return split
