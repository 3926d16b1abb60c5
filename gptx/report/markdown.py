"""A report as Markdown, for a README or a message: the answer, its tables, and the picture beside it."""

from gptx.compare.outcomes import Comparison
from gptx.compare.verdict import Verdict
from gptx.report import one, readme
from gptx.runs.cells import Cell
from gptx.show.table import Table, markdown
from gptx.units.printable import md


def of_runs(name: str, question: str, comparison: Comparison, answer: Verdict, standing: str) -> str:
    """The summary of a comparison."""
    parts = [
        f"# {md(name)}",
        *([f"**Question.** {md(question)}"] if question else []),
        f"**Verdict.** {md(answer.headline)}",
        "\n".join(f"- {md(sentence)}" for sentence in answer.sentences),
        "\n>\n".join(f"> Warning: {md(warning)}" for warning in answer.warnings),
        f"![{md(name)}](report.png)",
        *map(markdown, answer.tables),
        f"({standing}; {md(readme.made(comparison.environment))}; the whole report is report.html)",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def of_run(cell: Cell, smooth: int) -> str:
    """The summary of one run."""
    numbers = Table("Numbers", ("", "value"), [(name, value) for value, name in one.headline(cell, smooth)])
    head = f"# {md(one.title(cell))}\n\n{md(one.sentence(cell))}, {cell.state}."
    return "\n\n".join([head, markdown(numbers), "![vital signs](report.png)"]) + "\n"
