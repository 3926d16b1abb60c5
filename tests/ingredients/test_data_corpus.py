"""A corpus gives the same batches for the same seed, whoever asks, and says in one line what is wrong with a text."""

import inspect
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import torch

from gptx.ingredients.data import corpora
from gptx.ingredients.data import files as data_files
from gptx.ingredients.data.cache import token_type
from gptx.ingredients.data.corpora import shakespeare, stdlib, text
from gptx.ingredients.data.corpus import Windows, batch, mapped
from gptx.runs.same import other_text

ALPHABET = "".join(
    chr(point) for point in range(0x4E00, 0x4E00 + 2000)
)  # every character once: a window tells its place


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    return folder


def corpus(
    path, *, tokenizer="chars", context=16, seed=0, validation=0.1, validation_path=None, column=None, order="shuffled"
) -> Windows:
    return text(
        path=str(path),
        validation_path=validation_path,
        column=column,
        tokenizer=tokenizer,
        context=context,
        seed=seed,
        validation=validation,
        order=order,
    )


@pytest.fixture
def numbered(folder) -> Path:
    """1800 training tokens that are 0, 1, 2, ..., and 200 for validation."""
    (folder / "numbered.txt").write_text(ALPHABET, encoding="utf-8")
    return folder / "numbered.txt"


def test_targets_are_the_inputs_moved_on_by_one(numbered):
    inputs, targets = corpus(numbered)(0, 32)
    assert inputs.shape == targets.shape == (32, 16)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.is_contiguous()
    assert targets.is_contiguous()
    assert torch.equal(targets[:, :-1], inputs[:, 1:])
    assert torch.equal(targets[targets < 1800], inputs[targets < 1800] + 1)  # the text counts


def test_a_batch_is_made_of_smaller_batches_also_across_epochs(numbered):
    data = corpus(numbered)
    for first in (0, 5, data.windows - 3, 3 * data.windows - 1):
        whole = data(first, 11)
        parts = data(first, 4), data(first + 4, 7)
        for got, joined in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(got, torch.cat(joined))


def test_the_windows_of_an_epoch_are_disjoint_and_fill_the_text(numbered):
    data = corpus(numbered)
    for epoch in range(5):
        seen = data(epoch * data.windows, data.windows).inputs.flatten()
        assert len(seen.unique()) == len(seen) > len(data.train_tokens) - 3 * data.context


def test_epochs_differ_in_order_and_in_where_windows_begin(numbered):
    data = corpus(numbered)
    starts = [data.starts(np.arange(epoch * data.windows, (epoch + 1) * data.windows)) for epoch in range(20)]
    assert not any(np.array_equal(starts[0], other) for other in starts[1:])
    assert len({int(s[0]) % data.context for s in starts}) > 5
    assert max(int(s.max()) for s in starts) + data.context < len(data.train_tokens)


def test_over_many_epochs_every_token_is_a_target(numbered):
    data = corpus(numbered)
    assert set(data(0, 300 * data.windows).targets.unique().tolist()) == set(range(1, 1800)) | {data.vocab_size - 1}


def test_a_text_read_as_it_is_written_counts_through_every_epoch(numbered):
    data = corpus(numbered, order="written")
    for epoch in range(4):
        tokens = data(epoch * data.windows, data.windows).inputs.flatten()
        assert torch.equal(tokens, torch.arange(len(tokens)) + tokens[0])
        assert tokens[0] < data.context * 2
    assert corpus(numbered).identity == data.identity


def test_files_that_are_read_as_written_come_in_the_order_of_their_names(folder):
    for i in (3, 1, 2, 0):
        (folder / f"shard_{i:02}.txt").write_text(f"{i}" * 400)
    data = corpus(folder, tokenizer="bytes", order="written")
    names = [name for documents in data.documents(0, data.windows) for name in documents]
    assert names == sorted(names)
    assert set(names) == {f"shard_{i:02}.txt" for i in range(4)}


def test_the_order_depends_on_the_seed_alone(numbered, folder):
    same, other = corpus(numbered, seed=0), corpus(numbered, seed=1)
    torch.manual_seed(5)
    np.random.seed(5)
    assert torch.equal(corpus(numbered, seed=0)(7, 20).inputs, same(7, 20).inputs)
    assert not torch.equal(other(7, 20).inputs, same(7, 20).inputs)


def test_validation_is_fixed_in_order_and_independent_of_the_seed(numbered):
    data = corpus(numbered)
    inputs = data.validation(0, data.validation_windows).inputs
    assert inputs.flatten().tolist() == list(range(1800, 1800 + inputs.numel()))
    assert data.validation_windows == 200 // 16
    assert torch.equal(corpus(numbered, seed=3).validation(2, 5).targets, data.validation(2, 5).targets)


def test_packing_joins_the_documents_with_one_end_of_text_each(folder):
    documents = {f"{i:03}.txt": f"document {i}: naïve café\r\n" * (i % 5 + 1) for i in range(100)}
    for name, content in documents.items():
        (folder / name).write_text(content, encoding="utf-8", newline="")
    data = corpus(folder, tokenizer="bytes")
    held = set(data.encoding.decode(data.validation_tokens.tolist()).split("<|endoftext|>")[:-1])
    train = [content for content in documents.values() if content not in held]
    stream = [token for content in train for token in (*content.encode(), 256)]
    assert data.train_tokens.tolist() == stream
    assert data.identity["train_documents"] + data.identity["validation_documents"] == 100
    total = sum(len(content.encode()) for content in documents.values())
    assert 0.05 <= (len(data.validation_tokens) - data.identity["validation_documents"]) / total <= 0.1


def test_the_end_of_text_is_the_last_token_where_a_document_mask_looks_for_it(numbered, monkeypatch):
    for tokenizer in ("bytes", "chars"):
        data = corpus(numbered, tokenizer=tokenizer)
        assert data.encoding.eot_token == data.vocab_size - 1
    first = tiktoken.Encoding(
        "first", pat_str=r"[\s\S]", mergeable_ranks={b"a": 1}, special_tokens={"<|endoftext|>": 0}
    )
    monkeypatch.setattr("gptx.ingredients.data.corpus.load_encoding", lambda path: first)
    with pytest.raises(ValueError, match=r"^tokenizer=bytes: the end of text is token 0 and must be the last, 1,"):
        corpus(numbered, tokenizer="bytes")


def test_what_is_held_out_is_the_same_wherever_the_folder_lies(folder, tmp_path):
    for place in (folder, tmp_path / "elsewhere"):
        place.mkdir(exist_ok=True)
        for i in range(40):
            (place / f"{i}.txt").write_text(f"text number {i:04}\n" * 3)
    one, other = corpus(folder), corpus(tmp_path / "elsewhere")
    assert one.identity == other.identity
    assert np.array_equal(one.validation_tokens, other.validation_tokens)


def test_few_files_each_give_their_end(folder):
    (folder / "a.txt").write_text("a" * 900 + "x" * 100)
    (folder / "b.txt").write_text("b" * 900 + "y" * 100)
    data = corpus(folder)
    assert data.encoding.decode(data.train_tokens.tolist()) == f"{'a' * 900}<|endoftext|>{'b' * 900}<|endoftext|>"
    assert data.encoding.decode(data.validation_tokens.tolist()) == f"{'x' * 100}<|endoftext|>{'y' * 100}<|endoftext|>"


def test_a_validation_path_holds_the_validation_text(folder):
    (folder / "train.txt").write_text("a" * 100)
    (folder / "held.txt").write_text("b" * 50)
    data = corpus(folder / "train.txt", validation_path=str(folder / "held.txt"))
    assert data.encoding.decode(data.train_tokens.tolist()) == "a" * 100 + "<|endoftext|>"
    assert data.encoding.decode(data.validation_tokens.tolist()) == "b" * 50 + "<|endoftext|>"


def test_a_folder_gives_its_text_and_leaves_out_the_rest(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "deep" / "er" / "text.md").write_text("visible " * 100)
    (folder / ".git" / "config").write_text("hidden")
    (folder / "empty.txt").touch()
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    data = corpus(folder)
    assert "hidden" not in data.encoding.decode(data.train_tokens.tolist())
    assert data.identity["train_documents"] == 1
    for _ in range(2):  # at every start
        assert corpus(folder).remarks == [f"1 file left out: {folder}/image.png is binary, not text: byte 4 is NUL"]


def test_a_glob_takes_what_it_matches(folder):
    (folder / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt", "deep/c.md"):
        (folder / name).write_text(name[-5] * 200)
    taken = {
        "*.txt": "a.txt",
        "**/*.txt": "a.txt deep/b.txt",
        "deep/?.*": "b.txt c.md",
        "**": "a.txt deep/b.txt deep/c.md",
    }
    for pattern, names in taken.items():
        assert " ".join(file.name for file in data_files.text_at(str(folder / pattern))[0]) == names
    assert corpus(folder / "deep" / "*").identity["train_documents"] == 2


def test_a_long_text_read_in_pieces_is_the_same_text(folder, monkeypatch):
    content = "naïve 中文 😀 text\r\n" * 50
    (folder / "long.txt").write_bytes(content.encode())
    monkeypatch.setattr(data_files, "CHUNK", 7)  # cuts inside characters of several bytes
    (file,), _ = data_files.text_at(str(folder / "long.txt"))
    assert file.characters == len(content)
    assert "".join(file.whole.pieces()) == content
    assert "".join(data_files.Document(file, 33, 100).pieces()) == content[33:100]


def test_more_than_65536_tokens_take_32_bits(folder):
    alphabet = [chr(point) for point in range(0x20, 0x20 + 70_000) if not 0xD800 <= point < 0xE000]
    (folder / "many.txt").write_bytes("".join(alphabet).encode())
    data = corpus(folder / "many.txt")
    assert data.train_tokens.dtype == np.uint32
    assert data.vocab_size == len(alphabet) + 1
    assert data.validation_tokens[-2] == len(alphabet) - 1
    (folder / "few.txt").write_text("few " * 100)
    assert corpus(folder / "few.txt").train_tokens.dtype == np.uint16


def test_more_tokens_than_32_bits_can_count_are_reached(numbered, tmp_path):
    data = corpus(numbered)
    length = 2**32 + 5000
    with open(tmp_path / "long.tokens", "wb") as stream:
        stream.truncate(2 * length)  # a sparse file: nothing but its end takes room
        stream.seek(2 * 2**32)
        stream.write(np.arange(5000, dtype="<u2").tobytes())
    data.train_tokens = mapped(tmp_path / "long", vocab_size=5000)
    data.windows = length // data.context - 1
    starts = data.starts(np.arange(20_000))
    assert len(data.train_tokens) == length
    assert 2**32 * 0.999 < starts.max() < length - data.context
    assert len(set(starts.tolist())) == 20_000
    read = batch(data.train_tokens, np.array([2**32 - 3, 2**32 + 100]), 4)
    assert read.targets.tolist() == [[0, 0, 0, 1], [101, 102, 103, 104]]


def test_the_first_number_that_16_bits_do_not_hold_takes_32():
    assert token_type(2**16) == np.uint16
    assert token_type(2**16 + 1) == np.uint32


def test_bits_per_byte_have_the_bytes_of_the_text(folder):
    content = "naïve café 中文\n" * 100
    (folder / "a.txt").write_text(content, encoding="utf-8")
    for tokenizer in ("bytes", "chars"):
        data = corpus(folder, tokenizer=tokenizer)
        tokens = np.concatenate([data.train_tokens, data.validation_tokens]).astype(np.int64)
        assert data.token_bytes.shape == (data.vocab_size,)
        assert data.token_bytes[torch.from_numpy(tokens)].sum() == len(content.encode())


def test_the_identity_is_plain_and_changes_with_the_text(numbered):
    before = corpus(numbered).identity
    assert all(type(value) in (str, int) for value in before.values())
    assert corpus(numbered, context=8, seed=9).identity == before
    numbered.write_text(ALPHABET[::-1], encoding="utf-8")
    assert corpus(numbered).identity["digest"] != before["digest"]
    assert corpus(numbered, validation=0.2).identity["digest"] != corpus(numbered).identity["digest"]


def test_a_corpus_introduces_itself_in_one_line(numbered):
    assert str(corpus(numbered)) == (
        "text: 1,801 training tokens in 1 documents, 201 validation tokens in 1; chars tokenizer, 2,001 tokens; "
        "111 windows of 16 an epoch"
    )


def test_a_batch_moves_to_a_device(numbered):
    batch = corpus(numbered)(0, 2)
    assert batch.to("meta").inputs.device.type == "meta"
    assert torch.equal(batch.to("cpu").targets, batch.targets)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_arrives_on_the_gpu_as_it_was(numbered):
    batch = corpus(numbered)(0, 64)
    for there, here in zip(batch.to("cuda"), batch, strict=True):
        assert torch.equal(there.cpu(), here)


def test_the_tokenizer_of_a_corpus_can_be_kept(numbered, tmp_path):
    from gptx.ingredients.data.tokenizers import load_encoding

    data = corpus(numbered)
    data.save_tokenizer(tmp_path / "tokenizer.json")
    tokens = data(0, 1).inputs[0].tolist()
    assert load_encoding(tmp_path / "tokenizer.json").decode(tokens) == "".join(ALPHABET[token] for token in tokens)


def test_the_standard_library_is_split_by_file_without_its_tests(cache):
    data = stdlib(tokenizer="bytes", context=64, seed=0, validation=0.1, order="shuffled")
    share = len(data.validation_tokens) / (len(data.validation_tokens) + len(data.train_tokens))
    assert 0.05 <= share <= 0.101
    assert 8e6 < len(data.train_tokens) < 20e6
    everything = data.encoding.decode(np.concatenate([data.train_tokens, data.validation_tokens]).tolist())
    assert inspect.getsource(inspect) in everything  # an independent way to read a module of the library
    names = [json.loads(name) for file in cache.glob("*/*/*.names.jsonl") for name in file.read_text().splitlines()]
    assert {"inspect.py", "json/decoder.py", "unittest/mock.py"} <= set(names)
    assert len(set(names)) == len(names) > 300
    assert not [name for name in names if {"test", "tests", "idle_test", "site-packages"} & set(name.split("/"))]


def test_tiny_shakespeare_is_nanogpts():
    path = os.environ.get("GPTX_TEST_SHAKESPEARE")
    if not path:
        pytest.skip("set GPTX_TEST_SHAKESPEARE to a copy of tiny Shakespeare")
    data = shakespeare(path=path, tokenizer="chars", context=64, seed=0, validation=0.1, order="shuffled")
    assert data.vocab_size == 65 + 1
    assert len(data.train_tokens) == 1_003_854 + 1  # nanoGPT's data/shakespeare_char/readme.md, and the end of text
    assert len(data.validation_tokens) == 111_540 + 1
    content = Path(path).read_text()
    ids = {character: i for i, character in enumerate(sorted(set(content)))}  # nanoGPT's prepare.py
    assert data.train_tokens[:-1].tolist() == [ids[character] for character in content[: int(len(content) * 0.9)]]
    assert data.validation_tokens[:-1].tolist() == [ids[character] for character in content[int(len(content) * 0.9) :]]


def test_shakespeare_is_downloaded_once_and_checked(tmp_path, monkeypatch, cache):
    copy = tmp_path / "copy.txt"
    copy.write_text("To be, or not to be: that is the question.\n" * 50)
    monkeypatch.setattr(corpora, "ADDRESS", copy.as_uri())
    options = {"path": None, "tokenizer": "chars", "context": 16, "seed": 0, "validation": 0.1, "order": "shuffled"}
    with pytest.raises(ConnectionError, match="something other than tiny Shakespeare"):
        shakespeare(**options)
    monkeypatch.setattr(corpora, "SHAKESPEARE_SHA256", data_files.text_file(copy).sha256)
    first = shakespeare(**options)
    copy.unlink()
    assert shakespeare(**options).identity == first.identity
    (cache / "downloads" / "tinyshakespeare.txt").write_text("damaged")
    with pytest.raises(ConnectionError, match=r"data\.path=FILE") as caught:
        shakespeare(**options)
    assert "\n" not in str(caught.value)


BAD = {
    "missing": (FileNotFoundError, "there is no text file, folder or pattern of files '.*missing'"),
    "none*.txt": (FileNotFoundError, r"no file matches '.*none\*\.txt'"),
    "empty.txt": (ValueError, r"empty\.txt is empty"),
    "nul.txt": (ValueError, r"nul\.txt is binary, not text: byte 3 is NUL"),
    "latin.txt": (ValueError, r"latin\.txt is not UTF-8 text"),
    "cut.txt": (ValueError, r"cut\.txt is not UTF-8 text"),
    "nothing": (ValueError, "there is no text in '.*nothing'"),
    "binaries": (ValueError, r"there is no text in '.*binaries'; .*b\.bin is binary"),
    "bin*/*": (ValueError, r"there is no text in '.*bin\*/\*'; .*b\.bin is binary"),
    "one.txt": (ValueError, r"one\.txt is too short to hold out a share of 0\.1"),
    "short.txt": (ValueError, r"the training text of .*short\.txt has 10 tokens, fewer than one window of .* 17; give"),
    "brief.txt": (ValueError, r"the validation text of .*brief\.txt has 11 tokens, .* model\.context to 10 or less"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_text_is_named_in_one_line(folder, name):
    (folder / "nothing").mkdir()
    (folder / "binaries").mkdir()
    files = {
        "empty.txt": b"",
        "nul.txt": b"abc\0def",
        "latin.txt": "café au lait".encode("latin-1"),
        "cut.txt": "café".encode()[:-1],
        "binaries/b.bin": b"\0",
        "one.txt": b"1",
        "short.txt": b"0123456789",
        "brief.txt": b"0123456789" * 10,
    }
    for file, content in files.items():
        (folder / file).write_bytes(content)
    error, message = BAD[name]
    with pytest.raises(error, match=message) as caught:
        corpus(folder / name, tokenizer="bytes")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parameter", [{"context": 0}, {"validation": 0.0}, {"validation": 1.5}, {"tokenizer": "bpe"}, {"order": "sorted"}]
)
def test_a_bad_value_is_named(numbered, parameter, cache):
    with pytest.raises(ValueError, match="{}={}".format(*next(iter(parameter.items())))):
        corpus(numbered, **parameter)
    assert not cache.exists()


def test_an_unreadable_text_is_named(numbered):
    numbered.chmod(0)
    if os.access(numbered, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PermissionError, match=r"numbered\.txt cannot be read: Permission denied"):
        corpus(numbered)


def test_a_text_that_changes_while_it_is_read_is_refused(numbered):
    (file,), _ = data_files.text_at(str(numbered))
    numbered.write_text("something else")
    with pytest.raises(ValueError, match="changed while it was being read"):
        list(file.whole.pieces())


def test_where_a_text_is_and_what_its_files_are_called_is_not_what_it_is(folder, tmp_path):
    for name in ("a.txt", "b.txt", "c.jsonl"):
        lines = [json.dumps({"text": f"{name} {i} and some more words"}) for i in range(200)]
        (folder / name).write_text("\n".join(lines))
    elsewhere = tmp_path / "elsewhere"
    (shutil.copytree(folder, elsewhere) / "a.txt").rename(elsewhere / "renamed.txt")
    (elsewhere / "c.jsonl").rename(elsewhere / "d.jsonl")
    moved = {folder / "a.txt": elsewhere / "renamed.txt", folder / "c.jsonl": elsewhere / "d.jsonl"}
    for here, there in moved.items():
        one, other = (corpus(path, tokenizer="bytes").identity for path in (here, there))
        assert one["digest"] != other["digest"]  # as it was in earlier runs, which have nothing else
        assert other_text(one, other) == []
        old = {k: v for k, v in one.items() if k != "content"}
        assert "data.digest was" in other_text(old, other)[0]
        assert other_text(old, one) == []
        changed = corpus(folder / "b.txt", tokenizer="bytes").identity
        assert "(the text is not the same)" in other_text(one, changed)[0]
        assert "data.digest was" in other_text(one, corpus(here, tokenizer="bytes", validation=0.2).identity)[0]


def own(train, validation=lambda: ["held out text\n"] * 9, **options):
    return corpora.documents(
        "my own", train, validation, tokenizer="bytes", context=8, seed=0, order="written", **options
    )


def test_a_text_of_ones_own_is_read_from_functions_and_tokenised_once(cache, capsys):
    calls = []

    def train():
        calls.append("train")
        return (f"document {number}\n" for number in range(50))

    data = own(train)
    assert data.identity["train_documents"] == 50
    assert list(data.names())[:2] == ["train:0", "train:1"]
    assert "tokenising my own" in capsys.readouterr().err
    assert own(train).identity == data.identity
    assert "tokenising" not in capsys.readouterr().err
    assert own(lambda: ["another document\n"] * 9).identity["digest"] != data.identity["digest"]
    one = own(train, version="1")
    calls.clear()
    assert own(train, version="1").identity == one.identity
    assert calls == []  # what is tokenised is not read again
    assert own(train, version="2").identity["digest"] != one.identity["digest"]


ONCE = iter(["a text\n"] * 9)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (["a list"], "train must be a function that returns an iterable of texts"),
        (lambda: None, "train must be a function that returns an iterable of texts"),
        (lambda: "one text", "train must be a function that returns an iterable of texts"),
        (lambda: ["text", b"bytes"], "train document 2 holds bytes, not text"),
        (lambda: ONCE, r"train\(\) gave other texts the second time"),
    ],
)
def test_a_text_of_ones_own_that_cannot_be_trained_on_is_refused(train, message):
    with pytest.raises(ValueError, match=message):
        own(train)
