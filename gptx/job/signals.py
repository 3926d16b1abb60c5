"""Signals to a run: the step under way is finished, the state is saved, and the scheduler's own handler may requeue."""

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from gptx.distributed.rank import rank
from gptx.runs.folder import RunFolder

log = logging.getLogger("gptx")
_URGENCY = "SIGUSR2", "SIGINT", "SIGUSR1", "SIGTERM", "SIGHUP"  # of several signals the first of these counts


def train_until_stopped(trainer, folder: RunFolder) -> Callable | None:
    """Train until done or stopped; the scheduler's handler if it must requeue the job. If it has handlers of its own,
    as submitit does, training goes on after its SIGTERM and a save, since a kill may never come; SIGUSR2 requeues."""
    while True:
        with _stopping(trainer):
            trainer.fit()
        if not trainer.stopped:
            return None
        asked, trainer.asked = trainer.asked, ""
        trainer.stopped = min(filter(None, trainer.parallel.gather(asked)), key=_URGENCY.index)
        handler = signal.getsignal(signal.Signals[trainer.stopped])
        if trainer.finished or trainer.stopped not in ("SIGTERM", "SIGUSR2") or not callable(handler):
            return None
        if trainer.stopped == "SIGUSR2":
            return handler
        log.info("SIGTERM: saved after step %d; training goes on until the job is ended", trainer.step)
        if rank() == 0:
            folder.write(state="preempted", step=trainer.step)
        trainer.stopped = ""


def _stopping(trainer) -> AbstractContextManager[None]:
    """Let a signal end the run after the step under way. After the first one, Ctrl-C ends the process at once; others
    are only noted, since a scheduler sends several. SIGHUP is ignored if this process was started so, as by nohup."""

    def ask(number: int, frame) -> None:
        name = signal.Signals(number).name
        trainer.stop(min(name, trainer.asked or name, key=_URGENCY.index))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if name == "SIGINT" and rank() == 0:
            with suppress(OSError):  # a terminal that is gone
                os.write(2, b"\nSIGINT: this step is finished and saved; Ctrl-C again leaves at once\n")

    ignored = ["SIGHUP"] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else []
    return caught([signal.Signals[name] for name in _URGENCY if name not in ignored], ask)


@contextmanager
def caught(numbers: Iterable[int], handler: Callable) -> Iterator[None]:
    """Have the handler take these signals; afterwards those that took them before do so again."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
