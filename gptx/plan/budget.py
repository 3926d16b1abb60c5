"""What a budget is best spent on, by the rule of thumb and by every law; and how to run it."""

import textwrap
from collections.abc import Iterable, Iterator

from gptx.estimate.laws import PUBLISHED, RULE, Law, extrapolated
from gptx.estimate.warnings import repeated
from gptx.plan import shapes
from gptx.plan.question import REFIT, Question, read_question, refuse_splits
from gptx.plan.split import MODELS, Split, above_the_best, agrees_at, by_law, by_rule, cheapest, nearest_model
from gptx.show.table import Table, terminal
from gptx.units.amounts import amount, memory, power

_LANDMARKS = [model for model in MODELS if model.name in ("GPT-3 175B", "Llama 3 8B")]


def plan_budget(
    *,
    flops: str | None = None,
    params: str | None = None,
    tokens: str | None = None,
    served: str | None = None,
    law: str = REFIT,
    vocab: str = "",
    context: str = "",
    out: str = "",
) -> None:
    """Split a budget of FLOPs between parameters and tokens, by the rule of 20 and by every scaling law.

      python -m gptx plan budget flops=1e19
      python -m gptx plan budget params=124M
      python -m gptx plan budget params=175e9 tokens=300e9
      python -m gptx plan budget flops=1e19 served=1e12 out=chart.html

    One of flops, params and tokens gives the best values of the others; two of them are priced as given. Then come the
    nearest preset, a shape of the size and the command that trains it. A first word of `budget` may be left out.

    Options:
    flops: FLOPs to spend
    params: parameters of the model
    tokens: tokens to train on
    served: tokens that the model will serve: the size that is cheapest to train and serve
    law: the law that judges: hoffmann_rounded, hoffmann_tex, besiroglu or a fit's law.json
    vocab: size of the vocabulary of the proposed shape; by default the law's, or GPT-2's
    context: tokens of a sequence of the proposed shape; by default the law's
    out: draws loss over compute and over size: .html by every law, .png or .svg by the judge
    """
    quantities = {"flops": flops, "params": params, "tokens": tokens, "served": served}
    asked = read_question(law=law, vocab=vocab, context=context, out=out, **quantities)
    try:
        print("\n".join(_answer(asked)))
    except ArithmeticError:  # a law of extreme constants
        raise ValueError(f"law={asked.judge.name}: has no split of that which is a number") from None


def _times(ratio: float) -> str:
    """A ratio in two digits: 0.77, 31k."""
    return f"{ratio:.2g}" if ratio < 99.5 else amount(float(f"{ratio:.2g}"))


def _answer(asked: Question) -> Iterator[str]:
    """The table, remarks, the size that is cheapest to serve, and how to run it."""
    found = _splits(asked)
    refuse_splits(found, asked.said)
    best = found[0] if asked.priced else next(split for split in found if split.law is asked.judge)
    yield from [_title(asked, best), "", *terminal(_comparison(found, asked)), ""]
    yield from _wrapped([*_remarks(asked, found, best), *_uncertainty(asked, best.flops)])
    naive, keep = best, best.flops if asked.flops else None
    if asked.served:
        best, keep = cheapest(asked.judge, asked.judge.loss(naive.parameters, naive.tokens), asked.served), None
        refuse_splits([best], asked.said)
        yield from ["", *_serving(naive, best, asked)]
    yield from ["", *_to_run(best, asked, keep)]
    if asked.out:
        _draw(asked, naive, best)
        yield f"drawn in {asked.out}"


def _wrapped(sentences: Iterable[str]) -> list[str]:
    """Each sentence as a paragraph whose later lines are indented."""
    return [line for said in sentences for line in textwrap.wrap(said, 118, subsequent_indent="  ")]


def _splits(asked: Question) -> list[Split]:
    """What was given whole, then the answers of the rule and of every law."""
    one: dict = {"flops": asked.flops or 0.0, "parameters": asked.parameters, "tokens": asked.tokens}
    given = []
    if asked.parameters is not None and asked.tokens is not None:
        given = [Split("as given", asked.parameters, asked.tokens)]
        one = {"flops": given[0].flops}
    return [*given, by_rule(**one), *(by_law(law, **one) for law in asked.laws)]


def _title(asked: Question, best: Split) -> str:
    if asked.priced:
        spent = f"{amount(best.parameters)} parameters on {amount(best.tokens)} tokens: {power(best.flops)} FLOPs"
        return f"{spent}, 6 per parameter and token; {amount(best.ratio)} tokens per parameter"
    if asked.flops:
        return f"{power(asked.flops)} FLOPs, 6 per parameter and token: the best way to spend them"
    if asked.parameters:
        return f"{amount(asked.parameters)} parameters: the tokens for which no other size would be better"
    return f"{amount(asked.tokens or 0)} tokens: the parameters for which no other number of tokens would be better"


def _comparison(found: list[Split], asked: Question) -> Table:
    """Every split, with its loss by its own law and by the judge."""
    judge, rows = asked.judge, []
    for split in found:
        own = f"{split.law.loss(split.parameters, split.tokens):.3f}" if split.law else "-"
        lost = "best" if split.law is judge else f"{above_the_best(split, judge):+.4f}"
        sizes = power(split.flops), amount(split.parameters), amount(split.tokens), amount(split.ratio)
        rows.append((split.name, *sizes, own, f"{judge.loss(split.parameters, split.tokens):.3f}", lost))
    columns = "", "FLOPs", "parameters", "tokens", "per parameter", "its own loss", f"loss by {judge.name}"
    return Table("", (*columns, "above the best"), rows)


def _remarks(asked: Question, found: list[Split], best: Split) -> Iterator[str]:
    """What the losses mean, and why the lines of the table differ."""
    judge, flops = asked.judge, best.flops
    yield (
        f"losses are {judge.units}, on the text that the laws were fitted to; 'above the best' is what the best split "
        f"of the same FLOPs would gain by {judge.name}"
    )
    if PUBLISHED[REFIT] not in asked.laws:
        yield (
            f"{judge.name} counts {judge.units}, of a vocabulary of {judge.vocab}; the published laws count other "
            "tokens and are left out"
        )
    elif not judge.speaks(asked.vocab):
        yield f"{judge.name} is of subword tokens; those of a vocabulary of {asked.vocab} are shorter, of fewer nats"
    if asked.priced:
        size, length = judge.optimum(flops)
        share = best.ratio / RULE
        stands = f"{_times(share)} x" if share >= 1 else f"1/{_times(1 / share)} of"
        yield (
            f"{amount(best.ratio)} tokens per parameter are {stands} the {RULE:g} of Chinchilla's rule: "
            f"{'over' if share >= 1 else 'under'}-trained by it; {judge.name} would spend the same FLOPs on "
            f"{amount(size)} parameters and {amount(length)} tokens, and reach {above_the_best(best, judge):.3f} nats "
            "less"
        )
    growth = ", ".join(f"C^{law.exponents[0]:.3f} ({law.name})" for law in asked.laws)
    meet = ", ".join(power(float(f"{met:.2g}")) if (met := agrees_at(law)) else "none" for law in asked.laws)
    here = ", ".join(amount(law.optimum(flops)[1] / law.optimum(flops)[0]) for law in asked.laws)
    yield (
        f"why they differ: the best size grows as {growth}, by the rule as C^0.5. They ask for {RULE:g} tokens per "
        f"parameter at {meet} FLOPs and at no other budget; at {power(flops)} for {here}"
    )


def _uncertainty(asked: Question, flops: float) -> Iterator[str]:
    """How sure the laws are, and who trained with as many FLOPs."""
    for law in asked.laws:
        if law.deviations:
            known_to = ", ".join(f"{name} {getattr(law, name):.4g} +- {sd:g}" for name, sd in law.deviations.items())
            yield f"{law.name}: {known_to} (standard errors; how the constants vary together was not published)"
        size = law.interval(lambda drawn: drawn.parameters(flops))
        loss = law.interval(lambda drawn: drawn.lowest(flops))
        if size and loss:
            yield (
                f"{law.name}: 95 % of its draws put the best size of {power(flops)} FLOPs between {amount(size[0])} "
                f"and {amount(size[1])} parameters, and its loss between {loss[0]:.3f} and {loss[1]:.3f}"
            )
        yield from (f"{law.name}: {warning}" for warning in law.warnings)
    if PUBLISHED["hoffmann_tex"] in asked.laws:
        yield (
            "hoffmann_rounded and hoffmann_tex: the exponents were published with 80 % intervals, a 0.454-0.455 and b "
            "0.542-0.543, which the refit (arXiv:2404.10102) calls implausibly narrow"
        )
    yield from extrapolated([asked.judge], flops)
    if PUBLISHED[REFIT] in asked.laws:
        said = [
            f"{model.name} {power(model.flops)} ({_times(model.flops / flops)} x this), {amount(model.tokens)} tokens, "
            f"{amount(model.ratio)} per parameter"
            for model in dict.fromkeys((nearest_model(flops), *_LANDMARKS))
        ]
        yield "FLOPs of others: " + "; ".join(said)


def _serving(naive: Split, best: Split, asked: Question) -> list[str]:
    """The size that is cheapest to train and serve, compared with the one that is cheapest to train."""
    served, loss, rows, totals = asked.served or 0.0, asked.judge.loss(naive.parameters, naive.tokens), [], []
    for by, split in (("as given" if asked.priced else "training alone", naive), ("training and serving", best)):
        totals.append(split.flops + 2 * split.parameters * served)
        sizes = amount(split.parameters), amount(split.tokens), amount(split.ratio)
        rows.append((by, *sizes, power(split.flops), power(totals[-1] - split.flops), power(totals[-1])))
    said = (
        f"the second saves {abs(1 - totals[1] / totals[0]):.1%} for {_times(best.flops / naive.flops)} x the training; "
        "laws that were fitted at usual ratios promise too much of very long trainings (arXiv:2401.00448)"
    )
    title = f"to serve {amount(served)} tokens, 2 FLOPs per parameter each, at the loss of {loss:.3f} that "
    columns = "", "parameters", "tokens", "per parameter", "to train", "to serve", "together"
    return [*terminal(Table(f"{title}{asked.judge.name} expects:", columns, rows)), *_wrapped([said])]


def _to_run(best: Split, asked: Question, flops: float | None) -> Iterator[str]:
    """The nearest preset, a shape of that size, its memory, and the command. Where FLOPs are set, tokens follow."""
    wanted, judge = best.parameters, asked.judge
    found = shapes.shape(wanted, vocab_size=asked.vocab, context=asked.context)
    count = found.size.parameters
    tokens = flops / 6 / count if flops else best.tokens
    yield f"for {amount(wanted)} parameters, with a vocabulary of {asked.vocab:,}:"
    yield (
        f"  weights, gradients and Adam's moments: 16 bytes per parameter in fp32 = {memory(16 * wanted)}; without "
        f"gradients 12 = {memory(12 * wanted)}"
    )
    yield f"  {_nearest(wanted, asked, flops)}"
    shaped = f"width {found.width}, depth {found.depth}, heads {found.heads}"
    yield f"  a shape of it: {shaped}: {count:,}, {count / wanted - 1:+.1%}"
    yield (
        f"  a token takes {power(found.size.flops)} FLOPs with attention over {asked.context:,}, "
        f"{found.size.flops / (6 * count):.3g} x 6 per parameter; all {amount(tokens)} take "
        f"{power(found.size.flops * tokens)}"
    )
    if abs(count / wanted - 1) > 0.1:
        heavy = "context" if asked.context > asked.vocab else "vocab"
        yield f"  no shape of sensible aspect comes nearer: the embeddings weigh too much; a smaller {heavy} helps"
    if tokens < asked.context:
        yield f"  they are fewer than the one sequence of {asked.context:,} that a step has at least"
    yield from _reread(tokens, asked)
    peak = "with a peak learning rate between nano's and those of GPT-3's table 2.1"
    yield f"  to run it {f'as the runs of {judge.name}' if judge.recipe else peak}:"
    line = shapes.training_command(found, tokens, vocab_size=asked.vocab, context=asked.context, recipe=judge.recipe)
    yield from ["", f"  {line}"]


def _reread(tokens: float, asked: Question) -> Iterator[str]:
    """How often the text is read, if more than once. It is the text of the judge's runs, or that of the command."""
    whose, there = shapes.text_for(asked.vocab, tokens)[1] or ("", 0.0)
    if asked.judge.recipe:
        whose, there = f"the text of {asked.judge.name}", asked.judge.text
    elif asked.vocab < 257 and asked.vocab != shapes.SHAKESPEARE_TEXT[0]:
        own = shapes.SHAKESPEARE_TEXT[0]
        yield f"  data=shakespeare has a vocabulary of {own}: the model that is trained differs by it"
    if there and tokens > there:
        often = tokens / there
        yield f"  {whose} has {amount(there)} tokens, which this reads {_times(often)} times{repeated(often)}"


def _nearest(wanted: float, asked: Question, flops: float | None) -> str:
    """The preset nearest in size, how far it is, and what it costs if the FLOPs are set."""
    name, size = shapes.nearest_preset(wanted, asked.vocab)
    ratio = size.parameters / wanted
    far = f"{round(ratio - 1, 2) + 0.0:+.0%}" if ratio < 2 else f"{_times(ratio)} x as many"
    if ratio < 0.5:
        far = f"1/{_times(1 / ratio)} as many"
    said = f"nearest preset: model={name} has {size.parameters:,}, {far}"
    if not flops:
        return said
    spent = Split(name, size.parameters, flops / 6 / size.parameters)
    lost = f"{above_the_best(spent, asked.judge):+.4f} nats by {asked.judge.name}"
    return f"{said}; the same FLOPs give it {amount(spent.tokens)} tokens, {lost}"


def _draw(asked: Question, naive: Split, best: Split) -> None:
    """Draw the chart with the budget and the size that is cheapest to serve: a page of every law, or a picture of the
    judge's."""
    from gptx.plan.chart_files import chart

    assert asked.out is not None
    laws: list[Law] = sorted(asked.laws, key=lambda law: law is not asked.judge)  # the judge's is seen first
    models = [(each.name, each.parameters, each.tokens) for each in MODELS if PUBLISHED[REFIT] in laws]
    models += [("to train and serve", best.parameters, best.tokens)] * (best is not naive)
    chart(asked.out, laws if asked.out.suffix == ".html" else laws[:1], flops=naive.flops, known=models)
