"""The token cache is complete or absent, whoever writes it, however often it is killed or damaged."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gptx.ingredients.data import cache as token_cache
from gptx.ingredients.data.cache import FORMAT, tokenised
from gptx.ingredients.data.files import text_at
from gptx.ingredients.data.sources import Source, held_out, text_files

ROOT = Path(__file__).parents[2]
PREPARE = """
import sys, time
from gptx.ingredients.data import cache
from gptx.ingredients.data.files import text_at
from gptx.ingredients.data.sources import text_files

def slow(encoding, quick=cache.encoder):
    def encode(text):
        print("tokenising", flush=True)
        time.sleep(float(sys.argv[2]))
        return quick(encoding)(text)
    return encode

cache.encoder = slow
files, left_out = text_at(sys.argv[1])
print(cache.tokenised(text_files("text", sys.argv[1], files, None, 0.1, left_out), "bytes").name)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of the finished caches."""
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / FORMAT


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 1000)
    return tmp_path / "text.txt"


def source(path: Path) -> Source:
    files, left_out = text_at(str(path))
    return text_files("text", str(path), files, None, 0.1, left_out)


def process(text: Path, *, seconds: float = 0, prefix: str = "") -> subprocess.Popen:
    """Prepare `text` in another process that sleeps for `seconds` after each document."""
    return subprocess.Popen(
        [sys.executable, "-c", prefix + PREPARE, str(text), str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stream(folder: Path) -> bytes:
    """The text that the token files hold."""
    tokens = [np.fromfile(folder / f"{split}.tokens", dtype="<u2") for split in ("train", "validation")]
    return b"".join(bytes(part[part < 256].tolist()) for part in tokens)


def finished(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def test_the_second_time_nothing_is_written(text, capsys):
    first = tokenised(source(text), "bytes")
    written = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert "tokenising" in capsys.readouterr().err
    assert tokenised(source(text), "bytes") == first
    assert capsys.readouterr().err == ""
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == written
    assert stream(first) == text.read_bytes()


def test_starts_and_names_of_the_documents_are_kept(tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.txt").write_text("x" * (i + 1))
    written = tokenised(source(tmp_path / "*.txt"), "bytes")
    splits = held_out("", text_at(str(tmp_path / "*.txt"))[0], share=0.1)
    for split, documents in zip(("train", "validation"), splits, strict=True):
        tokens = np.fromfile(written / f"{split}.tokens", dtype="<u2")
        starts = np.load(written / f"{split}.starts.npy")
        assert starts.tolist() == [0, *(np.flatnonzero(tokens == 256)[:-1] + 1)]
        names = (written / f"{split}.names.jsonl").read_text().splitlines()
        assert [json.loads(name) for name in names] == [document.file.name for document in documents]


def test_another_text_or_tokenizer_or_share_has_its_own_cache(text, folder):
    folders = {tokenised(source(text), tokenizer) for tokenizer in ("bytes", "chars")}
    text.write_text(text.read_text().replace("dog", "cat"))
    folders.add(tokenised(source(text), "bytes"))
    files, _ = text_at(str(text))
    folders.add(tokenised(text_files("text", "", files, None, 0.2), "bytes"))
    assert len(folders) == len(finished(folder)) == 4


def test_processes_that_start_at_once_write_one_cache(text, folder):
    processes = [process(text, seconds=0.5) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    names = finished(folder)
    assert len(names) == 1
    assert [out.splitlines()[-1] for out, _ in outputs] == names * 3
    assert sum("data: tokenising" in err for _, err in outputs) == 1
    assert sum("waiting for another process" in err for _, err in outputs) == 2
    assert stream(folder / names[0]) == text.read_bytes()


def test_a_process_killed_halfway_leaves_nothing_that_counts(text, folder, tmp_path):
    killed = process(text, seconds=60)
    assert killed.stdout.readline() == "tokenising\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)
    (left_over,) = finished(folder)
    assert left_over.endswith(".partial")
    (tmp_path / "other.txt").write_text("another text clears away what the killed process left\n" * 10)
    other = tokenised(source(tmp_path / "other.txt"), "bytes")
    assert finished(folder) == [other.name]
    assert stream(tokenised(source(text), "bytes")) == text.read_bytes()
    assert len(finished(folder)) == 2


def test_what_a_living_process_writes_is_not_cleared_away(text, folder, tmp_path):
    living = process(text, seconds=1)
    assert living.stdout.readline() == "tokenising\n"
    (tmp_path / "other.txt").write_text("another text\n" * 10)
    tokenised(source(tmp_path / "other.txt"), "bytes")
    out, _ = living.communicate(timeout=30)
    assert living.returncode == 0
    assert stream(folder / out.splitlines()[-1]) == text.read_bytes()


def test_a_failure_halfway_leaves_nothing_behind(text, folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(token_cache, "save_encoding", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tokenised(source(text), "bytes")
    assert finished(folder) == []


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [shorten, flip_a_bit, Path.unlink])
def test_a_damaged_cache_is_made_anew_and_named(text, damage, capsys):
    whole = tokenised(source(text), "chars")
    contents = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert len(contents) == 8
    for name in contents:
        damage(whole / name)
        capsys.readouterr()
        assert tokenised(source(text), "chars") == whole
        assert f"warning: the token cache {whole} is damaged" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in whole.iterdir()} == contents


def test_a_large_file_is_checked_by_its_size_alone(text, monkeypatch, capsys):
    whole = tokenised(source(text), "bytes")
    monkeypatch.setattr(token_cache, "CHECKED", 10_000)  # less than the training tokens, more than the rest
    monkeypatch.setattr(
        token_cache, "checksum", lambda path, quick=token_cache.checksum: opened.append(path) or quick(path)
    )
    opened: list[Path] = []
    tokenised(source(text), "bytes")
    assert whole / "train.tokens" not in opened
    assert whole / "tokenizer.json" in opened
    shorten(whole / "train.tokens")
    tokenised(source(text), "bytes")
    assert "train.tokens has" in capsys.readouterr().err


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_cache_that_cannot_be_there_is_named(text, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="cannot be written") as caught:
        tokenised(source(text), "bytes")
    assert str(tmp_path / "file") in one_line(caught)
    assert "set GPTX_CACHE" in one_line(caught)


def test_a_read_only_cache_is_named_but_what_it_holds_is_used(text, tmp_path, folder):
    whole = tokenised(source(text), "bytes")
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    try:
        assert tokenised(source(text), "bytes") == whole
        with pytest.raises(OSError, match=r"cannot be written \(Permission denied\)") as caught:
            tokenised(source(text), "chars")
        assert str(folder) in one_line(caught)
    finally:
        folder.chmod(0o700)


def test_a_full_disk_is_named_and_not_filled(text, folder):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    _, err = process(text, prefix=limit).communicate(timeout=30)
    last = err.strip().splitlines()[-1]
    assert last.startswith("OSError: the token cache")
    assert str(folder) in last
    assert "GPTX_CACHE" in last
    assert finished(folder) == []


def test_the_cache_is_in_the_users_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("GPTX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in token_cache.cache_folder().parents


def test_an_open_that_finds_the_cache_is_quick(text):
    tokenised(source(text), "bytes")
    start = time.perf_counter()
    tokenised(source(text), "bytes")
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe:300"])
def test_any_number_of_workers_writes_the_same_files(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(token_cache, "CHUNK", 500)  # many jobs
    for i in range(60):
        (tmp_path / f"{i:02}.txt").write_text(f"document {i} of some words\n" * (i * 7 % 50 + 1))
    contents = []
    for workers in (1, 2, 7):
        monkeypatch.setenv("GPTX_CACHE", str(tmp_path / f"cache{workers}"))
        written = tokenised(source(tmp_path / "*.txt"), tokenizer, workers=workers)
        contents.append({path.name: path.read_bytes() for path in written.iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]["train.tokens"]) > 10_000


def test_results_come_in_order_and_workers_are_not_far_ahead():
    begun = []

    def endless():
        for i in itertools.count():
            begun.append(i)
            yield i

    def square(number):
        time.sleep(0.01 if number % 3 == 0 else 0)  # so that later ones are ready before
        return number**2

    results = token_cache.in_order(square, endless(), workers=3)
    assert list(itertools.islice(results, 20)) == [i**2 for i in range(20)]
    results.close()
    assert len(begun) <= 20 + 3


def test_a_failing_worker_is_heard():
    with pytest.raises(ZeroDivisionError):
        list(token_cache.in_order(lambda number: 1 / number, iter([1, 0, 1]), workers=2))


def test_each_tokenizer_has_tokens_of_its_own(text):
    """Tokens are never read by another tokenizer than the one that made them."""
    small, large = (tokenised(source(text), f"bpe:{size}") for size in (260, 264))
    assert small != large
    (small / "meta.json").write_bytes((large / "meta.json").read_bytes())
    assert tokenised(source(text), "bpe:260") == small
    recipe = json.loads((small / "meta.json").read_bytes())["recipe"]
    assert recipe["tokenizer"] == "bpe:260"
