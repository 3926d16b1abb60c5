"""The whole plan of a recipe: its size, its predicted loss, memory, time and cost, and warnings."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.estimate.capacity import fetching_nothing
from gptx.estimate.effort import Effort, budget_warnings, critical_batch_size, effort, imitation, packing, proportion
from gptx.estimate.laws import PUBLISHED, RULE, SUBWORDS, Law, extrapolated, law_named
from gptx.estimate.memory import Footprint, likely_vocabulary, prediction, vocabulary_of
from gptx.ingredients.parallel import find_device
from gptx.ingredients.precision import imitated
from gptx.plan import machines
from gptx.plan.machines import Hardware
from gptx.plan.parts import footprint_table, print_arms
from gptx.plan.probe import probe as probe_machine
from gptx.plan.split import by_law, by_rule
from gptx.show.table import Table, terminal
from gptx.units.amounts import amount, power


def plan_recipe(*overrides: str, hardware: str = "", devices: int = 1, price: float | None = None,
                probe: bool = False, law: str = "", vocab: str = "") -> None:  # fmt: skip
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
    where = machines.hardware_of(hardware, devices, price)
    print_arms(overrides, partial(planned, where=where, probe=probe, law=law, vocab=vocab))


def planned(cfg, *, where: Hardware, probe: bool = False, law: str = "", vocab: str = "") -> Iterator[str]:
    """The plan of one config in lines, its parts under their labels. Raises ConfigError or ValueError."""
    laws = [law_named(law)] if law else list(PUBLISHED.values())
    text = None if vocab else _local_data(cfg)
    vocab_size = vocabulary_of(cfg, vocab) if text is None else text.vocab_size
    with torch.device("meta"):
        spent = effort(build(cfg.model)(vocab_size=vocab_size), build(cfg.batch), cfg.steps)
    share = _on_one(cfg, where)
    found, shards = prediction(share, vocab_size), where.devices if str(cfg.parallel._target_).endswith(".fsdp") else 1
    again = "memory=recompute computes the blocks again: up to a third more than these times"
    more = [again] * str(cfg.memory._target_).endswith(".recompute")
    size = f"{spent.parameters:,} parameters, {spent.body:,} without embeddings and head"
    each = f"{amount(spent.flops_per_token)} FLOPs per token, attention counted where the model does"
    six = f"6N is {amount(6 * spent.parameters)}, {amount(6 * spent.body)} without embeddings and head"
    judge = next(filter(lambda law: law.speaks(vocab_size), reversed(laws)), None)
    parts = {
        "model": [f"{size}; {spent.padding:,} more pad the vocabulary", f"{each}; {six}"],
        "run": _length(spent, text),
        "loss": predicted_losses(laws, spent, vocab_size),
        "memory": _memory(share, found, buckets=where.devices > 1 and shards == 1),
        "time": [*machines.time_and_room(where, spent, build(cfg.precision), found, shards), *more],
        "here": [str(probe_machine(cfg, vocab=vocab))] if probe else [],
        "warning": list(_warnings(cfg, where, spent, text, judge)),
    }
    for label, lines in parts.items():
        yield from (f"{label * (i == 0):11}{line.removeprefix('  ')}" for i, line in enumerate(lines))


def _warnings(cfg, where: Hardware, spent: Effort, text: Any, judge: Law | None) -> Iterator[str]:
    train_tokens = None if text is None else text.identity["train_tokens"]
    yield from budget_warnings(spent, warmup=cfg.schedule.get("warmup"), train_tokens=train_tokens)
    if judge:
        yield from proportion(spent, judge)
    if train_tokens is not None and cfg.model.get("mask") == "cross":
        yield from packing(cfg.data.context, train_tokens / text.identity["train_documents"])
    if where.device is None:
        device = find_device(cfg.device)
        yield from imitation(imitated(build(cfg.precision).on(device), device))


def _local_data(cfg) -> Any:
    """The data, if it is here. Raises ConfigError if it would have to be fetched."""
    try:
        with fetching_nothing():
            return build(cfg.data)
    except ConfigError as error:
        if not isinstance(error.__cause__, ConnectionError):
            raise
        size = likely_vocabulary(cfg, otherwise=50_257)
        raise ConfigError(f"data: it is not here, and a plan fetches nothing; vocab={size} plans without it") from None


def _on_one(cfg, where: Hardware):
    """The config of one device's share of every step, in its number format. Raises ConfigError if it has none."""
    try:
        build(cfg.batch).split(cfg.data.context, where.devices)
    except ValueError as error:
        raise ConfigError(f"devices={where.devices}: {error}") from None
    share = cfg.copy()
    share.batch.tokens //= where.devices
    if where.device and share.precision.compute == "auto":
        share.precision.compute = machines.form(build(cfg.precision), where.device)
    return share


def _memory(cfg, found: Footprint | str, *, buckets: bool) -> list[str]:
    """Bytes by part, and of which device and number format they are; or why they are not predicted."""
    lines = [str(found)]
    if isinstance(found, Footprint):
        device = find_device(cfg.device)
        dtype = str(build(cfg.precision).on(device)).removeprefix("torch.")
        lines = [*footprint_table(found), f"counted as on {device}, in {dtype}"]
    more = "without the buckets of parallel=ddp, one more copy of the gradients, 4 bytes per parameter"
    return lines + [more] * buckets


def _length(spent: Effort, text: Any) -> Iterator[str]:
    grows, critical = spent.tokens != spent.steps * spent.tokens_per_step, critical_batch_size(spent.tokens)
    steps = f"{spent.steps:,} steps of {'up to ' * grows}{spent.tokens_per_step:,} tokens = {spent.tokens:,} tokens"
    yield f"{steps}, {power(spent.flops)} FLOPs (6ND is {power(6 * spent.parameters * spent.tokens)})"
    yield f"{spent.tokens_per_parameter:.3g} tokens per parameter = {spent.chinchilla_multiple:.3g} x Chinchilla's 20"
    yield f"{spent.tokens_per_step / critical:.2g} x the critical batch of this many tokens, about {critical:,.0f}"
    there = 0 if text is None else text.identity["train_tokens"]
    known = f"{spent.tokens / there:.2f} epochs of {there:,} training tokens" if there else ""
    yield known or "epochs: not known, since vocab= stands for the data"


def predicted_losses(laws: list[Law], spent: Effort, vocab_size: int) -> list[str]:
    """The loss of the run by each law, and the best size for as many FLOPs; or why the laws cannot say."""
    fitting = [law for law in laws if law.speaks(vocab_size)]
    if not fitting:
        own = f", of a vocabulary of {laws[0].vocab:,}" * (laws[0].vocab > 0)
        whose = f"{laws[0].name} is" if len(laws) == 1 else "the published laws are"
        said = f"not predicted: {whose} of {laws[0].units}{own}, not of a vocabulary of {vocab_size:,}"
        return [f"{said}; experiment=scaling fits a law to runs of yours, for law=FILE"]
    flops, guess = 6 * spent.parameters * spent.tokens, math.log(vocab_size)
    rows, below = [], []
    for law in fitting:
        loss, best = law.loss(spent.parameters, spent.tokens), by_law(law, flops=flops)
        band = law.interval(lambda drawn: drawn.loss(spent.parameters, spent.tokens))
        shown = f"{loss:.3f}{' ({:.3f} to {:.3f})'.format(*band) if band else ''}" if loss < guess else "-"
        rows.append((law.name, shown, *best.cells, f"{law.lowest(flops):.3f}"))
        worse = f"{loss:.3g} would be worse than guessing, {guess:.3f}: the run is too short for it"
        below += [f"{law.name}: {warning}" for warning in ([worse] * (loss >= guess) + [*law.warnings])]
    if vocab_size >= SUBWORDS:
        rows.append((f"rule of {RULE:g}", "", *by_rule(flops=flops).cells, ""))
    title = f"{fitting[0].units}, and the best size for as many FLOPs (6ND = {power(flops)})"
    columns = "law", "loss", "best parameters", "tokens", "per parameter", "its loss"
    return [*terminal(Table(title, columns, rows)), *below, *extrapolated(fitting, flops)]
