"""What a fit found, on the terminal, as fit.json and a figure, and in the README of an experiment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gptx.files import in_one_step, to_json, write_text
from gptx.report import readme as results
from gptx.runs.cells import Cell
from gptx.show import table
from gptx.show.table import Table, terminal
from gptx.units.printable import md

KIND = "fit"  # of what stands between the marks of a README
PICTURE, NUMBERS = "fit.png", "fit.json"
KINDS = (".png", ".svg")


@dataclass(frozen=True)
class Fitted:
    """A fit as it is told. `facts` holds the points that were fitted and every number, `figure` draws into a file."""

    headline: str
    sentences: list[str]
    tables: list[Table]
    facts: dict
    figure: Callable[[Path], object]
    caption: str  # of the figure
    warnings: list[str] = field(default_factory=list)
    environment: dict = field(default_factory=dict)  # gptx.compare.outcomes.environment of the runs
    beside: dict[str, Callable[[Path], object]] = field(default_factory=dict)  # further files by name: what fills them


def asked(folders: tuple[str, ...], out: str, readme: str, subject: str, kinds: tuple[str, ...] = KINDS) -> Path:
    """The folder for the files, or the one that `out` names. Raises ValueError for what cannot be written, before
    anything is computed."""
    if not folders:
        raise ValueError(f"which runs? A folder of runs: python -m gptx fit {subject} runs/{subject}")
    if readme:
        results.parts(Path(readme) / "README.md", KIND)
    target = Path(out or folders[0])
    if not out and target.is_file():
        raise ValueError(f"{target}: is a file; name a folder of runs before it, or out= for what is written")
    if out and target.suffix and target.suffix not in kinds and not target.is_dir():
        raise ValueError(f"out={out}: the name must end in {', '.join(kinds)}, or be a folder")
    return target


def deliver(fitted: Fitted, target: Path, readme: str = "", cells: Sequence[Cell] = ()) -> None:
    """Print the fit and write its files: into the folder `target`, or the one figure that it names; and the page of the
    experiment `readme`, whose own the `cells` must be."""
    if readme:
        results.refuse_other(cells, Path(readme))
    print("\n".join(told(fitted)))
    written = files(fitted, target) + (page(fitted, Path(readme)) if readme else [])
    print(f"{'written':12}{', '.join(map(str, written))}")


def told(fitted: Fitted) -> Iterator[str]:
    """The fit in lines for a terminal."""
    for shown in fitted.tables:
        yield from terminal(shown)
        yield ""
    yield from (f"- {sentence}" for sentence in fitted.sentences)
    yield from (f"warning: {warning}" for warning in fitted.warnings)
    yield fitted.headline


def files(fitted: Fitted, target: Path) -> list[Path]:
    """Write the figure, fit.json and what is to stand beside them into a folder, or the figure alone; the files."""
    if target.suffix and not target.is_dir():  # one that `asked` let pass
        target.parent.mkdir(parents=True, exist_ok=True)
        draw(fitted, target)
        return [target]
    target.mkdir(parents=True, exist_ok=True)
    draw(fitted, target / PICTURE)
    facts = fitted.facts | {"environment": fitted.environment}
    write_text(target / NUMBERS, to_json(facts, indent=1) + "\n")
    for name, fill in fitted.beside.items():
        in_one_step(target / name, fill)
    return [target / name for name in (PICTURE, NUMBERS, *fitted.beside)]


def draw(fitted: Fitted, file: Path) -> None:
    """Have the fit draw its figure, in one step."""
    in_one_step(file, fitted.figure)


def page(fitted: Fitted, experiment: Path) -> list[Path]:
    """Write the marked part of an experiment's README.md, with the files beside it; all of them."""
    readme = experiment / "README.md"
    before, _, after = results.parts(readme, KIND)
    written = files(fitted, experiment)
    write_text(readme, before + markdown(fitted) + after)
    return [*written, readme]


def markdown(fitted: Fitted) -> str:
    """The text between the marks: the answer, warnings, the figure, tables, and what the runs were made with."""
    parts = [
        f"**{md(fitted.headline)}**",
        "\n".join(f"- {md(each)}" for each in fitted.sentences),
        "\n>\n".join(f"> Warning: {md(each)}" for each in fitted.warnings),
        f"![{md(fitted.caption)}]({PICTURE})",
        *map(table.markdown, fitted.tables),
        f"({md(results.made(fitted.environment))}; points and numbers in `{NUMBERS}`)",
    ]
    return "\n" + "\n\n".join(filter(None, parts)) + "\n\n"
