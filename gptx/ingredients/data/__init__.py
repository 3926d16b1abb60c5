"""Text becomes tokens once, and a batch is a function of its position in the run. `Corpus` says what gptx asks for."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gptx.ingredients.data.documents import blamed
from gptx.ingredients.data.tokenizers import beginning, decode, save_encoding


class Corpus:
    """What the trainer, observers and commands ask of data; a text of one's own needs `corpora.documents` alone.

    `data(first, count)` gives sequences `first` to `first + count` of the run as a `corpus.TokenBatch`, and
    `data.validation(first, count)` those of the held-out text: always the same for the same numbers, since a run that
    resumes asks again. `documents` gives names and tokens of the documents in every `stride`-th sequence, `names` all.
    For the trainer alone `RandomTokens` shows what is enough."""

    context: int  # tokens of a sequence
    vocab_size: int
    token_bytes: Any  # a tensor (V,), for bits per byte
    encoding: Any  # of tiktoken
    windows: int  # sequences of an epoch
    validation_windows: int  # sequences of held-out text
    identity: dict[str, Any]  # to record: digest, and how many train_tokens, train_documents ... there are
    remarks: list[str]  # sentences for the line `data` at the start of a run

    def __call__(self, first: int, count: int) -> Any:
        raise NotImplementedError

    validation = __call__

    def documents(self, first: int, count: int, stride: int = 1) -> list[dict[str, int]]:
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        raise NotImplementedError

    def blame(self, first: int, losses: list[float], stride: int = 1) -> list[dict]:
        """The documents of those sequences by how far their losses lie above the others'."""
        return blamed(self.documents(first, len(losses), stride), losses)

    def prompt(self, text: str) -> list[int]:
        """The tokens that a sample continues."""
        return beginning(self.encoding, text, documents=self.identity["train_documents"])

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens up to the first end of text. Raises ValueError for a token that has none."""
        return "".join(decode(self.encoding, tokens))

    def save_tokenizer(self, path: str | Path) -> None:
        """Write the encoding to one file, all that a sampler needs to turn text into tokens and back."""
        save_encoding(self.encoding, path)
