"""The answer to an exercise as the page of an experiment: numbers between two marks of its README, and as JSON."""

import json
from pathlib import Path

from gptx import runs
from gptx.exercise.answer import Answer, spelled
from gptx.log import now

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def write(answer: Answer, number: int, experiment: Path) -> list[Path]:
    """Write results.json and the marked part of README.md in an experiment's folder; the files."""
    file = experiment / "README.md"
    text = replaced(file.read_text(), file, page(answer, number))
    facts = {
        "exercise": number,
        "passed": answer.passed,
        "criterion": answer.criterion,
        "measured": answer.measured,
        "environment": environment(),
    }
    results = experiment / "results.json"
    results.write_text(json.dumps(facts, indent=1) + "\n")
    file.write_text(text)
    return [results, file]


def replaced(text: str, file: Path, page: str) -> str:
    """A text with the page between its marks. Raises ValueError if they are not there, once each and in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{file} needs one line {BEGIN} and, below it, one line {END}")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n\n{page}\n\n{text[text.index(END) :]}"


def page(answer: Answer, number: int) -> str:
    """The answer in Markdown."""
    rows = [f"| {name.replace('|', '/')} | {spelled(value)} |" for name, value in answer.measured.items()]
    told = environment()
    place = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return "\n".join(
        [
            f"{answer.method[:1].upper()}{answer.method[1:]}.",
            "",
            "| measured | |",
            "|---|---|",
            *rows,
            "",
            f"**{answer.verdict.capitalize()}**: {answer.criterion}.",
            *(["", f"The tutorial: {answer.tutorial}"] if answer.tutorial else []),
            "",
            f"![{answer.question}]({answer.figure.name})",
            "",
            f"(`python -m gptx.exercise {number}`, {told['date']}, {told['processor']}, {place}, "
            f"commit {told['commit'] or 'unknown'})",
        ]
    )


def environment() -> dict:
    """Where, when and with what the answer was found."""
    from gptx.bench import processor

    git = runs.git()
    commit = git.get("sha", "")[:7] + (" and changes" if git.get("dirty") else "")
    kept = ("python", "torch", "numpy")
    versions = {name: version for name, version in runs.versions().items() if name in kept}
    return {"date": now()[:10], "processor": processor(), "versions": versions, "commit": commit}
