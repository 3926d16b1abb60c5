"""The answer to an exercise: on the terminal, and as JSON and Markdown in the folder of an experiment."""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptx.files import to_json, write_text
from gptx.ingredients.log import now
from gptx.runs import plain, provenance
from gptx.show import marked
from gptx.show.plots import Drawing
from gptx.show.table import Table, grid

Number = float | int | str | bool


@dataclass(frozen=True)
class Answer:
    """How an exercise was answered; `tutorial` says where the tutorial claims something else, `details` adds lines."""

    method: str
    measured: Mapping[str, Number]
    criterion: str
    passed: bool
    drawings: Sequence[Drawing]
    title: str = ""
    tutorial: str = ""
    details: Sequence[str] = ()


def of_each(rows: Mapping[str, Mapping[str, Number]]) -> dict[str, Number]:
    """Numbers of several arms as one dict: ARM: WHAT."""
    return {f"{arm}: {what}": value for arm, numbers in rows.items() for what, value in numbers.items()}


def answer_lines(answer: Answer, number: int, question: str, figure: Path) -> Iterator[str]:
    """The answer in lines for a terminal."""
    yield from _paragraph(f"exercise {number}", question)
    yield from _paragraph("done", answer.method)
    yield from (f"  {line}" for line in answer.details)
    width = max(map(len, answer.measured), default=0)
    yield "measured"
    yield from (f"  {name:{width}}  {_spelled(value)}" for name, value in answer.measured.items())
    yield from _paragraph("criterion", answer.criterion)
    yield "PASSED" if answer.passed else "FAILED"
    yield from _paragraph("tutorial", answer.tutorial) if answer.tutorial else ()
    yield f"{'figure':12}{figure}"


def write_answer(answer: Answer, number: int, question: str, figure: Path, experiment: Path) -> list[Path]:
    """Write results.json (exercise_NN.json where that is a sweep's) and the marked part of README.md; the files."""
    git, versions = provenance.git(), provenance.versions()
    environment = {
        "date": now()[:10],
        "processor": provenance.processor(),
        "cores": os.cpu_count(),
        "versions": {name: versions[name] for name in ("python", "torch", "numpy") if name in versions},
        "commit": git.get("sha", "")[:7] + " and changes" * bool(git.get("dirty")),
    }
    told = {key: getattr(answer, key) for key in ("passed", "criterion", "method", "measured", "tutorial")}
    facts = {"exercise": number, "question": question} | told | {"figure": figure.name, "environment": environment}
    results, page = experiment / "results.json", experiment / "README.md"
    if results.exists() and "exercise" not in (plain.read(results) or {}):
        results = experiment / f"exercise_{number}.json"
    marked.write(page, "exercise", answer_page(facts))
    write_text(results, to_json(facts, indent=1) + "\n")
    return [results, page]


def answer_page(facts: dict) -> str:
    """What results.json says of an answer, in Markdown."""
    rows: list[tuple[str, ...]] = [(name, _spelled(value)) for name, value in facts["measured"].items()]
    around = facts["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    parts = [
        f"**{'Passed' if facts['passed'] else 'Failed'}**: {facts['criterion']}.",
        f"![{facts['question']}]({facts['figure']})",
        f"Done: {facts['method'].rstrip('.')}.",
        grid(Table("", ("measured", ""), rows)),
        f"Building a GPT from Scratch, chapter 15: {facts['tutorial']}" if facts["tutorial"] else "",
        f"(`python -m gptx exercise {facts['exercise']}`, {around['date']}, {around['processor']}, "
        f"{around['cores']} CPU cores, {versions}, commit {around['commit'] or 'unknown'})",
    ]
    return "\n\n".join(filter(None, parts))


def _paragraph(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name:12}{text}", 110, subsequent_indent=" " * 12, break_long_words=False)


def _spelled(value: Number) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else value
