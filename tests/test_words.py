"""Plain English: what a person reads has none of the words that CONTRIBUTING replaces."""

import re
import tokenize
from collections.abc import Iterator

import pytest

from gptx.config import paths

REPLACED = {  # a pattern, as CONTRIBUTING names it in the left column
    r"fore(see|saw|seen|tell|told)\w*": "foresee, foretell",
    r"doubt\w*": "doubt",
    r"told(?!\")": "told",
    r"beside": "beside",
    r"anew": "anew",
    r"lest|hence|whence|thereof|whereby|wherein": "lest, hence, whence, thereof",
    r"so many": "so many",
    r"shall": "shall",
    r"rest days": "rest days",
    r"cannot tell": "cannot tell",
    r"cells? of (a|the) sweep": "cell (of a sweep)",
    r"(number of )?operations? (a|per) token": "operations (floating-point)",
}
BAD = re.compile(rf"\b({'|'.join(REPLACED)})\b", re.IGNORECASE)
CODE = re.compile(r"\{[^{}]*\}|`[^`]*`")


def texts() -> Iterator[tuple[str, str]]:
    """Everything that a person reads: strings, docstrings and comments of the code, comments of conf/, and pages."""
    for path in sorted(paths.PACKAGE.rglob("*.py")):
        with tokenize.open(path) as lines:
            for token in tokenize.generate_tokens(lines.readline):
                if token.type in (tokenize.STRING, tokenize.COMMENT):
                    yield f"{path.relative_to(paths.ROOT)}:{token.start[0]}", CODE.sub("", token.string)
    for path in sorted([*paths.ROOT.glob("conf/**/*.yaml"), *paths.ROOT.glob("experiments/*/*.yaml")]):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield f"{path.relative_to(paths.ROOT)}:{number}", line.partition("#")[2]
    pages = [*paths.ROOT.glob("*.md"), *paths.ROOT.glob("docs/*.md"), *paths.ROOT.glob("experiments/**/*.md")]
    for path in sorted({*pages, *paths.ROOT.glob("conf/*.md")} - {*paths.ROOT.glob("C*.md")}):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield f"{path.relative_to(paths.ROOT)}:{number}", CODE.sub("", line)


def test_what_a_person_reads_is_plain_english():
    found = [f"{place}: {match[0]}" for place, text in texts() if (match := BAD.search(text))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["# a run foretold", "doubts about it", "it is made anew", "beside the law"])
def test_a_word_that_is_replaced_is_found(text):
    assert BAD.search(text)


def test_contributing_lists_every_word_that_is_looked_for():
    page = (paths.ROOT / "CONTRIBUTING.md").read_text() if (paths.ROOT / "CONTRIBUTING.md").exists() else ""
    assert not page or not [word for words in REPLACED.values() for word in words.split(", ") if word not in page]
