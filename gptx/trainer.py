"""The training loop. Every ingredient is handed to it; it imports none of them."""

import hashlib
import logging
import math
import random
import time
import traceback
from contextlib import contextmanager

import numpy
import torch

log = logging.getLogger("gptx.trainer")
_SUSPECTS = 256  # sequences whose loss is asked one by one after an incident: some seconds


class Trainer:
    """One model, one optimizer, one clock. Its arguments are the config groups, by name."""

    def __init__(self, *, model, parametrization, data, objective, optim, decay, schedule, clip, batch,
                 precision, memory, compile, parallel, guard, checkpoints, inject, steps: int, seed: int,
                 observe=None, log=None):  # fmt: skip
        self.data, self.objective, self.schedule, self.clip, self.batch = data, objective, schedule, clip, batch
        self.precision, self.parallel, self.guard, self.checkpoints = precision, parallel, guard, checkpoints
        self.observers = observe or {}
        self.sinks = list((log or {}).values()) if parallel.rank == 0 else []
        self.unattached = list(self.observers.values())
        self.steps, self.seed = steps, seed
        precision.prepare(parallel.device)
        self.micro_batch, self.accumulation = batch.split(data.context, parallel.world_size)

        _seed_all(stream(seed, "weights"))
        self.model = precision.convert(model(vocab_size=data.vocab_size).to(parallel.device))  # owns the weights
        self.network = parallel.wrap(compile(memory(self.model)))  # what runs; the model may now hold shards
        groups = decay(self.model)
        factors = parametrization(self.model, groups)
        self.optimizer = precision.optimizer(optim, groups)
        self.optimizer._step_supports_amp_scaling = False  # where fp16 overflows no step is made, hooks included
        self.scaler = precision.scaler(parallel.device)
        self.peaks = [g["lr"] * factor for g, factor in zip(self.optimizer.param_groups, factors, strict=True)]
        _seed_all(stream(seed, "dropout", parallel.rank))

        self.step = 0  # steps made; the clock of every schedule
        self.cursor = 0  # sequences drawn by all processes; the position in the data
        self.asked = ""  # the signal that asked this process to stop
        self.stopped = ""  # the signal that ends this run of the process, on every process
        self.ended = ""  # why an observer ends the run for good before `steps`, if one does
        self.waited = 0.0  # seconds of the last step that were spent on reading data
        self.latest: dict = {}  # everything reported of step `step`, and nothing older
        self.pure: dict = {}  # the cross-entropy of the last step, if the objective is another loss
        inject(self)  # a fault, where one is to be tried

    @property
    def finished(self) -> bool:
        return self.step >= self.steps or bool(self.ended)

    def attach(self) -> None:
        """Let each observer register its hooks, once. Raises ValueError if one has nothing to observe in this run."""
        while self.unattached:
            self.unattached.pop(0).attach(self)

    def fit(self) -> None:
        """Train until `steps` are made or someone asks to stop. Raises FloatingPointError if the guard gives up."""
        self.attach()
        self.checkpoints.begin(self)
        while not self.finished and not self.stopped:
            started = time.perf_counter()
            lr = self.set_learning_rate()
            try:
                loss, grad_norm = self.accumulate_gradients()
            except torch.OutOfMemoryError as error:
                self.shrink(error)
                continue
            verdict = self.judge(loss, grad_norm)
            if verdict == "rollback":
                self.rollback()
                continue
            self.update(verdict)
            self.report(loss, grad_norm, lr, time.perf_counter() - started)
            self.checkpoints(self)

    def set_learning_rate(self) -> float:
        """Give every parameter group its learning rate for the next step, counted from 1."""
        factor = math.prod(of(self.step + 1) for of in (self.schedule, self.batch.rate, self.guard.rate))
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        return self.optimizer.param_groups[0]["lr"]

    def accumulate_gradients(self) -> tuple[float, float]:
        """Run the micro-batches of one step; return the mean loss of all of them and the norm before clipping."""
        device, total, pure = self.parallel.device, torch.zeros((), device=self.parallel.device), list[torch.Tensor]()
        context, world = self.data.context, self.parallel.world_size
        micro, accumulation = self.micro_batch, self.accumulation = self.batch.split(context, world, self.step + 1)
        length, self.waited = self.batch.context_at(self.step + 1, context), 0.0
        for i in range(accumulation):
            share, asked = i * world + self.parallel.rank, time.perf_counter()
            batch = self.data(self.cursor + share * micro, micro).cut(length).to(device)
            self.waited += time.perf_counter() - asked
            with self.parallel.sync(self.network, last=i == accumulation - 1):
                with self.precision.autocast(device):
                    whole = self.objective(self.network, batch)
                    loss = whole / accumulation
                self.scaler.scale(loss).backward()
            total += loss.detach()
            pure = [sum(pure, whole.cross_entropy / accumulation)] if hasattr(whole, "cross_entropy") else pure
        self.scaler.unscale_(self.optimizer)
        grad_norm = self.clip(self.model.parameters())
        shared = self.parallel.sum(torch.stack([total, torch.full_like(total, bool(self.asked)), *pure]))
        loss, asked, *rest, grad_norm = torch.stack([*shared, grad_norm.float()]).tolist()  # the one wait for it
        self.pure = {"train/cross_entropy": rest[0] / world} if rest else {}
        self.cursor += accumulation * world * micro
        if asked:
            self.stopped = self.asked or "SIGTERM"  # every rank after the same step, whichever was asked
        return loss / world, grad_norm

    def update(self, verdict: str) -> None:
        """Move the weights, unless the verdict is to skip the step."""
        if verdict != "skip":
            self.scaler.step(self.optimizer)
        self.scaler.update()  # also after a skip: it is what lowers an fp16 scale that overflowed
        self.model.zero_grad(set_to_none=True)
        self.step += 1

    def report(self, loss: float, grad_norm: float, lr: float, seconds: float) -> None:
        """Send the numbers of the step, and those of every observer that is due, to the sinks."""
        entropy = self.pure.get("train/cross_entropy", loss)
        self.latest = scalars = {
            "train/loss": loss, **self.pure, "train/perplexity": math.inf if entropy > 700 else math.exp(entropy),
            "train/grad_norm": grad_norm, "train/lr": lr, "train/tokens": self.cursor * self.data.context,
            "train/tokens_per_second": self.batch.tokens_at(self.step) / seconds,
        }  # fmt: skip
        for observer in self.observers.values():  # each sees what those before it found
            if self.step % observer.every == 0 or self.finished:
                scalars |= observer(self)
        for sink in self.sinks:
            sink(self.step, scalars)

    def step_once(self) -> None:
        """Make one training step without guard, observers, sinks and checkpoints."""
        self.set_learning_rate()
        self.accumulate_gradients()
        self.update("accept")

    def judge(self, loss: float, grad_norm: float) -> str:
        """The guard's verdict on the next step: accept, skip or rollback; what it found is recorded."""
        overflow = self.scaler.is_enabled() and math.isfinite(loss) and not math.isfinite(grad_norm)
        verdict = self.guard(self.step + 1, loss, grad_norm, overflow=overflow)
        for kind, facts in self.guard.news():
            if "onset" in facts and kind != "recovered" and verdict != "rollback":  # which asks healthy weights
                since = (self.step + 2 - facts["onset"]) * self.batch.tokens_at(self.step + 1) // self.data.context
                facts = self.suspects(max(0, self.cursor - since), self.cursor) | facts
            self.record(kind, **facts)
        if verdict == "stop":
            self.checkpoints.drop_after(self, self.guard.onset - 1)
            raise FloatingPointError(self.guard.diagnosis)
        return verdict

    def record(self, kind: str, **facts) -> None:
        """Send an event, such as a spike or a rollback, to the sinks: plain values, and a `text` that says it all."""
        for sink in self.sinks:
            sink.event(self.step, kind, facts)

    def rollback(self) -> None:
        """Go back to the last checkpoint from before the trouble, and on past the batches that brought it. What the
        guard remembers and the cursor, which stays ahead of the step, are saved there again, so that a crash from here
        on does not repeat the trouble. Raises FloatingPointError without a checkpoint."""
        cursor, left, memory = self.cursor, self.step, self.guard.state_dict()
        self.model.zero_grad(set_to_none=True)
        self.scaler.update()  # closes the step that is given up
        if not self.checkpoints.restore(self, before=self.guard.onset):
            raise FloatingPointError(f"{self.guard.diagnosis}; no checkpoint is from before step {self.guard.onset}")
        self.guard.load_state_dict(memory)
        offending, left_out = (self.cursor, cursor), self.guard.rolled_back(self.step)
        self.cursor = cursor + left_out * self.batch.tokens_at(self.step + 1) // self.data.context
        text = f"from step {left} back to {self.step}, past sequences {offending[0]:,} to {self.cursor:,} of the data"
        self.checkpoints.drop_after(self, self.step)
        self.checkpoints.save(self)
        facts = {"left": left, "cursor": self.cursor, "rate": self.guard.rate(self.step + 1)}
        self.record("rollback", text=text, **facts, **self.suspects(*offending))

    @torch.no_grad()
    def losses_of(self, first: int, count: int, stride: int = 1) -> list[float]:
        """Loss of `count` sequences of the run, every `stride`-th from `first` on, under the weights as they are."""
        device, numbers = self.parallel.device, range(first, first + count * stride, stride)
        with self.evaluation(), self.precision.autocast(device):
            losses = [self.objective(self.network, self.data(number, 1).to(device)) for number in numbers]
            return torch.stack(losses).tolist()

    def suspects(self, first: int, last: int) -> dict:
        """The documents of the sequences `first` to `last`, those first whose loss lies furthest above the others',
        under the weights as they are; of many sequences some SUSPECTS at even distances are asked."""
        stride = -(-(last - first) // _SUSPECTS)
        blamed = self.data.blame(first, self.losses_of(first, -(-(last - first) // stride), stride), stride)
        return {"sequences": [first, last], "documents": blamed[:10]}

    def shrink(self, error: torch.OutOfMemoryError) -> None:
        """Halve the micro-batch, which is not part of the recipe, after a step that did not fit in memory."""
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that were too many
        if self.micro_batch == 1 or self.parallel.world_size > 1:
            raise MemoryError(
                f"{self.micro_batch} sequences of {self.data.context} tokens do not fit in the memory of "
                f"{self.parallel.device}: memory=recompute, a smaller batch.micro or a smaller model"
            )
        self.batch = self.batch.halved(self.micro_batch)
        log.warning("out of memory with %d sequences at a time: batch.micro=%d", self.micro_batch, self.batch.micro)
        self.model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()

    def stop(self, reason: str) -> None:
        """Ask the run to end after the next step; from a signal handler, at any instant."""
        self.asked = reason

    @contextmanager
    def evaluation(self, weights=None):
        """The model as it is to be judged: without dropout, with `weights` (tensors in the order of its parameters)
        or those that the optimizer says to judge. Afterwards everything is as before, to the bit."""
        judged, parameters = weights or self.judged_weights() or [], list(self.model.parameters())
        kept = [p.detach().clone() for p in parameters] if judged else []
        copy(judged, parameters)
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()
            copy(kept, parameters)

    def judged_weights(self) -> list[torch.Tensor] | None:
        """The weights to validate and sample, from an optimizer that trains others: its `judged(parameters)`."""
        judged = getattr(self.optimizer, "judged", None)
        return judged(self.model.parameters()) if judged else None

    def state_dict(self) -> dict:
        """All that the next step depends on; plain values and tensors only."""
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(), "step": self.step, "cursor": self.cursor, "latest": self.latest,
            "ended": self.ended, "rng": self.parallel.gather(rng_state(self.parallel.device)),
            "guard": self.guard.state_dict(),
            "judged": self.judged_weights(), "observers": {k: o.state_dict() for k, o in self.observers.items()},
        }  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state`, on any number of processes."""
        state = self.parallel.placed(state, self.model, self.optimizer)
        for name in ("model", "optimizer", "scaler", "guard"):
            getattr(self, name).load_state_dict(state[name])
        for name, observer in self.observers.items():
            if name in state["observers"]:
                observer.load_state_dict(state["observers"][name])
        self.step, self.cursor = state["step"], state["cursor"]
        self.latest, self.ended = state["latest"], state["ended"]
        if self.parallel.rank < len(state["rng"]):
            set_rng_state(state["rng"][self.parallel.rank], self.parallel.device)


def stream(seed: int, *name) -> int:
    """A seed of its own for each use of randomness, so that drawing more for one never shifts another."""
    return int.from_bytes(hashlib.sha256(repr((seed, *name)).encode()).digest()[:8], "little") >> 1


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


@torch.no_grad()
def copy(values, parameters) -> None:
    for value, parameter in zip(values, parameters, strict=False):
        parameter.copy_(value)


def rng_state(device: torch.device) -> dict:
    """State of every random generator of this process."""
    kind, keys, *rest = numpy.random.get_state()
    state = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": (kind, [*map(int, keys)], *rest)}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_rng_state(state: dict, device: torch.device) -> None:
    """Put every random generator back; a generator that `state` does not have goes on as it is."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    numpy.random.set_state(state["numpy"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
