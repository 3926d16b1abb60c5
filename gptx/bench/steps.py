"""How fast an update is, beside a plain loop and the machine's limit:  python -m gptx bench shape=middle."""

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode

from gptx.config import arguments, paths, validate
from gptx.files import to_json, write_text
from gptx.ingredients import objective
from gptx.ingredients.data.corpus import TokenBatch
from gptx.ingredients.decay import matrices
from gptx.ingredients.model.gpt import GPT
from gptx.runs import provenance


@dataclass(frozen=True)
class Shape:
    """A model and the sequences of one update."""

    depth: int
    width: int
    heads: int
    context: int
    batch: int
    vocab_size: int

    @property
    def tokens(self) -> int:
        """Tokens of one update."""
        return self.batch * self.context

    @property
    def flops(self) -> int:
        """Operations of all matrix products of one update, forward and twice that backward; a multiply-add is two.

        Attention counts its whole T x T square, as PaLM does (arXiv:2204.02311, appendix B).
        """
        weights = 12 * self.depth * self.width**2 + self.width * self.vocab_size
        return self.tokens * (6 * weights + 12 * self.depth * self.width * self.context)

    def __str__(self) -> str:
        return (
            f"{self.depth} layers, {self.width} wide, {self.heads} heads, context {self.context}, "
            f"batch {self.batch}, vocabulary {self.vocab_size:,}"
        )


# small and middle are nanoGPT's models for Shakespeare by characters, hence its vocabulary of 65
SHAPES = {
    "small": Shape(depth=4, width=128, heads=4, context=64, batch=12, vocab_size=65),
    "middle": Shape(depth=6, width=384, heads=6, context=256, batch=16, vocab_size=65),
    "large": Shape(depth=12, width=768, heads=12, context=1024, batch=1, vocab_size=50257),
}
HOLLOW = Shape(
    depth=6, width=12, heads=6, context=8, batch=1, vocab_size=65
)  # as many operations as middle, on nothing
SETTINGS = {
    "fp32": ["precision=fp32", "compile=eager"],
    "bf16": ["precision=bf16", "compile=eager"],
    "fp32_compiled": ["precision=fp32", "compile=compiled"],
    "bf16_compiled": ["precision=bf16", "compile=compiled"],
}


def bench(
    *,
    shape: str = "all",
    setting: str = "all",
    repeats: int = 5,
    seconds: float = 0.5,
    threads: int | None = None,
    file: str | None = None,
) -> None:
    """Compare updates of the Trainer with a plain eager fp32 loop over transformers' GPT-2 of the same shape, on CPU.

    Each side runs in a process of its own; they take turns, `repeats` times, of about `seconds` each. A ratio is the
    median over the turns; its range is in brackets. The limit is what one large matrix product reaches at the time.
    `shape` is small, middle, large or all; `setting` is fp32, bf16, fp32_compiled, bf16_compiled or all; `file` takes
    the numbers as JSON.
    """
    shapes, settings = chosen("shape", shape, SHAPES), chosen("setting", setting, SETTINGS)
    if repeats < 1 or not seconds > 0:
        raise ValueError(f"repeats={repeats} must be at least 1, and seconds={seconds} above 0")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # of both sides, as gptx.train sets it
    torch.set_num_threads(threads or torch.get_num_threads())
    place = {"processor": provenance.processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(", ".join(f"{key} {value}" for key, value in place.items()))
    loop = {"seconds": loop_seconds(HOLLOW), "waits": waits(HOLLOW)}
    print(
        f"the loop adds {loop['seconds'] * 1e3:.2f} ms to an update and waits for the device {loop['waits']:g} time(s)"
    )
    results: dict[str, dict] = {}
    for name in shapes:
        print(f"\n{name}: {SHAPES[name]}\n{HEADER}", flush=True)
        results[name] = {}
        for option in settings:
            pair = compare(SHAPES[name], "transformers", option, repeats=repeats, seconds=seconds)
            results[name].setdefault("transformers", row(SHAPES[name], pair, side=0))
            results[name][option] = row(SHAPES[name], pair, side=1)
            if len(results[name]) == 2:
                print(line("transformers fp32", results[name]["transformers"]))
            print(line(f"gptx {option}", results[name][option]), flush=True)
        quickest = max(result["tokens_per_second"] for result in results[name].values())
        print(f"the loop is {loop['seconds'] * quickest / SHAPES[name].tokens:.2%} of the quickest of these updates")
    if file:
        record = place | {"loop": loop, "shapes": {name: asdict(SHAPES[name]) for name in shapes}, "results": results}
        write_text(Path(file), to_json(record, indent=2) + "\n")


@dataclass(frozen=True)
class Pair:
    """What two sides did that took turns; every tuple has one value for each side."""

    turns: list[tuple[float, ...]]  # seconds of an update
    limits: list[tuple[float, ...]]  # operations a second of one large product, in the side's type, after the turn
    first: tuple[float, ...]  # seconds of the first update, with all that it compiles
    memory: tuple[int, ...]  # peak bytes of the process


def row(shape: Shape, pair: Pair, *, side: int) -> dict:
    """The numbers of one side of a pair."""
    ratios = [turn[0] / turn[side] for turn in pair.turns]
    shares = [shape.flops / turn[side] / limit[side] for turn, limit in zip(pair.turns, pair.limits, strict=True)]
    return {
        "tokens_per_second": shape.tokens / statistics.median(turn[side] for turn in pair.turns),
        "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
        "share_of_limit": statistics.median(shares), "peak_bytes": pair.memory[side], "first_update": pair.first[side],
    }  # fmt: skip


def line(name: str, row: dict) -> str:
    """A row under HEADER."""
    ratio = "{ratio:.2f} [{lowest:.2f} to {highest:.2f}]".format(**row)
    return (
        f"{name:20}{row['tokens_per_second']:>10,.0f}{ratio:>22}{row['share_of_limit']:>14.0%}"
        f"{row['peak_bytes'] / 2**20:>9,.0f} MiB{row['first_update']:>12.1f} s"
    )


HEADER = f"{'':20}{'tokens/s':>10}{'of transformers':>22}{'of the limit':>14}{'memory':>13}{'first update':>14}"


def compare(shape: Shape, *names: str, repeats: int, seconds: float) -> Pair:
    """Let the sides take turns of about so many `seconds`, each in a process of its own."""
    sides = [Side(shape, name) for name in names]
    types = [torch.bfloat16 if name.startswith("bf16") else torch.float32 for name in names]
    first = tuple(side.run(1) for side in sides)
    counts = [max(1, round(seconds / side.run(1))) for side in sides]
    turns, limits = [], []
    for _ in range(repeats):
        turns.append(tuple(side.run(count) / count for side, count in zip(sides, counts, strict=True)))
        limits.append(tuple(map(product_flops, types)))
    return Pair(turns, limits, first, tuple(side.close() for side in sides))


class Side:
    """A process that makes updates when asked to."""

    def __init__(self, shape: Shape, name: str):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=serve, args=(shape, name, torch.get_num_threads(), end), daemon=True)
        self.process.start()
        end.close()

    def run(self, updates: int) -> float:
        """Seconds that so many updates take."""
        return self.ask(updates)

    def close(self) -> int:
        """End the process; the most memory that it held, in bytes."""
        peak = self.ask(0)
        self.process.join()
        return peak

    def ask(self, updates: int) -> Any:
        try:
            self.pipe.send(updates)
            return self.pipe.recv()
        except (EOFError, BrokenPipeError):
            raise ValueError(f"{self.name} ended; what it said is above") from None


def serve(shape: Shape, name: str, threads: int, pipe: Connection) -> None:
    """The other end of a Side."""
    torch.set_num_threads(threads)
    update = transformers_loop(shape) if name == "transformers" else trainer_loop(shape, name)
    while updates := pipe.recv():
        started = time.perf_counter()
        update(updates)
        pipe.send(time.perf_counter() - started)
    pipe.send(peak_memory())


def trainer_loop(shape: Shape, setting: str) -> Callable[[int], None]:
    """The Trainer as the command line composes it, without sinks, validation and checkpoints."""
    from hydra import compose, initialize_config_dir

    paths.register()
    model = [f"model.{key}={getattr(shape, key)}" for key in ("depth", "width", "heads", "context")]
    batch = [f"batch.tokens={shape.tokens}", f"batch.micro={shape.batch}"]
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        cfg = compose(
            "train", [*SETTINGS[setting], *model, *batch, "device=cpu", "schedule=constant", "log=[]", "observe=[]"]
        )
    cfg.data = {"_target_": "gptx.bench.steps.Noise", "vocab_size": shape.vocab_size, "context": shape.context}
    validate.check(cfg, allow=("gptx.bench.steps.",))
    trainer = validate.trainer(cfg)
    trainer.checkpoints = Unsaved()

    def update(updates: int) -> None:
        trainer.steps = trainer.step + updates
        trainer.fit()

    return update


class Unsaved:
    """Stands where checkpoints are, and saves nothing."""

    def begin(self, trainer) -> None:
        pass

    def __call__(self, trainer) -> None:
        pass


def bare_loop(shape: Shape) -> Callable[[int], None]:
    """What the Trainer's fp32 update computes, and nothing around it."""
    model = GPT(**{key: value for key, value in asdict(shape).items() if key != "batch"})
    optimizer = torch.optim.AdamW(matrices(model), fused=True)
    batch = Noise(vocab_size=shape.vocab_size, context=shape.context)(0, shape.batch)

    def update(updates: int) -> None:
        for _ in range(updates):
            loss = objective.next_token(model, batch)
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return update


def transformers_loop(shape: Shape) -> Callable[[int], None]:
    """A plain eager fp32 loop over GPT2LMHeadModel, with PyTorch's default AdamW on a decayed and a spared group."""
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    config = GPT2Config(
        vocab_size=shape.vocab_size, n_positions=shape.context,
        n_embd=shape.width, n_layer=shape.depth, n_head=shape.heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(matrices(model))
    tokens = Noise(vocab_size=shape.vocab_size, context=shape.context)(0, shape.batch).inputs

    def update(updates: int) -> None:
        for _ in range(updates):
            loss = model(tokens, labels=tokens).loss
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return update


class Noise:
    """A corpus of random tokens, in memory."""

    identity: dict = {"name": "noise"}  # noqa: RUF012 - of every such corpus

    def __init__(self, *, vocab_size: int, context: int):
        self.vocab_size, self.context = vocab_size, context
        self.tokens = torch.randint(vocab_size, (1024, context + 1), generator=torch.Generator().manual_seed(0))

    def __call__(self, first: int, count: int) -> TokenBatch:
        rows = self.tokens[torch.arange(first, first + count) % len(self.tokens)]
        return TokenBatch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())


def product_flops(dtype: torch.dtype, size: int = 1024) -> float:
    """Operations a second of a product of two square matrices, the best of three; larger ones are no quicker."""
    left, right = torch.randn(2, size, size).to(dtype)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def loop_seconds(shape: Shape, turns: int = 300) -> float:
    """What the Trainer adds to an update: its best time less that of the bare loop, on a model that is hardly there."""
    loops: dict[Callable[[int], None], list[float]] = {bare_loop(shape): [], trainer_loop(shape, "fp32"): []}
    for _ in range(turns):
        for loop, times in loops.items():
            started = time.perf_counter()
            loop(1)
            times.append(time.perf_counter() - started)
    bare, full = map(min, loops.values())
    return full - bare


def waits(shape: Shape, updates: int = 4) -> float:
    """How often an update of the Trainer takes a value from the device, for which a GPU must finish its work."""
    update, taken = trainer_loop(shape, "fp32"), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._local_scalar_dense.default:  # item(), float(), bool()
                taken.append("item")
            return function(*args, **(kwargs or {}))

    def to_list(tensor: torch.Tensor) -> list:
        taken.append("tolist")
        return original(tensor)

    original = torch.Tensor.tolist
    with Watch(), patch.object(torch.Tensor, "tolist", to_list):
        update(updates)
    return len(taken) / updates


def peak_memory() -> int:
    """The most memory that this process held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage starts from what the parent held
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def chosen(key: str, word: str, options: dict) -> list[str]:
    """The options that a word of the command line means."""
    if word == "all":
        return list(options)
    if word not in options:
        raise ValueError(f"{key}={word} is unknown; one of {', '.join(options)}, all")
    return [word]


if __name__ == "__main__":
    from gptx.bench.steps import bench as command  # under its own name, by which the processes find it

    arguments.call(command)
