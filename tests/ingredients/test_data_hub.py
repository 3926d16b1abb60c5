"""A dataset of the hub is read as a stream, as far as asked for, and found again without a network."""

from pathlib import Path

import httpx
import pyarrow
import pyarrow.parquet
import pytest

from gptx.ingredients.data import corpora
from gptx.ingredients.data.corpora import hub, number_of_tokens
from gptx.ingredients.data.corpus import Windows

ROWS = [f"story {i:03} of many" for i in range(200)]  # 17 bytes and an end of text each
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A dataset that `datasets` reads by the name of its folder."""
    folder = tmp_path / "stories"
    folder.mkdir()
    for split, rows in (("train", ROWS), ("validation", ROWS[:20])):
        table = pyarrow.table({"text": rows, "number": list(range(len(rows)))})
        pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
    return folder


def corpus(dataset, **changed) -> Windows:
    options = {"config": None, "revision": None, "split": "train", "validation_split": None, "column": "text",
               "tokens": None, "tokenizer": "bytes", "context": 8, "seed": 0, "validation": 0.2,
               "order": "shuffled"}  # fmt: skip
    return hub(dataset=str(dataset), **options | changed)


def documents(data: Windows, tokens) -> list[str]:
    return data.encoding.decode(tokens.tolist()).split("<|endoftext|>")[:-1]


def test_all_rows_are_read_and_a_share_of_them_held_out(folder):
    data = corpus(folder)
    assert sorted(documents(data, data.train_tokens) + documents(data, data.validation_tokens)) == ROWS
    assert 0.1 < data.identity["validation_documents"] / 200 < 0.3


def test_its_own_validation_split_is_used(folder):
    data = corpus(folder, validation_split="validation")
    assert documents(data, data.train_tokens) == ROWS
    assert documents(data, data.validation_tokens) == ROWS[:20]


def test_reading_ends_with_the_document_that_reaches_the_tokens(folder):
    data = corpus(folder, tokens=91, validation_split="validation")
    size = len(ROWS[0]) + 1
    assert documents(data, data.train_tokens) == ROWS[: -(-91 // size)]
    assert len(data.train_tokens) == -(-91 // size) * size


def test_no_more_of_the_stream_is_read_than_is_needed(folder, monkeypatch):
    read = []

    class Endless:
        def __iter__(self):
            for i in range(10**9):
                read.append(i)
                yield {"text": f"story {i} " * 100}

    monkeypatch.setattr(corpora, "_table", lambda *_: Endless())
    for tokenizer in ("bytes", "chars"):
        data = corpus(folder, tokens="20k", tokenizer=tokenizer)
        assert 20_000 <= len(data.train_tokens) < 22_000
    assert len(read) < 10_000


def test_what_is_tokenised_needs_no_network(monkeypatch, folder):
    asked = []
    monkeypatch.setattr(corpora, "_newest_commit", lambda *address: asked.append(address) or COMMIT)
    monkeypatch.setattr(corpora, "_table", lambda *_: [{"text": row} for row in ROWS])
    first = corpus("someone/stories")

    def unplugged(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(corpora, "_newest_commit", unplugged)
    monkeypatch.setattr(corpora, "_table", unplugged)
    again = corpus("someone/stories")
    assert again.identity == first.identity
    assert asked == [("someone/stories", None)]
    assert first.identity["name"] == "someone-stories"


def test_another_address_is_another_corpus(monkeypatch):
    commits = {None: COMMIT, "v2": COMMIT[::-1]}
    monkeypatch.setattr(corpora, "_newest_commit", lambda dataset, revision: commits[revision])
    monkeypatch.setattr(corpora, "_table", lambda *_: [{"text": row, "other": row} for row in ROWS])
    changes = [{}, {"revision": "v2"}, {"config": "zh"}, {"split": "all"}, {"column": "other"}, {"tokens": 2000},
               {"validation": 0.3}, {"validation_split": "held"}]  # fmt: skip
    digests = {corpus("someone/stories", **change).identity["digest"] for change in changes}
    digests.add(corpus("someone/poems").identity["digest"])
    assert len(digests) == len(changes) + 1
    assert corpus("someone/stories", revision=COMMIT).identity == corpus("someone/stories").identity


def test_a_changed_folder_is_another_corpus(folder):
    before = corpus(folder).identity["digest"]
    pyarrow.parquet.write_table(pyarrow.table({"text": ROWS[:100]}), folder / "train.parquet")
    assert corpus(folder).identity["digest"] != before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"column": "body"}, r"data\.column=body: dataset .*stories has no such column; its columns: text, number"),
        ({"column": "number"}, r"data\.column=number: row 1 of dataset .*stories holds int, not text"),
        ({"split": "test"}, r"stories has no split 'test'; its splits: train, validation"),
        ({"validation_split": "dev"}, r"stories has no split 'dev'; its splits: train, validation"),
        ({"config": "zh"}, r"data\.config=zh: dataset .*stories has default"),
        ({"tokens": "many"}, r"data\.tokens=many: a number above 0, such as 100M, or null for all"),
        ({"tokens": 0}, r"data\.tokens=0: a number above 0"),
        ({"validation": 2.0}, r"validation=2\.0 must be a share"),
    ],
)
def test_what_a_dataset_does_not_have_is_named_with_what_it_has(folder, changed, message):
    with pytest.raises(ValueError, match=message) as caught:
        corpus(folder, **changed)
    assert "\n" not in str(caught.value)


def test_a_folder_without_data_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data\.dataset=.*empty") as caught:
        corpus(tmp_path / "empty")
    assert "\n" not in str(caught.value)


def hub_that_answers(monkeypatch, error: Exception) -> None:
    def dataset_info(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)


def test_without_a_network_one_line_says_what_to_do(monkeypatch, cache):
    hub_that_answers(monkeypatch, OSError("no route to host"))
    with pytest.raises(
        ConnectionError, match=r"dataset someone/stories cannot be fetched .* data\.path=.* data=stdlib"
    ) as caught:
        corpus("someone/stories")
    assert "\n" not in str(caught.value)
    assert not cache.exists()


@pytest.mark.parametrize("error", [ConnectionResetError("reset by peer"), httpx.ReadError("reset by peer")])
def test_a_network_that_breaks_halfway_leaves_nothing_behind(monkeypatch, cache, error):
    def broken(*_):
        yield {"text": ROWS[0]}
        raise error

    monkeypatch.setattr(corpora, "_newest_commit", lambda *_: COMMIT)
    monkeypatch.setattr(corpora, "_table", broken)
    with pytest.raises(ConnectionError, match="someone/stories cannot be fetched"):
        corpus("someone/stories")
    assert not [path for path in cache.rglob("*") if path.name.endswith((".tokens", ".partial"))]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", r"data\.dataset=someone/stories: the hub has no such dataset"),
        ("RevisionNotFoundError", r"data\.revision=v9: dataset someone/stories has no such branch"),
        ("GatedRepoError", r"data\.dataset=someone/stories: accept its terms"),
    ],
)
def test_what_the_hub_refuses_is_told(monkeypatch, error, message):
    from huggingface_hub import errors

    hub_that_answers(
        monkeypatch,
        getattr(errors, error)("404", response=httpx.Response(404, request=httpx.Request("GET", "https://x"))),
    )
    with pytest.raises(ValueError, match=message):
        corpus("someone/stories", revision="v9")


def test_a_name_that_cannot_be_one_is_told():
    with pytest.raises(ValueError, match=r"data\.dataset=a/b/c is neither a folder here nor a name of the hub"):
        corpus("a/b/c")


def test_numbers_of_tokens_may_be_short():
    assert [number_of_tokens(t) for t in (None, 5, "7", "2k", "1.5M", "10B", "1e9")] == [
        None,
        5,
        7,
        2000,
        1_500_000,
        10**10,
        10**9,
    ]
