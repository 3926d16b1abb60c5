"""Laws of scaling: the loss that a model of N parameters reaches after D tokens, and what a budget is best spent on.

Pure arithmetic; the operations of a training are C = 6 N D (arXiv:2001.08361, section 2.1).
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from statistics import quantiles

Constants = tuple[float, float, float, float, float]
CHINCHILLA = (1e18, 1.3e22)  # operations of the runs behind the published laws (arXiv:2203.15556, figure 4), about
WIDEST = (1e8, 1e30)  # operations of the least and the most that is planned, about
CONSTANTS = ("A", "B", "E", "alpha", "beta")  # in the order in which a draw has them
FLATTEST, STEEPEST = 0.01, 3.0  # exponents that a fit tries; what runs cannot determine ends there
RULE = 20.0  # tokens a parameter: what approaches 1 and 2 of arXiv:2203.15556 come to at the budget of Chinchilla


@dataclass(frozen=True)
class Law:
    """Loss in nats a token: E + A / N^alpha + B / D^beta (arXiv:2203.15556, equation 2); N counts every parameter.

    `deviations` are the standard errors of constants, by name, where they are known. `units` says what a nat is of.
    `draws` are constants that a bootstrap over the runs found, each in the order of CONSTANTS. `operations` are the
    least and the most of the runs that it was fitted to, `recipe` the overrides that trained them, of `context` tokens
    a sequence; a published law has none. `vocab` are the entries of their vocabulary, 0 for a published law: those are
    of subword text in general. `text` are the tokens that there were to train on, 0 where that is not known;
    `warnings` what its fit says against it.
    """

    name: str
    A: float
    B: float
    E: float
    alpha: float
    beta: float
    source: str = ""
    deviations: dict[str, float] = field(default_factory=dict)
    units: str = "nats a subword token"
    draws: tuple[Constants, ...] = ()
    operations: tuple[float, float] | None = None
    recipe: str = ""
    context: int = 1024
    vocab: int = 0
    text: int = 0
    warnings: tuple[str, ...] = ()

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats a token after training on `tokens` tokens."""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    @property
    def exponents(self) -> tuple[float, float]:
        """How the best number of parameters and of tokens grow with the operations: C^a and C^b, a + b = 1."""
        return self.beta / (self.alpha + self.beta), self.alpha / (self.alpha + self.beta)

    def parameters(self, flops: float) -> float:
        """The size that reaches the lowest loss with so many operations."""
        ratio = self.alpha * self.A / (self.beta * self.B)
        return ratio ** (1 / (self.alpha + self.beta)) * (flops / 6) ** self.exponents[0]

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens of the lowest loss with so many operations.

        >>> size, tokens = PUBLISHED["besiroglu"].optimum(5.76e23)
        >>> f"{size:.3g} {tokens:.3g}"
        '7.22e+10 1.33e+12'
        """
        size = self.parameters(flops)
        return size, flops / 6 / size

    def interval(self, value: Callable[["Law"], float]) -> tuple[float, float] | None:
        """Where what `value` makes of the law lies in 95 % of its draws; None for a law without draws."""
        if len(self.draws) < 2:
            return None
        drawn = [value(Law(self.name, *draw)) for draw in self.draws]
        ends = quantiles(drawn, n=40, method="inclusive")
        return ends[0], ends[-1]

    @property
    def undetermined(self) -> str:
        """Which exponents, or their 95 % intervals, reach an end of what a fit tries; empty of none. They do where the
        loss of the runs does not fall with N or D."""
        found = []
        for name in CONSTANTS[3:]:
            values = (getattr(self, name), *(self.interval(attrgetter(name)) or ()))
            if min(values) < 1.01 * FLATTEST or max(values) > 0.99 * STEEPEST:
                found.append(name)
        reach = f"{'reaches' if len(found) == 1 else 'reach'} an end of what a fit tries, {FLATTEST:g} or {STEEPEST:g}"
        return f"{' and '.join(found)} {reach}" if found else ""

    def save(self, file: Path) -> None:
        """Write it as JSON, from which `chosen` has it again."""
        file.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    def flops_for(self, parameters: float) -> float:
        """Operations of the budget at which so many parameters are the best size."""
        return 6 * (parameters / self.parameters(6)) ** (1 / self.exponents[0])

    def tokens_to(self, parameters: float, loss: float) -> float | None:
        """Tokens after which a model of that size reaches a loss; None where it never does."""
        left = loss - self.E - self.A / parameters**self.alpha
        return (self.B / left) ** (1 / self.beta) if left > 0 else None


PUBLISHED = {
    law.name: law
    for law in (
        Law(
            "hoffmann_rounded", A=406.4, B=410.7, E=1.69, alpha=0.34, beta=0.28,
            source="arXiv:2203.15556, equation 10: as printed, and as the tutorial has them", operations=CHINCHILLA,
        ),
        Law(
            "hoffmann_tex", A=406.4, B=410.7, E=1.6934, alpha=0.3392, beta=0.2849,
            source="arXiv:2203.15556, with the digits that its TeX source has", operations=CHINCHILLA,
        ),
        Law(
            "besiroglu", A=482.01, B=2085.43, E=1.8172, alpha=0.3478, beta=0.3658,
            source="arXiv:2404.10102, table 1: fitted again to 240 of the runs", operations=CHINCHILLA,
            deviations={"A": 124.58, "B": 1293.23, "E": 0.03, "alpha": 0.02, "beta": 0.02},
        ),
    )
}  # fmt: skip


def chosen(word: str) -> Law:
    """The law that `word` names: one of PUBLISHED, or the file that a fit wrote. Raises ValueError for another word."""
    if word in PUBLISHED:
        return PUBLISHED[word]
    file = Path(word)
    if not file.is_file():
        raise ValueError(f"law={word}: no such law or file; {', '.join(PUBLISHED)}, or the law.json of a fit")
    try:
        law = read(file)
        refuse(law)
    except KeyError as missing:
        raise ValueError(f"law={word}: holds no law ({missing.args[0]} is missing); python -m gptx fit scaling writes "
                         "one") from None  # fmt: skip
    except (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError, OSError) as error:
        raise ValueError(f"law={word}: holds no law ({error}); python -m gptx fit scaling writes one") from None
    return law


def read(file: Path) -> Law:
    """The law that a file holds, with numbers for its constants. Raises one of several errors for a file that has no
    law's form."""
    facts = json.loads(file.read_text())
    numbers = {name: float(facts[name]) for name in CONSTANTS}
    draws = tuple(tuple(float(value) for value in draw) for draw in facts.get("draws", ()))
    operations = facts.get("operations")
    ends = None if operations is None else tuple(float(end) for end in operations)
    warnings = facts.get("warnings", [])
    if not isinstance(warnings, list):
        raise ValueError("warnings must be a list of texts")
    return Law(**facts | numbers | {"draws": draws, "operations": ends, "warnings": tuple(warnings)})


def refuse(law: Law) -> None:
    """Raises ValueError for what a file may say and no law can: other types, constants out of range, no best size."""
    for name in ("name", "source", "units", "recipe"):
        if not isinstance(getattr(law, name), str):
            raise ValueError(f"{name} must be text")
    if not re.fullmatch(r"[\w./@+~=,: -]*", law.recipe):
        raise ValueError("recipe must be overrides of gptx.train")
    for name, least in (("context", 1), ("vocab", 0), ("text", 0)):
        value = getattr(law, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number, at least {least}")
    if not law.vocab and law.units != PUBLISHED["besiroglu"].units:
        raise ValueError(f"vocab is missing: how many entries the vocabulary has that its {law.units} are of")
    if not all(isinstance(warning, str) for warning in law.warnings):
        raise ValueError("warnings must be texts")
    if not isinstance(law.deviations, dict) or not set(law.deviations) <= set(CONSTANTS):
        raise ValueError("deviations must be of its constants")
    if not all(isinstance(value, int | float) for value in law.deviations.values()):
        raise ValueError("deviations must be numbers")
    ends = law.operations
    if ends is not None and (len(ends) != 2 or not 0 < ends[0] <= ends[1] < math.inf):
        raise ValueError("operations must be the least and the most of its runs")
    for constants in ([getattr(law, name) for name in CONSTANTS], *law.draws):
        named = dict(zip(CONSTANTS, constants, strict=False))
        wrong = [name for name, value in named.items() if not (0 < value < math.inf or (name == "E" and value == 0))]
        if wrong or len(constants) != len(CONSTANTS):
            raise ValueError(f"{', '.join(wrong) or 'a draw'} must be a number above zero")
    if not all(minimised(Law("a draw", *draw), *WIDEST, least=0) for draw in law.draws):
        raise ValueError("a draw has no best size of any budget")
    if not minimised(law, *(law.operations or CHINCHILLA), least=1) or not minimised(law, *WIDEST, least=0):
        raise ValueError("its constants have no best size of as many operations as its runs had")
    if law.undetermined:
        raise ValueError(f"its runs follow none: {law.undetermined}")


def minimised(law: Law, *budgets: float, least: float) -> bool:
    """True if the best size of every budget and its tokens are numbers above `least`."""
    try:
        return all(least < value < math.inf for flops in budgets for value in law.optimum(flops))
    except (OverflowError, ZeroDivisionError):
        return False
