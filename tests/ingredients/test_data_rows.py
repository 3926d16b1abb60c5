"""A row of a table is a document, whichever of the formats holds it, and tables are the data where they are."""

import bz2
import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from gptx.ingredients.data.corpora import text
from gptx.ingredients.data.corpus import Windows

SUFFIXES = (".jsonl", ".JSONL", ".ndjson", ".json", ".jsonl.gz", ".json.bz2", ".jsonl.zst", ".parquet", ".PARQUET",
            ".arrow", ".stream.arrow")  # fmt: skip
PACKED = {".gz": gzip.compress, ".bz2": bz2.compress,
          ".zst": lambda content: pyarrow.Codec("zstd").compress(content, asbytes=True)}  # fmt: skip
ROWS = [{"text": f"row {i}: naïve 中文\nand more", "number": i} for i in range(300)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GPTX_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path: Path, rows: list[dict]) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = pyarrow.Table.from_pylist(rows)
    if path.suffix.lower() == ".parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=7)
    elif path.suffix == ".arrow":
        new = pyarrow.ipc.new_stream if ".stream" in path.name else pyarrow.ipc.new_file
        with new(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    else:
        path.write_bytes(PACKED.get(path.suffix, bytes)(lines))
    return path


def corpus(path, *, column=None, validation_path=None, validation=0.2, tokenizer="bytes") -> Windows:
    return text(path=str(path), validation_path=validation_path and str(validation_path), column=column, seed=0,
                tokenizer=tokenizer, context=8, validation=validation, order="shuffled",
                separator="<|endoftext|>")  # fmt: skip


def documents(data: Windows, split: str) -> list[str]:
    tokens = data.train_tokens if split == "train" else data.validation_tokens
    return data.encoding.decode(tokens.tolist()).split("<|endoftext|>")[:-1]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_row_is_a_document_in_order_and_in_one_split(tmp_path, suffix):
    data = corpus(write(tmp_path / f"x{suffix}", ROWS))
    train, held = documents(data, "train"), documents(data, "validation")
    every = [row["text"] for row in ROWS]
    assert sorted(train + held) == sorted(every)
    assert train == [row for row in every if row in set(train)]
    assert data.identity["train_documents"] == len(train)
    assert 0.12 < len(held) / len(every) < 0.28  # 0.2 and three deviations of a coin thrown 300 times


def test_the_formats_give_the_same_tokens(tmp_path):
    held = {tuple(documents(corpus(write(tmp_path / f"x{suffix}", ROWS)), "validation")) for suffix in SUFFIXES}
    assert len(held) == 1


def test_the_same_text_is_never_in_both_splits(tmp_path):
    data = corpus(write(tmp_path / "x.jsonl", ROWS + ROWS[::-1]))
    assert not set(documents(data, "train")) & set(documents(data, "validation"))


def test_a_folder_or_a_glob_of_tables_is_read_in_the_order_of_names(tmp_path):
    write(tmp_path / "b.jsonl", ROWS[100:200])
    write(tmp_path / "a.parquet", ROWS[:100])
    write(tmp_path / "c.jsonl.gz", ROWS[200:])
    one = documents(corpus(tmp_path), "train")
    assert one == documents(corpus(tmp_path / "*.*"), "train")
    assert one == sorted(one, key=lambda row: int(row.split()[1].rstrip(":")))


def test_a_column_means_the_tables_of_a_folder_alone(tmp_path):
    write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "README.md").write_text("about these rows")
    data = corpus(tmp_path, column="text")
    assert "about" not in "".join(documents(data, "train") + documents(data, "validation"))
    assert data.identity["train_documents"] > 200


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pattern", ["", "**", "*/*"])
def test_in_the_copy_of_a_dataset_its_tables_are_the_data(tmp_path, suffix, pattern):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / f"train{suffix}", ROWS)
    about = ("README.md", "data/readme_zh.txt", "LICENSE", "dataset_infos.json", ".gitattributes", "data/image.png")
    for name in about:
        (tmp_path / name).write_text("\0" if name.endswith("png") else "about these rows\n" * 300)
    data = corpus(tmp_path / pattern)
    assert sorted(documents(data, "train") + documents(data, "validation")) == sorted(row["text"] for row in ROWS)
    (told,) = data.remarks
    read = [name for name in about if name[0] != "." and ("/" in name or pattern != "*/*")]
    assert told.startswith(f"{len(read)} files left out: ")
    assert all(f"{tmp_path}/{name} is no table" in told for name in read)
    assert corpus(tmp_path / pattern).remarks == data.remarks


@pytest.mark.slow
def test_what_is_left_out_is_said_at_every_start_and_an_earlier_run_goes_on(tmp_path, command):
    (tmp_path / "clone").mkdir()
    write(tmp_path / "clone" / "rows.jsonl", ROWS)
    (tmp_path / "clone" / "README.md").write_text("about these rows\n" * 300)
    words = ("data.path=clone", "name=clone", "threads=1")
    corpus(tmp_path / "clone")  # so that the run does not prepare the text
    done = command("train", *words)
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("runs/clone/*/run.json")
    told = "1 file left out: clone/README.md is no table"
    assert told in done.stdout + done.stderr
    assert told in record.with_name("train.log").read_text()
    facts = json.loads(record.read_text())
    assert facts["data_remarks"] == [told]
    assert facts["recipe"].pop("data.separator") == "<|endoftext|>"
    del facts["data_remarks"]
    record.write_text(json.dumps(facts))  # as an earlier version left it
    assert "already finished" in command("train", *words).stdout


def test_what_datasets_saves_to_the_disk_is_read(tmp_path):
    import datasets

    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows.select(range(200)), "test": rows.select(range(200, 300))}).save_to_disk(
        tmp_path / "saved", num_proc=None
    )
    loaded = datasets.load_from_disk(tmp_path / "saved")
    loaded["train"].map(lambda row: {"text": "other " + row["text"]})  # leaves cache-….arrow there
    assert [*(tmp_path / "saved").glob("*/cache-*.arrow")]
    data = corpus(tmp_path / "saved")
    assert sorted(documents(data, "train") + documents(data, "validation")) == sorted(row["text"] for row in ROWS)
    assert "cache-" in data.remarks[0]


def test_tables_beside_other_text_are_refused_with_both_named(tmp_path):
    write(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "chapter.txt").write_text("a chapter " * 100)
    for path in (tmp_path, tmp_path / "*"):
        with pytest.raises(
            ValueError, match=r"rows\.jsonl.*chapter\.txt: data\.column=text.*data\.path=.*/\*\*/\*\.txt"
        ) as caught:
            corpus(path)
        assert "\n" not in str(caught.value)
    assert corpus(tmp_path, column="text").identity["train_documents"] > 200
    assert corpus(tmp_path / "**" / "*.txt").identity["train_documents"] == 1
    with pytest.raises(ValueError, match=r"data\.path=.*data\.validation_path=.*one has tables, one other text"):
        corpus(tmp_path / "chapter.txt", validation_path=tmp_path / "rows.jsonl")


def test_a_folder_whose_only_text_is_about_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("about these rows\n" * 300)
    (tmp_path / "LICENSE").write_text("free\n" * 300)
    assert corpus(tmp_path).identity["train_documents"] == 2
    (tmp_path / "rows.zip").write_bytes(b"PK\3\4\0\0")
    with pytest.raises(
        ValueError, match=r"about the rest, such as .*LICENSE.* left out: .*rows\.zip is binary"
    ) as caught:
        corpus(tmp_path)
    assert "\n" not in str(caught.value)
    assert corpus(tmp_path / "README.md").identity["train_documents"] == 1
    (tmp_path / "chapter.txt").write_text("a chapter " * 100)
    assert "rows.zip is binary" in corpus(tmp_path).remarks[0]


@pytest.mark.parametrize("name", ["train.csv", "train.TSV", "train.csv.gz", "all.json"])
def test_rows_that_are_not_read_as_such_are_refused_beside_a_readme(tmp_path, name):
    content = json.dumps(ROWS[:40], indent=1).encode()
    (tmp_path / "README.md").write_text("about these rows\n" * 300)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(ValueError, match=rf"holds README\.md and {name}, whose rows .* data\.path=.*{name}$"):
        corpus(tmp_path)
    assert corpus(tmp_path / name).identity["train_documents"] == 1
    (tmp_path / "chapter.txt").write_text("a chapter " * 100)
    facts = corpus(tmp_path).identity  # a folder of text of all kinds
    assert facts["train_documents"] + facts["validation_documents"] == 3


def test_blank_lines_before_and_between_the_rows_of_a_json_are_none(tmp_path):
    (tmp_path / "README.md").write_text("about these rows\n" * 300)
    (tmp_path / "rows.json").write_text("\n \n" + "\n\n".join(map(json.dumps, ROWS)))
    data = corpus(tmp_path)
    assert sorted(documents(data, "train") + documents(data, "validation")) == sorted(row["text"] for row in ROWS)


def test_a_json_that_is_no_rows_a_line_is_text(tmp_path):
    for content in ('{"text": "one object in one line"}', json.dumps(ROWS[:40], indent=1), '[{"text": "x"}]\n' * 40):
        (tmp_path / "x.json").write_text(content + " " * 400)
        assert corpus(tmp_path / "x.json").identity["train_documents"] == 1


def test_half_a_surrogate_pair_is_the_replacement_character(tmp_path):
    lines = [r'{"text": "half \ud83d of it"}', r'{"text": "\ude00\ud83d"}', r'{"text": "whole \ud83d\ude00"}'] * 9
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    data = corpus(tmp_path / "x.jsonl", validation_path=write(tmp_path / "y.jsonl", ROWS))
    assert documents(data, "train") == ["half \ufffd of it", "\ufffd\ufffd", "whole \U0001f600"] * 9


def test_another_column_or_content_or_share_is_another_corpus(tmp_path):
    rows = [row | {"other": row["text"]} for row in ROWS]
    path = write(tmp_path / "x.jsonl", rows)
    digests = [corpus(path).identity["digest"], corpus(path, column="other").identity["digest"]]
    digests.append(corpus(path, validation=0.3).identity["digest"])
    digests.append(corpus(write(path, rows[1:])).identity["digest"])
    assert len(set(digests)) == 4


def test_a_validation_path_may_be_a_table_too(tmp_path):
    data = corpus(write(tmp_path / "x.jsonl", ROWS[:50]), validation_path=write(tmp_path / "y.parquet", ROWS[50:60]))
    assert documents(data, "train") == [row["text"] for row in ROWS[:50]]
    assert documents(data, "validation") == [row["text"] for row in ROWS[50:60]]


def test_rows_without_text_are_left_out(tmp_path):
    rows = [{"text": None}, {"text": ""}, *ROWS[:100]]
    for suffix in SUFFIXES:
        data = corpus(write(tmp_path / f"x{suffix}", rows))
        assert data.identity["train_documents"] + data.identity["validation_documents"] == 100


BAD = {
    "column.jsonl": (b'{"body": "x", "n": 1}\n', r"data\.column=text: .*column\.jsonl line 1 has no such column; its columns: body, n"),
    "number.jsonl": (b'{"text": 3}\n', r"data\.column=text: row 1 of .*number\.jsonl holds int, not text"),
    "broken.jsonl": (b'{"text": "x"\n', r"broken\.jsonl line 1 is not JSON"),
    "later.jsonl": (b'{"text": "x"}\n[1]\n', r"later\.jsonl line 2 is list, not an object"),
    "latin.jsonl": ('{"text": "é"}\n'.encode("latin-1"), r"latin\.jsonl line 1 is not JSON"),
    "text.arrow": (b"text", r"text\.arrow is not a whole Arrow file"),
    "plain.jsonl.gz": (b'{"text": "x"}\n', r"plain\.jsonl\.gz cannot be read: Not a gzipped file"),
    "cut.jsonl.gz": (gzip.compress(b'{"text": "x"}\n' * 999)[:-9], r"cut\.jsonl\.gz cannot be read"),
    "text.parquet": (b"text", r"text\.parquet is not a whole Parquet file"),
    "one.jsonl": (b'{"text": "a long row of text"}\n', r"has 0 tokens, fewer than one window .* hold out another share$"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_named_in_one_line(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        corpus(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_column_that_a_parquet_lacks_is_named_with_those_it_has(tmp_path):
    with pytest.raises(ValueError, match=r"data\.column=body: .* its columns: text, number"):
        corpus(write(tmp_path / "x.parquet", ROWS), column="body")


def test_a_column_needs_a_table(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(ValueError, match=r"data\.column=text: there is no table \(\.jsonl, .*\.parquet, \.arrow\)"):
        corpus(tmp_path / "x.txt", column="text")
