"""What a run's memory is measured to be."""

import time

import pytest
import torch
from torch import nn

from gptx.estimate.memory import Meter, predicted_peak


@pytest.fixture
def measured():
    """measured(work): the Meter after `work` was done with 16 MB of weights, and as much of moments, at hand."""

    def run(work) -> Meter:
        model = nn.Linear(2000, 2000, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        model(torch.ones(1, 2000)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        meter = Meter(torch.device("cpu"))
        with meter.over(model, optimizer):
            work()
        return meter

    return run


def test_what_lives_for_a_moment_beside_weights_and_moments_is_measured(measured):
    def work():
        there = torch.ones(40_000_000 // 4)
        time.sleep(0.05)
        assert there[0] == 1

    meter = measured(work)
    assert meter.peak == pytest.approx(32e6 + 40e6, rel=0.03)
    assert meter.held == pytest.approx(32e6 + 40e6, rel=0.1)


def test_what_is_freed_before_the_next_is_allocated_is_not_added_to_it(measured):
    def work():
        for _ in range(3):
            torch.ones(40_000_000 // 4)
            time.sleep(0.02)

    assert measured(work).peak < 32e6 + 41e6


def test_a_measured_run_leaves_no_thread_behind_also_where_it_fails(measured):
    import threading

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        measured(lambda: 1 / 0)
    assert threading.active_count() == before


def test_a_run_that_cannot_be_predicted_is_measured_all_the_same(measured):
    meter = measured(lambda: None)
    assert meter.compared_with("cannot be predicted").startswith("cannot be predicted, measured 3")
    assert predicted_peak("cannot be predicted", meter.device) is None
