"""Draw the curves of one run, or of all runs of a sweep on the same axes:  python -m gptx.report run=runs/default"""

from pathlib import Path

from gptx import arguments, runs
from gptx.log import jsonl

PANELS = {
    "loss (nats per token)": ("train/loss", "validation/loss"),
    "gradient norm before clipping": ("train/grad_norm", None),
    "learning rate": ("train/lr", None),
}


def report(*, run: str, out: str = "", smooth: int = 20) -> None:
    """Draw loss (training thin, validation marked), gradient norm and learning rate into a PNG or SVG file.

    `run` is a run folder or a folder of runs; `out` defaults to curves.png in it; the training loss is the mean of
    the last `smooth` updates.
    """
    if smooth < 1:
        raise ValueError(f"smooth={smooth} must be at least 1 update")
    folders = find(Path(run))
    target = Path(out) if out else Path(run) / "curves.png"
    if target.suffix not in (".png", ".svg"):
        raise ValueError(f"out={out}: the name must end in .png or .svg")
    draw({folder.name: jsonl.read(folder / "metrics.jsonl") for folder in folders}, target, smooth)
    for folder in folders:
        record = runs.read(folder) or {}
        loss = (record.get("result") or {}).get("validation/loss")
        print(f"{runs.state(folder):12} {'' if loss is None else f'{loss:.4f}':>8}  {folder}")
    print(f"curves in {target}")


def find(root: Path) -> list[Path]:
    """Run folders at or below `root`, two levels deep. Raises ValueError if there is none with a metric."""
    found = [f.parent for pattern in ("", "*/", "*/*/") for f in sorted(root.glob(f"{pattern}run.json"))]
    found = [folder for folder in found if (folder / "metrics.jsonl").exists()]
    if not found:
        raise ValueError(f"run={root}: no run with metrics there; a run folder holds run.json and metrics.jsonl")
    return found


def draw(curves: dict[str, list[dict]], target: Path, smooth: int) -> None:
    """One panel a signal, one colour a run."""
    import matplotlib
    import numpy

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(15, 4.5), layout="constrained")
    for axis, (title, (line, marked)) in zip(axes, PANELS.items(), strict=True):
        for i, (name, rows) in enumerate(curves.items()):
            steps = [row["step"] for row in rows if line in row]
            values = numpy.array([row[line] for row in rows if line in row])
            if marked:
                values = numpy.array([values[max(0, j - smooth + 1) : j + 1].mean() for j in range(len(values))])
            axis.plot(
                steps,
                values,
                color=f"C{i}",
                linewidth=0.9,
                alpha=0.45 if marked else 0.9,
                label=None if marked else name,
            )
            if marked:
                dots = [(row["step"], row[marked]) for row in rows if marked in row]
                axis.plot(*zip(*dots, strict=True) if dots else ([], []), "o-", color=f"C{i}", markersize=4, label=name)
        axis.set_title(title)
        axis.set_xlabel("update")
        axis.grid(alpha=0.25)
    axes[0].legend(title="validation" if any(curves) else None, fontsize=8)
    axes[1].set_yscale("log")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    arguments.call(report)
