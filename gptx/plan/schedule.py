"""The learning rate over a run, without training."""

from collections.abc import Callable
from pathlib import Path

import numpy

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.plan.parts import composed_arms, library_default
from gptx.show.table import Table, terminal
from gptx.units import lengths

_SAMPLES = 200_000  # steps at which a curve is judged and drawn at most
_TENTHS = ",".join(["1", *(f"{share}%" for share in range(10, 101, 10))])
_ZERO = 1e-9  # of the peak: less is nothing


def plan_schedule(*overrides: str, at: str = "", out: str = "") -> None:
    """Show the learning rate at chosen steps, and warn of what looks odd about it.

      python -m gptx plan schedule steps=100000 schedule.warmup=500,2000,5000 out=warmups.png
      python -m gptx plan schedule schedule=wsd at=1,500,50%

    Options:
    at: the steps, such as 1,500,50%; by default every tenth of the run
    out: draws the curves of all arms on one figure, .png or .svg
    """
    print("\n".join(rate_table(composed_arms(overrides), at=at or _TENTHS, out=out)))


def rate_table(arms: dict, *, at: str, out: str = "") -> list[str]:
    """The learning rates of every arm in lines, with warnings, and the curves in a file."""
    curves = {name: (curve(cfg), cfg.steps) for name, cfg in arms.items()}
    steps = _steps(at, list(arms.values()))
    shown = [[f"{rate(step):.3e}" if step <= last else "-" for step in steps] for rate, last in curves.values()]
    rows = list(zip(map("{:,}".format, steps), *shown, strict=True))
    lines = terminal(Table("", ("step", *([*arms] if len(arms) > 1 else ["lr"])), rows))
    for name, each in curves.items():
        lines += [f"{f'{name}: ' * bool(name)}{said}" for said in oddities(*each) or ["nothing looks odd"]]
    if out:
        draw_curves(curves, Path(out))
        lines.append(f"drawn in {out}")
    return lines


def curve(cfg) -> Callable[[int], float]:
    """The learning rate of a step, for parameters without a factor of their own."""
    factor, peak = build(cfg.schedule), cfg.optim.get("lr", library_default(cfg.optim._target_, "lr"))
    rule, every = build(cfg.batch).rate, cfg.parametrization.rates.get("all", 1.0)
    return lambda step: peak * every * factor(step) * rule(step)


def _steps(at: str, arms: list) -> list[int]:
    """The steps that `at` means, shares and tokens in each arm. Raises ConfigError for one that no arm has."""
    longest, words = (
        max(cfg.steps for cfg in arms),
        [int(word) if word.strip().isdigit() else word for word in at.split(",")],
    )
    try:
        found = {
            lengths.in_steps(word, steps=cfg.steps, tokens=cfg.batch.tokens): word for word in words for cfg in arms
        }
    except ValueError as error:
        raise ConfigError(f"at: {error}") from None
    if beyond := [word for step, word in found.items() if not 1 <= step <= longest]:
        raise ConfigError(f"at={beyond[0]}: the run has the steps 1 to {longest}")
    return sorted(found)


def _sampled(curve: Callable[[int], float], steps: int) -> tuple:
    """Steps, with the first and the last, and their learning rates, as arrays."""
    chosen = numpy.unique(numpy.linspace(1, steps, min(steps, _SAMPLES)).round().astype(int))
    return chosen, numpy.array([curve(int(step)) for step in chosen])


def oddities(curve: Callable[[int], float], steps: int) -> list[str]:
    """Warnings about the shape of a curve, whatever function made it; a single value has none."""
    made, rates = _sampled(curve, steps)
    peak, last = rates.max(), rates[-1]
    if peak <= 0:
        return ["the learning rate is 0 in every step: nothing is learned"]
    top = int(made[(rates >= peak * (1 - _ZERO)).argmax()])
    if top == steps and rates[0] < peak * (1 - _ZERO):
        return [f"still rises in the last step, {steps:,}: the peak is never left"]
    level = (abs(rates - last) > _ZERO * peak).nonzero()[0]  # not yet as at the end
    settled = int(made[level[-1] + 1]) if len(level) else 1
    nothing, flat = round(float((rates <= _ZERO * peak).mean()) * steps), last >= peak * (1 - _ZERO)
    early = f"reaches its end, {last:.3g}, at step {settled:,}, {1 - settled / steps:.0%} of the run too early"
    judged = {
        f"rises for {top:,} steps, {top / steps:.0%} of the run; 1-5 % is usual": 20 < steps <= 20 * (top - 1),
        "never decays: it ends at the peak; a cool-down usually lowers the final loss": flat and steps > 1,
        early: settled < 0.95 * steps and not flat,
        f"is 0 in {nothing:,} steps, which change nothing": nothing > max(1, 0.01 * steps),
    }
    return [said for said, odd in judged.items() if odd]


def draw_curves(curves: dict[str, tuple[Callable[[int], float], int]], file: Path) -> None:
    """All curves on one figure. Raises ConfigError for a file that is no picture."""
    from gptx.show import plots

    if file.suffix not in (".png", ".svg"):
        raise ConfigError(f"out={file}: the name must end in .png or .svg")
    sampled = {name: _sampled(*each) for name, each in curves.items()}
    lines = [plots.Curve(name, at, rates, colour=i) for i, (name, (at, rates)) in enumerate(sampled.items())]
    plots.save(file, "", plots.lines(plots.Panel("Learning rate", "by step", tuple(lines))), size=(5.2, 4.0))
