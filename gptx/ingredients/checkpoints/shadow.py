"""A quick copy of a state, and the thread that writes it while training changes the original."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from threading import Thread

import torch
from torch import Tensor

_Path = tuple  # of keys and indices, from the root of a state to a tensor


class Writing(Thread):
    """Runs `write`, if any, while training goes on. No daemon: Python's exit waits, and kills no C++ code."""

    failure: BaseException | None = None

    def __init__(self, write: Callable[[], None] | None = None):
        super().__init__(target=write, name="checkpoint")
        if write:
            self.start()

    def run(self) -> None:
        try:
            super().run()  # lets go of `write` in the end, and so of the state that it holds
        except BaseException as failure:  # `finish` raises it in the thread that trains
            self.failure = failure

    def finish(self) -> None:
        """Wait for the end; raises, once, what `write` raised."""
        if self.is_alive():
            self.join()
        failure, self.failure = self.failure, None
        if failure:
            raise failure


class Shadow:
    """Copies states into host memory that is allocated once and used again by every later copy."""

    def __init__(self):
        self.buffers: dict[_Path, Tensor] = {}
        self.reserving = Writing()

    def reserve(self, state: dict | None) -> None:
        """Allocate for a copy of the state while training goes on: to find the memory takes longer than to copy."""
        fresh = ((path, _buffer(tensor, None).zero_()) for path, tensor in _tensors(state))
        self.reserving = Writing(lambda: self.buffers.update(fresh))

    @torch.no_grad()
    def __call__(self, state: dict) -> dict:
        """The state as it is now, its tensors on the CPU; the copy returned before is overwritten."""
        self.reserving.finish()
        before, self.buffers = self.buffers, {}
        copies: dict[int, Tensor] = {}  # by the id of the original: what deepcopy takes for already copied
        seen: dict[tuple, Tensor] = {}  # tensors of one memory, such as tied weights, have one copy
        for path, tensor in _tensors(state):
            memory = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
            if memory not in seen:
                seen[memory] = self.buffers[path] = _buffer(tensor, before.get(path))
                seen[memory].copy_(tensor, non_blocking=tensor.is_cuda)
            copies[id(tensor)] = seen[memory]
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # once, for all copies under way
        return deepcopy(state, copies)


def _buffer(tensor: Tensor, buffer: Tensor | None) -> Tensor:
    """The buffer if it fits exactly, else a new one; pinned for a GPU, which copies to no other memory in passing."""
    if buffer is not None and (buffer.shape, buffer.dtype) == (tensor.shape, tensor.dtype):
        return buffer
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)


def _tensors(node, path: _Path = ()) -> Iterator[tuple[_Path, Tensor]]:
    if isinstance(node, Tensor):
        yield path, node
    elif isinstance(node, dict | list | tuple):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _tensors(child, (*path, key))
