"""The whole plan of a recipe: its size, its predicted loss, memory, time and cost, and warnings."""

import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.estimate.effort import Effort, effort
from gptx.estimate.footprint import Footprint
from gptx.estimate.laws import PUBLISHED, RULE, SUBWORDS, Law, extrapolated, law_named
from gptx.estimate.memory import likely_vocabulary, prediction, vocabulary_of
from gptx.estimate.warnings import budget_warnings, critical_batch_size, imitation, packing, proportion
from gptx.plan import machines
from gptx.plan.arms import print_arms
from gptx.plan.machines import Hardware
from gptx.plan.memory import footprint_table
from gptx.plan.probe import probe as probe_machine
from gptx.plan.split import by_rule
from gptx.show.table import Table, terminal
from gptx.units.amounts import amount, power

_Part = tuple[str, list[str]]  # a label, and its lines


def plan_recipe(
    *overrides: str,
    hardware: str = "",
    devices: int = 1,
    price: float | None = None,
    probe: bool = False,
    law: str = "",
    vocab: str = "",
) -> None:
    """Show what a recipe costs and may reach: FLOPs, loss, memory, time, price and warnings.

      python -m gptx plan recipe model=gpt2_124m vocab=50257 steps=2.5Btok hardware=h100 devices=8 price=2.5
      python -m gptx plan recipe probe=true

    A first word of `recipe` may be left out.

    Options:
    hardware: device to run on, such as h100; by default the time on several is shown
    devices: how many of them
    price: price of one device for an hour
    probe: true measures the speed of this machine for some seconds
    law: the scaling law that predicts the loss: a published one or a fit's law.json; by default all published ones
    vocab: size of the vocabulary; by default the data's
    """
    print_arms(
        overrides,
        partial(planned, where=machines.hardware_of(hardware, devices, price), probe=probe, law=law, vocab=vocab),
    )


def planned(cfg, *, where: Hardware, probe: bool = False, law: str = "", vocab: str = "") -> Iterator[str]:
    """The plan of one config in lines. Raises ConfigError or ValueError."""
    laws = [law_named(law)] if law else list(PUBLISHED.values())
    for label, lines in _parts(cfg, where, laws, vocab, measured=probe):
        indents = [f"{label:11}", *[" " * 11] * len(lines)]
        yield from (f"{indent}{line.removeprefix('  ')}" for indent, line in zip(indents, lines, strict=False))


def _parts(cfg, where: Hardware, laws: list[Law], vocab: str, *, measured: bool) -> Iterator[_Part]:
    """The parts of the plan that have something to say."""
    text = None if vocab else _local_data(cfg)
    vocab_size = vocabulary_of(cfg, vocab) if text is None else text.vocab_size
    spent, shards = _spending(cfg, vocab_size), where.devices if str(cfg.parallel._target_).endswith(".fsdp") else 1
    yield "model", _sizes(spent)
    yield "run", _length(spent, None if text is None else text.identity["train_tokens"])
    yield "loss", predicted_losses(laws, spent, vocab_size)
    share = _on_one(cfg, where)
    found = prediction(share, vocab_size)
    yield "memory", _memory(share, found, buckets=where.devices > 1 and shards == 1)
    times = list(machines.time_and_room(where, spent, build(cfg.precision), found, shards))
    if str(cfg.memory._target_).endswith(".recompute"):
        times.append("memory=recompute computes the blocks again: up to a third more than these times")
    yield "time", times
    if measured:
        yield "here", [str(probe_machine(cfg, vocab=vocab))]
    yield "warning", list(_warnings(cfg, where, spent, text, [law for law in laws if law.speaks(vocab_size)][-1:]))


def _warnings(cfg, where: Hardware, spent: Effort, text: Any, judges: list[Law]) -> Iterator[str]:
    """All warnings; `text` is the data, None if it is not asked."""
    train_tokens = None if text is None else text.identity["train_tokens"]
    yield from budget_warnings(spent, warmup=cfg.schedule.get("warmup"), train_tokens=train_tokens)
    for judge in judges:
        yield from proportion(spent, judge)
    if text is not None and cfg.model.get("mask") == "cross":
        yield from packing(cfg.data.context, text.identity["train_tokens"] / text.identity["train_documents"])
    if where.device is None:
        from gptx.ingredients.parallel import find_device
        from gptx.ingredients.precision import imitated

        device = find_device(cfg.device)
        yield from imitation(imitated(build(cfg.precision).on(device), device))


def _local_data(cfg) -> Any:
    """The data, if it is here. Raises ConfigError if it would have to be fetched."""
    try:
        with _without_network():
            return build(cfg.data)
    except ConfigError as error:
        if not isinstance(error.__cause__, ConnectionError):
            raise
        size = likely_vocabulary(cfg, otherwise=50_257)
        raise ConfigError(
            f"data: it is not here, and a plan fetches nothing; vocab={size} plans without it, of this vocabulary"
        ) from None


@contextmanager
def _without_network() -> Iterator[None]:
    """Every attempt to reach another machine fails at once, whichever library makes it."""

    def refuse(*_, **__):
        raise socket.gaierror("a plan fetches nothing")

    usual = socket.getaddrinfo
    socket.getaddrinfo = refuse
    try:
        yield
    finally:
        socket.getaddrinfo = usual


def _on_one(cfg, where: Hardware):
    """The config of one device's share of every step, in its number format. Raises ConfigError if a batch does not
    divide."""
    try:
        build(cfg.batch).split(cfg.data.context, where.devices)
    except ValueError as error:
        raise ConfigError(f"devices={where.devices}: {error}") from None
    share = cfg.copy()
    share.batch.tokens //= where.devices
    if where.device and share.precision.compute == "auto":
        share.precision.compute = machines.form(build(cfg.precision), where.device)
    return share


def _spending(cfg, vocab_size: int) -> Effort:
    """The effort of a config; its model is built without data."""
    import torch

    with torch.device("meta"):
        return effort(build(cfg.model)(vocab_size=vocab_size), build(cfg.batch), cfg.steps)


def _memory(cfg, found: Footprint | str, *, buckets: bool) -> list[str]:
    """Bytes by part, and of which device and number format they are; or why they are not predicted."""

    from gptx.ingredients.parallel import find_device

    lines = [str(found)]
    if isinstance(found, Footprint):
        device = find_device(cfg.device)
        dtype = str(build(cfg.precision).on(device)).removeprefix("torch.")
        lines = [*footprint_table(found), f"counted as on {device}, in {dtype}"]
    more = "without the buckets of parallel=ddp, one more copy of the gradients, 4 bytes per parameter"
    return [*lines, *[more] * buckets]


def _sizes(spent: Effort) -> list[str]:
    """Parameters and FLOPs per token, by both counts."""
    padding = f", and {spent.padding:,} that pad the vocabulary" if spent.padding else ""
    return [
        f"{spent.parameters:,} parameters, {spent.body:,} without embeddings and head{padding}",
        f"{amount(spent.flops_per_token)} FLOPs per token, attention counted where the model does; 6N is "
        f"{amount(6 * spent.parameters)} with all parameters, {amount(6 * spent.body)} without embeddings and head",
    ]


def _length(spent: Effort, train_tokens: int | None) -> list[str]:
    """Tokens and FLOPs of the run, its batch, and how often it reads the text."""
    grows, critical = spent.tokens != spent.steps * spent.tokens_per_step, critical_batch_size(spent.tokens)
    lines = [
        f"{spent.steps:,} steps of {'up to ' * grows}{spent.tokens_per_step:,} tokens = {spent.tokens:,} tokens, "
        f"{power(spent.flops)} FLOPs (6ND is {power(6 * spent.parameters * spent.tokens)})",
        f"{spent.tokens_per_parameter:.3g} tokens per parameter = {spent.chinchilla_multiple:.3g} x Chinchilla's 20",
        f"{spent.tokens_per_step / critical:.2g} x the critical batch of this many tokens, about {critical:,.0f}",
    ]
    if train_tokens is None:
        return [*lines, "epochs: not known, since vocab= stands for the data"]
    epochs = spent.tokens / train_tokens
    return [*lines, f"{epochs:.2f} epochs of {train_tokens:,} training tokens" + ": none is seen twice" * (epochs <= 1)]


def predicted_losses(laws: list[Law], spent: Effort, vocab_size: int) -> list[str]:
    """The loss of the run by each law, and the best size for as many FLOPs; or why the laws cannot say."""
    fitting = list(filter(lambda law: law.speaks(vocab_size), laws))
    if not fitting:
        whose = f"{laws[0].name} is" if len(laws) == 1 else "the published laws are"
        own = f", of a vocabulary of {laws[0].vocab:,}" if laws[0].vocab else ""
        return [
            f"not predicted: {whose} of {laws[0].units}{own}, not of a vocabulary of {vocab_size:,}; "
            "experiment=scaling fits a law to runs of yours, for law=FILE"
        ]
    flops, guess = 6 * spent.parameters * spent.tokens, math.log(vocab_size)
    rows, below = [], []
    for law in fitting:
        loss = law.loss(spent.parameters, spent.tokens)
        band = law.interval(lambda drawn: drawn.loss(spent.parameters, spent.tokens))
        spread = f" ({band[0]:.3f} to {band[1]:.3f})" if band else ""
        if loss < guess:
            rows.append((law.name, f"{loss:.3f}{spread}", *_best(*law.optimum(flops)), f"{law.lowest(flops):.3f}"))
        else:
            rows.append((law.name, "-", "", "", "", ""))
            below.append(
                f"{law.name}: {loss:.3g} would be worse than guessing, {guess:.3f}: the run is too short for it"
            )
        below += [f"{law.name}: {warning}" for warning in law.warnings]
    if vocab_size >= SUBWORDS:
        rule = by_rule(flops=flops)
        rows.append((f"rule of {RULE:g}", "", *_best(rule.parameters, rule.tokens), ""))
    title = f"{fitting[0].units}, and the best size for as many FLOPs (6ND = {power(flops)})"
    columns = "law", "loss", "best parameters", "tokens", "per parameter", "its loss"
    return [*terminal(Table(title, columns, rows)), *below, *extrapolated(fitting, flops)]


def _best(size: float, tokens: float) -> tuple[str, str, str]:
    return amount(size), amount(tokens), f"{tokens / size:.1f}"
