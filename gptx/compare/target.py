"""Steps and seconds to a target, by the rule of speed-run leaderboards: the mean of the seeds is surely below it."""

import math
from collections.abc import Mapping
from statistics import fmean, median, stdev

import numpy

from gptx.compare.factors import described_by, grouped
from gptx.compare.outcomes import Comparison
from gptx.compare.words import label
from gptx.runs.run import Run
from gptx.show.table import Table

_SURE = 0.01  # the p-value, one-sided
_NEVER, _FEW = "not reached", "one seed"


def time_to(target: str, runs: list[Run], comparison: Comparison) -> Table:
    """The first common step at which each arm's mean is beyond the target, with its seconds. ValueError for none."""
    metric, sign = comparison.metric, comparison.sign
    beyond = "below" if sign > 0 else "above"
    try:
        goal = float(target)
    except ValueError:
        raise ValueError(f"target={target}: a value of {metric}, such as 1.8") from None
    ended = [run for run in runs if run.state == "finished" and not run.role]
    arms = grouped(ended, lambda run: tuple(described_by(run).get(name, "-") for name in comparison.factors))
    rows = [(*levels, *_reaches(goal, some, metric, sign), str(len(some))) for levels, some in arms.items()]
    if (told := {row[-3] for row in rows}) <= {_NEVER, _FEW}:
        raise ValueError(f"target={target}: {_why_not(ended, metric, sign, told)}")
    heads = (*map(label, comparison.factors), "steps", "seconds in steps", "n")
    note = f"The first step that an arm's runs have in common at which their mean is {beyond} the target: one-sided t "
    note += f"test, p < {_SURE}. Only steps with a value of {metric} are looked at."
    return Table(f"Steps to {metric.replace('/', ' ')} {goal:g}", heads, rows, note, len(comparison.factors))


def _why_not(runs: list[Run], metric: str, sign: int, told: set[str]) -> str:
    if told == {_FEW}:
        return "at least two seeds an arm are needed, since their mean must pass a test"
    best = min((sign * run.metrics[metric][1]).min(initial=math.inf) for run in runs)
    beyond = "below" if sign > 0 else "above"
    return f"no arm's mean of {metric} is {beyond} it (p < {_SURE}); the best value of a run is {sign * best:.4f}"


def _reaches(goal: float, runs: list[Run], metric: str, sign: int) -> tuple[str, str]:
    """The step at which the runs of an arm reach a goal, and the median of their seconds until then."""
    if len(runs) < 2:
        return _FEW, "-"
    curves = {run.seed: dict(zip(*(column.tolist() for column in run.metrics[metric]), strict=True)) for run in runs}
    step = steps_to(goal, curves, sign)
    if step is None:
        return _NEVER, "-"
    clocks = [run.clocks for run in runs if len(run.clocks["time"])]
    spent = [float(numpy.interp(step, clock["steps"], clock["time"])) for clock in clocks]
    return f"{step:,.0f}", f"{median(spent):,.1f}" if spent else "-"


def steps_to(target: float, curves: Mapping[int, Mapping[int, float]], sign: int) -> int | None:
    """The first step at which the mean over seeds is below (above, where higher is better) the target: a one-sided t
    test with p < 0.01 at one common step. `curves`: seed -> step -> value. None where that never is so."""
    common = set.intersection(*map(set, curves.values())) if len(curves) > 1 else set()
    values = {step: [sign * curve[step] for curve in curves.values()] for step in sorted(common)}
    return next((step for step, each in values.items() if _below(each, sign * target)), None)


def _below(values: list[float], target: float) -> bool:
    from scipy.special import stdtr

    if not all(map(math.isfinite, values)) or fmean(values) >= target:
        return False
    error = stdev(values) / math.sqrt(len(values))
    return not error or float(stdtr(len(values) - 1, (fmean(values) - target) / error)) < _SURE
