"""Train the same tiny runs with the code of a commit and with the working tree; every recorded loss must be equal.

  python tests/unchanged.py [COMMIT] [OPTIMIZER...]

The runs: each optimizer of conf/optim (or those named), one rollback, one run that is stopped and resumed, one on two
processes. Without COMMIT: HEAD. Only `python -m gptx.train` is used, so old commits work too. The exit code is 1 if a
number differs; the first ones that do are printed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LONGEST = 900  # seconds of one command on a busy machine
ROOT = Path(__file__).resolve().parents[1]
COMPARED = "train/loss", "train/grad_norm", "train/lr", "train/tokens", "validation/loss"
TINY = (
    "data=text", "data.path=text.txt", "data.tokenizer=bytes", "model.width=32", "model.depth=2", "model.heads=2",
    "model.context=32", "model.dropout=0.1", "batch.tokens=256", "batch.micro=4", "steps=30", "log=[jsonl]",
    "observe.validation.windows=8", "precision=fp32", "device=cpu", "threads=1", "record_patch=false",
)  # fmt: skip
ROLLBACK = (
    "guard=rollback", "guard.treatment.margin=2", "guard.treatment.skip=1", "inject=nan_gradient", "inject.batch=12",
    "inject.batches=12", "guard.patience=3", "checkpoints.every=5",
)  # fmt: skip
Row = dict[str, float]


class Code:
    """The code in one folder, with a folder of its own for the runs."""

    def __init__(self, source: Path, runs: Path):
        self.runs = runs
        self.environment = os.environ | {"PYTHONPATH": str(source), "GPTX_CACHE": str(runs / "cache")}
        runs.mkdir()
        (runs / "text.txt").write_text("".join(f"{i} green bottles on the wall, {i % 7} fall\n" for i in range(600)))

    def start(self, *words: str, program: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [sys.executable, "-m", *program, "gptx.train", *TINY, *words]
        with (self.runs / "printed.txt").open("w") as printed:
            return subprocess.Popen(command, cwd=self.runs, env=self.environment, stdout=printed, stderr=printed)

    def train(self, *words: str, program: tuple[str, ...] = ()) -> None:
        process = self.start(*words, program=program)
        if process.wait(LONGEST):
            printed = (self.runs / "printed.txt").read_text()
            raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}\n{printed[:2000]}")

    def stopped_and_resumed(self) -> None:
        """Train 400 steps, stopped by SIGTERM after at least 20."""
        words = "name=resumed", "steps=400"
        process = self.start(*words)
        while len(self.rows("resumed")) < 20 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        if process.wait() != 128 + signal.SIGTERM:
            raise SystemExit(f"the run that was to be stopped ended with exit code {process.returncode}")
        self.train(*words)

    def rows(self, name: str) -> list[Row]:
        """What the runs of that name recorded, in the order of their folders; a torn last line is left out."""
        files = sorted((self.runs / "runs" / name).rglob("metrics.jsonl"))
        lines = [line for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [{key: row[key] for key in ("step", *COMPARED) if key in row} for row in map(json.loads, lines)]

    def all(self, optimizers: list[str], quick: bool) -> dict[str, list[Row]]:
        """Train every run; its rows by the name of the run."""
        words = "name=optim", "schedule=warmup", "schedule.warmup=5", f"optim={','.join(optimizers)}"
        self.train("--multirun", "hydra/launcher=basic", *words)
        if quick:
            return {"optim": self.rows("optim")}
        self.train("name=rollback", *ROLLBACK)
        self.stopped_and_resumed()
        launcher = "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"
        self.train("name=two", program=launcher)
        return {name: self.rows(name) for name in ("optim", "rollback", "resumed", "two")}


def differences(commit: str, optimizers: list[str] | None = None, *, quick: bool = False) -> list[str]:
    """Where the working tree records other numbers than `commit`, a line a step; empty if nowhere."""
    optimizers = optimizers or sorted(file.stem for file in (ROOT / "conf" / "optim").glob("*.yaml"))
    with tempfile.TemporaryDirectory() as temporary:
        old, new = Path(temporary) / "old", Path(temporary) / "new"
        for name in ("gptx", "conf", "experiments"):  # copied, so that it may be edited meanwhile
            shutil.copytree(ROOT / name, new / name)
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", old, commit], check=True)
        try:
            codes = Code(old, Path(temporary) / "before"), Code(new, Path(temporary) / "after")
            with ThreadPoolExecutor(2) as pool:
                before, after = pool.map(lambda code: code.all(optimizers, quick), codes)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", old], check=True)
    print(", ".join(f"{name}: {len(rows)} steps" for name, rows in after.items()))
    assert quick or [row["step"] for row in after["rollback"]] != sorted({row["step"] for row in after["rollback"]})
    counts = [f"{k}: {len(before[k])} rows, then {len(after[k])}" for k in after if len(before[k]) != len(after[k])]
    pairs = [(name, *rows) for name in after for rows in zip(before[name], after[name], strict=False)]
    return counts + [f"{name}: {one}, then {other}" for name, one, other in pairs if one != other]


if __name__ == "__main__":
    found = differences(*(sys.argv[1:2] or ["HEAD"]), sys.argv[2:])
    print("\n".join(found[:10]) or "every number is equal")
    raise SystemExit(bool(found))
