"""What page.js draws, as JSON: panels thinned and rounded, clocks, the legend, and the facts of every arm."""

import json
import math
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy

from gptx.compare import words
from gptx.compare.factors import axis
from gptx.compare.outcomes import Comparison
from gptx.report.arms import Arm, across
from gptx.runs.cells import Cell
from gptx.show.curves import Curve, Panel, stretches, thinned
from gptx.units.printable import plotly, throughout

BUDGET = 24_000  # points of all arms in a panel together
FEWEST, MOST = 120, 600  # points of one curve


def data(panels: Sequence[Panel], arms: Sequence[Arm], smooth: int, **more) -> str:
    """The JSON of a page with these panels; `more` are further parts."""
    points = max(FEWEST, min(MOST, BUDGET // max(1, len(arms))))
    told = {
        "smooth": smooth,
        "clocks": [{key: rounded(value) for key, value in arm.clock.items()} for arm in arms],
        "arms": [arm.name for arm in arms],
        "panels": [of_panel(panel, points) | {"group": panel.group or f"p{i}"} for i, panel in enumerate(panels)],
        **more,
    }
    return json.dumps(throughout(told), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def of_panel(panel: Panel, points: int) -> dict:
    """A panel, with its curves."""
    curves = [of_curve(curve, points) for curve in panel.curves if len(curve.steps)]
    return {"title": panel.title, "unit": panel.unit, "log": panel.log, "curves": curves}


def of_curve(curve: Curve, points: int) -> dict:
    """A curve of at most so many points: stretches where it is drawn as a mean, else its lowest and highest points."""
    width = 1.0
    if curve.smooth:
        curve, width = stretches(curve, points)
    steps, values = numpy.asarray(curve.steps, float), numpy.asarray(curve.values, float)
    kept = numpy.arange(len(steps)) if curve.smooth or curve.texts else thinned(steps, values, points)
    told = {"name": plotly(curve.name), "style": curve.style, "look": curve.colour, "arm": curve.arm}
    told |= {"x": rounded(steps[kept]), "y": rounded(values[kept])}
    for end in ("low", "high"):
        if (limit := getattr(curve, end)) is not None:
            told[end] = rounded(numpy.asarray(limit, float)[kept])
    more = {
        "key": curve.key,
        "texts": [plotly(text) for text in curve.texts],
        "width": round(width, 3) if curve.smooth else 0,
    }
    more |= {"alpha": round(curve.alpha, 2)} if curve.alpha < 1 else {}
    return told | {key: value for key, value in more.items() if value}


def rounded(values):
    """Numbers to six digits; None for what is no finite number."""
    if values is None or isinstance(values, int | float):
        return None if values is None or not math.isfinite(values) else float(f"{values:.6g}")
    found = [float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, values)]
    return [int(value) if value is not None and value.is_integer() else value for value in found]


def legend(arms: Sequence[Arm], factors: dict[str, list[str]]) -> list[dict]:
    """Rows of switches: the arms by their look, and the levels of the factor that is drawn side by side."""
    side, rows = across(factors, len(arms)), []
    looks: dict[int, list[Arm]] = {}
    for arm in arms:
        looks.setdefault(arm.look, []).append(arm)
    entries = [
        {
            "name": found[0].named(side),
            "look": look,
            "arms": [arm.place for arm in found],
        }
        for look, found in looks.items()
    ]
    rows.append({"title": "", "entries": entries})
    if side:
        beside = [
            {"name": level, "arms": [arm.place for arm in arms if arm.levels[side] == level]} for level in factors[side]
        ]
        rows.append({"title": words.NAMES.get(side, side), "entries": beside})
    return rows


def finals(arms: Sequence[Arm], comparison: Comparison, result: Callable[[Cell], float | None]) -> dict | None:
    """The final result over the factor that is a number: mean, lowest and highest of the seeds, and each of them."""
    factor = axis(comparison.factors)
    if not factor:
        return None
    lines: dict[tuple[str, ...], dict] = {}
    for arm in arms:
        rest = {name: level for name, level in arm.levels.items() if name != factor}
        results = [(cell.seed, value) for cell in arm.cells if (value := result(cell)) is not None]
        told = [value for _, value in results]
        finite = [value for value in told if math.isfinite(value)]
        line = lines.setdefault(tuple(rest.values()), {
            "name": plotly(arm.named(factor) if rest else comparison.metric.replace("/", " ")),
            "look": len(lines), "points": [],
        })  # fmt: skip
        if told:
            seeds = [[value for seed, value in results if seed == one] for one in {seed for seed, _ in results}]
            mean = rounded(fmean(map(fmean, seeds))) if len(finite) == len(told) else None  # as the tables count
            point = {"x": float(arm.levels[factor]), "arm": arm.place, "mean": mean, "values": rounded(finite),
                     "diverged": len(told) - len(finite), "runs": len(arm.cells)}  # fmt: skip
            line["points"].append(point)
    if not any(line["points"] for line in lines.values()):
        return None
    return {"title": plotly(words.NAMES.get(factor, factor)), "lines": list(lines.values())}
