"""Tensors of which every process holds some rows: to whole ones, to plain values that can be saved, and back.

A saved shard is a dict of plain values: it loads without running code, and at any number of processes. PyTorch's
sharded tensors are told by their `full_tensor`, since importing their class takes a second.
"""

import torch
from torch import Tensor

ROWS, OFFSET, SHAPE = "shard.rows", "shard.offset", "shard.shape"  # the keys of a saved shard


def is_sharded(tensor: Tensor) -> bool:
    """True for a tensor that is spread over the processes."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All rows, in every process, which must all ask together; a tensor that is not spread as it is."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def local(tensor: Tensor) -> Tensor:
    """The rows that this process holds; a tensor that is not spread as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def like(value: Tensor, held: Tensor) -> Tensor:
    """The whole `value`, on any device, as this process holds `held`: on its device, and of a shard its own rows.

    A value of another shape, such as the row means of a matrix, is held whole; a scalar stays a plain tensor.
    """
    value = value.to(held.device)
    if not is_sharded(held) or is_sharded(value) or not value.ndim:
        return value
    from torch.distributed.tensor import Replicate, distribute_tensor

    placements = held.placements if value.shape == held.shape else [Replicate()]  # type: ignore[attr-defined]
    return distribute_tensor(value, held.device_mesh, placements, src_data_rank=None)  # type: ignore[attr-defined]


def split(state, rank: int):
    """What process `rank` has to save of a tree of dicts, lists and tuples: each sharded tensor as its own rows, their
    offset and the whole shape, and of all else everything if it is rank 0; None where that is nothing."""
    if isinstance(state, dict):
        parts = {key: split(value, rank) for key, value in state.items()}
        return parts if rank == 0 or any(part is not None for part in parts.values()) else None
    if isinstance(state, list | tuple):
        items = [split(value, rank) for value in state]
        return type(state)(items) if rank == 0 or any(item is not None for item in items) else None
    if not is_sharded(state):
        return state if rank == 0 else None
    if not state.placements[0].is_shard(0):
        return split(whole(state), rank)
    rows, most = local(state).detach(), -(-len(state) // state.device_mesh.size())
    return {ROWS: rows, OFFSET: min(most * state.device_mesh.get_local_rank(), len(state)), SHAPE: [*state.shape]}


def joined(parts: list):
    """The tree that the parts of all processes, in the order of their ranks, are of; with whole tensors on the CPU."""
    first, parts = parts[0], [part for part in parts if part is not None]
    if isinstance(first, dict):
        return assembled(parts) if ROWS in first else {k: joined([part.get(k) for part in parts]) for k in first}
    if isinstance(first, list | tuple):
        return type(first)(joined([part[i] for part in parts]) for i in range(len(first)))
    return first


def assembled(parts: list[dict]) -> Tensor:
    """One tensor from all of its rows. Raises ValueError where some are missing."""
    filled = torch.empty(parts[0][SHAPE], dtype=parts[0][ROWS].dtype)
    if sum(len(part[ROWS]) for part in parts) != len(filled):
        raise ValueError(f"the parts have {sum(len(part[ROWS]) for part in parts)} of {len(filled)} rows of a tensor")
    for part in parts:
        filled[part[OFFSET] : part[OFFSET] + len(part[ROWS])] = part[ROWS]
    return filled
