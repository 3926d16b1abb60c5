"""The critical batch size: what a larger batch costs in tokens and saves in updates, until the same loss."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from gptx.compare.statistics import interval
from gptx.compare.tables import Table
from gptx.compare.words import count, joined
from gptx.fit.batches import Size, Sweep, read
from gptx.fit.tradeoff import Tradeoff, above_fewest, exponent, fit, left_out

OVERHEAD = 0.2  # tokens above the fewest, at the critical batch size of arXiv:2410.21676
RULES = {"linear": 1.0, "square root": 0.5, "none": 0.0}  # exponents of the batch size in the rate


def sizes(sweep: Sweep) -> list[Size]:
    """The batch sizes that reached the target. Raises ValueError where none did."""
    found = [size for size in sweep.sizes if size.reached]
    if not found:
        lost = f"; {count(len(sweep.waiting), 'run')} not at its end" if sweep.waiting else ""
        raise ValueError(f"no run reached the target, a validation loss of {sweep.target:g}; raise observe.target.loss "
                         f"or steps{lost}")  # fmt: skip
    return found


def headline(law: Tradeoff, sweep: Sweep) -> str:
    return (f"The critical batch size is {law.critical:,.0f} tokens (95 % interval {span(law.low, law.high)}): a "
            f"validation loss of {sweep.target:g} takes at least {law.fewest_updates:,.0f} updates and at least "
            f"{law.fewest_tokens:,.0f} tokens, and at this batch size twice of both.")  # fmt: skip


def span(low: float, high: float) -> str:
    """An interval that may be open at an end."""
    if low <= 0 and math.isinf(high):
        return "open at both ends"
    if low <= 0:
        return f"at most {high:,.0f}"
    return f"{low:,.0f} to {high:,.0f}" if math.isfinite(high) else f"at least {low:,.0f}"


def sentences(law: Tradeoff, sweep: Sweep, found: list[Size]) -> Iterator[str]:
    """How well the law holds, what other measures of a critical batch size say, and which rule the best rates follow."""
    batches, updates = [size.batch for size in found], [size.updates for size in found]
    without = left_out(batches, updates)
    ends = [value for value in without if value is not None]
    held = f"; without one of the {len(found)} batch sizes it is {span(min(ends), max(ends))}" if ends else ""
    lost = f", and without one of {len(without) - len(ends)} there is none" if len(ends) < len(without) else ""
    yield f"Updates stand {100 * law.misfit:.0f} % (standard deviation) off the law{held}{lost}."
    tokens = [size.tokens for size in found]
    measured = above_fewest(batches, tokens, OVERHEAD)
    seen = f"at {measured:,.0f} tokens an update" if measured else f"beyond the largest, {batches[-1]:,}"
    yield (f"{100 * OVERHEAD:.0f} % more tokens than the fewest, the threshold of arXiv:2410.21676, are needed {seen} as "
           f"measured, and at {law.overhead(OVERHEAD):,.0f} by the law.")  # fmt: skip
    for noise in sweep.noise:
        yield (f"The simple noise scale that a run at {noise.batch:,} tokens an update and a rate of {noise.rate:g} ended "
               f"with is {noise.tokens:,.0f} tokens (90 % band {span(noise.low, noise.high)}), "
               f"{noise.tokens / law.critical:.2g} times the critical batch size.")  # fmt: skip
    yield from exponents(law, sweep, found)
    edges = [f"{size.batch:,}" for size in found if size.edge]
    if edges:
        yield f"At {joined(edges)} the best rate is the first or last that was tried: a better one may lie beyond."
    gone = [f"{size.batch:,}" for size in sweep.sizes if not size.reached]
    given_up = sum(run.updates is None for run in sweep.runs)
    yield (f"{given_up} of {count(len(sweep.runs), 'run')} did not reach the target"
           f"{f', and at {joined(gone)} tokens an update no rate did with every seed' if gone else ''}; a rate counts "
           "where every seed did.")  # fmt: skip
    if sweep.waiting:
        yield f"Left out, since not at their end: {joined(sweep.waiting)}."


def exponents(law: Tradeoff, sweep: Sweep, found: list[Size]) -> Iterator[str]:
    """The exponent of the batch size in the best rate, below and above the critical one."""
    regions = {"below": [size for size in found if size.batch <= law.critical],
               "above": [size for size in found if size.batch > law.critical]}  # fmt: skip
    for side, here in regions.items():
        if len(here) < 2:
            yield f"{side.capitalize()} the critical batch size {'one size is' if here else 'no size is'} too few to say "\
                  "how the best rate grows."  # fmt: skip
            continue
        power, doubt = exponent([size.batch for size in here], [size.rate for size in here], sweep.step)
        close = [name for name, expected in RULES.items() if abs(power - expected) <= doubt]
        said = f"which allows {joined(close, 'or')}" if close else "which is none of them"
        yield (f"{side.capitalize()} the critical batch size ({here[0].batch:,} to {here[-1].batch:,}) the best rate goes "
               f"as the batch to the power {power:.2f} ± {doubt:.2f}, {said} (linear 1, square root 0.5, none 0); ± is "
               f"what rates a factor {sweep.step:.3g} apart leave open, seeds not counted.")  # fmt: skip


def tables(law: Tradeoff, sweep: Sweep, found: list[Size]) -> list[Table]:
    """Updates and tokens by batch size, and what each rule for the rate costs there."""
    rows = []
    for size in found:
        off = math.log(size.updates / law.updates(size.batch))
        rows.append((f"{size.batch:,}", f"{size.best.rate:g}{' (edge)' if size.edge else ''}", f"{size.rate:.2g}",
                     spread(size), f"{size.tokens:,.0f}", f"{law.updates(size.batch):,.0f}",
                     f"{100 * math.expm1(off):+.0f} %", str(len(size.best.runs))))  # fmt: skip
    columns = ("tokens an update", "best rate", "between rates", "updates", "tokens", "law's updates", "off it", "n")
    first = Table(f"To a validation loss of {sweep.target:g}", columns, rows,
                  "Updates: mean ± half a 95 % interval over seeds (Student's t), of the best rate tried. Between rates: "
                  "the best by a parabola in logs through it and its neighbours.")  # fmt: skip
    start = found[0]
    costs = [
        (f"{size.batch:,}", *(cost(size, start.rate * (size.batch / start.batch) ** power) for power in RULES.values()))
        for size in found
    ]
    heads = ("tokens an update", *(f"{name} ({power:g})" for name, power in RULES.items()))
    second = Table(f"What a rule from {start.batch:,} tokens an update would cost", heads, costs,
                   "The rate that the rule makes of the smallest batch size's best, and how many more updates than the "
                   "best of the rates tried it takes, between these along a line in logs; untried: outside of them.")  # fmt: skip
    return [first, second]


def spread(size: Size) -> str:
    """Mean updates of the best arm, with half of its interval where there are seeds to have one."""
    import numpy

    values = numpy.array([run.updates for run in size.best.runs])
    return f"{size.updates:,.0f}" + (f" ± {interval(values)[1]:,.0f}" if len(values) > 1 else "")


def cost(size: Size, rate: float) -> str:
    """A rate and how many more updates it takes than the best one of a batch size."""
    needed = size.at(rate)
    if needed is None:
        return f"{rate:.2g}: untried"
    return f"{rate:.2g}: {'target not reached' if math.isinf(needed) else f'{100 * (needed / size.updates - 1):+.0f} %'}"


def facts(law: Tradeoff, sweep: Sweep, found: list[Size]) -> dict:
    """Every run and every number, for fit.json."""
    return {
        "target": sweep.target,
        "smin_updates": law.fewest_updates,
        "emin_tokens": law.fewest_tokens,
        "critical_batch_tokens": law.critical,
        "interval": [law.low, law.high if math.isfinite(law.high) else "inf"],
        "misfit": law.misfit,
        "without_each": left_out([size.batch for size in found], [size.updates for size in found]),
        "overhead_20_percent": {
            "law": law.overhead(OVERHEAD),
            "measured": above_fewest([size.batch for size in found], [size.tokens for size in found], OVERHEAD),
        },
        "best": [{"batch": size.batch, "rate": size.best.rate, "between_rates": size.rate, "edge": size.edge,
                  "updates": size.updates, "tokens": size.tokens} for size in found],
        "noise_scale": [asdict(noise) for noise in sweep.noise],
        "waiting": list(sweep.waiting),
        "runs": [asdict(run) for run in sweep.runs],
    }  # fmt: skip
