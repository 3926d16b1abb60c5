"""Every ingredient, value, reason and source of conf/, from the comment on top of an option's file and the one behind a
value, which has no line in the table without; square brackets at its end, else arXiv numbers, are the source."""

import re
from pathlib import Path
from typing import NamedTuple

from gptx.config import presets
from gptx.config.groups import GROUPS
from gptx.files import write_text
from gptx.runs import plain

_TITLE = "# Reference of all ingredients"
_INTRODUCTION = """\
Generated from the comments in this folder by `python -m gptx reference write=conf/README.md`; do not edit.

`python -m gptx.train optim=lion` chooses an option, `python -m gptx.train optim.lr=1e-3` sets a value. An option that
builds on another one also has the values of that one."""


class _Entry(NamedTuple):
    ingredient: str
    value: str
    why: str
    source: str


def reference(*, write: str = "") -> None:
    """Print the reference of every ingredient: options, values, reasons and sources.

      python -m gptx reference
      python -m gptx reference write=conf/README.md

    Options:
    write: file to write it to
    """
    if not write:
        print(reference_page(), end="")
        return
    file = Path(write)
    if not file.parent.is_dir():
        raise ValueError(f"write={write}: no such folder")
    text = plain.content(file).decode() if file.exists() else ""
    if not text.startswith(_TITLE if text else ""):
        raise ValueError(f"write={write}: holds another page, which is kept")
    if text != (page := reference_page()):
        write_text(file, page)
    print(f"{write}: {'up to date' if text == page else 'written'}")


def reference_page() -> str:
    """The whole reference in Markdown: a section for each config group, with all its options."""
    text = (presets.CONF / "train.yaml").read_text()
    sections = [_TITLE, _INTRODUCTION, "## run", _table(keys("", text.partition("\n\n")[2]))]
    for group in GROUPS:
        default = presets.defaults()[group]
        default = ",".join(default) if isinstance(default, list) else default
        rows = [entry for file in sorted((presets.CONF / group).glob("*.yaml")) for entry in entries(group, file.stem)]
        sections += [f"## {group}", f"Default: `{group}={default}`", _table(rows)]
    return "\n\n".join(sections) + "\n"


def _table(rows: list[_Entry]) -> str:
    lines = ["| ingredient | value | why | source |", "|---|---|---|---|"]
    for ingredient, value, why, source in rows:
        cells = f"`{ingredient}`", f"`{value}`", why.replace("<", "&lt;"), source
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def entries(group: str, option: str) -> list[_Entry]:
    """The lines of one option's file: the option itself, then every value with a reason."""
    text = (presets.CONF / group / f"{option}.yaml").read_text()
    top = " ".join(re.match(r"(?:#.*\n)*", text)[0].replace("#", "").split())  # type: ignore[index]
    return [_Entry(group, option, *reason(top)), *keys(group, text)]


def keys(group: str, text: str) -> list[_Entry]:
    """Every `key: value  # comment` of a file, by its dotted key; a comment may go on in the lines below."""
    found, path = [], [(-1, group)]
    for line in re.sub(r"\n +# *", " ", text).splitlines():
        if not (parts := re.match(r"( *)([\w.]+): *(\S.*?)? *(?:# *(.*))?$", line)) or parts[2] == "defaults":
            continue
        indent, key, value, comment = len(parts[1]), parts[2], parts[3] or "", parts[4] or ""
        while path[-1][0] >= indent:
            path.pop()
        path.append((indent, key))
        if comment and not key.startswith("_"):
            found.append(_Entry(".".join(name for _, name in path if name), value, *reason(comment)))
    return found


def reason(comment: str) -> tuple[str, str]:
    """Why, and the source."""
    parts = re.match(r"(.*?)\s*(?:\[([^\]]*)\])?\s*$", comment)
    why, source = parts[1], parts[2] or ", ".join(re.findall(r"arXiv:[\d.]+\d", comment))  # type: ignore[index]
    return why.rstrip("."), source
