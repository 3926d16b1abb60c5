"""How fast a training step is, compared with a plain loop and with the machine's limit."""

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode

from gptx.bench.frame import Unsaved, chosen, in_turns, print_table, process, refuse_below_one, seconds_of, trainer
from gptx.files import to_json, write_text
from gptx.ingredients.data.corpus import RandomTokens
from gptx.ingredients.decay import matrices
from gptx.ingredients.model.gpt import GPT
from gptx.ingredients.objective import next_token
from gptx.runs import provenance
from gptx.units.hardware import peak_memory

_Loop = Callable[[int], None]  # makes this many steps


@dataclass(frozen=True)
class Workload:
    """A model and the sequences of one step."""

    depth: int
    width: int
    heads: int
    context: int
    batch: int
    vocab_size: int

    @property
    def tokens(self) -> int:
        return self.batch * self.context

    @property
    def flops(self) -> int:
        """FLOPs of all matrix products of one step, forward and twice that backward; a multiply-add is two. Attention
        counts its whole T x T square, as PaLM does (arXiv:2204.02311, appendix B)."""
        weights = 12 * self.depth * self.width**2 + self.width * self.vocab_size
        return self.tokens * (6 * weights + 12 * self.depth * self.width * self.context)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in asdict(self).items())


# small and middle are nanoGPT's models for Shakespeare by characters, so the vocabulary is of 65
WORKLOADS = {
    "small": Workload(depth=4, width=128, heads=4, context=64, batch=12, vocab_size=65),
    "middle": Workload(depth=6, width=384, heads=6, context=256, batch=16, vocab_size=65),
    "large": Workload(depth=12, width=768, heads=12, context=1024, batch=1, vocab_size=50257),
}
_HOLLOW = Workload(depth=6, width=12, heads=6, context=8, batch=1, vocab_size=65)  # as many calls as middle, no work
_SETTINGS = [f"{precision}{compiled}" for compiled in ("", "_compiled") for precision in ("fp32", "bf16")]


def bench_steps(
    *,
    shape: str = "all",
    setting: str = "all",
    repeats: int = 5,
    seconds: float = 0.5,
    threads: int | None = None,
    file: str | None = None,
) -> None:
    """Measure the speed of training steps, compared with a plain loop over transformers' GPT-2 (CPU).

      python -m gptx bench shape=middle setting=fp32

    Each side is a process of its own; they take turns. A ratio is the median over the turns, its range in brackets.
    The limit is what one large matrix product reaches at the time.

    Options:
    shape: small, middle, large or all
    setting: fp32, bf16, fp32_compiled, bf16_compiled or all
    repeats: number of turns
    seconds: length of one side's turn, about
    file: JSON file for the numbers
    """
    shapes, settings = chosen("shape", shape, list(WORKLOADS)), chosen("setting", setting, _SETTINGS)
    refuse_below_one(repeats=repeats)
    if not seconds > 0:
        raise ValueError(f"seconds={seconds} must be above 0")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # of both sides, as gptx.train sets it
    torch.set_num_threads(threads or torch.get_num_threads())
    place = {"processor": provenance.processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(", ".join(f"{key} {value}" for key, value in place.items()))
    bare, full = _plain_loop(_HOLLOW, transformers=False), _trainer_loop(_HOLLOW, "fp32")
    times = in_turns({"bare": partial(bare, 1), "full": partial(full, 1)}, 300)
    loop = {"seconds": min(times["full"]) - min(times["bare"]), "waits": waits(_HOLLOW)}
    print(f"the loop adds {loop['seconds'] * 1e3:.2f} ms to a step and waits for the device {loop['waits']:g} time(s)")
    results: dict[str, dict] = {}
    for name in shapes:
        workload, found, lines = WORKLOADS[name], results.setdefault(name, {}), []
        for option in settings:
            plain, ours = _take_turns(workload, "transformers", option, repeats=repeats, seconds=seconds)
            found.setdefault("transformers", plain)
            found[option] = ours
        for label, side in found.items():
            title = {"transformers": "transformers fp32"}.get(label, f"gptx {label}")
            ratio = "{ratio:.2f} [{lowest:.2f}, {highest:.2f}]".format(**side)
            speed, share = f"{side['tokens_per_second']:,.0f}", f"{side['share_of_limit']:.0%}"
            memory, first = f"{side['peak_bytes'] / 2**20:,.0f} MiB", f"{side['first_update']:.1f} s"
            lines.append((title, speed, ratio, share, memory, first))
        columns = "", "tokens/s", "of transformers", "of the limit", "memory", "first step"
        print_table(f"\n{name}: {workload}", columns, lines)
        quickest = max(side["tokens_per_second"] for side in found.values())
        print(f"the loop is {loop['seconds'] * quickest / workload.tokens:.2%} of the quickest of these steps")
    if file:
        sizes = {name: asdict(WORKLOADS[name]) for name in shapes}
        record = place | {"loop": loop, "shapes": sizes, "results": results}
        write_text(Path(file), to_json(record, indent=2) + "\n")


def row(shape: Workload, plain: Sequence[float], own: Sequence[float], limits: Sequence[float]) -> dict[str, float]:
    """One side's numbers, of the seconds of `plain` and `own` steps, turn by turn, and of a product's FLOP/s then."""
    ratios = [first / seconds for first, seconds in zip(plain, own, strict=True)]
    shares = [shape.flops / seconds / limit for seconds, limit in zip(own, limits, strict=True)]
    return {
        "tokens_per_second": shape.tokens / statistics.median(own),
        "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
        "share_of_limit": statistics.median(shares),
    }  # fmt: skip


def _take_turns(shape: Workload, *names: str, repeats: int, seconds: float) -> list[dict[str, float]]:
    """The numbers of loops, each in a process of its own, that take turns. Raises ValueError if one ends."""
    types = [torch.bfloat16 if name.startswith("bf16") else torch.float32 for name in names]
    with ExitStack() as ended:
        sides = [ended.enter_context(process(_begin, shape, name, torch.get_num_threads())) for name in names]
        ones = [1] * len(sides)
        try:
            first = _turn(sides, ones)  # with all that it compiles
            counts = [max(1, round(seconds / once)) for once in _turn(sides, ones)]
            found = [(_turn(sides, counts), [*map(product_flops, types)]) for _ in range(repeats)]
            memory = [side.submit(peak_memory).result() for side in sides]
        except BrokenProcessPool:
            raise ValueError(f"{' or '.join(names)} ended; its message is above") from None
    turns, limits = (list(zip(*each, strict=True)) for each in zip(*found, strict=True))
    return [row(shape, turns[0], own, limit) | {"peak_bytes": peak, "first_update": once}
            for own, limit, peak, once in zip(turns, limits, memory, first, strict=True)]  # fmt: skip


def _turn(sides: list[ProcessPoolExecutor], counts: list[int]) -> list[float]:
    return [side.submit(_seconds, count).result() / count for side, count in zip(sides, counts, strict=True)]


_loops: list[_Loop] = []  # of this process


def _begin(shape: Workload, name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    _loops.append(_plain_loop(shape, transformers=True) if name == "transformers" else _trainer_loop(shape, name))


def _seconds(steps: int) -> float:
    return seconds_of(_loops[0], steps)


def _trainer_loop(shape: Workload, setting: str) -> _Loop:
    """The Trainer as the command line composes it, without sinks, validation and checkpoints."""
    precision, _, compiled = setting.partition("_")
    words = [f"model.{key}={getattr(shape, key)}" for key in ("depth", "width", "heads", "context")]
    words += [f"precision={precision}", f"compile={compiled or 'eager'}", "device=cpu", "observe=[]"]
    words += [f"batch.tokens={shape.tokens}", f"batch.micro={shape.batch}"]
    made = trainer(*words, noise=(shape.vocab_size, shape.context))
    made.checkpoints = Unsaved()

    def loop(steps: int) -> None:
        made.steps = made.step + steps
        made.fit()

    return loop


def _plain_loop(shape: Workload, *, transformers: bool) -> _Loop:
    """A bare eager fp32 loop: GPT2LMHeadModel of transformers with the default AdamW, or what the Trainer computes."""
    batch = RandomTokens(vocab_size=shape.vocab_size, context=shape.context)(0, shape.batch)
    model: torch.nn.Module
    if transformers:
        from transformers import GPT2Config, GPT2LMHeadModel, logging

        logging.set_verbosity_error()
        config = GPT2Config(
            vocab_size=shape.vocab_size, n_positions=shape.context,
            n_embd=shape.width, n_layer=shape.depth, n_head=shape.heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = GPT2LMHeadModel(config)
    else:
        model = GPT(**{key: value for key, value in asdict(shape).items() if key != "batch"})
    optimizer = torch.optim.AdamW(matrices(model), fused=None if transformers else True)

    def loop(steps: int) -> None:
        for _ in range(steps):
            loss = model(batch.inputs, labels=batch.inputs).loss if transformers else next_token(model, batch)
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return loop


def product_flops(dtype: torch.dtype, size: int = 1024) -> float:
    """FLOP/s of a product of two square matrices, the best of three; larger ones are no faster. `measured_peak` of the
    throughput observer begins with small products, which a busy machine makes look slow."""
    left, right = torch.randn(2, size, size).to(dtype)
    return 2 * size**3 / min(in_turns({"product": partial(torch.matmul, left, right)}, 3)["product"])


def waits(shape: Workload, steps: int = 4) -> float:
    """How often a step of the Trainer takes a value from the device, for which a GPU must finish its work."""
    loop, taken = _trainer_loop(shape, "fp32"), []

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
        loop(steps)
    return len(taken) / steps
