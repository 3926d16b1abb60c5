"""The learning rate over a run, without training."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.files import in_one_step
from gptx.plan.decay import library_default
from gptx.units import lengths

SAMPLES = 200_000  # updates at which a curve is judged and drawn at most
ZERO = 1e-9  # of the peak: less is nothing


def schedule(arms: dict, *, at: str = "", out: str = "") -> list[str]:
    """The rate of every arm at chosen updates (every tenth of the run), what looks odd, and the curves in a file."""
    rates = {name: rate(cfg) for name, cfg in arms.items()}
    steps = max(cfg.steps for cfg in arms.values())
    tenths = [1, *(round(steps * i / 10) for i in range(1, 11))]
    chosen = [step for word in at.split(",") for step in updates(word, list(arms.values()))] if at else tenths
    width = max(9, *(len(name) for name in rates)) + 3
    lines = [f"{'update':>10}" + "".join(f"{name or 'lr':>{width}}" for name in rates)]
    for step in sorted({*chosen} - {0}):
        there = (f"{rates[name](step):.3e}" if step <= cfg.steps else "-" for name, cfg in arms.items())
        lines.append(f"{step:>10,}" + "".join(f"{text:>{width}}" for text in there))
    for name, cfg in arms.items():
        found = list(oddities(rates[name], cfg.steps)) or ["nothing looks odd"]
        lines += [f"{name}: {said}" if name else said for said in found]
    if out:
        draw({name: (rates[name], cfg.steps) for name, cfg in arms.items()}, Path(out))
        lines.append(f"drawn in {out}")
    return lines


def rate(cfg) -> Callable[[int], float]:
    """The learning rate of an update, of groups without a factor of their own."""
    factor, peak = build(cfg.schedule), cfg.optim.get("lr", library_default(cfg.optim._target_, "lr"))
    rule, every = build(cfg.batch).rate, cfg.parametrization.rates.get("all", 1.0)
    return lambda step: peak * every * factor(step) * rule(step)


def updates(word: str, arms: list) -> set[int]:
    """The updates that a word of `at` means, where it is a share or tokens in each arm. ConfigError if none has it."""
    longest = max(cfg.steps for cfg in arms)
    try:
        value = int(word) if word.strip().isdigit() else word
        found = {lengths.updates(value, steps=cfg.steps, tokens=cfg.batch.tokens) for cfg in arms}
    except ValueError as error:
        raise ConfigError(f"at: {error}") from None
    if not all(1 <= step <= longest for step in found):
        raise ConfigError(f"at={word}: the run has the updates 1 to {longest}")
    return found


def samples(curve: Callable[[int], float], steps: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Updates, the first and the last among them, and their rates."""
    chosen = numpy.unique(numpy.linspace(1, steps, min(steps, SAMPLES)).round().astype(int))
    return chosen, numpy.array([curve(int(step)) for step in chosen])


def oddities(curve: Callable[[int], float], steps: int) -> Iterator[str]:
    """What looks odd about a curve, whatever function made it: a phrase each."""
    updates, rates = samples(curve, steps)
    if steps == 1:
        return  # a single rate has no shape
    peak, last = rates.max(), rates[-1]
    if peak <= 0:
        yield "the rate is 0 in every update: nothing is learned"
        return
    top = int(updates[numpy.argmax(rates >= peak * (1 - ZERO))])
    level = numpy.abs(rates - last) > ZERO * peak  # where it is not yet as at the end
    settled = int(updates[numpy.flatnonzero(level)[-1] + 1]) if level.any() else 1
    nothing = round(float((rates <= ZERO * peak).mean()) * steps)
    if top == steps and rates[0] < peak * (1 - ZERO):
        yield f"still rises in the last update, {steps:,}: the peak is never left"
        return
    if top > -(-steps // 20) and steps > 20:  # 5 %, in whole updates
        yield f"rises for {top:,} updates, {top / steps:.0%} of the run; 1-5 % is usual"
    if last >= peak * (1 - ZERO):
        yield "never decays: it ends at the peak; a cool-down usually lowers the final loss"
    elif settled < 0.95 * steps:
        yield f"reaches its end, {last:.3g}, at update {settled:,}, {1 - settled / steps:.0%} of the run too early"
    if nothing > max(1, 0.01 * steps):
        yield f"is 0 in {nothing:,} updates, which move nothing"


def draw(curves: dict[str, tuple[Callable[[int], float], int]], target: Path) -> None:
    """All curves on one figure. Raises ConfigError for a name that is no picture's."""
    from gptx.show.curves import Curve, Panel
    from gptx.show.picture import picture

    if target.suffix not in (".png", ".svg"):
        raise ConfigError(f"out={target}: the name must end in .png or .svg")
    lines = tuple(Curve(name, *samples(*curve), colour=i) for i, (name, curve) in enumerate(curves.items()))
    target.parent.mkdir(parents=True, exist_ok=True)
    panels = [Panel("Learning rate", "by update", lines)]
    in_one_step(target, lambda part: picture(panels, part, "", target.suffix[1:]))
