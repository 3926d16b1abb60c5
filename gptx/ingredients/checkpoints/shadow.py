"""A quick copy of a state, so that training may change the original while the copy is written."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor

from gptx.ingredients.checkpoints.writing import Writing

Path = tuple  # of keys and indices, from the root of a state to a tensor


class Shadow:
    """Copies states into host memory that is allocated once and used again by every later copy."""

    def __init__(self):
        self.buffers: dict[Path, Tensor] = {}
        self.reserving: Writing | None = None

    def reserve(self, state: dict) -> None:
        """Begin to allocate what a copy of the state will need, beside training: the system takes longer to find the
        memory than a copy takes."""

        def allocate() -> None:
            self.buffers = {path: like(tensor, None).zero_() for path, tensor in tensors(state)}

        self.reserving = Writing(allocate)

    @torch.no_grad()
    def __call__(self, state: dict) -> dict:
        """The state as it is now, its tensors on the CPU; the copy returned before is overwritten."""
        if self.reserving:
            self.reserving.result()
            self.reserving = None
        before, self.buffers = self.buffers, {}
        copies: dict[int, Tensor] = {}  # by the id of the original: what deepcopy takes for already copied
        seen: dict[tuple, Tensor] = {}  # tensors of one memory, such as tied weights, have one copy
        for path, tensor in tensors(state):
            memory = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
            if memory not in seen:
                seen[memory] = self.buffers[path] = like(tensor, before.get(path))
                seen[memory].copy_(tensor, non_blocking=tensor.is_cuda)
            copies[id(tensor)] = seen[memory]
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # once, for all copies under way
        return deepcopy(state, copies)


def like(tensor: Tensor, buffer: Tensor | None) -> Tensor:
    """The buffer if the tensor fits in it exactly, else a new one; pinned for a GPU, which copies to no other memory
    while it goes on."""
    if buffer is not None and (buffer.shape, buffer.dtype) == (tensor.shape, tensor.dtype):
        return buffer
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)


def tensors(node, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Every tensor in nested dicts, lists and tuples, with its place."""
    if isinstance(node, Tensor):
        yield path, node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from tensors(child, (*path, key))
    elif isinstance(node, list | tuple):
        for i, child in enumerate(node):
            yield from tensors(child, (*path, i))
