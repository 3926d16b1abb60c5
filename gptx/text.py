"""Tokens to text as they come, although a character may be spread over several tokens."""

import codecs
from collections.abc import Iterable, Iterator


def decode(encoding, tokens: Iterable[int]) -> Iterator[str]:
    """Yields the text of each token of a tiktoken encoding once its characters are whole; ends at an end of text."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if token == encoding.eot_token:
            break
        yield decoder.decode(encoding.decode_single_token_bytes(token))
    yield decoder.decode(b"", final=True)
