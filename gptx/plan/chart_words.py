"""What a chart of a law says in words: numbers, the reading on top, the notes below, and where names stand."""

import math
from collections.abc import Sequence

from gptx.estimate.laws import PUBLISHED, RULE
from gptx.plan.chart import Chart, Place, at, ruled
from gptx.units.amounts import amount, power
from gptx.units.printable import plotly

FLOPS = "operations of the training, C = 6 N D"
PARAMETERS = "parameters, N"
GAP = 0.042  # of the height of a chart, between names
LETTER = 0.0125  # of its width


def ratio(place: Place) -> str:
    """Tokens a parameter in three digits."""
    return f"{float(f'{place.tokens / place.parameters:.3g}'):,g}"


def hover(place: Place, loss: str = "loss") -> str:
    """All about a place, in the lines of a label of plotly's."""
    lines = [
        f"{amount(place.parameters)} parameters",
        f"{amount(place.tokens)} tokens, {ratio(place)} a parameter",
        f"{power(place.flops)} operations",
        f"{loss} {place.loss:.3f}",
    ]
    return "<br>".join([f"<b>{plotly(place.name)}</b>"] * bool(place.name) + lines)


def reading(chart: Chart) -> str:
    """What the law says of the user's budget, beside the rule; without one, of the ends of what it was fitted to."""
    law, budget = chart.law, chart.asked
    if budget is None:
        first, last = (at(law, *law.optimum(end)) for end in chart.fitted or chart.span)
        return (
            f"{law.name}'s law puts {spend(first)} at {power(first.flops)} operations and {spend(last)} at "
            f"{power(last.flops)}."
        )
    rule, best = ruled(law, budget.minimum.flops), budget.minimum
    spread = f"; 95 % of its draws: {' to '.join(map(amount, budget.spread))}" if budget.spread else ""
    more = f"{max(0.0, rule.loss - best.loss):.3f}"
    return (
        f"At {power(best.flops)} operations {law.name}'s law puts {spend(best)[:-1]}{spread}), for a loss of "
        f"{best.loss:.3f} {law.units}; the rule of {RULE:g} puts {amount(rule.parameters)} parameters on "
        f"{amount(rule.tokens)} tokens, for {'as much' if more == '0.000' else f'{more} more'} by that law.{far(chart)}"
    )


def spend(place: Place) -> str:
    """262M parameters on 6.36B tokens (24.2 a parameter)."""
    return f"{amount(place.parameters)} parameters on {amount(place.tokens)} tokens ({ratio(place)} a parameter)"


def far(chart: Chart) -> str:
    """How far the user's budget lies outside of what the law was fitted to; "" where it does not."""
    if not chart.asked or not chart.fitted or chart.fitted[0] <= chart.asked.minimum.flops <= chart.fitted[1]:
        return ""
    flops, (low, high) = chart.asked.minimum.flops, chart.fitted
    times = f"{amount(flops / high)} times the most" if flops > high else f"1/{amount(low / flops)} of the least"
    return f" That is {times} that it was fitted to: a guess."


def notes(chart: Chart) -> list[str]:
    """What a reader has to know before trusting the chart."""
    law = chart.law
    found = [f"Losses are {law.units}, of the text and the tokenizer that the law was fitted to: those of another text "
             "or tokenizer lie on another scale."]  # fmt: skip
    if chart.fitted:
        low, high = map(power, chart.fitted)
        found.append(f"Fitted to runs of {low} to {high} operations; beyond them, shaded and dashed, it is extended.")
    if chart.known:
        found.append("Rings are models of others at the loss that the law expects of them, not at a measured one.")
    if chart.runs:
        foreign = ": these only agree where text and tokenizer are those of the law" * (law in PUBLISHED.values())
        found.append(f"Squares are runs at their measured loss, joined with the one that the law expects{foreign}.")
    if law.draws:
        found.append(f"Bands and bars hold 95 % of {len(law.draws)} draws of a bootstrap over the runs.")
    if law.source:
        found.append(f"Source: {law.source}.")
    return found


def column(chart: Chart) -> list[tuple[Place, int | None, float]]:
    """What is named to the right of loss over compute: models, and the ends of sizes that do not come in at the top.

    Each as the place, by name, which of the sizes it is (None for a model), and how high its name stands (0 to 1).
    """
    found: list[tuple[Place, int | None]] = [(place, None) for place in chart.known]
    for rung, size in enumerate(chart.sizes):
        if not size.topped:
            last = size.line.places[-1]
            found.append((last._replace(name=amount(last.parameters)), rung))
    heights = apart([height(place.loss, chart.floor, chart.ceiling) for place, _ in found], GAP)
    return [(place, rung, up) for (place, rung), up in zip(found, heights, strict=True)]


def signs(chart: Chart) -> list[tuple[Place, int]]:
    """Where the line through the minima is named and where the rule's, and on which side: left (-1) or right (1).
    It is half way between two budgets, where there is room."""
    amounts = [budget.minimum.flops for budget in chart.budgets]
    flops = math.sqrt(amounts[1] * amounts[2]) if len(amounts) > 2 else math.sqrt(chart.span[0] * chart.span[1])
    best, rule = at(chart.law, *chart.law.optimum(flops), "best size"), ruled(chart.law, flops)
    right = 1 if best.parameters > rule.parameters else -1
    return [(best, right), (rule._replace(name=f"{RULE:g} a parameter"), -right)]


def beside(chart: Chart, place: Place) -> int:
    """Where over parameters the name of a model stands: left of one that is smaller than best for its operations (-1),
    right of one that is larger (1), below one that is about best (0)."""
    times = place.parameters / chart.law.parameters(place.flops)
    return 0 if 1 / 1.2 < times < 1.2 else 1 if times > 1 else -1


def legible(chart: Chart) -> list[tuple[Place, int]]:
    """The known models that have room for their names over parameters, each with its side as by `beside`: a name that
    would run into another, or into another model, is left to the table and to what is pointed at."""
    low, high = chart.breadth

    def middle(place: Place) -> tuple[float, float]:
        return math.log(place.parameters / low) / math.log(high / low), height(place.loss, chart.floor, chart.ceiling)

    rings = [(*middle(place), 0.02) for place in chart.known]
    taken, found = [(x + side * (0.02 + len(place.name) * LETTER / 2), y, len(place.name) * LETTER)
                    for place, side in signs(chart) for x, y in [middle(place)]], []  # fmt: skip
    for place in chart.known:
        (x, y), side, wide = middle(place), beside(chart, place), len(place.name) * LETTER
        box = (x + side * (0.02 + wide / 2), y - GAP * (side == 0), wide)
        others = [ring for ring in rings if ring[:2] != (x, y)]
        if all(
            abs(box[1] - other[1]) > GAP or abs(box[0] - other[0]) > (wide + other[2]) / 2
            for other in [*taken, *others]
        ):
            taken.append(box)
            found.append((place, side))
    return found


def height(loss: float, floor: float, ceiling: float) -> float:
    """Where a loss stands between two on a logarithmic axis: 0 at the floor, 1 at the ceiling."""
    return math.log(loss / floor) / math.log(ceiling / floor)


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Heights for labels of things at these heights: in the same order, at least a gap apart, none below 0, as near as
    that allows.

    >>> [round(found, 3) for found in apart([0.5, 0.1, 0.51], gap=0.1)]
    [0.455, 0.1, 0.555]
    """
    groups: list[list[int]] = []  # of neighbours that stand a gap apart around their mean

    def lowest(group: list[int]) -> float:
        return max(0.0, sum(heights[i] for i in group) / len(group) - gap * (len(group) - 1) / 2)

    for i in sorted(range(len(heights)), key=lambda i: heights[i]):
        groups.append([i])
        while len(groups) > 1 and lowest(groups[-1]) < lowest(groups[-2]) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = {i: lowest(group) + gap * rank for group in groups for rank, i in enumerate(group)}
    return [placed[i] for i in range(len(heights))]
