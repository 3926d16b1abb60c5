"""What a chart of a law says in words: the reading on top, the notes below, and tables."""

from collections.abc import Sequence

from gptx.estimate.laws import PUBLISHED, RULE
from gptx.plan.chart import Chart, Point, by_the_law, by_the_rule
from gptx.plan.split import MODELS
from gptx.show.table import Table
from gptx.units.amounts import amount, power


def per_parameter(place: Point) -> str:
    """Tokens per parameter in three digits."""
    return f"{float(f'{place.tokens / place.parameters:.3g}'):,g}"


def chart_reading(chart: Chart) -> str:
    """What the law says of the user's budget, compared with the rule; without one, of the ends of its runs."""
    law, best = chart.law, chart.asked
    if best is None:
        first, last = (by_the_law(law, *law.optimum(end)) for end in chart.fitted or chart.flops)
        ends = f"{_spend(first)} at {power(first.flops)} FLOPs and {_spend(last)} at {power(last.flops)}"
        return f"{law.name}'s law puts {ends}."
    rule = by_the_rule(law, best.flops)
    spread = f"; 95 % of its draws: {' to '.join(map(amount, chart.spread))}" if chart.spread else ""
    more = f"{max(0.0, rule.loss - best.loss):.3f}"
    far = ""
    if chart.fitted and not chart.fitted[0] <= best.flops <= chart.fitted[1]:
        low, high = chart.fitted
        times = f"{amount(best.flops / high)} times" if best.flops > high else f"1/{amount(low / best.flops)} of"
        far = (
            f" That is {times} the {'largest' if best.flops > high else 'smallest'} run that it was fitted to: a guess."
        )
    return (
        f"At {power(best.flops)} FLOPs {law.name}'s law puts {_spend(best)[:-1]}{spread}), for a loss of "
        f"{best.loss:.3f} {law.units}; the rule of {RULE:g} puts {amount(rule.parameters)} parameters on "
        f"{amount(rule.tokens)} tokens, for {'as much' if more == '0.000' else f'{more} more'} by that law.{far}"
    )


def _spend(place: Point) -> str:
    """262M parameters on 6.36B tokens (24.2 per parameter)."""
    return (
        f"{amount(place.parameters)} parameters on {amount(place.tokens)} tokens ({per_parameter(place)} per parameter)"
    )


def notes(chart: Chart) -> list[str]:
    """What a reader must know before trusting the chart."""
    law = chart.law
    found = [f"Losses are {law.units}, of the text and the tokenizer that the law was fitted to; losses on another "
             "text or tokenizer cannot be compared."]  # fmt: skip
    if chart.fitted:
        low, high = map(power, chart.fitted)
        found.append(f"Fitted to runs of {low} to {high} FLOPs; beyond them, shaded and dashed, it is extrapolated.")
    if chart.known:
        found.append("Rings are models of others at the loss that the law predicts, not at a measured one.")
    if chart.runs:
        foreign = ": these only agree if text and tokenizer are those of the law" * (law in PUBLISHED.values())
        found.append(f"Squares are runs at their measured loss, joined with the loss that the law predicts{foreign}.")
    if law.draws:
        found.append(f"Bands and bars hold 95 % of {len(law.draws)} draws of a bootstrap over the runs.")
    if law.source:
        found.append(f"Source: {law.source}.")
    return found


def budgets(charts: Sequence[Chart]) -> Table:
    """What the user's budget is best spent on by each law, and by the rule."""
    columns = (
        "law",
        "parameters",
        "95 % of draws",
        "tokens",
        "tokens per parameter",
        "loss",
        f"loss by the rule of {RULE:g}",
    )
    rows: list[tuple[str, ...]] = []
    for chart in charts:
        if chart.asked:
            least, rule = chart.asked, by_the_rule(chart.law, chart.asked.flops)
            size, *rest = _spent(least)
            spread = " to ".join(map(amount, chart.spread or ()))
            rows.append((chart.law.name, size, spread, *rest, f"{least.loss:.3f}", f"{rule.loss:.3f}", chart.law.units))
    size, *rest = _spent(rule)
    rows.append((f"rule of {RULE:g}", size, "", *rest, "", "", ""))
    full = [i for i in range(len(rows[0])) if any(row[i] for row in rows)]  # no column of draws if no law has any
    return Table("", tuple((*columns, "of")[i] for i in full), [tuple(row[i] for i in full) for row in rows])


def models(chart: Chart) -> Table:
    """Models, by their number on the chart, and runs, compared with what the law predicts and would spend FLOPs on."""
    sources = {model.name: model.source for model in MODELS}
    rows = []
    for number, place in enumerate((*chart.known, *chart.runs), start=1):
        known, best = number <= len(chart.known), chart.law.optimum(place.flops)
        losses = "-" if known else f"{place.loss:.3f}", f"{chart.law.loss(place.parameters, place.tokens):.3f}"
        best_so = f"{amount(best[0])} on {amount(best[1])}", f"{chart.law.lowest(place.flops):.3f}"
        name = f"{number}  {place.name}" if known else place.name
        rows.append((name, *_spent(place), power(place.flops), *losses, *best_so, sources.get(place.name, "")))
    columns = ("", "parameters", "tokens", "tokens per parameter", "FLOPs", "loss measured", "predicted",
               "best with as many FLOPs", "loss of that", "source")  # fmt: skip
    width = len(columns) if chart.known else -1
    return Table("", columns[:width], [row[:width] for row in rows], f"Predicted and best by {chart.law.name}'s law.")


def _spent(place: Point) -> tuple[str, str, str]:
    return amount(place.parameters), amount(place.tokens), per_parameter(place)
