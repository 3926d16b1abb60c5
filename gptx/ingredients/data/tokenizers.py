"""Tokenizers, all of them `tiktoken.Encoding`s: how they are made, kept in one file, and applied to text and back."""

import base64
import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gptx.files import write_text

if TYPE_CHECKING:
    from tiktoken import Encoding

END_OF_TEXT = "<|endoftext|>"
_ONE_CHARACTER = r"[\s\S]"
_GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LARGEST = 10**7  # tokens of a vocabulary that is learnt; the largest known have some 10^6
_BPE_TEXT = 100_000_000  # characters that a vocabulary is learnt from: more changes little and would need more memory
_LAST_WORD_BOUNDARY = re.compile(r".*\S(?=[ \n])", re.DOTALL)
_PANIC = "PanicException"  # a crash of tiktoken's Rust code, which is no Exception
_Encoder = Callable[[str], NDArray[np.integer]]


def construct(name: str, text: Iterable[str]) -> "Encoding":
    """Build the encoding `name`; `text` is the corpus in pieces, read only if the vocabulary comes from it."""
    kind, _, size = known(name).partition(":")
    return _bpe_encoding(text, vocab_size=int(size)) if size else CONSTRUCTORS[kind](text)


def known(name: str) -> str:
    """The name of a tokenizer. Raises ValueError with the list if it is none's."""
    if name in CONSTRUCTORS:
        return name
    if not (size := re.fullmatch(r"bpe:(\d+)", name)):
        raise ValueError(f"tokenizer={name} is unknown; known: {', '.join(CONSTRUCTORS)}, bpe:SIZE (such as bpe:4096)")
    if len(size[1]) > 20 or not 257 <= int(size[1]) <= _LARGEST:
        raise ValueError(f"tokenizer={name:.80}: a size from 257, the bytes and the end of text, to {_LARGEST:,}")
    return f"bpe:{int(size[1])}"


def vocabulary_size(name: str) -> int | None:
    """The number of tokens of the encoding `name`, if its name alone says it."""
    size = re.fullmatch(r"bpe:(\d+)", name)
    return int(size[1]) if size else {"bytes": 257, "gpt2": 50_257}.get(name)


def bytes_encoding(text: Iterable[str] = ()) -> "Encoding":
    """The 256 bytes of UTF-8 and the end of text: 257 tokens, no text is unknown."""
    return _encoding("bytes", _ONE_CHARACTER, [bytes([value]) for value in range(256)])


def chars_encoding(text: Iterable[str]) -> "Encoding":
    """The distinct characters of `text` in the order of their code points (nanoGPT's), and the end of text."""
    seen = np.zeros(0x110000, dtype=bool)
    for piece in text:
        seen[_code_points(piece)] = True
    return _encoding("chars", _ONE_CHARACTER, [chr(point).encode() for point in np.flatnonzero(seen)])


def _gpt2_encoding(text: Iterable[str] = ()) -> "Encoding":
    import tiktoken

    try:
        return tiktoken.get_encoding("gpt2")
    except OSError as error:
        line = f"tokenizer=gpt2: tiktoken cannot fetch its vocabulary ({type(error).__name__}); use a network once"
        cure = "or set TIKTOKEN_CACHE_DIR to a folder that tiktoken filled elsewhere, or use tokenizer=bytes"
        raise ConnectionError(f"{line}, {cure}") from error


def _bpe_encoding(text: Iterable[str], *, vocab_size: int) -> "Encoding":
    """Pairs learnt in words of GPT-2's pattern (Sennrich et al. 2016; Radford et al. 2019). ValueError if few."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(at_word_boundaries(limited(text, _BPE_TEXT)), trainer)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if len(vocabulary) < vocab_size - 1:
        line = f"tokenizer=bpe:{vocab_size}: the text has pairs for {len(vocabulary) + 1:,} tokens only"
        raise ValueError(f"{line}; give more text, or use tokenizer=bpe:{len(vocabulary) + 1} or less")
    # Byte-level encodings write a byte as itself if it is visible in Latin-1, else as a letter from U+0100 on.
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = (byte for byte in range(256) if byte not in visible)
    letters = {chr(byte): byte for byte in visible} | {chr(letter): byte for letter, byte in enumerate(hidden, 0x100)}
    tokens = [bytes(letters[letter] for letter in token) for token, _ in vocabulary]
    return _encoding(f"bpe:{vocab_size}", _GPT2_PATTERN, tokens)


def limited(text: Iterable[str], characters: int) -> Iterator[str]:
    """The first pieces, up to that many characters."""
    for piece in text:
        yield piece[:characters]
        characters -= len(piece)
        if characters <= 0:
            return


CONSTRUCTORS = {"bytes": bytes_encoding, "chars": chars_encoding, "gpt2": _gpt2_encoding}


def _encoding(name: str, pattern: str, tokens: list[bytes]) -> "Encoding":
    import tiktoken

    ranks = {token: rank for rank, token in enumerate(tokens)}
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: len(ranks)})


def encoder(encoding: "Encoding") -> _Encoder:
    """A function text -> token ids, (tokens,), as `encode_ordinary`. It raises ValueError for an unknown character."""
    return VECTORISED.get(encoding.name, _byte_pair_encoder)(encoding)


def text_parts(encoding: "Encoding", pieces: Iterable[str]) -> Iterable[str]:
    """Cut a text that comes in pieces so that the tokens of its parts, joined, are those of the whole text at once."""
    return pieces if encoding.name in VECTORISED else at_word_boundaries(pieces)


def _char_encoder(encoding: "Encoding") -> _Encoder:
    characters = {token.decode(): rank for token, rank in encoding._mergeable_ranks.items()}
    table = np.full(0x110000, -1, dtype=np.int32)
    table[_code_points("".join(characters))] = list(characters.values())

    def encode(text: str) -> NDArray[np.int32]:
        ids = table[_code_points(text)]
        if (ids < 0).any():
            stranger = text[int(np.argmax(ids < 0))]
            line = f"character {stranger!r} (U+{ord(stranger):04X}) is not among the {len(characters)} characters"
            raise ValueError(f"{line} of the training and validation text that tokenizer=chars knows")
        return ids

    return encode


def _byte_pair_encoder(encoding: "Encoding") -> _Encoder:
    def encode(text: str) -> NDArray[np.integer]:
        try:
            return encoding.encode_to_numpy(text, disallowed_special=())
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise
            raise ValueError(f"the tokenizer {encoding.name} cannot cut this text into tokens ({error})") from None

    return encode


VECTORISED: dict[str, Callable[["Encoding"], _Encoder]] = {
    "bytes": lambda encoding: lambda text: np.frombuffer(text.encode(), dtype=np.uint8),
    "chars": _char_encoder,
}


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def at_word_boundaries(pieces: Iterable[str]) -> Iterator[str]:
    """The text cut before blanks and line breaks after something visible, which no match of GPT-2's pattern crosses."""
    rest: list[str] = []  # since the last such place; searched once, or text without blanks would take quadratic time
    for piece in pieces:
        last = rest[-1][-1:] if rest else ""
        if boundary := _LAST_WORD_BOUNDARY.match(last + piece):
            end = boundary.end() - len(last)
            yield "".join([*rest, piece[:end]])
            rest = [piece[end:]] if piece[end:] else []
        elif piece:
            rest.append(piece)
    yield "".join(rest)


def decode(encoding: "Encoding", tokens: Iterable[int]) -> Iterator[str]:
    """The text of each token once its characters are whole, up to the first end of text. Raises ValueError."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if token == encoding.eot_token:
            break
        try:
            yield decoder.decode(encoding.decode_single_token_bytes(token))
        except KeyError:
            raise ValueError(f"token {token} has no text in this tokenizer") from None
    yield decoder.decode(b"", final=True)


def beginning(encoding: "Encoding", prompt: str, *, documents: int) -> list[int]:
    """The tokens that a sample continues, after an end of text if the model has read that. Raises ValueError."""
    start = [encoding.eot_token] * (documents > 1)
    return start + encoder(encoding)(prompt if start else prompt or "\n").tolist()


def token_lengths(encoding: "Encoding") -> NDArray[np.int64]:
    """The number of bytes that each token stands for, (vocabulary,); 0 for the end of text."""
    lengths = np.zeros(encoding.n_vocab, dtype=np.int64)
    lengths[list(encoding._mergeable_ranks.values())] = [len(token) for token in encoding._mergeable_ranks]
    return lengths


def save_encoding(encoding: "Encoding", path: str | Path) -> None:
    """Write all that `load_encoding` needs into one JSON file, complete or not at all."""
    ranks = {base64.b64encode(token).decode(): rank for token, rank in encoding._mergeable_ranks.items()}
    facts = {"name": encoding.name, "pat_str": encoding._pat_str, "special_tokens": encoding._special_tokens}
    write_text(Path(path), json.dumps(facts | {"mergeable_ranks": ranks}, indent=0))


def load_encoding(path: str | Path) -> "Encoding":
    """Read an encoding back, without a network; raises ValueError if the file is not one of `save_encoding`'s."""
    import tiktoken

    try:
        content = json.loads(Path(path).read_bytes())
        ranks = {base64.b64decode(token): rank for token, rank in content["mergeable_ranks"].items()}
        _refuse_odd(content["name"], ranks, content["special_tokens"])
        return tiktoken.Encoding(content["name"], pat_str=content["pat_str"], mergeable_ranks=ranks,
                                 special_tokens=content["special_tokens"])  # fmt: skip
    except BaseException as error:
        if isinstance(error, OSError) or not (isinstance(error, Exception) or type(error).__name__ == _PANIC):
            raise
        raise ValueError(f"{path} is not a tokenizer that gptx saved ({type(error).__name__}: {error})") from error


def _refuse_odd(name: str, ranks: dict[bytes, int], special: dict[str, int]) -> None:
    numbers, symbols = [*ranks.values(), *special.values()], {bytes([value]): value for value in range(256)}
    problems = {
        "the number of a token is none": not all(type(n) is int and 0 <= n < 1 << 24 for n in numbers),
        f"it has no {END_OF_TEXT}": END_OF_TEXT not in special,
        "two tokens have one number": len({*numbers}) < len(numbers),
        "its tokens are not the bytes": name == "bytes" and ranks != symbols,
        "a token is more than a character": name == "chars" and any(len(token.decode()) != 1 for token in ranks),
        "it has no token for some byte": name not in VECTORISED and not symbols.keys() <= ranks.keys(),
    }
    for problem in filter(problems.get, problems):
        raise ValueError(problem)
