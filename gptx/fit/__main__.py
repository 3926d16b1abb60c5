"""Fit a law to finished runs:  python -m gptx fit scaling runs/scaling   (without a word the subjects are listed)."""

import importlib
import os
import sys

from gptx.config import arguments
from gptx.config.errors import nearest
from gptx.units.printable import streams

PAGE = """Fit a law to finished runs, with intervals; --help after a subject shows its keys.

  python -m gptx fit scaling runs/scaling                 loss over parameters and tokens; a larger run foretold
  python -m gptx fit critical_batch runs/critical_batch   what a larger batch costs in tokens and saves in updates
  python -m gptx fit lr_range runs/lr_range               where a rising rate breaks the loss, and the peak it proposes
"""
SUBJECTS = ("scaling", "critical_batch", "lr_range")


def main(words: list[str] | None = None) -> None:
    """The command: the first word says what to fit, the others are of its function."""
    streams()
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("help", "-h", "--help"):
        print(PAGE)
        return
    subject, *rest = words
    if subject not in SUBJECTS:
        raise SystemExit(f"error: {subject}: nothing to fit of that name{nearest(subject, SUBJECTS)}")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads that wait for one another: ten times as slow
    arguments.call(getattr(importlib.import_module(f"gptx.fit.{subject}"), subject), rest)


if __name__ == "__main__":
    main()
