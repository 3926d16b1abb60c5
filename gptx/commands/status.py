"""The state of every run of a sweep:  python -m gptx status runs/NAME"""

import sys
from pathlib import Path

from gptx.runs import manifest
from gptx.sweeps import status as sweeps


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
    here = [path.parent.name for path in sorted(root.glob("*/run.json"))]
    folders = list(dict.fromkeys([*noted, *here]))
    if not folders:
        raise ValueError(f"{sweep}: no sweep there; one is a folder such as runs/NAME")
    try:
        jobs = sweeps.queue() if any(cell.get("job") for cell in noted.values()) else {}
    except ValueError as error:
        jobs = {}
        print(f"warning: {error}; what is queued counts as missing", file=sys.stderr)
    each = []
    for folder in folders:
        made = sweeps.work(root / folder)
        state, words = sweeps.standing(root / folder, noted.get(folder, {}).get("job", ""), jobs, made)
        print(f"{state:12} {root / folder}  {words}".rstrip())
        each.append((state, made))
    print(sweeps.total(each))
    return any(state != "finished" for state, _ in each)
