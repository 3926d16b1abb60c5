"""The pages of experiments: results.json, figure and the generated part of README.md, and the index of all pages."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptx.compare.figure import figure
from gptx.compare.outcomes import Comparison, load_comparison
from gptx.compare.verdict import Verdict, verdict
from gptx.files import in_one_step
from gptx.runs.run import Run
from gptx.show import marked, table
from gptx.units.phrases import count, joined
from gptx.units.printable import md

KIND, INDEX = "results", "index"  # of what stands between the markers of an experiment's page, and of all pages
_ANSWERS = (KIND, "fit", "exercise")  # kinds of generated parts that begin with an answer
PICTURE = "result.png"
_SHOWN = {"date": "", "hardware": ""} | {name: f"{name} " for name in ("threads", "commit", "python", "torch")}


def rewrite(folder: Path) -> bool:
    """Write an experiment's page again from its results.json; False if it has none of a report."""
    if not ((folder / "results.json").exists() and marked.command(folder / "README.md", KIND)):
        return False
    comparison = load_comparison(folder / "results.json")
    write_page(comparison, verdict(comparison), folder)
    return True


def rewrite_index(parent: Path) -> bool:
    """Write the table of all pages in `parent`/README.md again; False if it has no place for it or did not change."""
    page = parent / "README.md"
    return bool(marked.command(page, INDEX)) and bool(marked.write(page, INDEX, index(parent)))


def write_page(comparison: Comparison, said: Verdict, folder: Path) -> None:
    """Write results.json, result.png and the generated part of README.md in an experiment's folder. Raises ValueError,
    with nothing written, if README.md has no place for the results, or if no run has a result."""
    page = folder / "README.md"
    marked.parts(page, KIND)
    if all(outcome.value is None for outcome in comparison.outcomes):
        raise ValueError(f"{folder}: no run has a result in {comparison.metric}, so the page is kept; {said.headline}")
    in_one_step(folder / "results.json", replace(comparison, baseline=said.baseline).save)
    if comparison.drawable and said.numbers:
        figure(said.numbers, folder / PICTURE)
    without = f" without={','.join(comparison.without)}" if comparison.without else ""
    command = re.sub(r" without=\S*", "", marked.command(page, KIND)) + without
    marked.write(page, KIND, page_markdown(comparison, said), command)


def page_markdown(comparison: Comparison, said: Verdict) -> str:
    """The generated part of a comparison."""
    picture = (f"{comparison.metric} by {joined(comparison.factors) or 'seed'}", PICTURE) if comparison.drawable else ()
    return body(said, picture, comparison.environment, "every run in `results.json`")


def body(said: Any, picture: tuple[str, ...], environment: dict, kept: str) -> str:
    """A generated part: what is `said`, a picture (text, file), what the runs were made with, where they are kept."""
    values = {key: value if isinstance(value, list) else [value] for key, value in environment.items()}
    made = [f"{words}{joined(map(str, values[key]), 'or')}" for key, words in _SHOWN.items() if key in values]
    parts = [
        f"**{md(said.headline)}**",
        "\n".join(f"- {md(each)}" for each in said.sentences),
        "\n>\n".join(f"> Warning: {md(each)}" for each in said.warnings),
        f"![{md(picture[0])}]({picture[1]})" if picture else "",
        *map(table.markdown, said.tables),
        f"({md(', '.join(made) or 'nothing is recorded of how they were made')}; {kept})",
    ]
    return "\n\n".join(filter(None, parts))


def refuse_other_experiment(found: Iterable[Run], experiment: Path) -> None:
    """Raise ValueError if the runs are not of the experiment whose page is to be written."""
    name = experiment.resolve().name
    for run in found:
        choice = run.record.get("choices", {}).get("experiment", "none")
        if run.record and choice != name:
            raise ValueError(f"readme={experiment}: {run.folder} is a run of experiment={choice}, not of {name}")


def question(page: str) -> str:
    """The question that an experiment's page states in its paragraph **Question.**; "" without one."""
    found = re.search(r"\*\*Question\.?\*\*\s*(.+?)(?:\n\s*\n|\Z)", page, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def index(experiments: Path) -> str:
    """A table of all experiments in Markdown: question, answer, and how sure the answer is."""
    lines = ["| experiment | question | answer | how sure |", "| :-- | :-- | :-- | :-- |"]
    for file in sorted(experiments.glob("*/README.md")):
        text, name = file.read_text(encoding="utf-8"), file.parent.name
        kind = next((kind for kind in _ANSWERS if marked.command(file, kind)), "")
        part = marked.parts(file, kind)[1].strip() if kind else ""
        answer = part.split("\n\n")[0].replace("**", "").replace("\n", " ") or "Not run."
        lines.append(f"| [{name}]({name}/README.md) | {question(text)} | {answer} | {_how_sure(part, file.parent)} |")
    return "\n".join(lines)


def _how_sure(part: str, folder: Path) -> str:
    """Seeds, comparisons, hardware and date of the generated part of a page."""
    runs = load_comparison(folder / "results.json").outcomes if "`results.json`)" in part else []
    told = [count(len({run.seed for run in runs}), "seed")] if runs else []
    told += map(", ".join, re.findall(r"^- (\d+ comparisons?) over .*: (\d+ significant)\.$", part, re.M))
    date = r"20\d\d-\d\d-\d\d"
    made_on = re.findall(rf"^\(.*?({date}(?:(?:,| or) {date})*), ([^,]+)", part, re.MULTILINE)
    return "; ".join([*told, *(f"{hardware}, {day}" for day, hardware in made_on[:1])])
