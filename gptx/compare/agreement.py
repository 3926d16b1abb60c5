"""Whether two runs recorded the same numbers, to the bit."""

import itertools
import re
from pathlib import Path

import numpy

from gptx.runs.metrics import Metrics
from gptx.runs.run import Run, find


def single_run(folder: str) -> Run:
    """The run in a folder. Raises ValueError if there is none, if there are several, or if it did not begin."""
    found = find([Path(folder)])
    if len(found) > 1:
        raise ValueError(f"{folder}: there are {len(found)} runs below it; name one, such as {found[0].folder}")
    if found[0].problem:
        raise ValueError(found[0].problem)
    if not found[0].config:
        raise ValueError(f"{folder}: the run there did not begin, and there is nothing to compare")
    return found[0]


def agreement(a: Metrics, b: Metrics) -> str:
    """Whether all numbers that both recorded are identical (speeds aside), or from which step on they differ."""
    numbers = re.compile(r"validation/|train/(?!tokens_per_second$)")
    keys = [key for key in filter(numbers.match, a.columns) if key in b.columns]
    differing: dict[str, tuple[float, float]] = {}  # the first step, the largest difference
    both = 0
    for key in keys:
        steps, mine, theirs = numpy.intersect1d(a[key][0], b[key][0], return_indices=True)
        x, y = a[key][1][mine], b[key][1][theirs]
        other = (x != y) & ~(numpy.isnan(x) & numpy.isnan(y))
        both = max(both, len(steps))
        if other.any():
            differing[key] = float(steps[other][0]), float(numpy.nanmax(numpy.abs(x - y)[other]))
    if not both:
        return "no step was recorded by both"
    if not differing:
        more = "" if a.steps == b.steps else f", one goes on to {max(a.steps, b.steps):,}"
        return f"identical: the same to the bit in all {both:,} steps that both recorded ({', '.join(keys)}){more}"
    first = int(min(differing.values())[0])
    largest = (f"{key} by up to {most:.2g}" for key, (_, most) in itertools.islice(differing.items(), 4))
    since = f"the same up to step {first - 1:,}, then different" if first > 1 else "different from the first step on"
    return f"not identical: {since}, {', '.join(largest)}"
