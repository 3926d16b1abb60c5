"""What a sweep consists of and how its cells stand:  python -m gptx.sweep status runs/NAME

`sweep.jsonl` beside the cells has a line for each cell of every sweep of that name: folder, overrides, command, time;
and one for each job that was submitted for it. What a later line says of a folder is added to the earlier ones.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from gptx import runs
from gptx.check import ConfigError
from gptx.log import jsonl

PAGE = """How the cells of a sweep stand: finished, running, queued, failed, killed, preempted, interrupted, missing.

  python -m gptx.sweep status runs/NAME

The exit code is 0 if all are finished. The command that began the sweep runs or submits what is not.
"""


def note(sweep: Path, cells: list[dict]) -> None:
    """Add what is known of some cells, each with its `folder` below the sweep's."""
    sweep.mkdir(parents=True, exist_ok=True)
    with (sweep / "sweep.jsonl").open("a") as file:
        file.write("".join(json.dumps(cell) + "\n" for cell in cells))


def cells(sweep: Path) -> dict[str, dict]:
    """All that was noted of each cell, by its folder, in the order of the first mention."""
    found: dict[str, dict] = {}
    if (sweep / "sweep.jsonl").exists():
        for line in (sweep / "sweep.jsonl").read_text().splitlines():
            cell = json.loads(line)
            found[cell["folder"]] = found.get(cell["folder"], {}) | cell
    return found


def queue() -> dict[str, str]:
    """State of every job of SLURM that waits, runs or is being ended, by its id: 42, or 42_0 in an array.

    Raises ValueError if SLURM does not answer.
    """
    if not shutil.which("squeue"):
        return {}
    asked = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True)
    if asked.returncode:
        raise ValueError(f"SLURM does not tell which jobs it has: {' '.join(asked.stderr.split())}")
    return dict(line.split() for line in asked.stdout.splitlines())


def standing(folder: Path, job: str, jobs: dict[str, str]) -> tuple[str, str]:
    """State of a cell and what is to be said of it, where `job` was the last one submitted for it, if any."""
    try:
        record, state = runs.read(folder) or {}, runs.state(folder)
    except ConfigError as error:
        return "unreadable", str(error)
    if state == "finished":
        from gptx.train import spell

        return state, spell(record["result"])
    if job in jobs and not (jobs[job] == "COMPLETING" and state == "failed"):
        state = "running" if jobs[job] == "RUNNING" else "queued"  # what is being ended may be put back
    progress, rows = "", folder / "metrics.jsonl"
    if rows.exists() and (done := jsonl.read(rows)):
        progress = f"update {done[-1]['step']} of {record.get('recipe', {}).get('steps', '?')}"
        progress += f", {time.time() - rows.stat().st_mtime:.0f} s ago" if state == "running" else ""
    words = [record.get("error", "") if state == "failed" else "", progress, f"job {job}" if job in jobs else ""]
    return state, ", ".join(filter(None, words))


def status(sweep: Path) -> int:
    """Print how every cell stands; the number of those that are not finished. Raises ValueError for another folder."""
    noted = cells(sweep)
    here = [path.parent.name for path in sorted(sweep.glob("*/run.json"))]
    folders = list(dict.fromkeys([*noted, *here]))
    if not folders:
        raise ValueError(f"{sweep}: no sweep there; one is a folder such as runs/NAME")
    try:
        jobs = queue()
    except ValueError as error:
        jobs = {}
        print(f"warning: {error}; what is queued counts as missing", file=sys.stderr)
    found = {folder: standing(sweep / folder, noted.get(folder, {}).get("job", ""), jobs) for folder in folders}
    for folder, (state, words) in found.items():
        print(f"{state:12} {sweep / folder}  {words}".rstrip())
    finished = sum(state == "finished" for state, _ in found.values())
    print(f"{finished} of {len(folders)} finished")
    return len(folders) - finished


def main() -> None:
    """The command: a mistake is one line on stderr and exit code 1."""
    words = sys.argv[1:]
    if not words or {"-h", "--help", "help"} & set(words):
        print(PAGE)
        return
    if words[0] != "status" or len(words) != 2:
        raise SystemExit("error: it takes the folder of a sweep: python -m gptx.sweep status runs/NAME")
    try:
        unfinished = status(Path(words[1]))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    raise SystemExit(int(unfinished > 0))


if __name__ == "__main__":
    main()
