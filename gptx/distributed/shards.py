"""Sharded tensors, of which every rank holds some rows: to whole tensors, to plain values that can be saved, and back.

A saved shard is a dict of plain values: it loads without running code, and on any number of ranks. PyTorch's sharded
tensors are recognised by their `full_tensor`, since importing their class takes a second."""

import torch
from torch import Tensor

ROWS, OFFSET, SHAPE = "shard.rows", "shard.offset", "shard.shape"  # the keys of a saved shard


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def whole_state(tensor: Tensor) -> Tensor:
    """All rows, on every rank; all ranks must call it together. A tensor that is not sharded as it is."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def local(tensor: Tensor) -> Tensor:
    """The rows that this rank holds; a tensor that is not sharded as it is."""
    return tensor.to_local() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def like(value: Tensor, held: Tensor) -> Tensor:
    """The whole `value`, on any device, as this rank holds `held`: on its device, and of a shard its own rows. A value
    of another shape, such as the row means of a matrix, is held whole; a scalar stays a plain tensor."""
    value = value.to(held.device)
    if not _is_sharded(held) or _is_sharded(value) or not value.ndim:
        return value
    from torch.distributed.tensor import Replicate, distribute_tensor

    placements = held.placements if value.shape == held.shape else [Replicate()]  # type: ignore[attr-defined]
    return distribute_tensor(value, held.device_mesh, placements, src_data_rank=None)  # type: ignore[attr-defined]


def split(state, rank: int):
    """The part of a tree of dicts, lists and tuples that `rank` saves: of each sharded tensor its own rows, their
    offset and the whole shape; of all else everything if it is rank 0. None if that is nothing."""
    if isinstance(state, dict | list | tuple):
        parts = [split(value, rank) for value in (state.values() if isinstance(state, dict) else state)]
        if rank and all(part is None for part in parts):
            return None
        return dict(zip(state, parts, strict=True)) if isinstance(state, dict) else type(state)(parts)
    if not _is_sharded(state):
        return state if rank == 0 else None
    if not state.placements[0].is_shard(0):
        return split(whole_state(state), rank)
    rows, most = local(state).detach(), -(-len(state) // state.device_mesh.size())
    return {ROWS: rows, OFFSET: min(most * state.device_mesh.get_local_rank(), len(state)), SHAPE: [*state.shape]}


def joined_shards(parts: list):
    """The tree of which the parts were saved, in the order of the ranks; with whole tensors on the CPU."""
    first, parts = parts[0], [part for part in parts if part is not None]
    if isinstance(first, dict):
        if ROWS in first:
            return _assembled(parts)
        return {key: joined_shards([part.get(key) for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(joined_shards([part[i] for part in parts]) for i in range(len(first)))
    return first


def _assembled(parts: list[dict]) -> Tensor:
    """One tensor from all of its rows. Raises ValueError if some are missing."""
    filled, rows = torch.empty(parts[0][SHAPE], dtype=parts[0][ROWS].dtype), sum(len(part[ROWS]) for part in parts)
    if rows != len(filled):
        raise ValueError(f"the parts have {rows} of {len(filled)} rows of a tensor")
    for part in parts:
        filled[part[OFFSET] : part[OFFSET] + len(part[ROWS])] = part[ROWS]
    return filled
