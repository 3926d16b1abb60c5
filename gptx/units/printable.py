"""Text from outside, without credentials, and escaped for the place that shows it: each interprets some characters."""

import codecs
import html as entities
import os
import re
import sys
from contextlib import suppress
from typing import Any

_UNFIT = re.compile(  # control characters, marks that reorder or hide text, ends of lines, halves of characters
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LOGIN = re.compile(r"\b([a-z][a-z0-9+.-]{0,30}\\*:/{1,3})[^\s/?#@'\"<>]+(?:@[^\s/?#@'\"<>]*)*@", re.IGNORECASE)
_SECRET = re.compile(
    r"([?&][\w.-]*(?:token|key|sig|signature|password|passwd|secret|credential)\\*=)[^\s&#'\"<>]+", re.I
)
_VARIABLE = re.compile(r"(hydra\.job\.env_set[\w.]*=)('[^']*'|\{[^}]*\}|\S+)")
_SPELLED = "gptx.spelled"  # how a stream shows what its encoding lacks

hidden: dict[str, str] = {}  # values that are never shown, each with what is shown instead


def printable(text: str) -> str:
    """The text with U+FFFD for what is invisible or changes how other characters are shown; line ends and tabs stay."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def without_credentials(text: str) -> str:
    """The text with *** for credentials in URLs and for variables that Hydra gives a job; the same in every process."""
    if ":/" in text:  # of a path the address has one slash left; Hydra escapes a colon as \\:, which JSON doubles
        text = _LOGIN.sub(r"\1***@", text)
    if "=" in text:
        text = _VARIABLE.sub(r"\1***", _SECRET.sub(r"\1***", text))
    return text


def masked(text: str) -> str:
    """The text without credentials, and without the values that this process hides."""
    for value in sorted(hidden, key=len, reverse=True):
        text = text.replace(value, hidden[value])
    return without_credentials(text)


def hide(value: str, written: str) -> None:
    """From now on `masked` shows `written` instead of a value, in this process."""
    if len(value) >= 6:  # a shorter one would be found everywhere
        hidden[value] = written


def safe(text: object) -> str:
    """What may be written to a terminal or a log: printable and masked."""
    return printable(masked(str(text)))


def throughout(value: Any) -> Any:
    """A value of lists and dicts in which every text is safe."""
    if isinstance(value, dict):
        return {throughout(key): throughout(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [throughout(each) for each in value]
    return safe(value) if isinstance(value, str) else value


def html(text: object) -> str:
    """Text for an HTML page, in an element or in a quoted attribute."""
    return entities.escape(safe(text))


def plotly(text: object) -> str:
    """Text for Plotly, which takes some tags (links are among them) as HTML."""
    return entities.escape(safe(text), quote=False)


def md(text: object) -> str:
    """Text for a line or a cell of Markdown."""
    line = " ".join(safe(text).split())
    return re.sub(r"[\\`*\[\]|$~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)", r"\\\g<0>", line).replace("<", "&lt;")


def code(text: object) -> str:
    """Text as code in a line of Markdown."""
    line = " ".join(safe(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if len(fence) == 1 else f"{fence} {line} {fence}"


def mathtext(text: object) -> str:
    """Text for matplotlib, which takes what is between two dollars as a formula."""
    return safe(text).replace("$", r"\$")


class _Stream:
    """A text stream to which only safe text is written; `bare` is the stream below."""

    def __init__(self, bare: Any, lasting: bool):
        self.bare, self.expected = bare, (OSError,) if lasting else ()

    def write(self, text: str) -> int:
        with suppress(*self.expected):
            self.bare.write(safe(text))
        return len(text)

    def writelines(self, lines) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        with suppress(*self.expected):
            self.bare.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)


def streams(*, lasting: bool = False) -> None:
    """Make stdout and stderr of this process safe. With `lasting`, a terminal that goes away ends nothing."""
    for name in ("stdout", "stderr"):
        stream = bare(getattr(sys, name) or open(os.devnull, "w"))  # noqa: SIM115 - for the life of this process
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_SPELLED)
        setattr(sys, name, _Stream(stream, lasting))


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks, in ASCII: \\xe9, \\u4e2d, ? for U+FFFD and +- for the sign of a spread."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate({0xFFFD: "?", 0xB1: "+-"})
    return text.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(_SPELLED, _spelled)


def bare(stream: Any) -> Any:
    """The stream itself, for a progress bar, which moves the cursor."""
    return stream.bare if isinstance(stream, _Stream) else stream
