"""Equal documents train or validate together, and a text without copies is what it always was."""

import hashlib
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from gptx.ingredients.data.corpora import text
from gptx.ingredients.data.corpus import Windows
from gptx.ingredients.data.documents import contents
from gptx.ingredients.data.files import TextFile
from gptx.ingredients.data.mixture import Mixture
from gptx.ingredients.data.sources import held_out
from gptx.runs.same import other_text


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def corpus(path, **changed) -> Windows:
    options = {"validation_path": None, "column": None, "tokenizer": "bytes", "context": 16, "seed": 0,
               "validation": 0.1, "order": "shuffled", "separator": "<|endoftext|>"}  # fmt: skip
    return text(path=str(path), **options | changed)


def documents(tokens) -> list[bytes]:
    return [part[part < 256].astype(np.uint8).tobytes() for part in np.split(tokens, np.flatnonzero(tokens == 256))][
        :-1
    ]


def write(folder: str, texts: dict[str, str]) -> None:
    Path(folder).mkdir()
    for name, content in texts.items():
        (Path(folder) / name).write_text(content)


def by_name_alone(files: list[TextFile], share: float) -> set[str]:
    """What was held out before copies were looked at."""
    budget = room = share * sum(file.bytes for file in files)
    chosen = set()
    for file in sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest()):
        if file.bytes <= room:
            chosen.add(file.name)
            room -= file.bytes
    return chosen if room <= budget / 2 else set()


def test_copies_stay_together_and_nothing_else_changes_the_split():
    chance = random.Random(1)
    parted = kept = 0
    for _ in range(500):
        kinds = chance.choice([3, 30, 10_000])
        drawn = [(chance.randrange(kinds), number) for number in range(chance.randrange(1, 60))]
        files = [TextFile(f"{n}.txt", Path(), str(kind), 2 + kind % 97, 2 + kind % 97, (0, 0)) for kind, n in drawn]
        share = chance.choice([0.05, 0.1, 0.5])
        train_parts, held_parts = held_out("", files, share=share)
        train, held = ({part.file.sha256 for part in parts} for parts in (train_parts, held_parts))
        names, before = {part.file.name for part in held_parts}, by_name_alone(files, share)
        apart = {file.sha256 for file in files if file.name in before} & {
            file.sha256 for file in files if file.name not in before
        }
        if any(part.stop < part.file.characters for part in train_parts):  # each gives its end
            assert apart or not before
            continue
        total = sum(file.bytes for file in files)
        alone = sum(part.file.bytes for part in held_parts if part.file.sha256 not in train)
        assert alone >= share * total / 2  # what is left of it without copies of what is trained on
        assert not train & held or names == before  # which the corpus leaves out
        assert apart or names == before
        assert len(train_parts) + len(held_parts) == len(files)
        assert sum(part.file.bytes for part in held_parts) <= share * total
        parted += bool(apart) and not train & held
        kept += bool(train & held)
    assert parted > 50
    assert kept > 50


def test_every_file_twice_trains_on_nothing_that_is_held_out():
    texts = {f"{place}{i:03}.txt": f"document {i} of many\n" * 3 for i in range(200) for place in "ab"}
    write("twice", texts)
    data = corpus("twice")
    train, held = documents(data.train_tokens), documents(data.validation_tokens)
    assert len(train) + len(held) == 400
    assert 20 <= len(held) <= 40
    assert not set(train) & set(held)
    assert data.remarks == ["200 of 400 documents are copies of others"]
    assert corpus("twice").remarks == data.remarks  # at every start


def test_a_single_copy_leaves_the_held_out_text_and_the_training_text_is_what_it_was():
    texts = {f"{i:03}.txt": f"document {i} of many\n" * 3 for i in range(100)}
    write("before", texts)
    held = set(documents(corpus("before").validation_tokens))
    copied = next(name for name, content in texts.items() if content.encode() in held)
    trained = next(name for name, content in texts.items() if content.encode() not in held)
    write("after", texts | {trained: texts[copied]})
    before, after = corpus("before"), corpus("after")
    assert set(documents(after.validation_tokens)) == held - {texts[copied].encode()}
    assert after.identity["validation_documents"] == before.identity["validation_documents"] - 1 == len(held) - 1
    assert len(documents(after.train_tokens)) == len(documents(before.train_tokens))
    assert after.remarks == [
        f"1 of 100 documents are copies of others; 1 of {len(held)} held-out documents left out, "
        "which are also in the training text"
    ]
    earlier = after.identity | {fact: before.identity[fact] for fact in ("validation_tokens", "validation_documents")}
    assert other_text(earlier, after.identity) == []  # a run of a version that held the copy out goes on
    assert other_text(before.identity, after.identity)


PINNED = {
    "folder": ("4a82b7a37b5108d1", "7c9eb49d749d1190", 7302, 808),
    "folder/**/*.txt": ("4a82b7a37b5108d1", "7c9eb49d749d1190", 7302, 808),
    "one.txt": ("a83138aa49512a3a", "b41b2d11dafccbb8", 3952, 440),
    "few": ("81c34ad300554e38", "d6afd683ad4f6a08", 1622, 182),
    "rows.jsonl": ("05bd483d0439e93e", "45726184c772ef57", 4199, 291),
}


def test_a_text_without_copies_and_separators_is_what_it_was_in_the_first_versions():
    write("folder", {})
    write("folder/deep", {})
    for i in range(60):
        path = Path("folder", "deep" if i % 3 == 0 else "", f"{i:02}.txt")
        path.write_text(f"document {i}: naïve café\r\n" * (i % 5 + 3), encoding="utf-8", newline="")
    write("few", {"a.txt": "a" * 900, "b.txt": "b" * 900})
    Path("one.txt").write_text("".join(f"line {i}\n" for i in range(500)))
    Path("rows.jsonl").write_text("".join(json.dumps({"text": f"row {i} and more words"}) + "\n" for i in range(200)))
    for path, pinned in PINNED.items():
        facts = corpus(path).identity
        found = (facts["digest"][:16], facts["content"][:16], facts["train_tokens"], facts["validation_tokens"])
        assert found == pinned, path
    facts = corpus("one.txt", validation_path="few/a.txt").identity
    assert (facts["digest"][:16], facts["content"][:16]) == ("b63f15ffdbe03e83", "08ce8875f248f258")


def test_held_out_text_that_the_user_gives_and_trains_on_is_a_warning():
    write("train", {f"{i}.txt": f"document {i} of some\n" * 3 for i in range(9)})
    write("held", {f"{i}.txt": f"document {i} of some\n" * 3 for i in range(7, 12)})
    data = corpus("train", validation_path="held")
    assert data.remarks == [
        "2 of 14 documents are copies of others",
        "warning: 2 of 5 held-out documents are trained on as well",
    ]


def test_no_source_of_a_mixture_trains_on_what_another_holds_out():
    texts = {f"{i:03}.txt": f"document {i} of many\n" * (i % 3 + 1) for i in range(300)}
    write("a", texts)
    write("b", {f"{i}-{name}": content for i, (name, content) in enumerate(texts.items()) if i < 250})
    write("c", {f"other {name}": f"quite other {content}" for name, content in texts.items()})
    weights = {"a": 0.4, "b": 0.3, "c": 0.3}

    def mixed(*names: str) -> Mixture:
        chosen = {name: weights[name] / sum(weights[n] for n in names) for name in names}
        return Mixture(sources={name: corpus(name) for name in names}, weights=chosen, tokenizer="bytes", context=16,
                       seed=0)  # fmt: skip

    data, apart = mixed("a", "b", "c"), mixed("a", "c")
    train = {document for source in data.sources.values() for document in documents(source.train_tokens)}
    held = [document for source in data.sources.values() for document in documents(source.validation_tokens)]
    assert not train & set(held)
    assert data.identity["validation_documents"] == len(held)
    assert data.identity["validation_tokens"] == sum(len(s.validation_tokens) for s in data.sources.values())
    lost = [corpus(name).identity["validation_documents"] - data.sources[name].identity["validation_documents"]
            for name in "abc"]  # fmt: skip
    assert lost[0] > 5 < lost[1]
    assert lost[2] == 0
    assert data.remarks == [
        f"{name}: {count} held-out documents left out, since another source trains on the same"
        for name, count in zip("ab", lost, strict=False)
    ]
    assert apart.remarks == []
    assert apart.identity["sources"] == {name: corpus(name).identity for name in "ac"}
    again = Mixture(sources=data.sources, weights=weights, tokenizer="bytes", context=16, seed=0)
    assert again.identity == data.identity


def test_a_source_that_holds_out_nothing_of_its_own_is_named():
    write("a", {f"{i:03}.txt": f"document {i} of many\n" * 3 for i in range(100)})
    sources = {"a": corpus("a"), "b": corpus("a", validation_path="a")}
    with pytest.raises(ValueError, match=r"data\.sources\.a: another source trains on .* of a has 0 tokens"):
        Mixture(sources=sources, weights={"a": 0.5, "b": 0.5}, tokenizer="bytes", context=16, seed=0)


def test_numbers_of_texts_are_kept_and_made_anew_where_they_are_damaged(cache):
    write("a", {f"{i:03}.txt": f"document {i % 90} of many\n" * 3 for i in range(100)})
    remarks = corpus("a").remarks
    (kept,) = cache.glob("*/*/train.contents.npy")
    for content in (b"", kept.read_bytes()[:-8], b"nonsense"):
        kept.write_bytes(content)
        assert corpus("a").remarks == remarks == ["10 of 100 documents are copies of others"]
    numbers = contents(kept.with_name("train"), corpus("a").train_tokens)
    assert np.array_equal(np.load(kept), numbers)
