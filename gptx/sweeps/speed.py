"""How many steps the runs of a sweep have that asks for a time: as many for all, by one measured speed."""

import hashlib
from pathlib import Path
from typing import Any

from gptx.config.errors import ConfigError
from gptx.config.recorded import recorded
from gptx.estimate.speed import measured_steps, share_steps
from gptx.estimate.sweep import alike
from gptx.runs import manifest
from gptx.sweeps import pool

RECORDED = "speed_of", "seconds_per_step"  # of a speed, in sweep.jsonl


class Speed:
    """The speed of the first job that asks for a time: recorded by an earlier command in the sweep's folder, or
    measured now, with the threads that its run will have, but alone."""

    def __init__(self, sweep: Path, launcher: str, at_once: int):
        self.sweep, self.launcher, self.at_once = sweep, launcher, at_once
        self.known: dict[str, Any] = {}
        self.told = ""

    def count_steps(self, job: Any) -> None:
        """Put steps in place of a time. Raises ConfigError where the runs are made on another machine."""
        asked = str(job.steps)
        if self.launcher not in ("basic", "local"):
            line = f"the speed of this machine is not that of hydra/launcher={self.launcher}"
            raise ConfigError(f"steps={asked}: {line}; write steps (500), 10Mtok, 20x or 1e15flop")
        self.known = self.known or self._found(job)
        share_steps(job, self.known)
        each = f"{self.known['seconds_per_step']:.3g} s a step of the first arm, {self.known['whence']}"
        self.told = self.told or f"steps={asked} is {job.steps:,} steps, the same for all arms: {each}"

    def _found(self, job: Any) -> dict[str, Any]:
        trial, untimed = job.copy(), job.copy()
        trial.threads = job.threads or pool.threads_of([job], self.at_once)
        untimed.steps = 1
        of = hashlib.sha256(alike(recorded(untimed), "speed").encode()).hexdigest()[:16]
        for line in manifest.noted(self.sweep).values():
            if line.get("speed_of") == of and "seconds_per_step" in line:
                return {"speed_of": of, "seconds_per_step": line["seconds_per_step"], "whence": "recorded earlier"}
        return measured_steps(trial) | {"speed_of": of, "whence": "measured now"}
