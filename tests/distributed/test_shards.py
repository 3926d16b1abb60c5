"""What several processes hold together is saved in parts, and continues on another number of them."""

import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from conftest import TINY

from gptx.config import validate
from gptx.config.build import build
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.config.rules import examine
from gptx.distributed import shards
from gptx.ingredients import parallel
from gptx.ingredients.checkpoints import files
from gptx.ingredients.observe.validation import shares
from gptx.job.build import agree, trainer_of
from gptx.units.lengths import Length

HALF, WHOLE = 10, 20  # updates


def rows(offset: int, count: int) -> dict:
    whole = torch.arange(10.0).view(5, 2)
    return {shards.ROWS: whole[offset : offset + count], shards.OFFSET: offset, shards.SHAPE: [5, 2]}


def test_the_parts_of_three_processes_are_joined_by_their_offsets():
    parts = [
        {"model": {"w": rows(0, 2)}, "list": [rows(0, 2), 7], "step": 3, "empty": {}},
        {"model": {"w": rows(2, 2)}, "list": [rows(2, 2), None]},
        {"model": {"w": rows(4, 1)}, "list": [rows(4, 1), None]},
    ]
    found = shards.joined_shards(parts)
    assert found["model"]["w"].tolist() == found["list"][0].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert (found["list"][1], found["step"], found["empty"]) == (7, 3, {})


def test_rows_that_are_missing_are_told():
    with pytest.raises(ValueError, match="4 of 5 rows"):
        shards.joined_shards([{"w": rows(0, 2)}, {"w": rows(2, 2)}])


def test_a_state_without_shards_is_rank_0_s_alone():
    state = {"a": 3.5, "b": [1, (2, "x")], "c": None}
    assert shards.split(state, 0) == state
    assert shards.split(state, 1) is None
    assert shards.joined_shards([shards.split(state, 0), shards.split(state, 1)]) == state


class TwoProcesses:
    """Stands for two processes, of which the other composed the config with another `change`."""

    rank, world_size, writers = 0, 2, 2

    def __init__(self, **change):
        self.change = change

    def gather(self, value) -> list:
        return [value, value | self.change]


def test_processes_that_would_train_different_things_are_refused(composed):
    cfg = composed()
    data = build(cfg.data)
    agree(cfg, TwoProcesses(), data)
    with pytest.raises(ConfigError, match="seed was 0, is 1: the first is rank 0's, the second rank 1's"):
        agree(cfg, TwoProcesses(seed=1), data)


@pytest.mark.parametrize("optim", ["muon", "adafactor"])
def test_an_optimizer_that_needs_whole_matrices_is_refused_with_shards_and_not_alone(composed, optim):
    cfg = composed(f"optim={optim}", "parallel=fsdp")
    examine(cfg, world=1)
    with pytest.raises(ConfigError, match=r"parallel=fsdp: .* needs whole matrices"):
        examine(cfg, world=2)


def test_what_would_not_compute_the_same_in_shards_is_refused(composed):
    model = build(composed().model)(vocab_size=16)
    parallel.refuse_unshardable(model)
    with pytest.raises(ValueError, match="compile=eager"):
        parallel.refuse_unshardable(torch.compile(model))
    with pytest.raises(ValueError, match="Linear has no `blocks`"):
        parallel.refuse_unshardable(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="shards weights in fp32"):
        parallel.refuse_unshardable(model.bfloat16())


def test_the_noise_scale_is_refused_where_no_gradient_of_one_micro_batch_is_seen(build):
    trainer = build("observe=[validation,noise_scale]")
    trainer.parallel = TwoProcesses()
    with pytest.raises(ValueError, match=r"observe=noise_scale .* use parallel=ddp"):
        trainer.attach()


def test_every_process_makes_as_many_validation_passes_and_each_window_counts_once():
    for windows, rows_, world in ((8, 3, 1), (8, 3, 2), (1, 4, 4), (9, 2, 4)):
        passes = []
        for rank in range(world):
            place = TwoProcesses()
            place.rank, place.world_size = rank, world
            passes.append(list(shares(windows, rows_, place)))
        assert len({len(each) for each in passes}) == 1
        counted = [range(first, first + count) for each in passes for first, count, counts in each if counts]
        assert sorted(number for numbers in counted for number in numbers) == list(range(windows))


def test_a_save_that_waits_for_a_process_which_is_gone_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WAITING", 30)
    final = tmp_path / "step_00000001"
    files.prepare(final)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(files.put, final, {"a": 1}, 0, 2, {})
        while not (Path(f"{final}.part") / "state_0of2.sha256").exists():
            time.sleep(0.01)
        files.abandon(tmp_path, 2)
        with pytest.raises(OSError, match="another process could not write its part"):
            writing.result()
    assert not list(tmp_path.iterdir())


def trained(corpus, kind: str, words: list[str], state: dict | None = None, keep=None) -> list[float]:
    """Losses of a small run from `state` on; `keep` is called with what this process has to save of it at half."""
    words = [*TINY, f"data.path={corpus}", "batch.tokens=512", f"steps={WHOLE}", f"parallel={kind}", *words]
    cfg = composed(words)
    validate.check(cfg)
    trainer, losses = trainer_of(cfg), list[float]()
    trainer.sinks, trainer.observers, trainer.checkpoints.every = [Losses(losses)], {}, Length(WHOLE + 1)
    trainer.checkpoints.save = lambda *_, **__: None
    trainer.unattached.clear()
    if state:
        trainer.load_state_dict(state)
    if keep:
        trainer.steps = HALF
        trainer.fit()
        keep(trainer.parallel.part(trainer.state_dict()))
        trainer.steps = WHOLE
    trainer.fit()
    return losses


class Losses:
    """A sink that keeps the losses."""

    def __init__(self, losses: list[float]):
        self.losses = losses

    def __call__(self, step, scalars):
        self.losses.append(scalars["train/loss"])

    def event(self, *_):
        pass


def read(folder, name: str) -> dict:
    files = sorted(folder.glob(f"{name}.*.pt"))
    return shards.joined_shards([torch.load(file, mmap=True, weights_only=True, map_location="cpu") for file in files])


def work(rank: int, world: int, port: int, corpus, folder, tasks: list) -> None:
    """One of `world` processes: each task is a name, a parallelism, further words and the name of a saved state."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    for name, kind, words, origin in tasks:

        def keep(part, name=name):
            if part is not None:
                torch.save(part, folder / f"{name}.{rank}.pt")

        state = read(folder, origin) if origin else None
        losses = trained(corpus, kind, words, state, keep=None if origin else keep)
        if rank == 0:
            (folder / f"{name}.json").write_text(json.dumps(losses))
        torch.distributed.barrier()


def together(world: int, *arguments) -> None:
    """Does the tasks on that many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (world, port, *arguments), nprocs=world)


OPTIMIZERS = {"adamw": [], "schedule_free": ["optim=schedule_free", "schedule=warmup", "clip=scratch"]}


@pytest.mark.slow
def test_two_and_four_processes_give_the_losses_of_one_and_continue_each_other_s_runs_sharded_or_not(corpus, tmp_path):
    first = [(f"fsdp_{name}", "fsdp", words, "") for name, words in OPTIMIZERS.items()] + [("ddp", "ddp", [], "")]
    again = [("fsdp_again", "fsdp", [], "fsdp_adamw"), ("ddp_again", "ddp", [], "ddp")]
    crossed = [("to_fsdp", "fsdp", [], "ddp"), ("to_ddp", "ddp", [], "fsdp_adamw")]
    more = [(f"{name}_on_four", "fsdp", words, f"fsdp_{name}") for name, words in OPTIMIZERS.items()]
    together(2, corpus, tmp_path, first + again + crossed)
    together(4, corpus, tmp_path, [*more, ("four", "fsdp", [], "ddp"), ("four_whole", "fsdp", [], "")])

    def losses(name: str) -> list[float]:
        return json.loads((tmp_path / f"{name}.json").read_text())

    alone = {name: trained(corpus, "fsdp", words) for name, words in OPTIMIZERS.items()}
    for name, words in OPTIMIZERS.items():
        assert losses(f"fsdp_{name}") == pytest.approx(alone[name], rel=1e-6)
        assert losses(f"{name}_on_four") == pytest.approx(alone[name][HALF:], rel=1e-6)
        assert trained(corpus, "ddp", words, read(tmp_path, f"fsdp_{name}")) == pytest.approx(
            alone[name][HALF:], rel=1e-6
        )
    for name in ("ddp", "four_whole"):
        assert losses(name) == pytest.approx(alone["adamw"], rel=1e-6)
    for name in ("to_fsdp", "to_ddp", "four"):
        assert losses(name) == pytest.approx(alone["adamw"][HALF:], rel=1e-6)
    assert losses("fsdp_again") == losses("fsdp_adamw")[HALF:]  # to the bit
    assert losses("ddp_again") == losses("ddp")[HALF:]
    sizes = [(tmp_path / f"fsdp_adamw.{rank}.pt").stat().st_size for rank in (0, 1)]
    assert sizes[1] < sizes[0] < 1.5 * sizes[1]  # each process writes its share
