"""The results of an experiment in its README, from the runs or again from its results.json:

python -m gptx pages experiments/*

What is written stands between two markers; the first names the command that makes it from the runs.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gptx.compare.effects import effects
from gptx.compare.figure import figure
from gptx.compare.outcomes import Comparison, load
from gptx.compare.verdict import Verdict, verdict
from gptx.config import arguments
from gptx.files import in_one_step, write_text
from gptx.runs.cells import Cell
from gptx.show import table
from gptx.units.phrases import joined
from gptx.units.printable import md

KIND = "results"  # of what stands between the markers
START = re.compile(rf"^<!-- {KIND}: written by (.+?) -->\n", re.MULTILINE)
PICTURE = "result.png"
SHOWN = ("python", "torch")  # versions that the line of the environment gives


def markdown(comparison: Comparison, said: Verdict) -> str:
    """The text between the markers: the answer, warnings, tables, figure, and what the runs were made with."""
    parts = [
        f"**{md(said.headline)}**",
        "\n".join(f"- {md(each)}" for each in said.sentences),
        "\n>\n".join(f"> Warning: {md(each)}" for each in said.warnings),
        f"![{md(comparison.metric)} by {md(joined(comparison.factors) or 'seed')}]({PICTURE})" * comparison.drawable,
        *map(table.markdown, said.tables),
        f"({md(made(comparison.environment))}; every run in `results.json`)",
    ]
    return "\n" + "\n\n".join(filter(None, parts)) + "\n\n"


def made(environment: dict) -> str:
    """Date, hardware, threads, versions and commit of the runs."""
    around = {key: several(value) for key, value in environment.items()}
    keys = {"date": "", "hardware": "", "threads": "threads ", "commit": "commit "} | {
        name: f"{name} " for name in SHOWN
    }
    told = [f"{words}{around[key]}" for key, words in keys.items() if key in around]
    return ", ".join(told) or "nothing is recorded of how they were made"


def several(value) -> str:
    return joined(map(str, value), "or") if isinstance(value, list) else str(value)


def write(comparison: Comparison, said: Verdict, folder: Path) -> None:
    """Write results.json, result.png and the marked part of README.md in an experiment's folder.

    Raises ValueError if there is no README.md, if it has no place for the results, or if no run has one; then nothing
    is written.
    """
    before, _, after = parts(folder / "README.md")
    before = START.sub(lambda start: start[0].replace(start[1], commanded(start[1], comparison.without)), before)
    if all(outcome.value is None for outcome in comparison.outcomes):
        raise ValueError(f"{folder}: no run has a result in {comparison.metric}, so what stands there is kept; "
                         f"{said.headline}")  # fmt: skip
    comparison = replace(comparison, baseline=said.baseline)
    in_one_step(folder / "results.json", comparison.save)
    if comparison.drawable:
        in_one_step(folder / PICTURE, lambda part: figure(effects(comparison), part))
    write_text(folder / "README.md", before + markdown(comparison, said) + after)


def commanded(command: str, without: list[str]) -> str:
    """The command of a marker, which names the tables that are left out."""
    return re.sub(r" without=\S*", "", command) + (f" without={','.join(without)}" if without else "")


def parts(readme: Path, kind: str = KIND) -> tuple[str, str, str]:
    """A README up to the first marker, between the markers, and from the second one on. Raises ValueError without."""
    if not readme.exists():
        raise ValueError(f"{readme}: no such file; it states the question and holds the markers of the results")
    text = readme.read_text(encoding="utf-8")
    start = re.search(START.pattern.replace(KIND, kind), text, re.MULTILINE)
    end = text.find(f"<!-- /{kind} -->", start.end()) if start else -1
    if not start or end < 0:
        raise ValueError(f"{readme}: no place for the {kind}; on lines of their own, it needs "
                         f"<!-- {kind}: written by COMMAND --> and <!-- /{kind} -->")  # fmt: skip
    return text[: start.end()], text[start.end() : end], text[end:]


def refuse_other(found: Iterable[Cell], experiment: Path) -> None:
    """Raise ValueError if the runs are not of the experiment whose page is to be written."""
    name = experiment.resolve().name
    for cell in found:
        choice = cell.record.get("choices", {}).get("experiment", "none")
        if cell.record and choice != name:
            raise ValueError(f"readme={experiment}: {cell.folder} is a run of experiment={choice}, not of {name}")


def readme(*folders: str) -> None:
    """Write the marked part of README.md and the figure of experiments again from their results.json.

    FOLDERS are experiments' folders, such as experiments/warmup; those without results that a report wrote are passed.
    """
    for folder in map(Path, folders):
        if (folder / "results.json").exists() and START.search((folder / "README.md").read_text(encoding="utf-8")):
            comparison = load(folder / "results.json")
            write(comparison, verdict(comparison), folder)
            print(f"{folder / 'README.md'}: written from results.json")


if __name__ == "__main__":
    arguments.call(readme)
