"""The answer to an exercise as the page of an experiment: numbers between two marks of its README, and as JSON."""

import os
from pathlib import Path

from gptx import runs
from gptx.exercise.answer import Answer, spelled
from gptx.files import to_json, write_text
from gptx.ingredients.log import now
from gptx.runs import plain, provenance
from gptx.show.marked import parts
from gptx.show.table import Table, grid


def write(answer: Answer, number: int, experiment: Path) -> list[Path]:
    """Write results.json and the marked part of README.md in an experiment's folder; the files.

    Where results.json is a sweep's, the exercise has a file of its own.
    """
    file = experiment / "README.md"
    before, _, after = parts(file, "exercise")
    facts = {
        "exercise": number,
        "passed": answer.passed,
        "criterion": answer.criterion,
        "measured": answer.measured,
        "environment": environment(),
    }
    results = experiment / "results.json"
    if results.exists() and "exercise" not in (plain.read_json(results) or {}):
        results = experiment / f"exercise_{number}.json"
    write_text(results, to_json(facts, indent=1) + "\n")
    write_text(file, f"{before}\n{page(answer, number)}\n\n{after}")
    return [results, file]


def page(answer: Answer, number: int) -> str:
    """The answer in Markdown."""
    measured = Table("", ("measured", ""), [(name, spelled(value)) for name, value in answer.measured.items()])
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
            grid(measured),
            "",
            *([f"The tutorial: {answer.tutorial}", ""] if answer.tutorial else []),
            f"(`python -m gptx exercise {number}`, {told['date']}, {told['processor']}, "
            f"{told['cores']} CPU cores, {place}, commit {told['commit'] or 'unknown'})",
        ]
    )


def environment() -> dict:
    """Where, when and with what the answer was found."""
    git = provenance.git()
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
