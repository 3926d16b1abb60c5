"""The rank of this process among those that train together; the one place that decides, without importing torch."""

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
    """Give one of several tasks of submitit's torchrun's variables; SLURM's own are also set in a shell on a node."""
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
