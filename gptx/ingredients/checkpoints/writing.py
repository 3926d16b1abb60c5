"""Work for the disk beside training."""

from collections.abc import Callable
from threading import Thread


class Writing(Thread):
    """Runs `write` while training goes on. Not a daemon: Python's exit waits for it, and kills it in no C++ code."""

    def __init__(self, write: Callable[[], None]):
        super().__init__(name="checkpoint")
        self.write = write
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.write()
        except BaseException as failure:  # told by `result` in the thread that trains
            self.failure = failure
        finally:
            del self.write  # it holds the state

    def result(self) -> OSError | None:
        """Wait for the end; what the disk refused is returned, and any other failure raised."""
        self.join()
        if self.failure is not None and not isinstance(self.failure, OSError):
            raise self.failure
        return self.failure
