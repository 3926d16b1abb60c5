"""The whole plan of a composition: its size, what it costs and should reach, and what is doubtful about it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.estimate.effort import Effort, effort
from gptx.estimate.footprint import Footprint
from gptx.estimate.laws import PUBLISHED, Law, chosen
from gptx.estimate.memory import foreseen
from gptx.estimate.warnings import doubts, imitation, packing, proportion
from gptx.ingredients.data.tokenizers import vocabulary_size
from gptx.plan import expectations, machines
from gptx.plan.decay import vocabulary
from gptx.plan.machines import Place
from gptx.plan.memory import table
from gptx.units.amounts import amount, power

Part = tuple[str, list[str]]  # a label, and its lines


def recipe(
    arms: dict,
    *,
    hardware: str = "",
    devices: str = "1",
    price: str = "",
    probe: str = "",
    law: str = "",
    vocab: str = "",
) -> list[str]:
    """What every arm is, costs and should reach: on `hardware`, in time and money, or measured here by a probe.

    `vocab` stands for the data's vocabulary, so that the data is not asked. Raises ConfigError or ValueError.
    """
    place = machines.place(hardware, devices, price)
    laws = [chosen(law)] if law else list(PUBLISHED.values())
    if probe not in ("", "true", "false"):
        raise ConfigError(f"probe={probe}: true measures the speed of this machine for some seconds, false does not")
    lines = []
    for name, cfg in arms.items():
        lines += [f"{name}:"] * bool(name)
        for label, told in plan(cfg, place, laws, vocab, measured=probe == "true"):
            lines += [f"{label:11}{told[0]}", *(f"{'':11}{line}" for line in told[1:])]
    return lines


def plan(cfg, place: Place, laws: list[Law], vocab: str, *, measured: bool) -> Iterator[Part]:
    """The parts of the plan of one composition that have something to say."""
    text = None if vocab else asked(cfg)
    vocab_size = vocabulary(cfg, vocab) if text is None else text.vocab_size
    share = on_one(cfg, place)
    spent = spending(cfg, vocab_size)
    train_tokens = None if text is None else text.identity["train_tokens"]
    yield "model", sizes(spent)
    yield "run", length(spent, train_tokens)
    yield "loss", expectations.lines(laws, spent, vocab_size)
    found = foreseen(share, vocab_size)
    shards = place.devices if str(cfg.parallel._target_).endswith(".fsdp") else 1
    buckets = ["without the buckets of parallel=ddp, one more copy of the gradients, 4 bytes a parameter"]
    told = footprint(share, found) if isinstance(found, Footprint) else [found]
    yield "memory", told + buckets * (place.devices > 1 and shards == 1)
    times = list(machines.lines(place, spent, build(cfg.precision), found, shards))
    if str(cfg.memory._target_).endswith(".recompute"):
        times.append("memory=recompute computes the blocks again: up to a third more than these times")
    yield "time", times
    if measured:
        yield "here", here(cfg, vocab)
    doubtful = list(doubts(spent, warmup=cfg.schedule.get("warmup"), train_tokens=train_tokens))
    for judge in [law for law in laws if expectations.speaks(law, vocab_size)][-1:]:  # the refit, of the published ones
        doubtful += proportion(spent, judge)
    if text is not None and cfg.model.get("mask") == "cross":
        doubtful += packing(cfg.data.context, train_tokens / text.identity["train_documents"])
    if place.device is None:
        doubtful += imitation(here_imitated(cfg))
    if doubtful:
        yield "warning", doubtful


def asked(cfg) -> Any:
    """The data, if it is here. Raises ConfigError where it would have to be fetched."""
    try:
        with without_network():
            return build(cfg.data)
    except ConfigError as error:
        if not isinstance(error.__cause__, ConnectionError):
            raise
        size = vocabulary_size(str(cfg.data.get("tokenizer"))) or 50_257
        raise ConfigError(
            f"data: it is not here, and a plan fetches nothing; vocab={size} plans without it, of this vocabulary"
        ) from None


@contextmanager
def without_network() -> Iterator[None]:
    """Every attempt to reach another machine fails at once, whichever library makes it."""

    def refuse(*_, **__):
        raise socket.gaierror("a plan fetches nothing")

    usual = socket.getaddrinfo
    socket.getaddrinfo = refuse
    try:
        yield
    finally:
        socket.getaddrinfo = usual


def on_one(cfg, place: Place):
    """The config of one device's share of every update, in the number format that it would have there.

    Raises ConfigError for a batch that does not divide.
    """
    try:
        build(cfg.batch).split(cfg.data.context, place.devices)
    except ValueError as error:
        raise ConfigError(f"devices={place.devices}: {error}") from None
    share = cfg.copy()
    share.batch.tokens //= place.devices
    if place.device and share.precision.compute == "auto":
        share.precision.compute = machines.form(build(cfg.precision), place.device)
    return share


def spending(cfg, vocab_size: int) -> Effort:
    """What the run of a config amounts to; its model is built without data."""
    import torch

    with torch.device("meta"):
        return effort(build(cfg.model)(vocab_size=vocab_size), build(cfg.batch), cfg.steps)


def here_imitated(cfg) -> str:
    """The number format of a config, if its device here only imitates it."""
    from gptx.ingredients.parallel import find
    from gptx.ingredients.precision import imitated

    device = find(cfg.device)
    return imitated(build(cfg.precision).on(device), device)


def footprint(cfg, found: Footprint) -> list[str]:
    """Bytes by part, and of which device and number format they are."""
    from gptx.ingredients.parallel import find

    device = find(cfg.device)
    dtype = str(build(cfg.precision).on(device)).removeprefix("torch.")
    return [*(line.strip() for line in table(found)), f"counted as on {device}, in {dtype}"]


def sizes(spent: Effort) -> list[str]:
    """Parameters and operations a token, by both counts."""
    return [
        f"{spent.parameters:,} parameters, {spent.body:,} without embeddings and head",
        f"{amount(spent.flops_per_token)} FLOPs a token, attention counted where the model does; 6N is "
        f"{amount(6 * spent.parameters)} with all parameters, {amount(6 * spent.body)} without embeddings and head",
    ]


def length(spent: Effort, train_tokens: int | None) -> list[str]:
    """Tokens and operations of the whole run, and how often it reads the text."""
    grows = spent.tokens != spent.updates * spent.tokens_per_update
    told = [
        f"{spent.updates:,} updates of {'up to ' * grows}{spent.tokens_per_update:,} tokens = {spent.tokens:,} tokens, "
        f"{power(spent.flops)} FLOPs (6ND is {power(6 * spent.parameters * spent.tokens)})",
        f"{spent.tokens_per_parameter:.3g} tokens a parameter = {spent.chinchilla_multiple:.3g} x Chinchilla's 20",
    ]
    if train_tokens is None:
        return [*told, "epochs: not known, since vocab= stands for the data"]
    epochs = spent.tokens / train_tokens
    return [*told, f"{epochs:.2f} epochs of {train_tokens:,} training tokens" + ": none is seen twice" * (epochs <= 1)]


def here(cfg, vocab: str) -> list[str]:
    """The time on this machine, measured."""
    from gptx.plan.probe import probe

    return [str(probe(cfg, vocab=vocab))]
