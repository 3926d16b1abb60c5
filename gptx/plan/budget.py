"""What a budget is best spent on, by the rule of thumb and by every law; and how to run it."""

import textwrap
from collections.abc import Iterator

from gptx.estimate.effort import repeated
from gptx.estimate.laws import PUBLISHED, RULE, Law, extrapolated
from gptx.plan import shapes
from gptx.plan.question import REFIT, Question, planned, read_question
from gptx.plan.split import MODELS, Split, above_the_best, agrees_at, by_law, by_rule, cheapest, nearest_model
from gptx.show.table import Table, terminal
from gptx.units.amounts import amount, memory, power


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


def _answer(asked: Question) -> Iterator[str]:
    """The table, remarks, the size that is cheapest to serve, and how to run it."""
    splits = [by_rule(**asked.one), *(by_law(law, **asked.one) for law in asked.laws)]
    splits = [asked.given, *splits] if asked.given else splits
    best = naive = asked.given or by_law(asked.judge, **asked.one)
    title = f"{best}: {power(best.flops)} FLOPs, 6 per parameter and token ({asked.said}: {best.name})"
    table = _comparison([planned(split, asked.said) for split in splits], asked.judge)
    yield from [title, "", *terminal(table), ""]
    for remark in _remarks(asked, best):
        yield from textwrap.wrap(remark, 118, subsequent_indent="  ")
    if asked.served:
        best = planned(cheapest(asked.judge, naive.by(asked.judge).loss, asked.served), asked.said)
        yield from ["", *terminal(_serving(naive, best, asked))]
    yield from ["", *_to_run(best, asked)]
    if asked.out:
        from gptx.plan.chart_files import chart

        laws = sorted(asked.laws, key=lambda law: law is not asked.judge)  # the judge's is seen first
        laws = laws if asked.out.suffix == ".html" else laws[:1]
        known = [*(MODELS if PUBLISHED[REFIT] in asked.laws else ()), *[best] * (best is not naive)]
        chart(
            asked.out, laws[: None if asked.out.suffix == ".html" else 1], flops=naive.flops, known=known, below=table
        )
        yield f"drawn in {asked.out}"


def _comparison(found: list[Split], judge: Law) -> Table:
    rows = []
    for split in found:
        own = f"{split.by(split.law).loss:.3f}" if split.law else "-"
        lost = "best" if split.law is judge else f"{above_the_best(split, judge):+.4f}"
        rows.append((split.name, power(split.flops), *split.cells, own, f"{split.by(judge).loss:.3f}", lost))
    columns = "", "FLOPs", "parameters", "tokens", "per parameter", "its own loss", f"loss by {judge.name}"
    best = f"the best is the split of the same FLOPs by {judge.name}"
    note = f"Losses are {judge.units}, on the text that the laws were fitted to; {best}."
    return Table("", (*columns, "above the best"), rows, note)


def _remarks(asked: Question, best: Split) -> Iterator[str]:
    """What the losses are not of, how the laws differ, how sure they are, and who trained with as many FLOPs."""
    judge, flops = asked.judge, best.flops
    if PUBLISHED[REFIT] not in asked.laws:
        vocabulary = f"{judge.name} counts {judge.units}, of a vocabulary of {judge.vocab}"
        yield f"{vocabulary}; the published laws count other tokens and are left out"
    elif not judge.speaks(asked.vocab):
        yield f"{judge.name} is of subword tokens; those of a vocabulary of {asked.vocab} are shorter, of fewer nats"
    if asked.given:
        share = best.ratio / RULE
        stands, side = (f"{amount(share)} x", "over") if share >= 1 else (f"1/{amount(1 / share)} of", "under")
        each = f"{amount(best.ratio)} tokens per parameter"
        yield f"{each} are {stands} the {RULE:g} of Chinchilla's rule: {side}-trained"
    for law in asked.laws:
        yield from (f"{law.name}: {said}" for said in ("; ".join(_known(law, flops)), *law.warnings))
    yield from extrapolated([judge], flops)
    if PUBLISHED[REFIT] in asked.laws:
        shown = [model for model in MODELS if model.name in ("GPT-3 175B", "Llama 3 8B")]
        others = dict.fromkeys((nearest_model(flops), *shown))
        named = (f"{model.name} {power(model.flops)} ({amount(model.flops / flops)} x this)" for model in others)
        yield f"FLOPs of others: {', '.join(named)}"


def _known(law: Law, flops: float) -> Iterator[str]:
    """How the best size of a law grows, and how sure its constants, or its answers for a budget, are."""
    met, size = agrees_at(law), law.interval(lambda drawn: drawn.parameters(flops))
    yield f"the best size grows as C^{law.exponents[0]:.3f}"
    yield f"{RULE:g} tokens per parameter are best at {power(met) if met else 'no budget of'} FLOPs"
    if law.deviations:
        constants = ", ".join(f"{name} {getattr(law, name):.4g} +- {sd:g}" for name, sd in law.deviations.items())
        yield f"{constants} (standard errors; how the constants vary together was not published)"
    if size and (loss := law.interval(lambda drawn: drawn.lowest(flops))):
        put = f"95 % of its draws put the best size of {power(flops)} FLOPs between {amount(size[0])}"
        yield f"{put} and {amount(size[1])} parameters, and its loss between {loss[0]:.3f} and {loss[1]:.3f}"


def _serving(naive: Split, best: Split, asked: Question) -> Table:
    """The size that is cheapest to train and serve, compared with the one that is cheapest to train."""
    served, rows, totals = asked.served or 0.0, [], []
    for name, split in (("as given" if asked.given else "training alone", naive), ("training and serving", best)):
        serving = 2 * split.parameters * served
        totals.append(split.flops + serving)
        rows.append((name, *split.cells, power(split.flops), power(serving), power(totals[-1])))
    loss = f"{naive.by(asked.judge).loss:.3f} that {asked.judge.name} expects"
    title = f"to serve {amount(served)} tokens, 2 FLOPs per parameter each, at the loss of {loss}:"
    columns = "", "parameters", "tokens", "per parameter", "to train", "to serve", "together"
    note = (
        f"the second saves {abs(1 - totals[1] / totals[0]):.1%} for {amount(best.flops / naive.flops)} x the training; "
        "laws that were fitted at usual ratios promise too much of very long trainings (arXiv:2401.00448)"
    )
    return Table(title, columns, rows, note)


def _to_run(best: Split, asked: Question) -> Iterator[str]:
    """The nearest preset, a shape of that size, its memory, and the command. Where FLOPs are set, tokens follow."""
    wanted, judge = best.parameters, asked.judge
    found = shapes.shape(wanted, vocab_size=asked.vocab, context=asked.context)
    count, flops = found.size.parameters, 0.0 if asked.served or asked.given else asked.one.get("flops", 0.0)
    tokens = flops / 6 / count if flops else best.tokens
    yield f"for {amount(wanted)} parameters, with a vocabulary of {asked.vocab:,}:"
    parts = f"  weights, gradients and Adam's moments: 16 bytes per parameter in fp32 = {memory(16 * wanted)}"
    yield f"{parts}; without gradients 12 = {memory(12 * wanted)}"
    name, size = shapes.nearest_preset(wanted, asked.vocab)
    price = ""
    if flops:
        spent = Split(name, size.parameters, flops / 6 / size.parameters)
        lost = f"{above_the_best(spent, judge):+.4f} nats by {judge.name}"
        price = f"; the same FLOPs give it {amount(spent.tokens)} tokens, {lost}"
    yield f"  nearest preset: model={name} has {size.parameters:,}, {amount(size.parameters / wanted)} x as many{price}"
    shaped = f"width {found.width}, depth {found.depth}, heads {found.heads}"
    yield f"  a shape of it: {shaped}: {count:,}, {count / wanted - 1:+.1%}"
    each = f"{power(found.size.flops)} FLOPs with attention over {asked.context:,}"
    more = f"{found.size.flops / (6 * count):.3g} x 6 per parameter"
    yield f"  a token takes {each}, {more}; all {amount(tokens)} take {power(found.size.flops * tokens)}"
    if abs(count / wanted - 1) > 0.1:
        heavy = "context" if asked.context > asked.vocab else "vocab"
        yield f"  no shape of sensible aspect comes nearer: the embeddings weigh too much; a smaller {heavy} helps"
    if tokens < asked.context:
        yield f"  they are fewer than the one sequence of {asked.context:,} that a step has at least"
    yield from _reread(tokens, asked)
    peak = "with a peak learning rate between nano's and those of GPT-3's table 2.1"
    line = shapes.training_command(found, tokens, vocab_size=asked.vocab, context=asked.context, recipe=judge.recipe)
    yield from [f"  to run it {f'as the runs of {judge.name}' if judge.recipe else peak}:", "", f"  {line}"]


def _reread(tokens: float, asked: Question) -> Iterator[str]:
    """How often the text is read, if more than once. It is the text of the judge's runs, or that of the command."""
    whose, there = shapes.text_for(asked.vocab, tokens)[1] or ("", 0.0)
    own = shapes.SHAKESPEARE_TEXT[0]
    if asked.judge.recipe:
        whose, there = f"the text of {asked.judge.name}", asked.judge.text
    elif asked.vocab < 257 and asked.vocab != own:
        yield f"  data=shakespeare has a vocabulary of {own}: the model that is trained differs by it"
    if there and tokens > there:
        often = tokens / there
        yield f"  {whose} has {amount(there)} tokens, which this reads {amount(often)} times{repeated(often)}"
