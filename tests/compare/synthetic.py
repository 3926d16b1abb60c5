"""Sweeps whose effects are known, for tests of what is said of them."""

import math
from collections.abc import Callable, Iterable
from itertools import product

import numpy

from gptx.compare.effects import Effect, Effects
from gptx.compare.outcomes import Comparison, Outcome

HEADLINE = 25  # words at most
SIZE = 10**8  # bytes at the peak
FACTS = {"seconds": 60.0, "tokens_per_second": 12_000.0, "peak_bytes": SIZE, "steps": 1000}


def sweep(factors: dict[str, list[str]], cells: Iterable[tuple[str, ...]], worth: Callable[[dict], float | None], *,
          seeds: int = 3, noise: float = 0.004, facts: Callable[[dict], dict] = lambda levels: {}, **more) -> Comparison:  # fmt: skip
    """Runs at some levels, worth 2.5 and what `worth` says (None is running, NaN diverged), the luck of their seed and
    some noise; `facts` are an outcome's own."""
    draw = numpy.random.default_rng(0)
    luck, outcomes = draw.normal(0, 0.03, seeds), []
    for levels in (dict(zip(factors, cell, strict=True)) for cell in cells):
        for seed in range(seeds):
            shift, shake = worth(levels), float(draw.normal(0, noise))
            value = None if shift is None else 2.5 + shift + float(luck[seed]) + shake
            state = "running" if value is None else "failed" if math.isnan(value) else "finished"
            outcomes.append(Outcome(levels, seed, state, value, **(FACTS | facts(levels))))
    return Comparison("validation/loss", factors, outcomes, **({"environment": {"tokenizer": "bytes"}} | more))


def grid(factors: dict[str, list[str]], worth: Callable[[dict], float | None], **more) -> Comparison:
    return sweep(factors, product(*factors.values()), worth, **more)


def ablation(factors: dict[str, list[str]], worth: dict[str, float], *, also: Iterable[tuple] = (), **more) -> Comparison:  # fmt: skip
    """The first levels, an arm for each further one, and `also`; a level changes the loss by its `worth`."""
    base = tuple(levels[0] for levels in factors.values())
    arms = [(*base[:i], level, *base[i + 1 :]) for i, each in enumerate(factors.values()) for level in each[1:]]
    return sweep(factors, [base, *arms, *also], adding(worth), **more)


def adding(worth: dict[str, float]) -> Callable[[dict], float]:
    return lambda levels: sum(worth.get(level, 0.0) for level in levels.values())


def means(comparison: Comparison, **levels: str) -> float:
    """The mean of the runs at some levels, with _ for a dot in a key."""
    some = {name.replace("__", "."): level for name, level in levels.items()}
    return float(numpy.mean([x.value for x in comparison.outcomes if some.items() <= x.levels.items()]))


def by_change(found: Effects) -> dict[str, Effect]:
    """The effects by the levels that they change: muon, or muon x true."""
    return {" x ".join(level for _, level in effect.things): effect for effect in found.effects}


def covers(effect: Effect, truth: float) -> bool:
    return effect.estimate.low <= truth <= effect.estimate.high


def star(adamw: dict[str, float], lion: dict[str, float], **more) -> Comparison:
    """AdamW at nine cells, which differ from the usual rates (1 of each kind) in one of three, lion at three; `adamw` and
    `lion` are the losses of some cells (all=3, embeddings=9), where others have 0.3."""
    rates = [f"parametrization.rates.{kind}" for kind in ("all", "embeddings", "vectors")]
    factors = {"optim": ["adamw", "lion"], rates[0]: ["0.333", "1", "3"], **{rate: ["0.333", "1", "3", "9"] for rate in rates[1:]}}  # fmt: skip
    cells = [("adamw", *["1"] * i, level, *["1"] * (2 - i)) for i in range(3) for level in factors[rates[i]] if level != "1"]  # fmt: skip
    cells += [("adamw", "1", "1", "1"), *(("lion", level, "1", "1") for level in factors[rates[0]])]

    def loss(levels):
        apart = [f"{rate.rpartition('.')[2]}={levels[rate]}" for rate in rates if levels[rate] != "1"]
        return {"adamw": adamw, "lion": lion}[levels["optim"]].get((apart or ["all=1"])[0], 0.3)

    return sweep(factors, cells, loss, question={"vary": "optim", "best_over": rates, "baseline": "adamw"}, **more)
