"""What a path means: each file once, behind links too, decompressed; nothing is left out without a word."""

import bz2
import glob
import gzip
import lzma
import os
import random
from pathlib import Path

import pyarrow
import pytest

from gptx.ingredients.data import files as data_files
from gptx.ingredients.data.corpora import text
from gptx.ingredients.data.files import files_below, found, text_at
from gptx.ingredients.data.sources import held_out

PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
          ".zst": lambda content: pyarrow.Codec("zstd").compress(content, asbytes=True)}  # fmt: skip
CONTENT = "naïve 中文 text\r\n" * 500


def names(path: Path | str) -> list[str]:
    return [file.name for file in text_at(str(path))[0]]


@pytest.mark.parametrize("suffix", PACKED)
def test_a_compressed_text_is_the_text(tmp_path, suffix, monkeypatch):
    (tmp_path / f"a.txt{suffix}").write_bytes(PACKED[suffix](CONTENT.encode()))
    (tmp_path / f"B.TXT{suffix.upper()}").write_bytes(PACKED[suffix](CONTENT.encode()) * 2)  # as appended to
    (tmp_path / "plain.txt").write_bytes(CONTENT.encode())
    monkeypatch.setattr(data_files, "CHUNK", 7)
    files, left_out = text_at(str(tmp_path))
    assert left_out == []
    twice, once, plain = ("".join(file.whole.pieces()) for file in files)
    assert (once, twice) == (CONTENT, CONTENT * 2)
    assert files[1].sha256 == files[2].sha256
    assert plain == CONTENT


@pytest.mark.parametrize("suffix", PACKED)
def test_a_damaged_one_is_named_in_one_line(tmp_path, suffix):
    whole = PACKED[suffix](CONTENT.encode())
    for content in (whole[:-9], b"not compressed at all"):
        (tmp_path / f"a.txt{suffix}").write_bytes(content)
        with pytest.raises(ValueError, match=rf"a\.txt\{suffix} cannot be read: \w+") as caught:
            text_at(str(tmp_path / f"a.txt{suffix}"))
        assert "\n" not in str(caught.value)
    (tmp_path / "b.txt").write_text("text")
    files, left_out = text_at(str(tmp_path))
    assert [file.name for file in files] == ["b.txt"]
    assert "cannot be read" in left_out[0]


def test_folders_and_files_behind_links_are_read_once(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "real", outside / "deep", outside / ".hidden"):
        folder.mkdir(parents=True)
        (folder / "x.txt").write_text(str(folder))
    (inside / "a_link").symlink_to("real")  # to what is read anyway: its own name counts
    (inside / "a_copy.txt").symlink_to("real/x.txt")
    (inside / "more").symlink_to("../outside")
    (inside / "more_again").symlink_to("../outside/deep")
    (inside / "real" / "up").symlink_to("..")  # cycles
    (outside / "back").symlink_to("../inside")
    (outside / "deep" / "all").symlink_to(tmp_path)
    assert names(inside) == ["more/deep/x.txt", "real/x.txt"]
    assert len({path.resolve() for path in files_below(inside)}) == 2
    assert names(inside / "more") == ["back/real/x.txt", "deep/x.txt"]


@pytest.mark.parametrize("name", ["x.txt", "x.parquet", "x.jsonl", "x.json", "x.jsonl.zst"])
def test_what_a_clone_has_in_the_place_of_a_large_file_is_no_text(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0f\n")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match=rf"{name} is a pointer of Git LFS, not the file; 'git lfs pull'"):
            text(path=str(path), validation_path=None, column=None, tokenizer="bytes", context=8, seed=0,
                 validation=0.1, order="shuffled")  # fmt: skip


def test_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "gone").symlink_to("nowhere")
    files, left_out = text_at(str(tmp_path))
    assert [file.name for file in files] == ["a.txt"]
    assert left_out == [f"{tmp_path}/gone is a link to nothing"]


@pytest.mark.parametrize("pattern", ["**/*.txt", "**/**/*.txt", "**", "**/**", "*/**/*.txt"])
def test_a_pattern_that_matches_a_file_several_ways_reads_it_once(tmp_path, pattern):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("deep/b.txt", "deep/er/c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "linked").symlink_to("deep")
    for name in ("up", "here"):  # two cycles, of which glob makes 2^40 paths
        (tmp_path / "deep" / "er" / name).symlink_to("../er")
    assert [path.name for path in sorted(found(str(tmp_path / pattern))[1])] == ["b.txt", "c.txt"]
    assert names(tmp_path / "deep" / "**")[0] == "b.txt"


def test_patterns_match_what_they_match_for_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(0)
    for number in range(60):
        file = Path(
            *chance.choices("abc", k=chance.randrange(4)), f"{chance.choice('xyz')}{number}.{chance.choice('mt')}"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    (tmp_path / "[odd] dir").mkdir()
    (tmp_path / "[odd] dir" / "x.t").write_text("x")
    for pattern in ("**", "**/*.t", "a/**/*.t", "*/**", "**/b/*", "**/b/**/*.m", "a**/*", "**/x*", "./**/*.t", "?/**/c/*",
                    "[[]odd] dir/**", "*.t", f"{tmp_path}/**/*.t"):  # fmt: skip
        expected = {os.path.normpath(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)}
        assert {os.path.normpath(path) for path in found(pattern)[1]} == expected, pattern


def test_a_byte_order_mark_is_no_text(tmp_path, monkeypatch):
    for size in (1, 2, 1 << 18):
        monkeypatch.setattr(data_files, "CHUNK", size)
        (tmp_path / "a.txt").write_text("\ufefftext with \ufeff one inside", encoding="utf-8")
        (file,), _ = text_at(str(tmp_path / "a.txt"))
        assert "".join(file.whole.pieces()) == "text with \ufeff one inside"
    held = held_out("", [file], share=0.5)
    assert "".join(held[0][0].pieces()) + "".join(held[1][0].pieces()) == "text with \ufeff one inside"
    (tmp_path / "b.txt").write_text("\ufeff", encoding="utf-8")
    with pytest.raises(ValueError, match=r"b\.txt is empty"):
        text_at(str(tmp_path / "b.txt"))
