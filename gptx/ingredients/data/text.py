"""Between the text that a person reads and the tokens that a model reads."""

import codecs
from collections.abc import Iterable, Iterator


def decode(encoding, tokens: Iterable[int]) -> Iterator[str]:
    """Yields the text of each token of a tiktoken encoding once its characters are whole; ends at an end of text.

    Raises ValueError for a token that is none of the encoding's.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if token == encoding.eot_token:
            break
        try:
            yield decoder.decode(encoding.decode_single_token_bytes(token))
        except KeyError:
            raise ValueError(f"token {token} has no text in this tokenizer") from None
    yield decoder.decode(b"", final=True)


def beginning(encoding, prompt: str, *, documents: int) -> list[int]:
    """The tokens that a sample continues: the prompt as the beginning of a document.

    After one end of text if the model was trained on several documents; a single one has none before it, and a model
    that never read that token would write nonsense after it. Raises ValueError for an unknown character.
    """
    from gptx.ingredients.data.tokenizers import encode

    if documents > 1:
        return [encoding.eot_token, *encode(encoding, prompt).tolist()]
    return encode(encoding, prompt or "\n").tolist()
