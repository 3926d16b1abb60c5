"""The critical batch size: what a larger batch costs in tokens and saves in steps, until the same loss."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy

from gptx.estimate.differences import estimate
from gptx.fit import tradeoff
from gptx.fit.batches import BatchSize, Sweep, read_sweep
from gptx.fit.page import Fitted, deliver, framed, place_for
from gptx.fit.tradeoff import RULES, Tradeoff
from gptx.show.plots import AXES, COLOURS, DASHES, INK, save
from gptx.show.table import Table
from gptx.units.phrases import count, joined

_OVERHEAD = 0.2  # tokens above the fewest, at the critical batch size of arXiv:2410.21676
_NOT_REACHED, _PER_STEP = "target not reached", "tokens per step"


def critical_batch(*folders: str, out: str = "", readme: str = "") -> None:
    """Fit what a larger batch costs in tokens and saves in steps: the critical batch size.

      python -m gptx fit critical_batch runs/critical_batch
      python -m gptx fit critical_batch runs/another_seed experiments/critical_batch/fit.json out=both

    FOLDERS hold runs to a target (observe=target) at several batch sizes and learning rates, as those of
    experiment=critical_batch, some with observe=noise_scale. The fit.json of an earlier fit stands for its runs.

    Options:
    out: a folder for fit.json and fit.png, or a figure (.png, .svg); the first of FOLDERS if empty
    readme: an experiment's folder, such as experiments/critical_batch, whose page is written
    """
    place = place_for(folders, out, readme, "critical_batch")
    sweep = read_sweep([Path(folder) for folder in folders])
    deliver(_fitted(sweep), place, readme, sweep.cells)


def _fitted(sweep: Sweep) -> Fitted:
    """The fit of a sweep. Raises ValueError where too few batch sizes reached the target, or leave Bcrit open."""
    found, reached = sweep.known, sweep.reached
    if not reached:
        waiting = f"raise observe.target.loss or steps; {count(len(sweep.waiting), 'run')} not at the end"
        raise ValueError(f"no run reached the target, a validation loss of {sweep.target:g}; {waiting}")
    if len(found) < tradeoff.FEWEST_SIZES <= len(reached):
        known = f"the best learning rate is known at {len(found)} batch sizes, and {tradeoff.FEWEST_SIZES} are needed"
        raise ValueError(f"{known}: at {_spelt(reached, found)} tokens per step some rates have not ended; finish them")
    batches, steps, tokens = ([getattr(size, name) for size in found] for name in ("batch", "steps", "tokens"))
    law = tradeoff.fit_tradeoff(batches, steps)
    if law.low <= 0 and math.isinf(law.high):
        raise ValueError("the runs do not determine a critical batch size: any size is inside its 95 % interval; add "
                         f"batch sizes ({len(found)} so far) or seeds")  # fmt: skip
    each, without = _by_seed(sweep, law.critical), tradeoff.without_each(batches, steps)
    overhead = {"law": _OVERHEAD * law.critical, "measured": tradeoff.above_fewest(batches, tokens, _OVERHEAD)}
    title = f"To a validation loss of {sweep.target:g}"
    facts = {
        "target": sweep.target,
        "smin_updates": law.fewest_steps,
        "emin_tokens": law.fewest_tokens,
        "critical_batch_tokens": law.critical,
        "interval": [law.low, law.high if math.isfinite(law.high) else "inf"],
        "misfit": law.misfit,
        "without_each": without,
        "overhead_20_percent": overhead,
        "best": [{"batch": size.batch, "rate": size.tried, "between_rates": size.rate, "edge": size.edge,
                  "updates": size.steps, "tokens": size.tokens} for size in found],
        "seeds": each,
        "noise_scale": list(map(asdict, sweep.noise_scale)),
        "waiting": sweep.waiting,
        "runs": list(map(asdict, sweep.runs)),
    }  # fmt: skip
    return Fitted(
        headline=f"The critical batch size is {law.critical:,.0f} tokens (95 % interval {_span(law.low, law.high)}): a "
        f"loss of {sweep.target:g} takes at least {law.fewest_steps:,.0f} steps and at least {law.fewest_tokens:,.0f} "
        "tokens, and twice of both at this batch size.",
        sentences=[*_holds(law, sweep, without, overhead), *_powers(sweep, law.critical, each), *_left_out(sweep)],
        tables=list(_tables(law, title, found, each)),
        facts=facts,
        figure=lambda file: save(file, title, partial(_draw_tradeoff, law, found), partial(_draw_rates, law, found)),
        caption="steps against tokens to the target, and the best learning rate, by batch size",
        environment=sweep.environment,
    )


def _by_seed(sweep: Sweep, critical: float) -> list[dict]:
    """What each of several seeds says alone: powers of the batch size in the best rate, the most that a rule costs."""
    rows, seeds = [], sorted({*map(attrgetter("seed"), sweep.runs)})
    for seed in seeds if len(seeds) > 1 else ():
        own = replace(sweep, runs=[run for run in sweep.runs if run.seed == seed])
        law = tradeoff.law_or_none(*([*map(attrgetter(name), own.known)] for name in ("batch", "steps")))
        alone = {"critical_batch_tokens": law.critical, "misfit": law.misfit} if law else {}
        powers = {side: known and known[0] for side, (_, known) in own.sides(critical).items()}
        costs = {rule: _worst(own.known, critical, power) for rule, power in RULES.items()}
        rows.append({"seed": seed, **alone, "powers": powers, "updates_by_rule": costs})
    return rows


def _worst(found: list[BatchSize], critical: float, power: float) -> float | str | None:
    ratios = [size.ruled(found[0], power)[1] for size in found if size.batch <= critical]
    most = float(numpy.max(ratios)) if ratios else math.nan
    return None if math.isnan(most) else _NOT_REACHED if math.isinf(most) else most


def _span(low: float, high: float) -> str:
    return f"{max(low, 0):,.0f} to {high:,.0f}"


def _holds(law: Tradeoff, sweep: Sweep, without: list[float | None], overhead: dict) -> Iterator[str]:
    ends, measured = [value for value in without if value is not None], overhead["measured"]
    held = f"; without one of the {len(without)} batch sizes it is {_span(min(ends), max(ends))}" if ends else ""
    lost = f", and without one of {len(without) - len(ends)} there is none" if len(ends) < len(without) else ""
    yield f"Steps deviate from the law by {100 * law.misfit:.0f} % (standard deviation){held}{lost}."
    seen = f"at {measured:,.0f} tokens per step" if measured else f"beyond the largest, {sweep.known[-1].batch:,}"
    more = f"{100 * _OVERHEAD:.0f} % more tokens than the fewest, the threshold of arXiv:2410.21676"
    yield f"{more}, are needed {seen} as measured, and at {overhead['law']:,.0f} by the law."
    for noise in sweep.noise_scale:
        run = f"with {noise.batch:,} tokens per step and learning rate {noise.rate:g} (seed {noise.seed})"
        scale = f"{noise.tokens:,.0f} tokens (90 % band {_span(noise.low, noise.high)})"
        times = f"{noise.tokens / law.critical:.2g} times the critical batch size"
        yield f"The simple noise scale at the end of a run {run} is {scale}, {times}."


def _powers(sweep: Sweep, critical: float, each: list[dict]) -> Iterator[str]:
    for side, (batches, known) in sweep.sides(critical).items():
        if known is None:
            yield f"{side} the critical batch size, {count(len(batches), 'best rate')} inside the grid give no power."
            continue
        mean = estimate([one["powers"][side] for one in each if one["powers"][side] is not None])
        chance = mean.high - mean.mean if mean and mean.high is not None else None  # half the 95 % interval over seeds
        doubt = math.hypot(known[1], chance or 0.0)  # on the safe side: a seed's power has the grid's error too
        close = [name for name, expected in RULES.items() if abs(known[0] - expected) <= doubt]
        power, low, high = map(_power, (known[0], known[0] - doubt, known[0] + doubt))
        law = f"the best learning rate grows as the batch size to the power {power} ({low} to {high})"
        rules = f"which allows {joined(close, 'or') or 'no rule'} (linear 1, square root 0.5, none 0)"
        added = "chance not counted" if chance is None else f"with {chance:.2f} for chance by single seeds added"
        left = f"the interval is what a grid of factor {sweep.step:.3g} leaves open, {added}"
        yield f"{side} the critical batch size ({batches[0]:,} to {batches[-1]:,}) {law}, {rules}; {left}."


def _left_out(sweep: Sweep) -> list[str]:
    found, reached, rates = sweep.known, sweep.reached, len(sweep.rates)
    lost, runs = [run.updates for run in sweep.runs].count(None), count(len(sweep.runs), "run")
    edges = _spelt(filter(attrgetter("edge"), found))
    fewer = joined(f"{size.batch:,} ({len(size.rates)})" for size in sweep.sizes if len(size.rates) < rates)
    told = {
        "At {} the best learning rate is the first or last that was tried, and not used for the powers.": edges,
        "{} did not reach the target; a learning rate counts where every seed did.": f"{lost} of {runs}",
        "At {} tokens per step no learning rate did with every seed.": _spelt(sweep.sizes, reached),
        f"Of {count(rates, 'learning rate')} fewer ended at {{}} tokens per step.": fewer,
        "Not fitted, since the best learning rate may be one that only other sizes tried: {}.": _spelt(reached, found),
        "Left out, since not at their end: {}.": joined(sweep.waiting),
    }
    return [sentence.format(which) for sentence, which in told.items() if which]


def _spelt(sizes: Iterable[BatchSize], known: Sequence[BatchSize] = ()) -> str:
    """Batch sizes that are not `known`, in a sentence: 256, 512 and 1,024."""
    return joined(f"{size.batch:,}" for size in sizes if size not in known)


def _power(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _more(ratio: float | str | None) -> str:
    """How far a ratio is from one: +12 %."""
    if ratio is None or ratio != ratio:
        return "untried"
    return _NOT_REACHED if ratio in (math.inf, _NOT_REACHED) else f"{round(100 * (float(ratio) - 1)):+d} %"


def _tables(law: Tradeoff, title: str, found: list[BatchSize], each: list[dict]) -> Iterator[Table]:
    rows, costs = [], []
    for size in found:
        by_law = law.steps(size.batch)
        best = f"{size.tried:g}{' (edge)' if size.edge else ''}", f"{size.rate:.2g}"
        mean = f"{size.steps:,.0f}" + (f" ± {numpy.std(size.seeds, ddof=1):,.0f}" if len(size.seeds) > 1 else "")
        known = mean, f"{size.tokens:,.0f}", f"{by_law:,.0f}", _more(size.steps / by_law), str(len(size.seeds))
        rows.append((f"{size.batch:,}", *best, *known))
        ruled = (size.ruled(found[0], power) for power in RULES.values())
        costs.append((f"{size.batch:,}", *(f"{rate:.2g}: {_more(ratio)}" for rate, ratio in ruled)))
    heads: tuple[str, ...] = "best learning rate", "between rates", "steps", "tokens", "law's steps", "off", "n"
    note = "Steps: mean ± sd over n seeds at the best rate tried. Between rates: the best, by a parabola in logs."
    yield Table(title, (_PER_STEP, *heads), rows, note)
    heads = (_PER_STEP, *map("{} ({:g})".format, RULES, RULES.values()))
    note = (
        "The rule's learning rate, and how many more steps it takes than the best one; untried: outside of those tried."
    )
    yield Table(f"What a rule from {found[0].batch:,} tokens per step would cost", heads, costs, note)
    if each:
        heads = ("seed", "critical size", "off the law", "power below", "power above", *map("{} costs".format, RULES))
        alone_rows = []
        for one in each:
            alone = "-", "-"
            if "misfit" in one:
                alone = f"{one['critical_batch_tokens']:,.0f}", f"{100 * one['misfit']:.0f} %"
            powers, most = map(_power, one["powers"].values()), map(_more, one["updates_by_rule"].values())
            alone_rows.append((str(one["seed"]), *alone, *powers, *most))
        note = "Powers: of the batch size in the best learning rate, below and above the critical size."
        yield Table("Seed by seed", heads, alone_rows, f"{note} Costs: the most steps that a rule adds below it.")


def _draw_tradeoff(law: Tradeoff, found: list[BatchSize], axis: Any) -> None:
    batches = numpy.geomspace(found[0].batch / 2, 2 * found[-1].batch, 100)
    by_law = numpy.array([law.steps(batch) for batch in batches])
    axis.plot(by_law, by_law * batches, color=COLOURS[0], linewidth=1.6, label="(S/Smin - 1)(E/Emin - 1) = 1")
    for size in found:
        measured = numpy.array(size.seeds)
        axis.plot(measured, measured * size.batch, "o", color=COLOURS[1], markersize=3, alpha=0.5)
        axis.plot(size.steps, size.tokens, "o", color=COLOURS[1], markersize=6)
        place = (size.steps, size.tokens), (6, 4)
        axis.annotate(f"{size.batch:,}", *place, textcoords="offset points", fontsize=8, color=INK)
    dashed = {"color": AXES, "linestyle": "--", "linewidth": 1}
    axis.axvline(law.fewest_steps, label=f"Smin {law.fewest_steps:,.0f}", **dashed)
    axis.axhline(law.fewest_tokens, label=f"Emin {law.fewest_tokens:,.0f}", **dashed)
    framed(axis, "tokens per step at each point", "steps", "tokens")


def _draw_rates(law: Tradeoff, found: list[BatchSize], axis: Any) -> None:
    batches = [size.batch for size in found]
    for look, (name, power) in enumerate(RULES.items()):
        if power:
            rates = [size.ruled(found[0], power)[0] for size in found]
            axis.plot(batches, rates, color=COLOURS[look + 2], linestyle=DASHES[look + 1], label=f"{name} rule")
    tried, between = [size.tried for size in found], [size.rate for size in found]
    axis.plot(batches, tried, "o", color=COLOURS[1], fillstyle="none", label="best of those tried")
    axis.plot(batches, between, "o-", color=COLOURS[0], markersize=4, label="between them, by a parabola")
    axis.axvline(law.critical, color=AXES, linestyle="--", linewidth=1, label=f"Bcrit {law.critical:,.0f}")
    framed(axis, "the best learning rate", _PER_STEP, "peak learning rate")
