"""Who this process is among those that train together; the one place that decides, without importing torch."""

import os


def rank() -> int:
    """Number of this process, 0 for a lone one (torchrun sets RANK)."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes that train together (torchrun sets WORLD_SIZE)."""
    return int(os.environ.get("WORLD_SIZE", 1))
