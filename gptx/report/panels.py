"""Which signals a report shows: those of one run, or those of all arms in the same panels."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy

from gptx.compare import words
from gptx.report.arms import ArmRuns, Report, across
from gptx.runs import metrics
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import Metrics
from gptx.runs.run import Run
from gptx.show.plots import Curve, Panel, smoothed

_SIGNALS = {  # title, unit, if the values may span much, if they are smoothed
    "train/lr": ("Learning rate", "of the first parameter group", False, False),
    "train/grad_norm": ("Gradient norm", "before clipping, mean of the seeds", True, True),
    "clip/share": ("Clip pressure", "share of steps clipped", False, False),
    "updates/median": ("Update / weight", "median ratio of the norms", True, False),
    "noise_scale/tokens": ("Gradient noise scale", "tokens", True, False),
    "throughput/mfu": ("Model FLOPs utilisation", "of the peak", False, False),
    "train/tokens_per_second": ("Speed", "tokens per second", False, True),
}


def picture(report: Report) -> list[Panel]:
    """The panels of a report's picture."""
    told = of_run(report.cells[0], report.smooth) if len(report.cells) == 1 else [
        *arm_panels(report, [report.comparison.metric], 0), *list(signal_panels(report.arms, report.smooth))[:2]
    ]  # fmt: skip
    return [panel for panel in told if not panel.empty] or told[:1]


def of_run(cell: Run, smooth: int) -> list[Panel]:
    """The signals of one run: the five of the dashboard, then those of its observers."""
    found = cell.metrics
    key = "train/cross_entropy" if "train/cross_entropy" in found.columns else "train/loss"  # as validation's is
    steps, loss = found[key]
    clip, ends = (cell.config.get("clip") or {}).get("max_norm"), [steps.min(initial=1), steps.max(initial=1)]
    limit = [Curve(f"clipped above {clip:g}", ends, [clip, clip], "dashed", 1)] if clip else []
    with numpy.errstate(over="ignore"):
        perplexity = numpy.exp(smoothed(loss, smooth))
    losses = Curve("training", steps, loss, smooth=smooth), Curve("validation", *found["validation/loss"], "dots", 1)
    told = Curve("training", steps, perplexity), Curve("validation", *found["validation/perplexity"], "dots", 1)
    norms = Curve("all gradients", *found["train/grad_norm"], smooth=smooth), *limit
    rates = Curve("", *found["train/lr"]), *_abandoned(found, "train/lr")
    return [
        Panel("Loss", "nats per token", (*losses, *_abandoned(found, key), *_incidents(cell, colour=7))),
        Panel("Perplexity", "equally likely tokens", told, log=True),
        Panel("Gradient norm", "before clipping", (*norms, *_abandoned(found, "train/grad_norm")), log=True),
        Panel("Learning rate", "of the first parameter group", rates),
        _ratios(found),
        *_activations(found),
        *signal_panels([ArmRuns({}, [cell])], smooth, leave_out=("train/lr", "train/grad_norm", "updates/median")),
    ]


def _abandoned(found: Metrics, signal: str, **look: Any) -> Iterator[Curve]:
    for branch in found.abandoned:
        steps, values = branch.get(signal, metrics.EMPTY)
        if len(steps):
            yield Curve(f"discarded: steps {steps[0]:,.0f} to {steps[-1]:,.0f}", steps, values, "abandoned", **look)


def _incidents(cell: Run, **look: Any) -> Iterator[Curve]:
    (steps, loss), events = cell.metrics["train/loss"], RunFolder(cell.folder).events
    if events and len(steps):
        at = numpy.array([event["step"] for event in events], float)
        texts = [f"{event.get('event')}: {event.get('text', '')}" for event in events]
        finite = numpy.isfinite(loss)
        heights = numpy.interp(at, steps[finite], loss[finite]) if finite.any() else numpy.zeros(len(at))
        yield Curve("incidents", at, heights, "incidents", texts=texts, **look)


def _ratios(found: Metrics) -> Panel:
    """Size of the update over size of the weights, per matrix, with AdamW's equilibrium and the rule of 1e-3."""
    matrices = [key for key in found.columns if re.fullmatch(r"updates/(?!median$|equilibrium$).+", key)]
    curves = [Curve("" if i else "each matrix", *found[key], "faint") for i, key in enumerate(matrices)]
    curves += [Curve("median", *found["updates/median"]),
               Curve("AdamW's equilibrium", *found["updates/equilibrium"], "dashed", 1)]  # fmt: skip
    if curves := [curve for curve in curves if len(curve.steps)]:
        ends = [min(curves[0].steps), max(curves[0].steps)]
        curves.append(Curve("rule of thumb 1e-3", ends, [1e-3, 1e-3], "dashed", 2))
    return Panel("Update / weight", "ratio of the norms", tuple(curves), log=True)


def _activations(found: Metrics) -> Iterator[Panel]:
    keys = [key for key in found.columns if re.fullmatch(r"activations/.+/rms", key)]
    names = {key: key.split("/")[1] for key in keys[:1] + keys[-1:]}
    curves = (Curve(names.get(key, ""), *found[key], alpha=0.3 + 0.7 * i / len(keys)) for i, key in enumerate(keys, 1))
    if keys:
        yield Panel("Activations", "root mean square, by block", tuple(curves), log=True)


def signal_panels(arms: Sequence[ArmRuns], smooth: int, leave_out: Sequence[str] = ()) -> Iterator[Panel]:
    """The other signals that any arm recorded, with a curve for each arm."""
    for key, (title, unit, log, noisy) in _SIGNALS.items():
        curves = []
        for arm in arms if key not in leave_out else ():
            look: dict[str, Any] = {"colour": arm.look, "arm": arm.place, "smooth": smooth * noisy}
            steps, mean, *_ = arm.merged(key)
            if (key, len(arms)) == ("noise_scale/tokens", 1):
                bands = {end: arm.cells[0].metrics[f"noise_scale/{end}"] for end in ("low", "high")}
                look |= {end: numpy.interp(steps, *band, left=numpy.nan) for end, band in bands.items() if len(band[0])}
            curves.append(Curve(arm.named() if len(arms) > 1 else "", steps, mean, **look))
        panel = Panel(title, unit, tuple(_within(curves, arms)), log)
        if not panel.empty:
            yield panel


def arm_panels(report: Report, keys: Sequence[str], smooth: int) -> Iterator[Panel]:
    """The curves of all arms for a choice of metrics; a panel for each level of a second factor where arms are many."""
    factors = report.comparison.factors
    side = across(factors, len(report.arms))
    every = (chain(*(_of_arm(arm, key, smooth, side) for arm in report.arms)) for key in keys)
    curves = list(chain(*(_within(some, report.arms) for some in every)))
    for level in factors.get(side, [""]):
        here = [arm.place for arm in report.arms if arm.levels.get(side, "") == level]
        shown = tuple(curve for curve in curves if curve.arm in here)
        yield Panel(words.named(side, level) if side else "", "", shown, group="main")


def _within(curves: Iterable[Curve], arms: Iterable[ArmRuns]) -> Iterator[Curve]:
    """The curves that have points; of arms with a lost run no value further from the others than these span."""
    lost, curves = [arm.place for arm in arms if arm.lost], [curve for curve in curves if len(curve.steps)]
    sound = numpy.concatenate([[], *(curve.values for curve in curves if curve.arm not in lost)])
    ends = sound[numpy.isfinite(sound)]
    for curve in curves:
        if curve.arm in lost and len(ends):
            inside = abs(curve.values - (ends.max() + ends.min()) / 2) <= 1.5 * numpy.ptp(ends)
            curve = replace(curve, values=numpy.where(inside, curve.values, numpy.nan), low=None, high=None)
        yield curve


def _of_arm(arm: ArmRuns, key: str, smooth: int, side: str) -> Iterator[Curve]:
    look: dict[str, Any] = {"colour": arm.look, "key": key, "arm": arm.place}
    style: dict[str, Any] = {"smooth": smooth} if key.startswith("train/") else {"style": "dots"}
    steps, mean, low, high = arm.merged(key)
    band: dict[str, Any] = {"low": low, "high": high} if len(arm.cells) > 1 else {}
    yield Curve(arm.named(side), steps, mean, **look, **style, **band)
    for cell in arm.cells:
        yield from _abandoned(cell.metrics, key, **look)
        yield from _incidents(cell, **look) if key == "train/loss" else ()
