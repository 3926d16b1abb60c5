"""What a run recorded, for tests of several rooms."""

from pathlib import Path

from gptx.ingredients.log.jsonl import by_step, rows


def read_rows(path: Path) -> list[dict]:
    """Rows by step, of `metrics.jsonl`."""
    return by_step(rows(path)[0])
