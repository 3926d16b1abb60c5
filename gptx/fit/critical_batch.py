"""The critical batch size: what a larger batch costs in tokens and saves in updates, until the same loss."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from gptx.fit.batches import Size, Sweep, read
from gptx.fit.critical_batch_figure import figure
from gptx.fit.critical_batch_seeds import Alone, chance, power, seeds, sides, spelt, table
from gptx.fit.critical_batch_tables import rules, tradeoff
from gptx.fit.page import Fitted, asked, deliver
from gptx.fit.tradeoff import FEWEST, RULES, Tradeoff, above_fewest, fit, left_out
from gptx.units.phrases import count, joined

OVERHEAD = 0.2  # tokens above the fewest, at the critical batch size of arXiv:2410.21676


def critical_batch(*folders: str, out: str = "", readme: str = "") -> None:
    """Fit what a larger batch costs in tokens and saves in updates until the same loss, and print the critical size.

    FOLDERS hold runs of several batch sizes (batch.tokens), at several rates (optim.lr) each, that were trained to a
    target (observe=target), as those of experiment=critical_batch; one with observe=noise_scale may be among them. The
    fit.json of an earlier fit stands for its runs, so that a seed can be added when those of the others are gone.
    `out` is a folder for fit.json and fit.png, or a figure's file (.png, .svg); the first of FOLDERS if not given.
    `readme` is an experiment's folder, such as experiments/critical_batch, whose page is written.
    """
    place = asked(folders, out, readme, "critical_batch")
    sweep = read([Path(folder) for folder in folders])
    deliver(fitted(sweep), place, readme, sweep.cells)


def fitted(sweep: Sweep) -> Fitted:
    """The fit of a sweep, as it is told. Raises ValueError where too few of its batch sizes reached the target, or they
    leave the critical one open."""
    found = sizes(sweep)
    law = fit([size.batch for size in found], [size.updates for size in found])
    if law.low <= 0 and math.isinf(law.high):
        raise ValueError(f"the runs do not determine a critical batch size: any size is inside its 95 % interval; add "
                         f"batch sizes ({len(found)} so far) or seeds")  # fmt: skip
    each = seeds(sweep, law.critical)
    return Fitted(
        headline=headline(law, sweep),
        sentences=list(sentences(law, sweep, found, each)),
        tables=[tradeoff(law, sweep.target, found), rules(found), *([table(each, law.critical)] if each else [])],
        facts=facts(law, sweep, found, each),
        figure=partial(figure, law, sweep.target, found),
        caption="updates against tokens to the target, and the best rate, by batch size",
        environment=sweep.environment,
    )


def sizes(sweep: Sweep) -> list[Size]:
    """The batch sizes that reached the target, of those whose best rate is known. Raises ValueError where none did."""
    found = [size for size in sweep.sizes if size.reached]
    if not found:
        lost = f"; {count(len(sweep.waiting), 'run')} not at its end" if sweep.waiting else ""
        raise ValueError(f"no run reached the target, a validation loss of {sweep.target:g}; raise observe.target.loss "
                         f"or steps{lost}")  # fmt: skip
    known = [size for size in found if not sweep.unfinished(size)]
    if len(known) < FEWEST <= len(found):
        others = joined(f"{size.batch:,}" for size in found if size not in known)
        raise ValueError(f"the best rate is known at {len(known)} batch sizes, and {FEWEST} are needed: at {others} "
                         "tokens an update rates have not ended that others have tried; finish the sweep")  # fmt: skip
    return known


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


def sentences(law: Tradeoff, sweep: Sweep, found: list[Size], each: list[Alone]) -> Iterator[str]:
    """How well the law holds, what else says how large is too large, and which rule the best rates follow."""
    without = left_out([size.batch for size in found], [size.updates for size in found])
    ends = [value for value in without if value is not None]
    held = f"; without one of the {len(found)} batch sizes it is {span(min(ends), max(ends))}" if ends else ""
    lost = f", and without one of {len(without) - len(ends)} there is none" if len(ends) < len(without) else ""
    yield f"Updates stand {100 * law.misfit:.0f} % (standard deviation) off the law{held}{lost}."
    measured = above_fewest([size.batch for size in found], [size.tokens for size in found], OVERHEAD)
    seen = f"at {measured:,.0f} tokens an update" if measured else f"beyond the largest, {found[-1].batch:,}"
    yield (
        f"{100 * OVERHEAD:.0f} % more tokens than the fewest, the threshold of arXiv:2410.21676, are needed {seen} as "
        f"measured, and at {law.overhead(OVERHEAD):,.0f} by the law."
    )
    for noise in sweep.noise:
        yield (
            f"The simple noise scale that a run at {noise.batch:,} tokens an update and a rate of {noise.rate:g} (seed "
            f"{noise.seed}) ended with is {noise.tokens:,.0f} tokens (90 % band {span(noise.low, noise.high)}), "
            f"{noise.tokens / law.critical:.2g} times the critical batch size."
        )
    yield from exponents(law, sweep, found, each)
    edges = [f"{size.batch:,}" for size in found if size.edge]
    if edges:
        yield (
            f"At {joined(edges)} the best rate is the first or last that was tried: a better one may lie beyond, and "
            "the powers leave them out."
        )
    gone = [f"{size.batch:,}" for size in sweep.sizes if not size.reached]
    nowhere = f", and at {joined(gone)} tokens an update no rate did with every seed" if gone else ""
    given_up = sum(run.updates is None for run in sweep.runs)
    yield (
        f"{given_up} of {count(len(sweep.runs), 'run')} did not reach the target{nowhere}; a rate counts where every "
        "seed did."
    )
    fewer = [f"{size.batch:,} ({len(size.arms)})" for size in sweep.sizes if len(size.arms) < len(sweep.rates)]
    if fewer:
        yield f"Of {count(len(sweep.rates), 'rate')} fewer came to their end at {joined(fewer)} tokens an update."
    unfinished = [f"{size.batch:,}" for size in sweep.sizes if size.reached and sweep.unfinished(size)]
    if unfinished:
        yield f"Not fitted, since the best rate may be one that others tried and it did not: {joined(unfinished)}."
    if sweep.waiting:
        yield f"Left out, since not at their end: {joined(sweep.waiting)}."


def exponents(law: Tradeoff, sweep: Sweep, found: list[Size], each: list[Alone]) -> Iterator[str]:
    """The exponent of the batch size in the best rate, below and above the critical one."""
    for side, here in sides(found, law.critical).items():
        known = power(here, sweep.step)
        if known is None:
            yield (
                f"{side} the critical batch size, {count(len(here), 'size')} with a best rate inside the grid of rates "
                "cannot say how it grows."
            )
            continue
        by_seeds = chance(each, side)
        doubt = math.hypot(known[1], by_seeds or 0.0)  # on the safe side: a seed's power has the grid's error too
        close = [name for name, expected in RULES.items() if abs(known[0] - expected) <= doubt]
        said = f"which allows {joined(close, 'or')}" if close else "which is none of them"
        luck = "chance not counted" if by_seeds is None else f"with {by_seeds:.2f} for chance by single seeds added"
        low, high = spelt(known[0] - doubt), spelt(known[0] + doubt)
        yield (
            f"{side} the critical batch size ({here[0].batch:,} to {here[-1].batch:,}) the best rate goes as the batch "
            f"to the power {spelt(known[0])} ({low} to {high}), {said} (linear 1, square root 0.5, none 0); the "
            f"interval is what rates a factor {sweep.step:.3g} apart leave open, {luck}."
        )


def facts(law: Tradeoff, sweep: Sweep, found: list[Size], each: list[Alone]) -> dict:
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
        "seeds": [one.facts() for one in each],
        "noise_scale": [asdict(noise) for noise in sweep.noise],
        "waiting": list(sweep.waiting),
        "runs": [asdict(run) for run in sweep.runs],
    }  # fmt: skip
