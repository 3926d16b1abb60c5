"""Which signals a report shows: the vital signs of one run, or those of all arms on the same axes."""

import re
from collections.abc import Iterator, Sequence

import numpy

from gptx.compare import words
from gptx.report.arms import Arm, across
from gptx.runs import metrics
from gptx.runs.cells import Cell
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import Metrics
from gptx.show.curves import Curve, Panel, smoothed

SIGNALS = {
    "train/grad_norm": ("Gradient norm", "before clipping, mean of the seeds", True),
    "clip/share": ("Clip pressure", "share of updates clipped", False),
    "updates/median": ("Update / weight", "median ratio of the norms", True),
    "noise_scale/tokens": ("Gradient noise scale", "tokens", True),
    "throughput/mfu": ("Model FLOPs utilisation", "of the peak", False),
    "train/tokens_per_second": ("Speed", "tokens per second", False),
}


def of_run(cell: Cell, smooth: int) -> list[Panel]:
    """The vital signs of one run: the five of the dashboard, then those of the observers that it had."""
    found = cell.metrics
    key = "train/cross_entropy" if "train/cross_entropy" in found.columns else "train/loss"  # as validation's is
    steps, loss = found[key]
    clip, ends = (cell.config.get("clip") or {}).get("max_norm"), [steps.min(initial=1), steps.max(initial=1)]
    limit = [Curve(f"clipped above {clip:g}", ends, [clip, clip], "dashed", 1)] if clip else []
    with numpy.errstate(over="ignore"):
        perplexity = numpy.exp(smoothed(loss, smooth))
    return [
        Panel("Loss", "nats per token", (
            Curve("training", steps, loss, smooth=smooth),
            Curve("validation", *found["validation/loss"], "dots", 1),
            *abandoned(found, key),
            *incidents(cell, found),
        )),
        Panel("Perplexity", "equally likely tokens", (
            Curve("training", steps, perplexity),
            Curve("validation", *found["validation/perplexity"], "dots", 1),
        ), log=True),
        Panel("Gradient norm", "before clipping", (
            Curve("all gradients", *found["train/grad_norm"], smooth=smooth), *limit,
            *abandoned(found, "train/grad_norm"),
        ), log=True),
        Panel("Learning rate", "of the first group", (
            Curve("", *found["train/lr"]), *abandoned(found, "train/lr"),
        )),
        ratios(found),
        *extras(found, smooth),
    ]  # fmt: skip


def abandoned(found: Metrics, key: str, colour: int = 0, arm: int = 0, alternative: bool = False) -> Iterator[Curve]:
    """The branches of a signal that a rollback gave up."""
    for branch in found.abandoned:
        steps, values = branch.get(key, metrics.EMPTY)
        if len(steps):
            name = f"given up: updates {steps[0]:,.0f} to {steps[-1]:,.0f}"
            yield Curve(name, steps, values, "abandoned", colour, key=key if alternative else "", arm=arm)


def incidents(cell: Cell, found: Metrics, colour: int = 7, arm: int = 0, key: str = "") -> list[Curve]:
    """What happened to a run beside its updates, as marks on its training loss."""
    steps, loss = found["train/loss"]
    events = happened(cell)
    if not events or not len(steps):
        return []
    at = numpy.array([event["step"] for event in events], float)
    texts = [f"{event.get('event')}: {event.get('text', '')}" for event in events]
    finite = numpy.isfinite(loss)
    heights = numpy.interp(at, steps[finite], loss[finite]) if finite.any() else numpy.zeros(len(at))
    return [Curve("incidents", at, heights, "incidents", colour, key=key, arm=arm, texts=texts)]


def happened(cell: Cell) -> list[dict]:
    """The events of a run."""
    return RunFolder(cell.folder).events


def ratios(found: Metrics) -> Panel:
    """Size of the update over size of the weights, per matrix, beside AdamW's equilibrium and the rule of 1e-3."""
    names = families(found, r"updates/(?!median$|equilibrium$).+")
    curves = [Curve("" if i else "each matrix", *found[key], "faint") for i, key in enumerate(names)]
    steps = found["updates/median"][0] if not names else found[names[0]][0]
    if len(found["updates/median"][0]):
        curves.append(Curve("median", *found["updates/median"]))
    if len(found["updates/equilibrium"][0]):
        curves.append(Curve("AdamW's equilibrium", *found["updates/equilibrium"], "dashed", 1))
    if curves:
        curves.append(Curve("rule of thumb 1e-3", [steps.min(), steps.max()], [1e-3, 1e-3], "dashed", 2))
    return Panel("Update / weight", "ratio of the norms", tuple(curves), log=True,
                 hint="not recorded; train with observe=[validation,updates]")  # fmt: skip


def extras(found: Metrics, smooth: int) -> Iterator[Panel]:
    """A panel for each further family of numbers that the run recorded."""
    if families(found, "clip/share"):
        yield Panel("Clip pressure", "share of updates clipped", (Curve("", *found["clip/share"]),))
    if families(found, "noise_scale/tokens"):
        steps, tokens = found["noise_scale/tokens"]
        (banded, low), high = found["noise_scale/low"], found["noise_scale/high"][1]
        middle = tokens[numpy.isin(steps, banded)]  # the first measurements have no band
        whole = len(low) == len(high) == len(middle)
        band = [Curve("", banded, middle, low=low, high=high)] if whole else []
        yield Panel("Gradient noise scale", "tokens", (Curve("estimate", steps, tokens), *band), log=True)
    if blocks := families(found, r"activations/.+/rms"):
        curves = tuple(
            Curve(key.split("/")[1] if i in (0, len(blocks) - 1) else "", *found[key],
                  alpha=0.3 + 0.7 * (i + 1) / len(blocks))
            for i, key in enumerate(blocks)
        )  # fmt: skip
        yield Panel("Activations", "root mean square, by block", curves, log=True)
    if families(found, "throughput/mfu"):
        yield Panel("Model FLOPs utilisation", "of the peak", (Curve("", *found["throughput/mfu"]),))
    yield Panel("Speed", "tokens per second", (Curve("", *found["train/tokens_per_second"], smooth=smooth),))


def families(found: Metrics, pattern: str) -> list[str]:
    """The keys that were recorded and match, in the order of their first appearance."""
    return [key for key in found.columns if re.fullmatch(pattern, key)]


def main(arms: Sequence[Arm], factors: dict[str, list[str]], keys: Sequence[str], smooth: int) -> list[Panel]:
    """The curves of all arms for a choice of metrics; a panel for each level of a second factor where arms are many."""
    side = across(factors, len(arms))
    panels = []
    for level in factors[side] if side else [""]:
        here = [arm for arm in arms if not side or arm.levels[side] == level]
        title = words.named(side, level) if side else ""
        curves = tuple(curve for key in keys for curve in lines(here, key, smooth, side))
        panels.append(Panel(title, "", curves, group="main"))
    return panels


def lines(arms: Sequence[Arm], key: str, smooth: int, side: str) -> Iterator[Curve]:
    """A line for each arm, the mean of its seeds in a band from lowest to highest; branches given up; incidents."""
    training = key.startswith("train/")
    for arm in arms:
        steps, mean, low, high = arm.merged(key)
        spread = {"low": low, "high": high} if len(arm.cells) > 1 else {"low": None, "high": None}
        yield Curve(arm.named(side), steps, mean, "line" if training else "dots", arm.look, key=key, arm=arm.place,
                    smooth=smooth if training else 0, low=spread["low"], high=spread["high"])  # fmt: skip
        for cell in arm.cells:
            yield from abandoned(cell.metrics, key, arm.look, arm.place, alternative=True)
            if key == "train/loss":
                yield from incidents(cell, cell.metrics, arm.look, arm.place, key)


def schedules(arms: Sequence[Arm]) -> Panel:
    """The learning rate that each arm followed."""
    curves = [Curve(arm.name, *arm.merged("train/lr")[:2], colour=arm.look, arm=arm.place) for arm in arms]
    return Panel("Learning rate", "of the first group, as followed", tuple(curves))


def signs(arms: Sequence[Arm], smooth: int) -> list[Panel]:
    """The vital signs that any arm recorded."""
    found = []
    for key, (title, unit, log) in SIGNALS.items():
        every = key.startswith("train/")
        curves = tuple(
            Curve(arm.name, *arm.merged(key)[:2], colour=arm.look, arm=arm.place, smooth=smooth if every else 0)
            for arm in arms
        )
        panel = Panel(title, unit, curves, log)
        if not panel.empty:
            found.append(panel)
    return found
