"""A report as Markdown, for a README or a message: the answer, its tables, and the picture beside it."""

from collections.abc import Iterator

from gptx.compare.cells import Cell
from gptx.compare.verdict import Table, Verdict
from gptx.report import one


def of_runs(name: str, question: str, answer: Verdict, standing: str) -> str:
    """The summary of a comparison."""
    parts = [
        f"# {name}",
        *([f"**Question.** {question}"] if question else []),
        f"**Verdict.** {answer.headline}",
        " ".join(answer.sentences),
        *([f"![{name}](report.png)"] if answer.tables else []),
        *("\n".join(table(each)) for each in answer.tables),
        "\n".join(f"- {warning}" for warning in answer.warnings),
        f"({standing}; the whole report is report.html)",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def of_run(cell: Cell, smooth: int) -> str:
    """The summary of one run."""
    numbers = Table("", ("", "value"), [(name, value) for value, name in one.headline(cell, smooth)])
    head = f"# {one.title(cell)}\n\n{one.sentence(cell)}, {cell.state}."
    return "\n\n".join([head, "\n".join(table(numbers)), "![vital signs](report.png)"]) + "\n"


def table(found: Table) -> Iterator[str]:
    """The lines of a table, with its title above and its note below."""
    if found.title:
        yield from (f"### {found.title[:1].upper()}{found.title[1:]}", "")
    yield row(found.columns)
    yield row(("---",) * len(found.columns))
    yield from map(row, found.rows)
    if found.note:
        yield from ("", found.note)


def row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
