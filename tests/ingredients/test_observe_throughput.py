"""How well the machine is used, by a clock that the test winds."""

from types import SimpleNamespace

import pytest
import torch

from gptx.ingredients.observe import throughput
from gptx.ingredients.observe.throughput import Throughput
from gptx.ingredients.parallel import OneProcess
from gptx.ingredients.precision import Precision


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput, "time", clock)
    return clock


def run(clock, monkeypatch, model, updates, *, every=4):
    """Reports of updates of 100 tokens that take 2 seconds, half a second of which waits for data; peak 1000 FLOP/s."""
    monkeypatch.setattr(throughput, "measured_peak", lambda device, dtype: 1000.0)
    trainer = SimpleNamespace(
        model=model, parallel=OneProcess(torch.device("cpu")), precision=Precision(compute="fp32"), step=0, waited=0.5,
        batch=SimpleNamespace(tokens_at=lambda step: 100), finished=False,
    )  # fmt: skip
    observer, found = Throughput(every=every), []
    observer.attach(trainer)
    for _ in range(updates):
        trainer.step, clock.now = trainer.step + 1, clock.now + 2.0
        trainer.finished = trainer.step == updates
        found.append(observer(trainer))
    return found


def test_speed_waiting_and_utilisation_are_means_since_the_last_report(clock, monkeypatch):
    found = run(clock, monkeypatch, torch.nn.Linear(1, 1, bias=False), updates=6)
    assert [bool(row) for row in found] == [False, False, False, True, False, True]
    for row in (found[3], found[5]):
        assert row["throughput/tokens_per_second"] == 50
        assert row["throughput/data_share"] == 0.25
        assert row["throughput/mfu"] == 6 * 1 * 50 / 1000  # 6 operations for each parameter and token
        assert row["throughput/peak_flops"] == 1000
        assert row["memory/peak_bytes"] > 50e6


def test_a_model_that_counts_its_operations_is_believed(clock, monkeypatch):
    model = torch.nn.Linear(1, 1)
    model.flops_per_token = lambda: 10
    assert run(clock, monkeypatch, model, updates=4)[3]["throughput/mfu"] == 10 * 50 / 1000


def test_the_numbers_of_several_processes_are_those_of_the_world(clock, monkeypatch):
    others = (0.75, 3000.0, 10**15)  # share, peak and memory of a second process
    monkeypatch.setattr(OneProcess, "gather", lambda self, value: [value, others])
    row = run(clock, monkeypatch, torch.nn.Linear(1, 1, bias=False), updates=4)[3]
    assert (row["throughput/data_share"], row["memory/peak_bytes"]) == (0.5, 10**15)
    assert (row["throughput/peak_flops"], row["throughput/mfu"]) == (4000, 6 * 50 / 4000)


@pytest.mark.parametrize(
    ("name", "dtype", "tf32", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", torch.bfloat16, False, 312e12),
        ("NVIDIA A100 80GB PCIe", torch.float32, True, 156e12),
        ("NVIDIA H100 80GB HBM3", torch.float16, False, 989.4e12),
        ("NVIDIA H100 PCIe", torch.bfloat16, False, 756e12),
        ("NVIDIA H200", torch.float32, False, 66.9e12),
        ("NVIDIA L4", torch.bfloat16, False, 121e12),
        ("NVIDIA L40S", torch.bfloat16, False, 362e12),
        ("Tesla T4", torch.float16, True, 65e12),
        ("Tesla T4", torch.bfloat16, False, None),  # it has none
        ("NVIDIA A10G", torch.bfloat16, False, None),  # is not an A10
        ("NVIDIA GeForce RTX 4090", torch.bfloat16, False, 165.2e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", torch.bfloat16, False, None),
    ],
)
def test_known_gpus_have_the_dense_peak_of_their_data_sheet(name, dtype, tf32, peak):
    assert throughput.data_sheet(name, dtype, tf32) == peak


def test_a_measured_peak_is_the_best_product_and_counts_a_multiply_add_as_two(monkeypatch):
    # it begins; the first product takes a second, the next a hundredth; the third would take too long
    times = iter([0.0, 0.0, 1.0, 1.0, 1.01, 2.49])
    monkeypatch.setattr(throughput, "wall", lambda device: next(times))
    monkeypatch.setattr(throughput, "PROBE_SECONDS", 2.5)
    assert throughput.measured_peak(torch.device("cpu"), torch.float32) == pytest.approx(2 * 128**3 / 0.01)


def test_a_machine_without_a_data_sheet_is_measured_in_the_type_it_computes_in(build, caplog):
    trainer = build("observe=[validation,throughput]", "precision=bf16")
    assert throughput.computed_in(trainer) == torch.bfloat16
    with caplog.at_level("INFO", logger="gptx"):
        trainer.attach()
    assert "TFLOP/s a process, measured by a matrix product" in caplog.text
    assert trainer.observers["throughput"].peak > 1e6
