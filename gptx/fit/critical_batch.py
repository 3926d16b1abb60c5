"""The critical batch size: what a larger batch costs in tokens and saves in steps, until the same loss."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from gptx.compare.estimates import estimate
from gptx.fit import critical_batch_views as views
from gptx.fit.batches import BatchSize, Sweep, read_sweep
from gptx.fit.page import Fitted, deliver, place_for
from gptx.fit.tradeoff import FEWEST_SIZES, RULES, Tradeoff, above_fewest, exponent, fit_tradeoff, without_each
from gptx.units.phrases import count, joined

_OVERHEAD = 0.2  # tokens above the fewest, at the critical batch size of arXiv:2410.21676


def critical_batch(*folders: str, out: str = "", readme: str = "") -> None:
    """Fit what a larger batch costs in tokens and saves in steps: the critical batch size.

      python -m gptx fit critical_batch runs/critical_batch
      python -m gptx fit critical_batch runs/another_seed experiments/critical_batch/fit.json out=both

    FOLDERS hold runs of several batch sizes (batch.tokens), at several learning rates (optim.lr) each, that were
    trained to a target (observe=target), as those of experiment=critical_batch; one with observe=noise_scale may be
    among them. The fit.json of an earlier fit stands for its runs.

    Options:
    out: a folder for fit.json and fit.png, or a figure (.png, .svg); the first of FOLDERS if empty
    readme: an experiment's folder, such as experiments/critical_batch, whose page is written
    """
    place = place_for(folders, out, readme, "critical_batch")
    sweep = read_sweep([Path(folder) for folder in folders])
    deliver(_fitted(sweep), place, readme, sweep.cells)


def _fitted(sweep: Sweep) -> Fitted:
    """The fit of a sweep. Raises ValueError where too few batch sizes reached the target, or leave Bcrit open."""
    _check(sweep)
    found = sweep.known
    batches, steps, tokens = ([getattr(size, name) for size in found] for name in ("batch", "steps", "tokens"))
    law = fit_tradeoff(batches, steps)
    if law.low <= 0 and math.isinf(law.high):
        raise ValueError("the runs do not determine a critical batch size: any size is inside its 95 % interval; add "
                         f"batch sizes ({len(found)} so far) or seeds")  # fmt: skip
    each, without = _by_seed(sweep, law.critical), without_each(batches, steps)
    overhead = {"law": _OVERHEAD * law.critical, "measured": above_fewest(batches, tokens, _OVERHEAD)}
    sides = _sides(sweep, law.critical)
    facts = {
        "target": sweep.target,
        "smin_updates": law.fewest_steps,
        "emin_tokens": law.fewest_tokens,
        "critical_batch_tokens": law.critical,
        "interval": [law.low, law.high if math.isfinite(law.high) else "inf"],
        "misfit": law.misfit,
        "without_each": without,
        "overhead_20_percent": overhead,
        "best": [{"batch": size.batch, "rate": size.best.rate, "between_rates": size.rate, "edge": size.edge,
                  "updates": size.steps, "tokens": size.tokens} for size in found],
        "seeds": each,
        "noise_scale": list(map(asdict, sweep.noise)),
        "waiting": sweep.waiting,
        "runs": list(map(asdict, sweep.runs)),
    }  # fmt: skip
    return Fitted(
        headline=f"The critical batch size is {law.critical:,.0f} tokens (95 % interval {_span(law.low, law.high)}): a "
        f"loss of {sweep.target:g} takes at least {law.fewest_steps:,.0f} steps and at least {law.fewest_tokens:,.0f} "
        "tokens, and twice of both at this batch size.",
        sentences=[*_holds(law, sweep, without, overhead), *_powers(sides, each, sweep.step), *_left_out(sweep)],
        tables=views.tradeoff_tables(law, sweep.target, found, each),
        facts=facts,
        figure=lambda file: views.tradeoff_figure(law, sweep.target, found, file),
        caption="steps against tokens to the target, and the best learning rate, by batch size",
        environment=sweep.environment,
    )


def _check(sweep: Sweep) -> None:
    found, reached = sweep.known, sweep.reached
    if not reached:
        lost = f"; {count(len(sweep.waiting), 'run')} not at its end" if sweep.waiting else ""
        raise ValueError(f"no run reached the target, a validation loss of {sweep.target:g}; raise observe.target.loss "
                         f"or steps{lost}")  # fmt: skip
    if len(found) < FEWEST_SIZES <= len(reached):
        others = views.batches_in_words(size for size in reached if size not in found)
        raise ValueError(f"the best learning rate is known at {len(found)} batch sizes, and {FEWEST_SIZES} are needed: "
                         f"at {others} tokens per step some rates have not ended; finish the sweep")  # fmt: skip


def _by_seed(sweep: Sweep, critical: float) -> list[dict]:
    """What the runs of each seed say alone, None where they cannot; nothing where there is one seed.

    `powers` are those of the batch size in the best learning rate on either side of the critical size, and
    `updates_by_rule` the largest ratio of a rule's steps to the best rate's, up to the critical size.
    """
    rows = []
    for seed in sweep.seeds if len(sweep.seeds) > 1 else ():
        own = sweep.of(seed)
        powers = {side: power and power[0] for side, (_, power) in _sides(own, critical).items()}
        costs = {rule: _worst(own.known, critical, power) for rule, power in RULES.items()}
        rows.append({"seed": seed, **_alone(own.known), "powers": powers, "updates_by_rule": costs})
    return rows


def _alone(found: list[BatchSize]) -> dict[str, float]:
    try:
        law = fit_tradeoff([size.batch for size in found], [size.steps for size in found])
    except ValueError:
        return {}
    return {"critical_batch_tokens": law.critical, "misfit": law.misfit}


def _sides(sweep: Sweep, critical: float) -> dict[str, tuple[list[int], tuple[float, float] | None]]:
    """On either side of the critical size: the sizes whose best rate lies inside the grid of rates, and the exponent of
    the batch size in it with what that grid leaves open, None for one size."""
    found = {}
    for side in ("Below", "Above"):
        here = [size for size in sweep.known if not size.edge and (size.batch <= critical) is (side == "Below")]
        batches = [size.batch for size in here]
        found[side] = batches, exponent(batches, [s.rate for s in here], sweep.step) if len(here) > 1 else None
    return found


def _worst(found: list[BatchSize], critical: float, power: float) -> float | str | None:
    """The largest ratio of steps at a rule's rate, from the smallest size's best, to those at the best rate."""
    ratios = [views.ruled(size, found[0], power)[1] for size in found if size.batch <= critical]
    if not ratios or None in ratios:
        return None
    most = max(ratio for ratio in ratios if ratio is not None)
    return "target not reached" if math.isinf(most) else most


def _span(low: float, high: float) -> str:
    """An interval that may be open at one end."""
    if low <= 0:
        return f"at most {high:,.0f}"
    return f"{low:,.0f} to {high:,.0f}" if math.isfinite(high) else f"at least {low:,.0f}"


def _holds(law: Tradeoff, sweep: Sweep, without: list[float | None], overhead: dict) -> Iterator[str]:
    """How well the law holds, and what else says which batch is too large."""
    ends, largest = [value for value in without if value is not None], sweep.known[-1].batch
    held = f"; without one of the {len(without)} batch sizes it is {_span(min(ends), max(ends))}" if ends else ""
    lost = f", and without one of {len(without) - len(ends)} there is none" if len(ends) < len(without) else ""
    yield f"Steps deviate from the law by {100 * law.misfit:.0f} % (standard deviation){held}{lost}."
    measured = overhead["measured"]
    seen = f"at {measured:,.0f} tokens per step" if measured else f"beyond the largest, {largest:,}"
    yield (
        f"{100 * _OVERHEAD:.0f} % more tokens than the fewest, the threshold of arXiv:2410.21676, are needed {seen} as "
        f"measured, and at {overhead['law']:,.0f} by the law."
    )
    for noise in sweep.noise:
        yield (
            f"The simple noise scale at the end of a run with {noise.batch:,} tokens per step and learning rate "
            f"{noise.rate:g} (seed {noise.seed}) is {noise.tokens:,.0f} tokens (90 % band "
            f"{_span(noise.low, noise.high)}), {noise.tokens / law.critical:.2g} times the critical batch size."
        )


def _powers(sides: dict, each: list[dict], step: float) -> Iterator[str]:
    """The exponent of the batch size in the best learning rate, below and above the critical size."""
    for side, (batches, known) in sides.items():
        if known is None:
            yield f"{side} the critical batch size, {count(len(batches), 'best rate')} inside the grid give no power."
            continue
        chance = _chance([one["powers"][side] for one in each])
        doubt = math.hypot(known[1], chance or 0.0)  # on the safe side: a seed's power has the grid's error too
        close = [name for name, expected in RULES.items() if abs(known[0] - expected) <= doubt]
        power, low, high = map(views.spelt, (known[0], known[0] - doubt, known[0] + doubt))
        yield (
            f"{side} the critical batch size ({batches[0]:,} to {batches[-1]:,}) the best learning rate grows as the "
            f"batch size to the power {power} ({low} to {high}), which allows {joined(close, 'or') or 'no rule'} "
            f"(linear 1, square root 0.5, none 0); the interval is what a grid of factor {step:.3g} leaves open, "
            f"{'chance not counted' if chance is None else f'with {chance:.2f} for chance by single seeds added'}."
        )


def _chance(powers: list[float | None]) -> float | None:
    """Half the 95 % interval of the mean power over seeds, Student's t; None for fewer than two."""
    known = [power for power in powers if power is not None]
    mean = estimate(known)
    return mean.high - mean.mean if mean and mean.high is not None else None


def _left_out(sweep: Sweep) -> Iterator[str]:
    """Which sizes, rates and runs do not count, and why."""
    found, reached = sweep.known, sweep.reached
    if edges := views.batches_in_words(size for size in found if size.edge):
        yield f"At {edges} the best learning rate is the first or last that was tried, and not used for the powers."
    gone = views.batches_in_words(size for size in sweep.sizes if size not in reached)
    nowhere = f", and at {gone} tokens per step no learning rate did with every seed" if gone else ""
    lost, runs = [run.updates for run in sweep.runs].count(None), count(len(sweep.runs), "run")
    yield f"{lost} of {runs} did not reach the target{nowhere}; a learning rate counts where every seed did."
    yield from _unfinished(sweep)


def _unfinished(sweep: Sweep) -> Iterator[str]:
    rates = len(sweep.rates)
    if fewer := joined(f"{size.batch:,} ({len(size.arms)})" for size in sweep.sizes if len(size.arms) < rates):
        yield f"Of {count(rates, 'learning rate')} fewer ended at {fewer} tokens per step."
    if unknown := views.batches_in_words(size for size in sweep.reached if size not in sweep.known):
        yield f"Not fitted, since the best learning rate may be one that only other sizes tried: {unknown}."
    if sweep.waiting:
        yield f"Left out, since not at their end: {joined(sweep.waiting)}."
