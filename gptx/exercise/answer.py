"""What an exercise found, and how that is told."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Number = float | int | str | bool


@dataclass(frozen=True)
class Answer:
    """The numbers that answer an exercise. `tutorial` says where its text claims something else than was measured."""

    question: str
    method: str
    measured: dict[str, Number]
    criterion: str
    passed: bool
    figure: Path
    tutorial: str = ""
    details: tuple[str, ...] = ()  # lines that are part of the answer, such as a table

    @property
    def verdict(self) -> str:
        return "PASSED" if self.passed else "FAILED"

    def told(self, number: int) -> Iterator[str]:
        """The answer in lines for a terminal."""
        yield from paragraph(f"exercise {number}", self.question)
        yield from paragraph("done", self.method)
        yield from (f"  {line}" for line in self.details)
        width = max(map(len, self.measured), default=0)
        yield "measured"
        yield from (f"  {name:{width}}  {spelled(value)}" for name, value in self.measured.items())
        yield from paragraph("criterion", self.criterion)
        yield self.verdict
        if self.tutorial:
            yield from paragraph("tutorial", self.tutorial)
        yield f"{'figure':12}{self.figure}"


def paragraph(name: str, text: str) -> list[str]:
    """A text under its name, in lines of one terminal's width."""
    return textwrap.wrap(f"{name:12}{text}", 110, subsequent_indent=" " * 12, break_long_words=False)


def spelled(value: Number) -> str:
    """A measured value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else value
