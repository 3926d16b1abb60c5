"""Scaling laws: the loss of N parameters after D tokens, the best N and D for C = 6 N D FLOPs (arXiv:2001.08361)."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from statistics import quantiles
from typing import ClassVar

from gptx.units.amounts import power

Constants = tuple[float, float, float, float, float]
CHINCHILLA = (1e18, 1.3e22)  # FLOPs of the runs behind the published laws (arXiv:2203.15556, figure 4), about
CONSTANTS = ("A", "B", "E", "alpha", "beta")  # in the order of a draw
FLATTEST, STEEPEST = 0.01, 3.0  # exponents that a fit tries; an exponent that the runs do not determine ends there
RULE = 20.0  # tokens per parameter: approaches 1 and 2 of arXiv:2203.15556 at the budget of Chinchilla
SUBWORDS = 16_000  # from this size of vocabulary on, tokens are like those of the published laws, which had 32,000
LARGEST_VOCABULARY = 10**7  # that is planned for; the largest known have about 10^6 tokens
_WIDEST = (1e8, 1e30)  # FLOPs of the smallest and the largest budget that is planned, about


@dataclass(frozen=True)
class Law:
    """Loss in nats per token: E + A / N^alpha + B / D^beta (arXiv:2203.15556, equation 2); N counts every parameter.
    The defaults are those of a published law: of subword text in general, known by its constants alone."""

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    name: str
    A: float
    B: float
    E: float
    alpha: float
    beta: float
    source: str = ""
    deviations: dict[str, float] = field(default_factory=dict)  # standard errors of constants, by name
    units: str = "nats a subword token"
    draws: tuple[Constants, ...] = ()  # constants of bootstrap samples of the runs, in the order of CONSTANTS
    operations: tuple[float, float] | None = None  # FLOPs of the smallest and the largest run of the fit
    recipe: str = ""  # the overrides that trained its runs
    context: int = 1024
    vocab: int = 0  # size of the vocabulary of its runs
    text: int = 0  # training tokens of their text, 0 if unknown
    warnings: tuple[str, ...] = ()  # of its fit

    def loss(self, parameters: float, tokens: float) -> float:
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    @property
    def exponents(self) -> tuple[float, float]:
        """Growth of the best number of parameters and of tokens with the FLOPs: C^a and C^b, a + b = 1."""
        return self.beta / (self.alpha + self.beta), self.alpha / (self.alpha + self.beta)

    def parameters(self, flops: float) -> float:
        """The size that reaches the lowest loss with this many FLOPs."""
        ratio = self.alpha * self.A / (self.beta * self.B)
        return ratio ** (1 / (self.alpha + self.beta)) * (flops / 6) ** self.exponents[0]

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens of the lowest loss with this many FLOPs."""
        size = self.parameters(flops)
        return size, flops / 6 / size

    def lowest(self, flops: float) -> float:
        return self.loss(*self.optimum(flops))

    def speaks(self, vocab_size: int) -> bool:
        """True if its nats are of tokens of such a vocabulary: its own one; for a published law, of subwords."""
        return vocab_size == self.vocab if self.vocab else vocab_size >= SUBWORDS

    def interval(self, value: Callable[["Law"], float]) -> tuple[float, float] | None:
        """The central 95 % of `value` over the draws; None for a law without draws."""
        if len(self.draws) < 2:
            return None
        ends = quantiles([value(Law(self.name, *draw)) for draw in self.draws], n=40, method="inclusive")
        return ends[0], ends[-1]

    @property
    def undetermined(self) -> str:
        """Which exponents or intervals end where a fit's range does, as the loss of its runs does not fall; else ""."""
        ends = {name: (getattr(self, name), *(self.interval(attrgetter(name)) or ())) for name in CONSTANTS[3:]}
        found = [name for name, each in ends.items() if min(each) < 1.01 * FLATTEST or max(each) > 0.99 * STEEPEST]
        return f"{' and '.join(found)} at an end of what a fit tries, {FLATTEST:g} or {STEEPEST:g}" if found else ""

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    def flops_for(self, parameters: float) -> float:
        """FLOPs of the budget at which `parameters` is the best size."""
        return 6 * (parameters / self.parameters(6)) ** (1 / self.exponents[0])

    def tokens_to(self, parameters: float, loss: float) -> float | None:
        """Tokens after which a model of that size reaches a loss; None if it never does."""
        left = loss - self.E - self.A / parameters**self.alpha
        return (self.B / left) ** (1 / self.beta) if left > 0 else None


PUBLISHED = {law.name: law for law in (
    Law("hoffmann_rounded", A=406.4, B=410.7, E=1.69, alpha=0.34, beta=0.28, operations=CHINCHILLA,
        source="arXiv:2203.15556, equation 10: as printed there and in Train Your GPT"),
    Law("hoffmann_tex", A=406.4, B=410.7, E=1.6934, alpha=0.3392, beta=0.2849, operations=CHINCHILLA,
        source="arXiv:2203.15556, with the digits of its TeX source"),
    Law("besiroglu", A=482.01, B=2085.43, E=1.8172, alpha=0.3478, beta=0.3658, operations=CHINCHILLA,
        source="arXiv:2404.10102, table 1: fitted again to 240 of the runs",
        deviations={"A": 124.58, "B": 1293.23, "E": 0.03, "alpha": 0.02, "beta": 0.02}),
)}  # fmt: skip


def law_named(word: str) -> Law:
    """The law that `word` names: one of PUBLISHED, or a file that a fit wrote. Raises ValueError for another word."""
    if word in PUBLISHED:
        return PUBLISHED[word]
    if not Path(word).is_file():
        raise ValueError(f"law={word}: no such law or file; {', '.join(PUBLISHED)}, or the law.json of a fit")
    from pydantic import TypeAdapter, ValidationError

    try:
        law = TypeAdapter(Law).validate_json(Path(word).read_bytes())
        for wrong in (mistake for holds, mistake in _values(law) if not holds):
            raise ValueError(wrong)
    except (ValueError, ArithmeticError, OSError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else error
        raise ValueError(f"law={word}: holds no law ({said}); python -m gptx fit scaling writes one") from None
    return law


def _values(law: Law) -> Iterator[tuple[object, str]]:
    """What must be true of the values of a law, and the mistake if it is not."""
    for name, least in (("context", 1), ("vocab", 0), ("text", 0)):
        yield getattr(law, name) >= least, f"{name} must be a whole number, at least {least}"
    yield {*law.deviations} <= {*CONSTANTS}, "deviations must be of its constants"
    yield re.fullmatch(r"[\w./@+~=,: -]*", law.recipe), "recipe must be overrides of gptx.train"
    known = law.vocab or law.units == PUBLISHED["besiroglu"].units
    yield known, f"vocab is missing: the size of the vocabulary that its {law.units} are of"
    low, high = law.operations or (1.0, 1.0)
    yield 0 < low <= high < math.inf, "operations must be the least and the most FLOPs of its runs"
    for constants in (attrgetter(*CONSTANTS)(law), *law.draws):
        for name, value in zip(CONSTANTS, constants, strict=True):
            yield 0 < value < math.inf or (name == "E" and value == 0), f"{name} must be a number above zero"
    for draw in law.draws:
        yield _minimised(Law("a draw", *draw), *_WIDEST, least=0), "a draw has no best size of any budget"
    own = _minimised(law, *(law.operations or CHINCHILLA), least=1) and _minimised(law, *_WIDEST, least=0)
    yield own, "its constants have no best size of as many FLOPs as its runs had"
    yield not law.undetermined, f"its runs follow none: {law.undetermined}"


def _minimised(law: Law, *budgets: float, least: float) -> bool:
    """True if the best size of every budget and its tokens are numbers above `least`."""
    try:
        return all(least < value < math.inf for flops in budgets for value in law.optimum(flops))
    except (OverflowError, ZeroDivisionError):
        return False


def extrapolated(laws: list[Law], flops: float) -> list[str]:
    """A sentence for laws whose runs took fewer or more FLOPs than a budget."""
    found: dict[tuple[float, float], list[str]] = {}
    for law in laws:
        if law.operations and not law.operations[0] <= flops <= law.operations[1]:
            found.setdefault(law.operations, []).append(law.name)
    return [f"extrapolated from runs of {power(low)} to {power(high)} FLOPs: {', '.join(names)}"
            for (low, high), names in found.items()]  # fmt: skip
