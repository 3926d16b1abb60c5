"""Tokenizers, all of them `tiktoken.Encoding`s: how they are made, kept in one file, and applied to long texts."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gptx.files import write_text

if TYPE_CHECKING:
    from tiktoken import Encoding

END_OF_TEXT = "<|endoftext|>"
ONE_CHARACTER = r"[\s\S]"
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MOST_TOKENS = 1 << 24
LARGEST = 10**7  # tokens of a vocabulary that is learnt; the largest known have some 10^6
BPE_TEXT = 100_000_000  # characters that a vocabulary is learnt from: more changes little and would need more memory
LAST_WORD_BOUNDARY = re.compile(r".*\S(?=[ \n])", re.DOTALL)

Encoder = Callable[[str], NDArray[np.integer]]


def construct(name: str, text: Iterable[str]) -> "Encoding":
    """Build the encoding `name`; `text` is the corpus in pieces, read only where the vocabulary comes from it."""
    kind, _, size = known(name).partition(":")
    return bpe_encoding(text, vocab_size=int(size)) if size else CONSTRUCTORS[kind](text)


def known(name: str) -> str:
    """Return `name` if it is a tokenizer's, else raise ValueError with the list."""
    if name in CONSTRUCTORS:
        return name
    if not (size := re.fullmatch(r"bpe:(\d+)", name)):
        raise ValueError(f"tokenizer={name} is unknown; known: {', '.join(CONSTRUCTORS)}, bpe:SIZE (such as bpe:4096)")
    if len(size[1]) > 20 or not 257 <= int(size[1]) <= LARGEST:
        raise ValueError(f"tokenizer={name:.80}: a size of at least 257, the bytes and the end of text, and at most "
                         f"{LARGEST:,}")  # fmt: skip
    return f"bpe:{int(size[1])}"


def vocabulary_size(name: str) -> int | None:
    """The number of tokens of the encoding `name`, where its name alone says it."""
    size = re.fullmatch(r"bpe:(\d+)", name)
    return int(size[1]) if size else {"bytes": 257, "gpt2": 50_257}.get(name)


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


def bpe_encoding(text: Iterable[str], *, vocab_size: int) -> "Encoding":
    """Byte-level pairs learnt from the first BPE_TEXT characters of `text` in words of GPT-2's pattern (Sennrich et
    al. 2016; Radford et al. 2019), `vocab_size` tokens with the end of text; raises ValueError where the text has too
    few pairs."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=byte_level.alphabet(), show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(at_word_boundaries(beginning(text, BPE_TEXT)), trainer)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if len(vocabulary) < vocab_size - 1:
        raise ValueError(
            f"tokenizer=bpe:{vocab_size}: the text has pairs for {len(vocabulary) + 1:,} tokens only; "
            f"give more text, or use tokenizer=bpe:{len(vocabulary) + 1} or less"
        )
    letters = byte_letters()
    tokens = [bytes(letters[letter] for letter in token) for token, _ in vocabulary]
    return encoding(f"bpe:{vocab_size}", pattern=GPT2_PATTERN, tokens=tokens)


def byte_letters() -> dict[str, int]:
    """The letter that byte-level encodings write for each byte: itself if it is visible in Latin-1, else one from
    U+0100 on (Radford et al. 2019)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + i): byte for i, byte in enumerate(hidden)}


def beginning(text: Iterable[str], characters: int) -> Iterator[str]:
    """Yield pieces until they have that many characters."""
    for piece in text:
        yield piece[:characters]
        characters -= len(piece)
        if characters <= 0:
            return


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


def parts(encoding: "Encoding", pieces: Iterable[str]) -> Iterable[str]:
    """Cut a text that comes in pieces so that the tokens of its parts, joined, are those of the whole text at once."""
    return pieces if encoding.name in VECTORISED else at_word_boundaries(pieces)


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

    def encode(text: str) -> NDArray[np.integer]:
        try:
            return encoding.encode_to_numpy(text, disallowed_special=())
        except BaseException as error:
            if not is_panic(error):
                raise
            raise ValueError(f"the tokenizer {encoding.name} cannot cut this text into tokens ({error})") from None

    return encode


VECTORISED: dict[str, Callable[["Encoding"], Encoder]] = {"bytes": byte_encoder, "chars": char_encoder}


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code points of `text`, (characters,)."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def at_word_boundaries(pieces: Iterable[str]) -> Iterator[str]:
    """Cut the same text anew, always before a blank or line break that follows something visible: no match of GPT-2's
    pattern crosses such a place, so that the tokens of the parts are the tokens of the whole."""
    rest: list[str] = []  # since the last such place; searched once, or text without blanks would take quadratic time
    for piece in pieces:
        last = rest[-1][-1:] if rest else ""
        if boundary := LAST_WORD_BOUNDARY.match(last + piece):
            end = boundary.end() - len(last)
            yield "".join([*rest, piece[:end]])
            rest = [piece[end:]] if piece[end:] else []
        elif piece:
            rest.append(piece)
    yield "".join(rest)


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
    write_text(Path(path), json.dumps(content, indent=0))


def load_encoding(path: str | Path) -> "Encoding":
    """Read an encoding back, without a network; raises ValueError where the file is not one of `save_encoding`'s."""
    try:
        return restored(json.loads(Path(path).read_bytes()))
    except OSError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise ValueError(f"{path} is not a tokenizer that gptx saved ({type(error).__name__}: {error})") from error


def restored(content: dict[str, Any]) -> "Encoding":
    """The encoding that such a dict describes. Raises one of several errors for any other dict."""
    import tiktoken

    name, pattern, special = content["name"], content["pat_str"], content["special_tokens"]
    ranks = {base64.b64decode(token): rank for token, rank in content["mergeable_ranks"].items()}
    numbers = [*ranks.values(), *special.values()]
    if not all(type(number) is int and 0 <= number < MOST_TOKENS for number in numbers):
        raise ValueError("the number of a token is none")
    if len({*numbers}) < len(numbers) or END_OF_TEXT not in special:
        raise ValueError("two tokens have one number" if END_OF_TEXT in special else f"it has no {END_OF_TEXT}")
    symbols = {bytes([value]): value for value in range(256)}
    if name == "bytes" and ranks != symbols:
        raise ValueError("its tokens are not the bytes")
    if name == "chars" and any(len(token.decode()) != 1 for token in ranks):
        raise ValueError("a token is more than a character")
    if name not in VECTORISED and not symbols.keys() <= ranks.keys():
        raise ValueError("it has no token for some byte")
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


def is_panic(error: BaseException) -> bool:
    """True of the end of tiktoken's own code, which is no Exception."""
    return type(error).__name__ == "PanicException"
