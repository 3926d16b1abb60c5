"""What a sequence is made of is told by name, and the documents that stand out come first."""

import json
import random

import numpy as np
import pytest

from gptx.ingredients.data.corpora import text
from gptx.ingredients.data.documents import STRIDE, Catalogue, blamed
from gptx.ingredients.data.mixture import Mixture


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "cache"))


def corpus(path, **options):
    given = {"validation_path": None, "column": None, "tokenizer": "bytes", "context": 16, "seed": 0, "validation": 0.1}
    return text(path=str(path), **given | {"order": "shuffled"} | options)


@pytest.fixture
def letters(tmp_path):
    """Twenty-six files; each holds nothing but the letter that it is named after."""
    (tmp_path / "letters").mkdir()
    for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        (tmp_path / f"letters/{letter}.txt").write_text(letter * (5 + 7 * i))
    return tmp_path / "letters"


def seen(row, end: int) -> dict[str, int]:
    """The documents of a sequence of `letters`, read from its tokens: an end of text belongs to what comes before it."""
    found: dict[str, int] = {}
    name = ""
    for token in row.tolist():
        name = name if token == end else f"{chr(token)}.txt"
        found[name] = found.get(name, 0) + 1
    return found


def test_documents_are_those_that_the_tokens_are_of(letters):
    data = corpus(letters)
    first, count = data.windows - 20, 60  # two epochs, and so two ways to cut
    rows = data(first, count).inputs
    for told, row in zip(data.documents(first, count), rows, strict=True):
        if row[0] != data.encoding.eot_token:
            assert told == seen(row, data.encoding.eot_token)
    assert any(len(told) > 1 for told in data.documents(first, count))
    assert data.documents(first, 9, stride=5) == data.documents(first, 45)[::5]


def test_a_name_is_found_among_many_without_reading_them_all(tmp_path):
    names = [f"é {i} " + "x" * (i % 300) for i in range(3 * STRIDE + 5)]
    np.save(tmp_path / "train.starts.npy", np.arange(len(names)) * 10)
    (tmp_path / "train.names.jsonl").write_text("".join(json.dumps(name) + "\n" for name in names))
    catalogue = Catalogue(tmp_path / "train")
    assert len(catalogue.marks) == 4
    for first in (0, 1, STRIDE - 1, STRIDE, 2 * STRIDE + 700, len(names) - 3):
        assert catalogue.names(first, first + 3) == names[first : first + 3]
    assert catalogue.within(10 * STRIDE - 1, 10 * STRIDE + 12) == {
        names[STRIDE - 1]: 1, names[STRIDE]: 10, names[STRIDE + 1]: 2,
    }  # fmt: skip


def test_a_mixture_names_the_source_too(letters, tmp_path):
    (tmp_path / "digits.txt").write_text("0123456789" * 50)
    sources = {"letters": corpus(letters), "digits": corpus(tmp_path / "digits.txt")}
    data = Mixture(sources=sources, weights={"letters": 0.5, "digits": 0.5}, tokenizer="bytes", context=16, seed=0)
    told = data.documents(3, 100, stride=2)
    for row, documents in zip(data(3, 200).inputs[::2], told, strict=True):
        (source,) = {name.split("/")[0] for name in documents}
        assert source == ("digits" if chr(int(row[1])).isdigit() else "letters")
    met, all_names = {name for documents in told for name in documents}, list(data.names())
    assert set(all_names) >= met >= {"digits/digits.txt", "letters/z.txt"}
    assert len(set(all_names)) == len(all_names) == data.identity["train_documents"]
    assert data.blame(3, [9.0 if "digits/digits.txt" in d else 2.0 for d in told], 2)[0]["name"] == "digits/digits.txt"


@pytest.mark.parametrize("bad", [3, 40, 120])
def test_a_bad_shard_comes_first_however_the_sequences_are_shuffled(bad):
    chance = random.Random(bad)
    documents = [{f"shard_{i % 20 if i % 20 != 7 else 8:02}.jsonl:{i}": 128} for i in range(200)]
    documents[:bad] = [{f"shard_07.jsonl:{1000 + i}": 128} for i in range(bad)]
    documents[0] = {"shard_07.jsonl:1000": 100, "shard_99.jsonl:5": 28}  # a neighbour that shares a bad sequence
    chance.shuffle(documents)
    hard = {"shard_07.jsonl": 5.5, "shard_11.jsonl": 3.5}  # a clean shard may be hard
    losses = [max(hard.get(n.split(":")[0], 3.0) for n in d) + chance.gauss(0, 0.4) for d in documents]
    first, *others = blamed(documents, losses)
    within = [any(name.startswith("shard_07") for name in d) for d in documents]
    assert first["name"] == "shard_07.jsonl"
    assert first["sequences"] == sum(within)
    share = sum(d.get(n, 0) for d in documents for n in d if n.startswith("shard_07")) / (200 * 128)
    assert first["share"] == pytest.approx(share, abs=1e-4)
    assert first["above"] > 1.5
    assert sum(found["share"] for found in (first, *others)) == pytest.approx(1, abs=0.01)


def test_rows_of_a_single_table_are_told_apart():
    documents = [{f"train:{i}": 16} for i in range(50)]
    assert blamed(documents, [3.0 + (i == 17) * 2 for i in range(50)])[0]["name"] == "train:17"


def test_a_loss_that_is_not_finite_is_the_worst():
    losses = [2.0, 2.1, float("nan"), 1.9, 8.0]
    first = blamed([{f"{i}.txt": 8} for i in range(5)], losses)[0]
    assert first["name"] == "2.txt"
    assert json.loads(json.dumps(first)) == first


def test_where_there_is_nothing_else_nothing_stands_out():
    assert blamed([{"only.txt": 8}] * 3, [2.0, 3.0, 4.0]) == [
        {"name": "only.txt", "sequences": 3, "loss": 3.0, "above": 0.0, "share": 1.0}
    ]
