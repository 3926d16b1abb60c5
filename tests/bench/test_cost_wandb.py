"""The arithmetic of what mirroring a run costs; how much it is, is no test."""

import queue
import threading
import time
from types import SimpleNamespace

import pytest

from gptx.bench import recording


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.slow
def test_the_step_the_hand_over_and_the_sending_are_told_apart():
    rows, trainer = queue.SimpleQueue(), SimpleNamespace()

    def fit():
        burn(0.01)
        for sink in trainer.sinks:
            sink(1, {})

    def sink(step, scalars):
        burn(0.002)
        rows.put(step)

    def send():
        while rows.get():
            burn(0.004)

    trainer.fit, sink.rows = fit, rows
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    update, handing, sending = recording.row_cost(trainer, sink, 10)
    assert (update, handing, sending) == (
        pytest.approx(0.012, rel=0.3),
        pytest.approx(0.002, rel=0.3),
        pytest.approx(0.004, rel=0.3),
    )
    rows.put(0)
    thread.join()
