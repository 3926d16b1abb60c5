"""A fit as it is delivered: on the terminal, as fit.json and a figure, and in the README of an experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from gptx.config.errors import ConfigError
from gptx.files import in_one_step, to_json, write_text
from gptx.report import readme as results
from gptx.runs import plain
from gptx.runs.run import Run
from gptx.show import marked
from gptx.show.plots import dress, legend_under, logarithmic
from gptx.show.table import Table, terminal
from gptx.units.amounts import spell
from gptx.units.phrases import joined

PICTURE, NUMBERS = "fit.png", "fit.json"
_LARGEST = 100_000_000  # bytes of a fit.json
_ALIKE = {"validation windows": "observe.validation.windows", "data": "the text (by its digest)"}  # of an environment


@dataclass(frozen=True)
class Fitted:
    """A fit: `facts` holds the points and every number, `figure` draws into a file, `beside` fills others by name."""

    headline: str
    sentences: list[str]
    tables: list[Table]
    facts: dict
    figure: Callable[[Path], object]
    caption: str
    environment: dict
    warnings: list[str] = field(default_factory=list)
    beside: dict[str, Callable[[Path], object]] = field(default_factory=dict)


def place_for(folders: tuple[str, ...], out: str, readme: str, subject: str, *more: str) -> Path:
    """The folder, or the figure (.png, .svg, `more`) that `out` names. Raises ValueError if it cannot be written."""
    if not folders:
        raise ValueError(f"which runs? A folder of runs: python -m gptx fit {subject} runs/{subject}")
    if readme:
        marked.parts(Path(readme) / "README.md", "fit")
    target = Path(out or folders[0])
    if not out and target.is_file():
        if not readme:
            raise ValueError(f"{target}: is a file; name a folder of runs before it, or out= for what is written")
        return Path(readme)
    kinds = ".png", ".svg", *more
    if out and target.suffix not in ("", *kinds) and not target.is_dir():
        raise ValueError(f"out={out}: the name must end in {', '.join(kinds)}, or be a folder")
    return target


def recorded_fit(file: Path, form: Any, subject: str) -> Any:
    """A fit.json as the type `form`, or a dict of keys with the types in `form`. Raises ValueError for others."""
    kind = TypedDict("Recorded", form) if isinstance(form, dict) else form  # type: ignore[operator]
    try:
        return plain.validated(plain.read(file, most=_LARGEST), kind, file, strict=False)
    except (ConfigError, FileNotFoundError) as error:
        raise ValueError(f"{file}: no fit.json of python -m gptx fit {subject} ({error})") from None


def incomparable(environment: dict) -> list[str]:
    """Why the losses of runs cannot be compared, a phrase each."""
    several = {what: environment[key] for key, what in _ALIKE.items() if isinstance(environment.get(key), list)}
    told = "{} is {}: losses on different texts are not comparable"
    return [told.format(what, joined(map(str, values), "or")) for what, values in several.items()]


def deliver(fitted: Fitted, target: Path, readme: str = "", cells: Sequence[Run] = ()) -> None:
    """Print a fit and write its files, and a page. Raises ValueError if `cells` are not of the experiment `readme`."""
    if readme:
        results.refuse_other_experiment(cells, Path(readme))
    for shown in fitted.tables:
        print("\n".join([*terminal(shown), ""]))
    notes = [f"- {sentence}" for sentence in fitted.sentences] + [f"warning: {each}" for each in fitted.warnings]
    print("\n".join([*notes, fitted.headline]))
    written = _files(fitted, target)
    if readme:
        page = Path(readme) / "README.md"
        written += [*(_files(fitted, Path(readme)) if target != Path(readme) else ()), page]
        kept = f"points and numbers in `{NUMBERS}`"
        marked.write(page, "fit", results.body(fitted, (fitted.caption, PICTURE), fitted.environment, kept))
    print(f"{'written':12}{', '.join(map(str, written))}")


def _files(fitted: Fitted, target: Path) -> list[Path]:
    if target.suffix and not target.is_dir():  # a figure that `place_for` let pass
        fitted.figure(target)
        return [target]
    target.mkdir(parents=True, exist_ok=True)
    fitted.figure(target / PICTURE)
    write_text(target / NUMBERS, to_json(fitted.facts | {"environment": fitted.environment}, indent=1) + "\n")
    for name, fill in fitted.beside.items():
        in_one_step(target / name, fill)
    return [target / name for name in (PICTURE, NUMBERS, *fitted.beside)]


def framed(axis: Any, title: str, across: str, up: str, which: str = "xy", subs: Sequence[float] = ()) -> None:
    """Finish a drawing: `which` of the matplotlib axes logarithmic, with title, labels and legend."""
    logarithmic(axis, which, subs)
    dress(axis, title, across, up)
    legend_under(axis)


def short(value: float) -> str:
    """A number in three digits: 843k, 0.349, 1.61M."""
    return spell(float(f"{value:.3g}"))


def interval_text(span: tuple[float, float] | None, form: str = "") -> str:
    """An interval: 0.31 to 0.38; a dash for none."""
    return " to ".join(f"{end:{form}}" if form else short(end) for end in span) if span else "-"


def off(ratio: float, sign: str = "+") -> str:
    return f"{100 * (ratio - 1):{sign}.1f} %"
