"""The recipe as a table (ingredient, value, why, source):  python -m gptx reference   or   write=README.md

It is generated from conf/, so that it cannot drift. The comments there are read by three rules:

- the comment at the top of an option's file says why it is as it is;
- the comment behind `key: value` says why the value is as it is; a key without one has no line in the table;
- square brackets at the end of a comment hold the source, else the arXiv numbers in it are the source.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from gptx.config import presets
from gptx.files import write_text
from gptx.runs import plain

BEGIN, END = "<!-- reference -->", "<!-- /reference -->"
LEFT_OUT = ("log",)  # where numbers go is no part of a recipe


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    ingredient: str
    value: str
    why: str
    source: str


def reference(*, write: str = "") -> None:
    """Print the reference table of every ingredient: its values, the reason and the source.

      python -m gptx reference
      python -m gptx reference write=conf/README.md

    Options:
    write: file to write the table to, between the lines <!-- reference --> and <!-- /reference -->
    """
    if not write:
        print(table())
        return
    file = Path(write)
    text = plain.content(file).decode()  # of a file: a device has no end
    if (changed := replaced(text)) != text:
        write_text(file, changed)
    print(f"{write}: {'written' if changed != text else 'as it should be'}")


def replaced(text: str) -> str:
    """A text with the table between its markers. Raises ValueError if they are not there, once each and in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"write: the file needs one line {BEGIN} and, below it, one line {END}")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n\n{table()}\n\n{text[text.index(END) :]}"


def table() -> str:
    """The table of the default recipe, in Markdown."""
    lines = ["| ingredient | value | why | source |", "|---|---|---|---|"]
    for group, chosen in presets.defaults().items():
        for option in [] if group in LEFT_OUT else chosen if isinstance(chosen, list) else [chosen]:
            for entry in entries(group, option):
                cells = f"`{entry.ingredient}`", f"`{entry.value}`", entry.why, entry.source
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def entries(group: str, option: str) -> list[Entry]:
    """The lines of one option: the option itself, then every value that says why; those it builds on come first."""
    text = (presets.CONF / group / f"{option}.yaml").read_text()
    top = " ".join(re.match(r"(?:#.*\n)*", text)[0].replace("#", "").split())  # type: ignore[index]
    built_on = yaml.safe_load(text).get("defaults") or []
    parents = [name for name in built_on if isinstance(name, str) and name != "_self_"]
    values = {entry.ingredient: entry for name in parents for entry in entries(group, name)[1:]}
    values |= {entry.ingredient: entry for entry in keys(group, text)}
    return [Entry(group, option, *reason(top)), *values.values()]


def keys(group: str, text: str) -> list[Entry]:
    """Every `key: value  # comment` of a file, by its dotted key."""
    found, path = [], [(-1, group)]
    for line in text.splitlines():
        if not (parts := re.match(r"( *)([\w.]+): *(\S.*?)? *(?:# *(.*))?$", line)) or parts[2] == "defaults":
            continue
        indent, key, value, comment = len(parts[1]), parts[2], parts[3] or "", parts[4] or ""
        while path[-1][0] >= indent:
            path.pop()
        path.append((indent, key))
        if comment and not key.startswith("_"):
            found.append(Entry(".".join(name for _, name in path), value, *reason(comment)))
    return found


def reason(comment: str) -> tuple[str, str]:
    """Why, and the source."""
    parts = re.match(r"(.*?)\s*(?:\[([^\]]*)\])?\s*$", comment)
    why, source = parts[1], parts[2] or ", ".join(re.findall(r"arXiv:[\d.]+\d", comment))  # type: ignore[index]
    return why.rstrip("."), source
