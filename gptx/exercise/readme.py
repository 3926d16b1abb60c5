"""The answer to an exercise as the page of an experiment: numbers between two marks of its README, and as JSON."""

import json
import math
import os
import re
from pathlib import Path

from gptx import runs
from gptx.compare.readme import in_one_step
from gptx.exercise.answer import Answer, Number, spelled
from gptx.log import now

START = re.compile(r"^<!-- exercise: written by (.+?) -->\n", re.MULTILINE)
END = "<!-- /exercise -->"


def write(answer: Answer, number: int, experiment: Path) -> list[Path]:
    """Write results.json and the marked part of README.md in an experiment's folder; the files.

    Where results.json is a sweep's, the exercise has a file of its own.
    """
    file = experiment / "README.md"
    text = replaced(file.read_text(), file, page(answer, number))
    facts = {
        "exercise": number,
        "passed": answer.passed,
        "criterion": answer.criterion,
        "measured": {name: numeral(value) for name, value in answer.measured.items()},
        "environment": environment(),
    }
    results = experiment / "results.json"
    if results.exists() and "exercise" not in json.loads(results.read_text()):
        results = experiment / f"exercise_{number}.json"
    in_one_step(results, lambda part: part.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n"))
    in_one_step(file, lambda part: part.write_text(text))
    return [results, file]


def numeral(value: Number) -> Number:
    """A number as JSON has it, which knows neither NaN nor infinity: "nan", "inf"."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def replaced(text: str, file: Path, page: str) -> str:
    """A text with the page between its marks. Raises ValueError if they are not there."""
    start = START.search(text)
    end = text.find(END, start.end()) if start else -1
    if not start or end < 0:
        raise ValueError(f"{file} has no place for the answer; on lines of their own, it needs "
                         f"<!-- exercise: written by COMMAND --> and {END}")  # fmt: skip
    return f"{text[: start.end()]}\n{page}\n\n{text[end:]}"


def page(answer: Answer, number: int) -> str:
    """The answer in Markdown."""
    rows = [f"| {name.replace('|', '/')} | {spelled(value)} |" for name, value in answer.measured.items()]
    told = environment()
    place = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return "\n".join(
        [
            f"**{answer.verdict.capitalize()}**: {answer.criterion}.",
            "",
            f"![{answer.question}]({answer.figure.name})",
            "",
            f"Done: {answer.method.rstrip('.')}.",
            "",
            "| measured | |",
            "|---|---|",
            *rows,
            "",
            *([f"The tutorial: {answer.tutorial}", ""] if answer.tutorial else []),
            f"(`python -m gptx.exercise {number}`, {told['date']}, {told['processor']}, "
            f"{told['cores']} CPU cores, {place}, commit {told['commit'] or 'unknown'})",
        ]
    )


def environment() -> dict:
    """Where, when and with what the answer was found."""
    git = runs.git()
    commit = git.get("sha", "")[:7] + (" and changes" if git.get("dirty") else "")
    kept = ("python", "torch", "numpy")
    versions = {name: version for name, version in runs.versions().items() if name in kept}
    return {
        "date": now()[:10],
        "processor": runs.processor(),
        "cores": os.cpu_count(),
        "versions": versions,
        "commit": commit,
    }
