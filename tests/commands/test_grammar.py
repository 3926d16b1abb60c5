"""One grammar: every command is listed, has a help page of one shape, and refuses old spellings with the new one."""

import shlex
import subprocess
import sys
from importlib import import_module

import pytest

from gptx import __main__
from gptx.__main__ import COMMANDS, source
from gptx.config import arguments

OTHERS = [name for name in COMMANDS if name != "train"]  # whose help is Hydra's


def said(monkeypatch, capsys, *words: str) -> str:
    """What a command prints, or the line with which it ends."""
    monkeypatch.setattr(sys, "argv", ["gptx", *words])
    try:
        __main__.main()
    except SystemExit as end:
        return str(end.code)
    return capsys.readouterr().out


def test_the_listing_has_every_command_with_a_short_sentence(monkeypatch, capsys):
    listed = said(monkeypatch, capsys)
    for name in COMMANDS:
        (line,) = (line for line in listed.splitlines() if line[:22] == f"  {name:20}")
        assert 10 < len(line[22:]) <= 98, line
    assert said(monkeypatch, capsys, "--help") == said(monkeypatch, capsys, "help") == listed
    fits = said(monkeypatch, capsys, "fit")
    assert [name for name in COMMANDS if f"  {name} " in fits] == [name for name in COMMANDS if name.startswith("fit ")]


@pytest.mark.parametrize("name", OTHERS)
def test_a_help_page_has_a_sentence_an_example_that_can_be_run_and_a_meaning_of_every_option(name, monkeypatch, capsys):
    page = said(monkeypatch, capsys, *name.split(), "--help")
    sentence, _, examples, *_ = page.splitlines()
    assert sentence.endswith(".")
    assert len(sentence) <= 99
    examples = [line.strip() for line in page.splitlines() if line.startswith(f"  python -m gptx {name} ")]
    assert examples, page
    for option, *_, meaning in arguments.described(*source(name))[1]:
        assert meaning, f"{name}: {option} has no meaning in the docstring"
        assert option in page
    module, function = COMMANDS[name].split(":")
    for example in examples:
        words = shlex.split(example, comments=True)[3 + len(name.split()) :]
        arguments.parse(getattr(import_module(module), function), words)


def test_a_default_that_is_a_constant_is_looked_up_where_it_is_defined(monkeypatch, capsys):
    assert "validation/loss" in said(monkeypatch, capsys, "report", "--help")


def test_the_listing_and_the_help_import_no_heavy_package():
    for words in ([], ["sample", "--help"], ["bench", "--help"], ["nothing"]):
        line = [sys.executable, "-X", "importtime", "-m", "gptx", *words]
        imported = {
            part.split("|")[-1].strip()
            for part in subprocess.run(line, capture_output=True, text=True).stderr.splitlines()
        }
        assert "gptx.__main__" in imported or "gptx" in imported
        assert not imported & {"torch", "numpy", "omegaconf", "hydra", "pydantic", "yaml"}, words


@pytest.mark.parametrize(("words", "told"), [
    ("exprot runs/a", "error: exprot: no such command; did you mean 'export'?"),
    ("sweep status runs/a", "error: sweep: now python -m gptx status; "),
    ("fit scalling", "error: fit scalling: no such command; did you mean 'fit scaling'?"),
    ("sample run=runs/a", "error: run=runs/a: write runs/a alone, without run="),
    ("report runs/a --wandb", "error: --wandb: write wandb=true"),
    ("report runs/a --watch", "error: --watch: write watch=true"),
    ("exercise 20 --full", "error: --full: write full=true"),
    ("sample runs/a promt=x", "error: promt: no such key; did you mean 'prompt'?"),
    ("sample prompt=x", "error: run: a value is needed"),
])  # fmt: skip
def test_a_mistake_and_an_old_spelling_get_the_new_one(words, told, monkeypatch, capsys):
    assert said(monkeypatch, capsys, *words.split()).startswith(told)


def test_train_is_a_command_too(monkeypatch):
    seen = []
    monkeypatch.setattr("gptx.train.main", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["gptx", "train", "schedule=cosine"])
    __main__.main()
    assert seen == [["schedule=cosine"]]
