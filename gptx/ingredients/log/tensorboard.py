"""TensorBoard: curves, samples and events in `tensorboard/` of the run folder (`tensorboard --logdir runs`)."""

from contextlib import suppress
from dataclasses import field
from importlib.util import find_spec
from textwrap import indent
from typing import Any

from gptx.ingredients.log import RunInfo, Sink
from gptx.units.options import Count
from gptx.units.printable import safe


class Tensorboard(Sink):
    """Writes rows whose step `every` divides or with more than `train/...`; TensorBoard drops what is made again."""

    every: Count
    writer: Any = field(init=False, default=None)  # while it is open

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("tensorboard") is None:
            raise ValueError("log=tensorboard needs the package tensorboard: pip install 'gptx[tensorboard]'")

    def open(self, run: RunInfo) -> None:
        self.folder = str(run.folder / "tensorboard")
        self.begin(run.start)

    def begin(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.close("")
        self.writer = SummaryWriter(self.folder, purge_step=step + 1)

    def __call__(self, step: int, scalars: dict) -> None:
        if step % self.every == 0 or any(not name.startswith("train/") for name in scalars):
            self.attempt("TensorBoard", step, self.add, step, scalars)

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.attempt("TensorBoard", step, self.add, step, {f"event/{kind}": facts["text"]})
        if kind == "rollback":
            self.attempt("TensorBoard", step, self.begin, step)

    def add(self, step: int, row: dict) -> None:
        for name, value in row.items():
            if isinstance(value, str):  # shown as Markdown, where indented text stays as it is
                self.writer.add_text(name, indent(safe(value), "    "), step)
            else:
                self.writer.add_scalar(name, value, step)

    def close(self, outcome: str) -> None:
        writer, self.writer = self.writer, None
        with suppress(OSError):
            if writer:
                writer.close()
