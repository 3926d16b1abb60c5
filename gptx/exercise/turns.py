"""Times of two or more recipes whose updates take turns in one process, so that what disturbs one disturbs all."""

import statistics
import time


def turns(arms: dict, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of the processor of every update of each arm, after one to warm up.

    `arms` are checked configs by name. A trainer makes its updates as in a run; nothing is reported or saved.
    """
    import torch

    from gptx.ingredients.observe.throughput import wall
    from gptx.job.build import trainer_of

    first = next(iter(arms.values()))
    torch.set_num_threads(first.threads or torch.get_num_threads())
    trainers = {name: trainer_of(cfg) for name, cfg in arms.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, trainer in trainers.items():
            device = trainer.parallel.device
            trainer.precision.prepare(device)  # what is global in PyTorch differs between the arms
            began, worked = wall(device), time.process_time()
            trainer.set_learning_rate()
            trainer.accumulate_gradients()
            trainer.update("accept")
            if turn:
                found[name].append((wall(device) - began, time.process_time() - worked))
    return found


def ratio(of: list[tuple[float, float]], to: list[tuple[float, float]]) -> dict[str, float]:
    """Median over the turns of one arm's time over another's, by the clock and of the processor, and its range."""
    clock, work = ([a[i] / b[i] for a, b in zip(of, to, strict=True)] for i in (0, 1))
    return {
        "clock": statistics.median(clock),
        "low": min(clock),
        "high": max(clock),
        "processor": statistics.median(work),
    }
