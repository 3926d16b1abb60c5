"""Every tokenizer is a tiktoken encoding; the fast paths and the saved files equal it."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import tiktoken

from gptx.config import paths
from gptx.ingredients.data import tokenizers
from gptx.ingredients.data.tokenizers import (
    at_word_boundaries,
    bytes_encoding,
    chars_encoding,
    construct,
    encoder,
    load_encoding,
    save_encoding,
    text_parts,
    token_lengths,
)

TEXT = "def f(x):\n\treturn x  # naïve café, 中文, 😀 and <|endoftext|> as ordinary text\r\n\n  \x1c end "


def encode(encoding: tiktoken.Encoding, text: str) -> np.ndarray:
    return encoder(encoding)(text)


def gpt2() -> tiktoken.Encoding:
    if not os.environ.get("TIKTOKEN_CACHE_DIR"):
        pytest.skip("GPT-2's vocabulary is not here: set TIKTOKEN_CACHE_DIR to a folder that holds it")
    return tiktoken.get_encoding("gpt2")


@pytest.mark.parametrize("encoding", [bytes_encoding(), chars_encoding([TEXT])], ids=["bytes", "chars"])
def test_the_fast_path_gives_the_tokens_of_tiktoken(encoding):
    assert encode(encoding, TEXT).tolist() == encoding.encode_ordinary(TEXT)
    assert encoding.decode(encode(encoding, TEXT).tolist()) == TEXT
    assert encode(encoding, "").tolist() == []


def test_gpt2_gives_the_tokens_of_tiktoken_also_in_pieces():
    encoding = gpt2()
    text = TEXT * 50 + "   \n\n\n trailing  "
    assert encode(encoding, text).tolist() == encoding.encode_ordinary(text)
    for length in (1, 2, 7, 64, 1000):
        pieces = [text[i : i + length] for i in range(0, len(text), length)]
        assert [
            token for part in text_parts(encoding, pieces) for token in encode(encoding, part)
        ] == encoding.encode_ordinary(text)


def test_pieces_are_cut_only_where_a_word_ends_and_nothing_is_lost():
    parts = list(at_word_boundaries(["ab c", "d  e", "\n\nf", "", "g "]))
    assert "".join(parts) == "ab cd  e\n\nfg "
    for before, after in itertools.pairwise(parts):
        assert not before[-1].isspace()
        assert after[0] in " \n"


def test_the_vocabularies_have_the_sizes_they_promise():
    assert bytes_encoding().n_vocab == 257
    assert chars_encoding(["banana"]).n_vocab == 3 + 1
    assert chars_encoding(["ba", "na", "na"]).encode_ordinary("abn") == [0, 1, 2]  # sorted, as nanoGPT's


def test_end_of_text_is_the_last_token_and_never_comes_from_text():
    for encoding in (bytes_encoding(), chars_encoding([TEXT])):
        assert encoding.eot_token == encoding.n_vocab - 1
        assert encoding.eot_token not in encode(encoding, "<|endoftext|>")


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match=r"character 'é' \(U\+00E9\) is not among the 3 characters"):
        encode(chars_encoding(["banana"]), "bané")


def test_an_unknown_tokenizer_is_refused_with_the_list():
    with pytest.raises(ValueError, match="tokenizer=bpe is unknown; known: bytes, chars, gpt2, bpe:SIZE"):
        construct("bpe", [])


def test_an_encoding_comes_back_from_its_file(tmp_path):
    for encoding in (bytes_encoding(), chars_encoding([TEXT])):
        save_encoding(encoding, tmp_path / "tokenizer.json")
        again = load_encoding(tmp_path / "tokenizer.json")
        assert (again.name, again.n_vocab, again.eot_token) == (encoding.name, encoding.n_vocab, encoding.eot_token)
        assert again.encode_ordinary(TEXT) == encoding.encode_ordinary(TEXT)
        assert again.decode_tokens_bytes(range(again.n_vocab)) == encoding.decode_tokens_bytes(range(again.n_vocab))
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_gpt2_comes_back_from_its_file_without_a_network(tmp_path):
    save_encoding(gpt2(), tmp_path / "tokenizer.json")
    again = load_encoding(tmp_path / "tokenizer.json")
    assert again.encode_ordinary(TEXT) == gpt2().encode_ordinary(TEXT)
    assert again.n_vocab == 50_257


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"name": "bytes"}', '{"mergeable_ranks": {"YQ==": "x"}}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer that gptx saved"):
        load_encoding(path)


def test_without_a_network_gpt2_says_what_to_do(monkeypatch):
    def unreachable(name):
        raise OSError("no route to host")

    monkeypatch.setattr(tiktoken, "get_encoding", unreachable)
    with pytest.raises(ConnectionError, match="TIKTOKEN_CACHE_DIR") as caught:
        construct("gpt2", [])
    assert "\n" not in str(caught.value)


def test_token_lengths_add_up_to_the_bytes_of_the_text():
    for encoding in (bytes_encoding(), chars_encoding([TEXT])):
        assert token_lengths(encoding)[encode(encoding, TEXT)].sum() == len(TEXT.encode())
        assert token_lengths(encoding)[encoding.eot_token] == 0


def test_the_list_of_fast_paths_names_tokenizers():
    assert set(tokenizers.VECTORISED) <= set(tokenizers.CONSTRUCTORS)


CORPUS = [(Path(paths.PACKAGE) / name).read_text() for name in ("train.py", "config/validate.py", "trainer.py")] + [
    TEXT * 9
]


def reference(corpus: list[str], vocab_size: int):
    """Byte-level pairs trained and applied by the `tokenizers` library's own class."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer(add_prefix_space=False)
    tokenizer.train_from_iterator(corpus, vocab_size=vocab_size, min_frequency=0, show_progress=False)
    return tokenizer


def test_learnt_pairs_give_the_tokens_of_the_tokenizers_library():
    encoding, expected = construct("bpe:700", CORPUS), reference(CORPUS, 699)
    for text in (*CORPUS, TEXT, "never seen: ½ ﬀ 한글\x00 zzz"):
        assert encode(encoding, text).tolist() == expected.encode(text).ids


def test_learnt_pairs_give_back_any_text():
    encoding = construct("bpe:400", CORPUS)
    assert encoding.n_vocab == 400
    assert encoding.eot_token == 399
    random = np.random.default_rng(0)
    for _ in range(50):
        points = random.choice([random.integers(0, 0xD800), random.integers(0xE000, 0x110000), 0x20], size=40)
        text = "".join(map(chr, points))
        assert encoding.decode(encode(encoding, text).tolist()) == text


def test_learnt_pairs_are_the_same_every_time_however_the_text_is_cut():
    whole = construct("bpe:500", CORPUS)
    pieces = [text[i : i + 97] for text in ["".join(CORPUS)] for i in range(0, len(text), 97)]
    assert construct("bpe:500", CORPUS)._mergeable_ranks == whole._mergeable_ranks
    assert construct("bpe:500", pieces)._mergeable_ranks == construct("bpe:500", ["".join(CORPUS)])._mergeable_ranks


def test_pairs_are_learnt_by_how_often_they_occur():
    ranks = construct("bpe:259", ["ababab abab"])._mergeable_ranks  # ab five times, ba three; then ab+ab three
    assert (ranks[b"ab"], ranks[b"abab"]) == (256, 257)


def test_a_text_with_too_few_pairs_is_refused_with_the_size_that_works():
    with pytest.raises(
        ValueError, match=r"tokenizer=bpe:1000: the text has pairs for 258 tokens only; .* tokenizer=bpe:258 or less"
    ) as caught:
        construct("bpe:1000", ["ab"])
    assert "\n" not in str(caught.value)
    assert construct("bpe:258", ["ab"]).n_vocab == 258


@pytest.mark.parametrize("name", ["bpe:", "bpe:-4", "bpe:4k", "bpe:256", "bytes:300"])
def test_a_size_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match=f"tokenizer={name}"):
        construct(name, ["text"])
