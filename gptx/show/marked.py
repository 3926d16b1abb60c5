"""The generated part of a README, between the lines `<!-- KIND: written by COMMAND -->` and `<!-- /KIND -->`."""

import re
from pathlib import Path

from gptx.files import write_text
from gptx.runs import plain


def parts(readme: Path, kind: str) -> tuple[str, str, str]:
    """Text up to the first marker's end, between both, and the rest. Raises ValueError if they are not there once."""
    try:
        text = plain.content(readme).decode()  # of a file: a device has no end
    except FileNotFoundError:
        raise ValueError(f"{readme}: no such file; it holds the question and the markers of the {kind}") from None
    starts, ends = list(_start(kind).finditer(text)), list(re.finditer(rf"<!-- /{kind} -->", text))
    if len(starts) != 1 or len(ends) != 1 or ends[0].start() < starts[0].end():
        raise ValueError(f"{readme}: no place for the {kind}; it needs, once and each on a line of its own, "
                         f"<!-- {kind}: written by COMMAND --> and below it <!-- /{kind} -->")  # fmt: skip
    start, end = starts[0].end(), ends[0].start()
    return text[:start], text[start:end], text[end:]


def command(readme: Path, kind: str) -> str:
    """The command that the first marker names; "" without a name, a marker or a file."""
    found = _start(kind).search(readme.read_text(encoding="utf-8")) if readme.is_file() else None
    return (found[1] or "") if found else ""


def write(readme: Path, kind: str, text: str, command: str = "") -> bool:
    """Write `text` between the markers and `command` into the first; True if the file changed. Raises as parts()."""
    before, old, after = parts(readme, kind)
    start = before[: before.rindex(f"<!-- {kind}")] + f"<!-- {kind}: written by {command} -->\n" if command else before
    new = f"{start}\n{text}\n\n{after}"
    if changed := new != before + old + after:
        write_text(readme, new)
    return changed


def _start(kind: str) -> re.Pattern[str]:
    return re.compile(rf"^<!-- {kind}(?:: written by (.+?))? -->\n", re.MULTILINE)
