"""The rank of this process among those that train together, without importing torch: from torchrun, else from submitit.

SLURM's own variables are not read: they are also set in a shell on a node, where one process runs alone."""

import os


def rank() -> int:
    """The rank of this process, 0 for a lone one."""
    _join()
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes that train together."""
    _join()
    return int(os.environ.get("WORLD_SIZE", 1))


def _join() -> None:
    """Give a task that submitit started the variables that torchrun would have given it."""
    if "RANK" not in os.environ and job():
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        if JobEnvironment().num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)


def job() -> str:
    """Id of the submitted job that this process belongs to, the same after a requeue; empty without one."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return ""
    from submitit import JobEnvironment

    return JobEnvironment().job_id
