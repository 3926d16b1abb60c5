"""What a budget is best spent on, by the rule of thumb and by every law; and how to run it."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptx.estimate.effort import repeated
from gptx.estimate.laws import LARGEST_VOCABULARY, PUBLISHED, RULE, SUBWORDS, Law, extrapolated, law_named
from gptx.plan import shapes
from gptx.plan.split import MODELS, Split, above_the_best, agrees_at, by_law, by_rule, cheapest
from gptx.show.table import Table, terminal
from gptx.units.amounts import amount, memory, number, power, whole

QUANTITIES = {"flops": "1e19", "params": "124M", "tokens": "2.5B", "served": "1e12"}  # with an example
_REFIT = "besiroglu"  # the default judge: the others do not fit their own runs (arXiv:2404.10102)
_LARGEST_CONTEXT = 10**8  # tokens of a sequence; the longest known have some 10^7
_ROUNDING = 0.05  # by which three numbers with two digits each may miss 6 N D
_SIZES = 1e3, 1e14  # parameters that are planned for; the largest models known have some 1e12
_LENGTHS = 1e3, 1e18  # tokens
_FAMOUS = "GPT-3 175B", "Llama 3 8B"  # whose FLOPs are always named


@dataclass(frozen=True)
class _Question:
    """What a budget is asked for; `one` has its flops, parameters or tokens, `given` is a training to be priced."""

    one: dict[str, float]
    given: Split | None
    served: float | None
    judge: Law
    vocab: int
    context: int
    out: Path | None
    said: str  # the quantities as they were given

    @property
    def laws(self) -> list[Law]:
        """The published laws, if their nats can be compared with the judge's, and the judge."""
        alike = list(PUBLISHED.values()) if not self.judge.vocab or self.judge.vocab >= SUBWORDS else []
        return alike if self.judge in alike else [*alike, self.judge]


def plan_budget(*, flops: str | None = None, params: str | None = None, tokens: str | None = None,
                served: str | None = None, law: str = _REFIT, vocab: str = "", context: str = "",
                out: str = "") -> None:  # fmt: skip
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


def read_question(*, law: str = _REFIT, vocab: str = "", context: str = "", out: str = "",
                  **quantities: str | None) -> _Question:  # fmt: skip
    """The question of the options; `quantities` are those of QUANTITIES. Raises ValueError for impossible amounts."""
    given = {key: text for key, text in quantities.items() if text is not None}
    numbers = {key: number(key, text, QUANTITIES[key]) for key, text in given.items()}
    said = " ".join(map("=".join, given.items()))
    one, split = _balanced(said or f"out={out}", numbers)
    judge = law_named(law)
    entries = whole("vocab", vocab or str(judge.vocab or 50257), most=LARGEST_VOCABULARY, example="50257")
    if judge.vocab not in (0, entries):
        raise ValueError(f"vocab={vocab}: {judge.name} is of a vocabulary of {judge.vocab}; leave vocab= out")
    length = whole("context", context or str(judge.context), most=_LARGEST_CONTEXT, example="1024")
    return _Question(one, split, numbers.get("served"), judge, entries, length, Path(out) if out else None, said)


def _balanced(said: str, numbers: dict[str, float]) -> tuple[dict[str, float], Split | None]:
    """The quantity that is given, or of two and more the FLOPs and the split that they are."""
    names = {"flops": "flops", "params": "parameters", "tokens": "tokens"}
    one = {name: numbers[key] for key, name in names.items() if key in numbers}
    if not one:
        raise ValueError(f"{said}: goes with flops=, params= or tokens=")
    if len(one) == 1:
        return one, None
    tokens = one.get("tokens") or one["flops"] / 6 / one["parameters"]
    split = Split("as given", one.get("parameters") or one["flops"] / 6 / tokens, tokens)
    if abs(math.log(one.get("flops", split.flops) / split.flops)) > math.log1p(_ROUNDING):
        product = f"6 x {power(split.parameters)} x {power(tokens)} is {power(split.flops)}"
        raise ValueError(f"{said}: contradict each other, {product}; leave one of them out")
    return {"flops": split.flops}, split


def _planned(split: Split, said: str) -> Split:
    """The split. Raises ValueError for one that is no training, with the least and the most that are planned for."""
    size, length = (float(f"{each:.9g}") for each in (split.parameters, split.tokens))  # an inverse is not exact
    if not (_SIZES[0] <= size <= _SIZES[1] and _LENGTHS[0] <= length <= _LENGTHS[1]):
        ends = "planned are {} to {} parameters and {} to {} tokens".format(*map(power, (*_SIZES, *_LENGTHS)))
        raise ValueError(f"{said}: {power(size)} parameters on {power(length)} tokens ({split.name}); {ends}")
    return split


def _answer(asked: _Question) -> Iterator[str]:
    """The table, remarks, the size that is cheapest to serve, and how to run it."""
    best = naive = asked.given or by_law(asked.judge, **asked.one)
    splits = [by_rule(**asked.one), *(by_law(law, **asked.one) for law in asked.laws)]
    splits = [_planned(split, asked.said) for split in [*[naive] * bool(asked.given), *splits]]
    table = _comparison(splits, asked.judge)
    yield f"{best}: {power(best.flops)} FLOPs, 6 per parameter and token ({asked.said}: {best.name})"
    yield from ["", *terminal(table), ""]
    for remark in _remarks(asked, best):
        yield from textwrap.wrap(remark, 118, subsequent_indent="  ")
    if asked.served:
        best = _planned(cheapest(asked.judge, naive.by(asked.judge).loss, asked.served), asked.said)
        yield from ["", *terminal(_serving(naive, best, asked))]
    yield from ["", *_to_run(best, asked)]
    if asked.out:
        from gptx.plan.chart_files import chart

        laws = sorted(asked.laws, key=lambda law: law is not asked.judge)  # the judge's is seen first
        laws = laws if asked.out.suffix == ".html" else laws[:1]
        known = [*(MODELS if PUBLISHED[_REFIT] in asked.laws else ()), *[best] * (best is not naive)]
        chart(asked.out, laws, flops=naive.flops, known=known, below=table)
        yield f"drawn in {asked.out}"


def _comparison(found: list[Split], judge: Law) -> Table:
    rows = []
    for split in found:
        own = f"{split.by(split.law).loss:.3f}" if split.law else "-"
        lost = "best" if split.law is judge else f"{above_the_best(split, judge):+.4f}"
        rows.append((split.name, power(split.flops), *split.cells, own, f"{split.by(judge).loss:.3f}", lost))
    losses = "its own loss", f"loss by {judge.name}", "above the best"
    note = f"Losses are {judge.units}, on the text of the laws' fits; best is {judge.name}'s split of the same FLOPs."
    return Table("", ("", "FLOPs", "parameters", "tokens", "per parameter", *losses), rows, note)


def _remarks(asked: _Question, best: Split) -> Iterator[str]:
    """What the losses are not of, how the laws differ, how sure they are, and who trained with as many FLOPs."""
    judge, flops = asked.judge, best.flops
    if PUBLISHED[_REFIT] not in asked.laws:
        yield f"{judge.name} counts {judge.units}, of a vocabulary of {judge.vocab}; the published laws count others"
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
    if PUBLISHED[_REFIT] in asked.laws:
        nearest = min(MODELS, key=lambda model: abs(math.log(model.flops / flops)))
        others = dict.fromkeys([nearest, *(each for each in MODELS if each.name in _FAMOUS)])
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


def _serving(naive: Split, best: Split, asked: _Question) -> Table:
    """The size that is cheapest to train and serve, compared with the one that is cheapest to train."""
    served, rows, totals = asked.served or 0.0, [], []
    for name, split in (("as given" if asked.given else "training alone", naive), ("training and serving", best)):
        serving = 2 * split.parameters * served
        totals.append(split.flops + serving)
        rows.append((name, *split.cells, power(split.flops), power(serving), power(totals[-1])))
    loss = f"{naive.by(asked.judge).loss:.3f} that {asked.judge.name} expects"
    title = f"to serve {amount(served)} tokens, 2 FLOPs per parameter each, at the loss of {loss}:"
    columns = "", "parameters", "tokens", "per parameter", "to train", "to serve", "together"
    share, more = abs(1 - totals[1] / totals[0]), amount(best.flops / naive.flops)
    far = "laws that were fitted at usual ratios promise too much of very long trainings (arXiv:2401.00448)"
    return Table(title, columns, rows, f"the second saves {share:.1%} for {more} x the training; {far}")


def _to_run(best: Split, asked: _Question) -> Iterator[str]:
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
        near = Split(name, size.parameters, flops / 6 / size.parameters)
        lost = f"{above_the_best(near, judge):+.4f} nats by {judge.name}"
        price = f"; the same FLOPs give it {amount(near.tokens)} tokens, {lost}"
    yield f"  nearest preset: model={name} has {size.parameters:,}, {amount(size.parameters / wanted)} x as many{price}"
    shaped = f"width {found.width}, depth {found.depth}, heads {found.heads}"
    yield f"  a shape of it: {shaped}: {count:,}, {count / wanted - 1:+.1%}"
    cost = found.size.flops
    each = f"{power(cost)} FLOPs with attention over {asked.context:,}, {cost / (6 * count):.3g} x 6 per parameter"
    yield f"  a token takes {each}; all {amount(tokens)} take {power(cost * tokens)}"
    if abs(count / wanted - 1) > 0.1:
        heavy = "context" if asked.context > asked.vocab else "vocab"
        yield f"  no shape of sensible aspect comes nearer: the embeddings weigh too much; a smaller {heavy} helps"
    if tokens < asked.context:
        yield f"  they are fewer than the one sequence of {asked.context:,} that a step has at least"
    yield from _reread(tokens, asked)
    peak = "with a peak learning rate between nano's and those of GPT-3's table 2.1"
    line = shapes.training_command(found, tokens, vocab_size=asked.vocab, context=asked.context, recipe=judge.recipe)
    yield from [f"  to run it {f'as the runs of {judge.name}' if judge.recipe else peak}:", "", f"  {line}"]


def _reread(tokens: float, asked: _Question) -> Iterator[str]:
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
