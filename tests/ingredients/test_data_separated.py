"""A separator ends a document, takes no token, and changes nothing where it does not occur."""

import json
import random

import numpy as np
import pytest

from gptx.ingredients.data import files
from gptx.ingredients.data.corpora import text
from gptx.ingredients.data.corpus import Windows
from gptx.ingredients.data.sources import split_pieces
from gptx.runs.same import moved_text, other_recipe, other_text

END = "<|endoftext|>"
STORIES = [f"story {i}: 中文 and " + "word " * (i % 7 + 5) + "the end." for i in range(200)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path_factory.mktemp("cache")))


def corpus(path, **changed) -> Windows:
    options = {"validation_path": None, "column": None, "tokenizer": "bytes", "context": 8, "seed": 0,
               "validation": 0.1, "order": "shuffled", "separator": END}  # fmt: skip
    return text(path=str(path), **options | changed)


def documents(data: Windows, split: str) -> list[str]:
    tokens = data.train_tokens if split == "train" else data.validation_tokens
    borders = np.flatnonzero(tokens == data.vocab_size - 1)
    return [data.encoding.decode(part[part != data.vocab_size - 1].tolist()) for part in np.split(tokens, borders)[:-1]]


@pytest.mark.parametrize("between_them", [f"\n{END}\n", END, f"\r\n{END}\r\n", f"\n\n{END}\n\n\n"])
def test_the_stories_of_a_file_are_the_rows_of_a_table(tmp_path, between_them):
    (tmp_path / "stories.txt").write_bytes(between_them.join([*STORIES, ""]).encode())
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": story}) + "\n" for story in STORIES))
    stories, rows = corpus(tmp_path / "stories.txt"), corpus(tmp_path / "rows.jsonl")
    every = documents(stories, "train") + documents(stories, "validation")
    assert sorted(every) == sorted(STORIES) == sorted(documents(rows, "train") + documents(rows, "validation"))
    assert stories.identity["train_documents"] + stories.identity["validation_documents"] == len(STORIES)
    assert documents(stories, "train") == [story for story in STORIES if story in set(documents(stories, "train"))]
    assert 0.05 <= len(stories.validation_tokens) / sum(len(story.encode()) + 1 for story in STORIES) <= 0.11


def test_any_cut_into_pieces_finds_the_same_separators():
    chance = random.Random(0)
    for _ in range(2000):
        separator = chance.choice(["|", "ab", "aa", "aba", "\n\n"])
        content = "".join(chance.choice(["a", "b", "|", "\n", separator]) for _ in range(chance.randrange(12)))
        cuts = sorted(chance.choices(range(len(content) + 1), k=3))
        pieces = [content[start:stop] for start, stop in zip([0, *cuts], [*cuts, None], strict=True)]
        found = [""]
        for piece, ends in split_pieces(pieces, separator):
            found[-1] += piece
            found += [""] * ends
        assert found[:-1] == content.split(separator)


def test_any_size_of_pieces_reads_the_same_documents(tmp_path, monkeypatch):
    (tmp_path / "stories.txt").write_text(f"\n{END}\n".join(STORIES[:30]))
    whole = corpus(tmp_path / "stories.txt", tokenizer="chars")
    monkeypatch.setattr(files, "CHUNK", 7)
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "other"))
    in_pieces = corpus(tmp_path / "stories.txt", tokenizer="chars")
    assert in_pieces.identity == whole.identity
    assert np.array_equal(in_pieces.train_tokens, whole.train_tokens)


def test_equal_stories_are_on_one_side_and_few_give_their_ends(tmp_path):
    (tmp_path / "twice.txt").write_text(f"\n{END}\n".join(STORIES + STORIES[::-1]))
    twice = corpus(tmp_path / "twice.txt")
    assert not set(documents(twice, "train")) & set(documents(twice, "validation"))
    assert twice.remarks == ["200 of 400 documents are copies of others"]
    (tmp_path / "few.txt").write_text(f"\n{END}\n".join(["a" * 90 + "x" * 10, "b" * 180 + "y" * 20]) + f"\n{END}\n")
    few = corpus(tmp_path / "few.txt")
    assert documents(few, "train") == ["a" * 90, "b" * 180]
    assert documents(few, "validation") == ["x" * 10, "y" * 20]


def test_files_without_a_separator_are_documents_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_text("\n whole, with its line breaks \n\n")
    (tmp_path / "b.txt").write_text(f"\ufeffone\n{END}\n{END}\ntwo\n")
    (tmp_path / "held.txt").write_text("held out\n" * 3)
    data = corpus(tmp_path / "[ab].txt", validation_path=str(tmp_path / "held.txt"))
    assert documents(data, "train") == ["\n whole, with its line breaks \n\n", "one", "two"]
    assert documents(data, "validation") == ["held out\n" * 3]
    assert [*data.names()] == ["a.txt:0", "b.txt:0", "b.txt:1"]


def test_the_separator_is_a_choice_and_of_the_digest(tmp_path):
    (tmp_path / "stories.txt").write_text("\n###\n".join(STORIES))
    plain, divided = corpus(tmp_path / "stories.txt"), corpus(tmp_path / "stories.txt", separator="###")
    assert plain.identity == corpus(tmp_path / "stories.txt", separator=None).identity
    assert plain.identity["train_documents"] == 1
    assert divided.identity["train_documents"] > 150
    assert other_text(plain.identity, divided.identity)
    with pytest.raises(ValueError, match=r"^data\.separator is empty; null is none"):
        corpus(tmp_path / "stories.txt", separator="")


def test_a_recipe_of_before_there_were_separators_is_the_same_where_none_occurs():
    old = {"recipe": {"data.path": "x.txt", "steps": 6}, "data": {"digest": "0" * 64}}
    new = {"data": {"path": "x.txt", "separator": END}, "steps": 6}
    assert other_recipe(old, new) == []
    assert moved_text(old, new) == ["data.separator"]  # so that the digest decides


def test_the_command_line_takes_it_quoted(composed):
    assert composed("data.separator='<|endoftext|>'").data.separator == END == composed().data.separator
    assert composed("data.separator=null").data.separator is None
