"""The state of every run of a sweep:  python -m gptx status runs/NAME"""

from pathlib import Path

from gptx.runs import manifest
from gptx.sweeps.status import table


def status(sweep: str, /) -> bool:
    """Show the state of every run of a sweep, and the time that is left.

      python -m gptx status runs/schedules

    Each line has state, folder, result or progress, then time in steps, tokens and FLOPs (6 N per token). States are
    finished, running, queued, failed, killed, preempted, interrupted and missing. The exit code is 0 if all are
    finished. The command that began the sweep, given again, runs or submits the others.

    Options:
    sweep: folder of the sweep
    """
    root = Path(sweep)
    noted = manifest.noted(root)
    folders = dict.fromkeys([*noted, *(path.parent.name for path in sorted(root.glob("*/run.json")))])
    if not folders:
        raise ValueError(f"{sweep}: no sweep there; one is a folder such as runs/NAME")
    ids = {root / name: known.get("job", "") for name, known in noted.items()}
    return table(dict.fromkeys(root / name for name in folders), ids) > 0
