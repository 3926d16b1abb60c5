"""Text from outside is shown as text: it moves no cursor, hides nothing, opens nothing, and holds no credentials."""

import io
import json
import logging
import os
import sys
import unicodedata
from unittest import mock

import pytest

from gptx.config import arguments
from gptx.ingredients.log.console import Plain
from gptx.units import printable
from gptx.units.printable import md, plotly, safe

ORDINARY = ["step 3/3  loss 2.5", "naïve ± 0.1 · é", "中文 テキスト 한국어", "שלום عربى", "می\u200cخواهم", "👩\u200d💻 ❤\ufe0f", "a\tb\nc",
            "x\u00a0y\u3000z", "e\u0301 ก็ नी"]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_any_script_stays(text):
    assert safe(text) == text


def test_no_sign_that_controls_hides_or_reorders_is_left_and_every_other_one_stays():
    letters = "".join(map(chr, range(sys.maxunicode + 1))).replace("\r\n", "")
    shown = printable.printable(letters)
    assert len(shown) == len(letters)
    gone = {a for a, b in zip(letters, shown, strict=True) if a != b}
    controls = {c for c in letters if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    reordering = {c for c in letters if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")}  # fmt: skip
    assert controls | reordering | {*"\u200b\u200e\u200f\u061c\u2060\ufeff\U000e0041"} <= gone
    assert {unicodedata.category(c) for c in gone - controls} <= {"Cf", "Cn"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data.path=https://user:token@host/a.txt", "data.path=https://***@host/a.txt"),
        ("https://hf_abc@huggingface.co, ssh://git@host:22/x", "https://***@huggingface.co, ssh://***@host:22/x"),
        ("s3://key:p@ss@bucket/x", "s3://***@bucket/x"),
        ("https://h/a?x=1&X-Amz-Signature=ab12&api_key=k#top", "https://h/a?x=1&X-Amz-Signature=***&api_key=***#top"),
        (r"https\://me\:pw@host/a?key\=k&x\=1", r"https\://***@host/a?key\=***&x\=1"),  # as Hydra writes it in a sweep
        (r'["p=https\\://me\\:pw@host?token\\=k"]', r'["p=https\\://***@host?token\\=***"]'),  # and that in JSON
        ("hf://datasets/glue@main/x https://a.b/@c user@host batch.tokens=4", None),
    ],
)
def test_credentials_in_addresses_are_masked(text, shown):
    assert safe(text) == (shown or text)


def test_a_hidden_value_is_shown_as_it_was_written_everywhere_and_a_short_one_is_none(monkeypatch):
    monkeypatch.setattr(printable, "hidden", {})
    printable.hide("s3cr3t-value", "${oc.env:TOKEN}")
    printable.hide("1", "${oc.env:ONE}")
    assert safe("1 s3cr3t-value, as3cr3t-value") == "1 ${oc.env:TOKEN}, a${oc.env:TOKEN}"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "caf\\xe9 \\u4e2d ?"), ("latin-1", "café \\u4e2d ?"), ("utf-8", "café 中 �")])  # fmt: skip
def test_a_terminal_shows_what_it_can_and_gets_no_order(encoding, shown, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    printable.streams()
    printable.streams()  # of a command that calls another
    print("café 中 \x1b")
    sys.stdout.writelines(["\r\u202e", "\udce9\n"])
    sys.stdout.flush()
    first, second = written.getvalue().decode(encoding).splitlines()
    assert first == shown
    assert second == ("???" if encoding != "utf-8" else "���")


class Gone(io.StringIO):
    """A terminal that went away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_terminal_that_went_away_ends_no_training_and_a_small_command_at_once(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Gone())
    printable.streams()
    with pytest.raises(BrokenPipeError):
        print("x")
    printable.streams(lasting=True)
    print("x", flush=True)


def command(name: str, /) -> None:
    """Print a name, and fail."""
    print(name)
    raise ValueError(f"{name}: no such folder")


def test_neither_an_answer_nor_a_mistake_nor_a_log_carries_an_escape(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back at the end
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    name = "\x1b]0;owned\x07\u202ename"
    with pytest.raises(SystemExit) as end:
        arguments.call(command, [name])
    print(end.value.code, file=sys.stderr)  # as Python does
    told = capsys.readouterr()
    record = logging.LogRecord("gptx", logging.WARNING, "", 0, "%s", (name,), (ValueError, ValueError(name), None))
    for text in (told.out, told.err, Plain("%(message)s").format(record)):
        assert "owned" in text
        assert safe(text) == text


MARKUP = ["<img src=x onerror=window.hit=1>", "<a href='javascript:window.hit=1'>x</a>", "</script><script>window.hit=1</script>",
          "[x](javascript:1)", "![x](javascript:1)", "[x]: javascript:1", "<javascript:1>", "`a` ``b``", "a|b", "**b** _c_ ~~d~~ $\\frac$",
          "\\[x](javascript:1)", "&lt;b&gt; &#60;", "<!-- /results -->", "a_b c_", "1 < 2 & 3"]  # fmt: skip


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_shows_the_text_and_makes_nothing_of_it(text):
    from markdown_it import MarkdownIt

    reader = MarkdownIt("gfm-like", {"linkify": False})
    (_, inline, _) = reader.parse(f"It is {md(text)}.")
    assert {token.type for token in inline.children} <= {"text", "text_special"}
    assert "".join(token.content for token in inline.children) == f"It is {text}."
    cells = [t for t in reader.parse(f"| a | b |\n|---|---|\n| {md(text)} | {printable.code(text).replace('|', chr(92) + '|')} |\n") if t.type == "inline"]  # fmt: skip
    assert len(cells) == 4
    assert "".join(token.content for token in cells[2].children) == text
    assert [(token.type, token.content) for token in cells[3].children] == [("code_inline", text)]


@pytest.mark.parametrize("text", MARKUP)
def test_plotly_gets_no_tag(text):
    assert not {"<", ">"} & set(plotly(text))


@pytest.mark.parametrize("text", ["$\\frac$", "$a", "a $b$ c $d", "\\$x$", "a\x1b\udce9b"])
def test_a_picture_shows_dollars_as_they_are(text, tmp_path):
    from gptx.show.plots import drawing

    with drawing(tmp_path / "x.svg", 4, 3) as figure:
        figure.suptitle(printable.mathtext(text))
    assert safe(text) in (tmp_path / "x.svg").read_text()


class Broken:
    """A sink that cannot be closed, or a summary that cannot be made."""

    def close(self, outcome: str) -> None:
        raise UnicodeEncodeError("ascii", "é", 0, 1, "no such character")


def test_nothing_that_goes_wrong_after_the_last_step_is_more_than_a_warning(caplog, monkeypatch, tmp_path):
    from gptx.job import summary
    from gptx.job.run import _Job

    closed = []
    after = type("After", (), {"close": lambda self, outcome: closed.append(outcome)})()
    job = mock.Mock(started=0.0, trainer=mock.Mock(latest={}, checkpoints=mock.Mock(placed=lambda: False)))
    _Job._record_end(job, [Broken(), after], "finished")
    monkeypatch.setattr(summary, "end", lambda *facts: [Broken().close("")])
    _Job.close(job, None)
    assert closed == ["finished"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("no such character" in record.getMessage() for record in caplog.records)


@pytest.mark.slow
def test_a_run_finishes_on_a_terminal_without_umlauts_in_a_folder_that_is_not_utf_8(command, tmp_path, corpus):
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    (place / os.fsdecode(b"pl\xe9in.txt")).write_bytes(corpus.read_bytes())
    words = "observe=[validation,samples]", "observe.samples.every=2", "log=[console,jsonl]", "name=x", os.fsdecode(b"data.path='pl\xe9in.txt'")  # fmt: skip
    around = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("train", *words, cwd=place, **around)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert "finished in" in done.stdout
    (record,) = (json.loads(file.read_text()) for file in place.glob("runs/x/*/run.json"))
    assert record["state"] == "finished"
    (log,) = place.glob("runs/x/*/train.log")
    assert safe(log.read_text(encoding="utf-8")) == log.read_text(encoding="utf-8")
    done = command("report", str(log.parent), cwd=place, **around)
    assert (done.returncode, (log.parent / "report.html").exists()) == (0, True), done.stderr
