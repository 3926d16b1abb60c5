"""Tokenizers, all of them `tiktoken.Encoding`s: how they are made, kept in one file, and applied to long texts."""

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tiktoken import Encoding

END_OF_TEXT = "<|endoftext|>"
ONE_CHARACTER = r"[\s\S]"
LAST_WORD_BOUNDARY = re.compile(r".*\S(?=[ \n])", re.DOTALL)

Encoder = Callable[[str], NDArray[np.integer]]


def construct(name: str, text: Iterable[str]) -> "Encoding":
    """Build the encoding `name`; `text` is the corpus in pieces, read only where the vocabulary comes from it."""
    return CONSTRUCTORS[known(name)](text)


def known(name: str) -> str:
    """Return `name` if it is a tokenizer's, else raise ValueError with the list."""
    if name not in CONSTRUCTORS:
        raise ValueError(f"tokenizer={name} is unknown; known: {', '.join(CONSTRUCTORS)}")
    return name


def bytes_encoding(text: Iterable[str] = ()) -> "Encoding":
    """The 256 bytes of UTF-8 and the end of text: 257 tokens, no text is unknown."""
    return encoding("bytes", pattern=ONE_CHARACTER, tokens=[bytes([value]) for value in range(256)])


def chars_encoding(text: Iterable[str]) -> "Encoding":
    """The distinct characters of `text` in the order of their code points, and the end of text (nanoGPT's character
    level; the end of text is ours)."""
    seen = np.zeros(0x110000, dtype=bool)
    for piece in text:
        seen[code_points(piece)] = True
    return encoding("chars", pattern=ONE_CHARACTER, tokens=[chr(point).encode() for point in np.flatnonzero(seen)])


def gpt2_encoding(text: Iterable[str] = ()) -> "Encoding":
    """GPT-2's byte-pair encoding, 50,257 tokens; raises ConnectionError where tiktoken neither has nor can fetch it."""
    import tiktoken

    try:
        return tiktoken.get_encoding("gpt2")
    except OSError as error:
        raise ConnectionError(
            f"tokenizer=gpt2: tiktoken cannot fetch its vocabulary ({type(error).__name__}); start once with a network "
            "or set TIKTOKEN_CACHE_DIR to a folder that tiktoken filled elsewhere, or use tokenizer=bytes"
        ) from error


CONSTRUCTORS: dict[str, Callable[[Iterable[str]], "Encoding"]] = {
    "bytes": bytes_encoding,
    "chars": chars_encoding,
    "gpt2": gpt2_encoding,
}


def encoding(name: str, *, pattern: str, tokens: list[bytes]) -> "Encoding":
    """Number `tokens` from 0 and put the end of text last."""
    import tiktoken

    ranks = {token: rank for rank, token in enumerate(tokens)}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: len(ranks)})


def encode(encoding: "Encoding", text: str) -> NDArray[np.integer]:
    """Return the token ids of ordinary text, (tokens,); raises ValueError for a character that the vocabulary lacks,
    where tiktoken itself would abort."""
    return encoder(encoding)(text)


def encoder(encoding: "Encoding") -> Encoder:
    """Return text -> token ids, equal to `encoding.encode_ordinary` and vectorised where one token is one symbol."""
    return VECTORISED.get(encoding.name, byte_pair_encoder)(encoding)


def encoded(encoding: "Encoding", pieces: Iterable[str]) -> Iterator[NDArray[np.integer]]:
    """Yield the token ids of a text that comes in pieces, the same as those of the whole text at once."""
    return map(encoder(encoding), pieces if encoding.name in VECTORISED else at_word_boundaries(pieces))


def byte_encoder(encoding: "Encoding") -> Encoder:
    """Token ids are the bytes of the text."""
    return lambda text: np.frombuffer(text.encode(), dtype=np.uint8)


def char_encoder(encoding: "Encoding") -> Encoder:
    """Token ids by a table from code points."""
    characters = {token.decode(): rank for token, rank in encoding._mergeable_ranks.items()}
    table = np.full(0x110000, -1, dtype=np.int32)
    table[code_points("".join(characters))] = list(characters.values())

    def encode(text: str) -> NDArray[np.int32]:
        ids = table[code_points(text)]
        if (ids < 0).any():
            stranger = text[int(np.argmax(ids < 0))]
            raise ValueError(
                f"character {stranger!r} (U+{ord(stranger):04X}) is not among the {len(characters)} characters of the "
                "training and validation text that tokenizer=chars knows"
            )
        return ids

    return encode


def byte_pair_encoder(encoding: "Encoding") -> Encoder:
    """Token ids by tiktoken, without a detour through Python integers."""
    return lambda text: encoding.encode_to_numpy(text, disallowed_special=())


VECTORISED: dict[str, Callable[["Encoding"], Encoder]] = {"bytes": byte_encoder, "chars": char_encoder}


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code points of `text`, (characters,)."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def at_word_boundaries(pieces: Iterable[str]) -> Iterator[str]:
    """Cut the same text anew, always before a blank or line break that follows something visible: no match of GPT-2's
    pattern crosses such a place, so that the tokens of the parts are the tokens of the whole."""
    rest = ""
    for piece in pieces:
        rest += piece
        if boundary := LAST_WORD_BOUNDARY.match(rest):
            yield rest[: boundary.end()]
            rest = rest[boundary.end() :]
    yield rest


def token_lengths(encoding: "Encoding") -> NDArray[np.int64]:
    """Return the number of bytes that each token stands for, (vocabulary,); 0 for the end of text."""
    lengths = np.zeros(encoding.n_vocab, dtype=np.int64)
    lengths[list(encoding._mergeable_ranks.values())] = [len(token) for token in encoding._mergeable_ranks]
    return lengths


def save_encoding(encoding: "Encoding", path: str | Path) -> None:
    """Write all that `load_encoding` needs into one JSON file, complete or not at all."""
    content = {
        "name": encoding.name,
        "pat_str": encoding._pat_str,
        "special_tokens": encoding._special_tokens,
        "mergeable_ranks": {
            base64.b64encode(token).decode(): rank for token, rank in encoding._mergeable_ranks.items()
        },
    }
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with open(partial, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=0)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def load_encoding(path: str | Path) -> "Encoding":
    """Read an encoding back, without a network; raises ValueError where the file is not one of `save_encoding`'s."""
    import tiktoken

    try:
        content: dict[str, Any] = json.loads(Path(path).read_bytes())
        ranks = {base64.b64decode(token): rank for token, rank in content["mergeable_ranks"].items()}
        return tiktoken.Encoding(
            content["name"],
            pat_str=content["pat_str"],
            mergeable_ranks=ranks,
            special_tokens=content["special_tokens"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a tokenizer that gptx saved ({type(error).__name__}: {error})") from error
