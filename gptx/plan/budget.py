"""What a budget is best spent on, by the rule of thumb and by every law, side by side; and how to run it."""

from collections.abc import Iterator

from gptx.estimate.laws import PUBLISHED, RULE, Law
from gptx.estimate.warnings import repeated
from gptx.plan import known, overrides, shapes
from gptx.plan.expectations import extrapolated, speaks
from gptx.plan.question import Question, read, refuse_splits
from gptx.plan.split import GIVEN, Split, above_the_best, agreement, by_law, by_rule, cheapest
from gptx.plan.words import table, times, wrapped
from gptx.units.amounts import amount, memory, power


def budget(words: list[str]) -> list[str]:
    """The answer to flops=, params= or tokens=, in lines. Raises ValueError for what cannot be planned."""
    asked = read(words)
    try:
        return answer(asked)
    except ArithmeticError:  # a law of extreme constants
        raise ValueError(f"law={asked.judge.name}: has no split of that which is a number") from None


def answer(asked: Question) -> list[str]:
    """The table, what is to be said of it, who serves it, and how to run it."""
    found = splits(asked)
    refuse_splits(found, asked.said)
    best = found[0] if asked.priced else next(split for split in found if split.law is asked.judge)
    lines = [title(asked, best), "", *comparison(found, asked), "", *wrapped(remarks(asked, found, best))]
    naive, keep = best, best.flops if asked.flops else None
    if asked.served:
        best, keep = cheapest(asked.judge, asked.judge.loss(naive.parameters, naive.tokens), asked.served), None
        refuse_splits([best], asked.said)
        lines += ["", *serving(naive, best, asked)]
    lines += ["", *to_run(best, asked, keep)]
    if asked.out:
        lines.append(drawn(asked, naive, best))
    return lines


def splits(asked: Question) -> list[Split]:
    """What was given whole, then the rule's answer and every law's."""
    if asked.parameters is not None and asked.tokens is not None:
        given = Split(GIVEN, asked.parameters, asked.tokens)
        return [given, by_rule(flops=given.flops), *(by_law(law, flops=given.flops) for law in asked.laws)]
    one = {"flops": asked.flops, "parameters": asked.parameters, "tokens": asked.tokens}
    return [by_rule(**one), *(by_law(law, **one) for law in asked.laws)]


def title(asked: Question, best: Split) -> str:
    """What was asked, in a line."""
    if asked.priced:
        said = f"{amount(best.parameters)} parameters on {amount(best.tokens)} tokens: {power(best.flops)} operations"
        return f"{said}, 6 a parameter and token; {amount(best.ratio)} tokens a parameter"
    if asked.flops:
        return f"{power(asked.flops)} operations, 6 a parameter and token: what they are best spent on"
    if asked.parameters:
        return f"{amount(asked.parameters)} parameters: the tokens for which no other size would be better"
    return f"{amount(asked.tokens or 0)} tokens: the parameters for which no other number of tokens would be better"


def comparison(found: list[Split], asked: Question) -> list[str]:
    """The table: who says so, how many of what, the loss by their own law and by the judge's."""
    judge = asked.judge
    sizes = ["operations", "parameters", "tokens", "a parameter"]
    rows = [["", *sizes, "its own loss", f"loss by {judge.name}", "above the best"]]
    for split in found:
        own = f"{split.law.loss(split.parameters, split.tokens):.3f}" if split.law else "-"
        lost = "best" if split.law is judge else f"{above_the_best(split, judge):+.4f}"
        sizes = [power(split.flops), amount(split.parameters), amount(split.tokens), amount(split.ratio)]
        rows.append([split.by, *sizes, own, f"{judge.loss(split.parameters, split.tokens):.3f}", lost])
    return table(rows)


def remarks(asked: Question, found: list[Split], best: Split) -> Iterator[str]:
    """How sure the table is, why its lines differ, and who trained with as much."""
    judge, flops = asked.judge, best.flops
    yield (
        f"losses are {judge.units}, on the text that the laws were fitted to; 'above the best' is what the best split "
        f"of the same operations would gain by {judge.name}"
    )
    if PUBLISHED["besiroglu"] not in asked.laws:
        yield (
            f"{judge.name} counts {judge.units}, of a vocabulary of {judge.vocab}, with which nothing of the published "
            "laws compares: they are left out"
        )
    elif not speaks(judge, asked.vocab):
        yield f"{judge.name} is of subword tokens; those of a vocabulary of {asked.vocab} are shorter, of fewer nats"
    if asked.priced:
        yield weighed(best, judge)
    yield disagreement(asked.laws, flops)
    for law in asked.laws:
        yield from uncertainty(law, flops)
        yield from (f"{law.name}: {warning}" for warning in law.warnings)
    if PUBLISHED["hoffmann_tex"] in asked.laws:
        yield (
            "hoffmann_rounded and hoffmann_tex: the exponents were published with 80 % intervals, a 0.454-0.455 and b "
            "0.542-0.543, which the refit (arXiv:2404.10102) calls implausibly narrow"
        )
    yield from extrapolated([judge], flops)
    if PUBLISHED["besiroglu"] in asked.laws:
        yield neighbours(flops)


def weighed(given: Split, judge: Law) -> str:
    """How a training stands to the rule and to the judge's best split."""
    size, length = judge.optimum(given.flops)
    share = given.ratio / RULE
    stands = f"{times(share)} x" if share >= 1 else f"1/{times(1 / share)} of"
    return (
        f"{amount(given.ratio)} tokens a parameter are {stands} the {RULE:g} of Chinchilla's rule: "
        f"{'over' if share >= 1 else 'under'}-trained by it; {judge.name} would spend the same operations on "
        f"{amount(size)} parameters and {amount(length)} tokens, and reach {above_the_best(given, judge):.3f} nats less"
    )


def disagreement(every: list[Law], flops: float) -> str:
    """Why the lines of the table differ."""
    growth = ", ".join(f"C^{law.exponents[0]:.3f} ({law.name})" for law in every)
    meet = ", ".join(power(float(f"{met:.2g}")) if (met := agreement(law)) else "none" for law in every)
    here = ", ".join(amount(law.optimum(flops)[1] / law.optimum(flops)[0]) for law in every)
    return (
        f"why they differ: the best size grows as {growth}, by the rule as C^0.5. They ask for {RULE:g} tokens a "
        f"parameter at {meet} operations and at no other budget; at {power(flops)} for {here}"
    )


def uncertainty(law: Law, flops: float) -> Iterator[str]:
    """How sure a law is, where that was published or its fit has draws."""
    if law.deviations:
        known_to = ", ".join(f"{name} {getattr(law, name):.4g} +- {sd:g}" for name, sd in law.deviations.items())
        yield (f"{law.name}: {known_to} (standard errors; how the constants vary together was not published)")
    size = law.interval(lambda drawn: drawn.parameters(flops))
    loss = law.interval(lambda drawn: drawn.loss(*drawn.optimum(flops)))
    if size and loss:
        yield (
            f"{law.name}: 95 % of its draws put the best size of {power(flops)} operations between {amount(size[0])} "
            f"and {amount(size[1])} parameters, and its loss between {loss[0]:.3f} and {loss[1]:.3f}"
        )


def neighbours(flops: float) -> str:
    """Who trained with as much, and where GPT-3 and Llama 3 stand."""
    landmarks = [model for model in known.MODELS if model.name in ("GPT-3 175B", "Llama 3 8B")]
    said = [
        f"{model.name} {power(model.flops)} ({times(model.flops / flops)} x this), {amount(model.tokens)} tokens, "
        f"{amount(model.tokens / model.parameters)} a parameter"
        for model in dict.fromkeys((known.nearest(flops), *landmarks))
    ]
    return "operations of others: " + "; ".join(said)


def serving(naive: Split, best: Split, asked: Question) -> list[str]:
    """The size that is cheapest to train and to serve, beside the one that is cheapest to train."""
    served, loss = asked.served or 0.0, asked.judge.loss(naive.parameters, naive.tokens)
    rows = [["", "parameters", "tokens", "a parameter", "to train", "to serve", "together"]]
    totals = []
    for by, split in ((GIVEN if asked.priced else "training alone", naive), ("training and serving", best)):
        totals.append(split.flops + 2 * split.parameters * served)
        rows.append([by, amount(split.parameters), amount(split.tokens), amount(split.ratio), power(split.flops),
                     power(totals[-1] - split.flops), power(totals[-1])])  # fmt: skip
    said = (
        f"the second saves {abs(1 - totals[1] / totals[0]):.1%} for {times(best.flops / naive.flops)} x the training; "
        "laws that were fitted at usual ratios promise too much of very long trainings (arXiv:2401.00448)"
    )
    head = f"to serve {amount(served)} tokens, 2 operations a parameter each, at the loss of {loss:.3f}"
    return [f"{head} that {asked.judge.name} expects:", *table(rows), *wrapped([said])]


def to_run(best: Split, asked: Question, flops: float | None) -> list[str]:
    """The nearest preset, a shape of that size, its memory, and the command; tokens follow where operations are set."""
    wanted = best.parameters
    found = shapes.shape(wanted, vocab_size=asked.vocab, context=asked.context)
    count = found.size.parameters
    tokens = flops / 6 / count if flops else best.tokens
    whole = power(found.size.flops * tokens)
    lines = [
        f"for {amount(wanted)} parameters, with a vocabulary of {asked.vocab:,}:",
        f"  weights, gradients and Adam's moments: 16 bytes a parameter in fp32 = {memory(16 * wanted)}; without "
        f"gradients 12 = {memory(12 * wanted)}",
        f"  {nearest_preset(wanted, asked, flops)}",
        f"  a shape of it: width {found.width}, depth {found.depth}, heads {found.heads}: {count:,}, "
        f"{count / wanted - 1:+.1%}",
        f"  a token takes {power(found.size.flops)} operations with attention over {asked.context:,}, "
        f"{found.size.flops / (6 * count):.3g} x 6 a parameter; all {amount(tokens)} take {whole}",
    ]
    if abs(count / wanted - 1) > 0.1:
        heavy = "context" if asked.context > asked.vocab else "vocab"
        lines.append(
            f"  no shape of sensible aspect comes nearer: the embeddings weigh too much; a smaller {heavy} does"
        )
    if tokens < asked.context:
        lines.append(f"  they are less than the one sequence of {asked.context:,} that an update has at least")
    lines += reread(tokens, asked)
    if asked.judge.recipe:
        run = overrides.as_before(found, tokens, asked.judge.recipe)
        return [*lines, f"  to run it as the runs of {asked.judge.name} were:", "", f"  {run}"]
    run = overrides.command(found, tokens, vocab_size=asked.vocab, context=asked.context)
    return [*lines, "  to run it, with a peak rate between nano's and those of GPT-3's table 2.1:", "", f"  {run}"]


def reread(tokens: float, asked: Question) -> list[str]:
    """A line on how often the text is read, if more than once, and one on a text of another vocabulary: the text is
    that of the judge's runs, or else the one of the command."""
    known, said = overrides.text(asked.vocab, tokens)[1], []
    if asked.judge.recipe:
        known = (f"the text of {asked.judge.name}", asked.judge.text)
    elif asked.vocab < 257 and asked.vocab != overrides.SHAKESPEARE[0]:
        said.append(
            f"  data=shakespeare has a vocabulary of {overrides.SHAKESPEARE[0]}: what is trained differs by that"
        )
    whose, there = known or ("", 0.0)
    if there and tokens > there:
        often = tokens / there
        said.append(f"  {whose} has {amount(there)} tokens, which this reads {times(often)} times{repeated(often)}")
    return said


def nearest_preset(wanted: float, asked: Question, flops: float | None) -> str:
    """The preset that is nearest in size, how far it is, and what it costs where operations are set."""
    name, size = shapes.nearest(wanted, asked.vocab)
    ratio = size.parameters / wanted
    far = f"{round(ratio - 1, 2) + 0.0:+.0%}" if ratio < 2 else f"{times(ratio)} x as many"
    if ratio < 0.5:
        far = f"1/{times(1 / ratio)} as many"
    said = f"nearest preset: model={name} has {size.parameters:,}, {far}"
    if not flops:
        return said
    spent = Split(name, size.parameters, flops / 6 / size.parameters)
    return (
        f"{said}; the same operations give it {amount(spent.tokens)} tokens, "
        f"{above_the_best(spent, asked.judge):+.4f} nats by {asked.judge.name}"
    )


def drawn(asked: Question, naive: Split, best: Split) -> str:
    """Draw the chart, with the budget on it, and the size that is cheapest to serve if that is another: a page has
    every law's, a picture the judge's. Where it is."""
    from gptx.plan.chart import chart

    assert asked.out is not None
    laws = sorted(asked.laws, key=lambda law: law is not asked.judge)  # the judge's is seen first
    models = known.MODELS if PUBLISHED["besiroglu"] in laws else ()
    laws = laws if asked.out.suffix == ".html" else laws[:1]
    marked = [model[:3] for model in models]
    marked += [("to train and serve", best.parameters, best.tokens)] * (best is not naive)
    chart(asked.out, laws, flops=naive.flops, known=marked)
    return f"drawn in {asked.out}"
