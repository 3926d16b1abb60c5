"""The tokenising benchmark measures what it says."""

from gptx.bench.storage import bench_tokens, repeated_text


def test_text_is_repeated_until_it_has_the_bytes(tmp_path):
    (tmp_path / "x.txt").write_text("0123456789" * 100)
    source = repeated_text(str(tmp_path / "x.txt"), 10_500)
    documents = [(split, "".join(pieces)) for stream in source.streams() for split, _, pieces in stream]
    assert [split for split, _ in documents] == ["train"] * 10 + ["validation"]
    assert {text for _, text in documents} == {"0123456789" * 100}


def test_it_prints_speed_and_memory_for_one_and_for_all_workers(tmp_path, capsys):
    (tmp_path / "x.txt").write_text("to be or not to be " * 5000)
    bench_tokens(file=str(tmp_path / "x.txt"), tokenizer="bytes", megabytes=1, repeats=1)
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("bytes, 1 MB of")
    assert "MB/s per core" in header
    for row in rows:
        assert float(row.split()[1]) > 0.1
        assert 10 < float(row.split()[-2]) < 1000
