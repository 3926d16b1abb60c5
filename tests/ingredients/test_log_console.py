"""What a person sees: one live line on a terminal, plain lines elsewhere, and train.log in either case."""

import logging
import math
import os
import pty
import subprocess
import sys
import time
from types import SimpleNamespace

from gptx import files
from gptx.ingredients.log import console
from gptx.ingredients.log.console import Console, messages_to

VALIDATION = {"validation/loss": 2.1033, "validation/perplexity": 8.19, "validation/bits_per_byte": 3.0344}

# A run of 30 steps, started at sys.argv[2], that goes back from 20 to 16 (and so validates twice) and says something.
PROGRAM = f"""
import logging, os, pathlib, sys, time, types
from gptx.ingredients.log.console import Console, messages_to
folder, start = pathlib.Path(sys.argv[1]), int(sys.argv[2])
logging.basicConfig(level="INFO")
sink = Console(every=10)
with messages_to(folder):
    sink.open(types.SimpleNamespace(folder=folder, steps=30, start=start))
    for step in [*range(start + 1, 21), *range(17, 31)]:
        time.sleep(0.02)
        row = {{"train/loss": 1.0, "train/lr": 3e-3, "train/grad_norm": 0.82, "train/tokens_per_second": 41234.0}}
        if step == 25:
            logging.getLogger("gptx.ingredients.guard").warning("watch out")
        sink(step, row | ({VALIDATION!r} if step == 20 else {{}}))
    sink.close("finished")
(folder / "end").touch()
"""


def scalars(**more):
    row = {"train/loss": 2.314, "train/lr": 3e-3, "train/grad_norm": 0.82, "train/tokens_per_second": 41234.0}
    return row | more


def opened(folder, *, every=10, steps=30, start=0):
    sink = Console(every=every)
    sink.open(SimpleNamespace(folder=folder, steps=steps, start=start))
    return sink


def log_lines(folder):
    """Lines of train.log without date and time."""
    return [line.split(" ", 2)[2] for line in (folder / "train.log").read_text().splitlines()]


def seen_on_a_terminal(folder, start=0, **environment):
    """All bytes that PROGRAM sends to a terminal of unknown size."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, folder, str(start)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment)
    os.close(theirs)
    output = b""
    while True:
        try:
            output += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    return output.decode()


def shown(output):
    """What remains on the screen: of each line, what came after the last return to its beginning."""
    return [line.rstrip("\r").split("\r")[-1].rstrip() for line in output.split("\n")]


def test_plain_lines_come_at_the_first_step_the_last_every_tenth_and_with_validation(tmp_path, capsys):
    sink = opened(tmp_path)
    for step in range(1, 31):
        sink(step, scalars(**VALIDATION) if step == 15 else scalars())
    sink.close("finished")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step  1/30  loss 2.3140  lr 3.00e-03  norm 0.82  41.2k tok/s  eta ?"
    assert [int(line[4:].split("/")[0]) for line in lines] == [1, 10, 15, 15, 20, 30]
    assert lines[3] == "step 15/30  validation loss 2.1033  perplexity 8.19  bits/byte 3.0344"
    assert log_lines(tmp_path) == lines


def test_a_terminal_shows_one_line_that_moves_and_everything_else_above_it(tmp_path):
    output = seen_on_a_terminal(tmp_path, TERM="xterm")
    assert [line for line in shown(output) if line and "|" not in line] == [
        "step 20/30  validation loss 2.1033  perplexity 8.19  bits/byte 3.0344",
        "step 20/30  validation loss 2.1033  perplexity 8.19  bits/byte 3.0344",
        "warning: watch out",
    ]
    (bar,) = [line for line in shown(output) if "|" in line]
    assert bar.startswith("██████████| 30/30 loss 1.0000 lr 3.00e-03 norm 0.82 41.2k tok/s eta 0:00")
    assert output.count("/30 loss") > 3  # it moved
    assert "\x1b" not in output  # no colour, no cursor: any terminal will do


def test_the_log_file_holds_the_plain_lines_and_messages_whatever_the_terminal_shows(tmp_path):
    seen_on_a_terminal(tmp_path, TERM="xterm")
    begins = [line[:10] for line in log_lines(tmp_path)]
    assert begins == ["step  1/30", "step 10/30", *["step 20/30"] * 4, "warning: w", "step 30/30"]


def test_the_bar_of_a_resumed_run_starts_where_the_run_does(tmp_path):
    output = seen_on_a_terminal(tmp_path, 10, TERM="xterm")
    assert output.lstrip("\r").startswith("███▎      | 10/30")


def test_a_dumb_terminal_gets_plain_lines(tmp_path):
    output = seen_on_a_terminal(tmp_path, TERM="dumb")
    assert "|" not in output
    assert output.count("\r") == output.count("\r\n") == len(log_lines(tmp_path))


def test_a_reader_that_left_does_not_stop_the_run(tmp_path):
    command = [sys.executable, "-c", PROGRAM, tmp_path, "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.close()
    process.wait()
    assert (tmp_path / "end").exists()
    assert log_lines(tmp_path)[-1].startswith("step 30/30")


def test_a_full_disk_ends_the_log_file_with_one_warning_and_not_the_run(tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.setattr(console, "opened", lambda file, *words, **options: files.opened("/dev/full", *words, **options))
    sink = opened(tmp_path, every=1)
    for step in range(1, 31):
        sink(step, scalars())
    sink.close("finished")
    assert len(capsys.readouterr().out.splitlines()) == 30
    assert [r.message for r in caplog.records] == ["train.log lacks step 1 (No space left on device); training goes on"]


def test_time_left_is_what_this_start_predicts_not_what_was_done_before(tmp_path, monkeypatch, capsys):
    now = iter([500.0, *range(501, 600)])  # the first update took 500 s to compile, each later one takes 1 s
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(now))
    sink = opened(tmp_path, steps=1100, start=1000)
    for step in range(1001, 1011):
        sink(step, scalars())
    sink.close("interrupted")
    assert capsys.readouterr().out.splitlines()[-1].endswith("eta 1:30")


def test_what_is_not_a_number_is_shown_as_such(tmp_path, capsys):
    sink = opened(tmp_path, every=1)
    sink(1, scalars() | {"train/loss": math.nan, "train/grad_norm": math.inf, "train/lr": -math.inf})
    sink.close("failed")
    assert "loss nan  lr -inf  norm inf" in capsys.readouterr().out


def test_text_of_the_model_cannot_command_the_terminal(tmp_path, capsys):
    sink = opened(tmp_path)
    sink(3, scalars(**{"sample/text": "def f():\n\treturn \x1b[2J\r\x07é"}))
    sink.close("finished")
    assert capsys.readouterr().out.endswith(
        "step  3/30  sample/text\n    def f():\n            return \N{REPLACEMENT CHARACTER}[2J"
        "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}é\n"
    )


def test_each_run_of_a_sweep_has_its_own_log_and_a_resumed_one_adds_to_its_own(tmp_path):
    for name, start in (("a", 0), ("b", 0), ("a", 1)):
        (tmp_path / name).mkdir(exist_ok=True)
        sink = opened(tmp_path / name, start=start)
        sink(start + 1, scalars())
        sink.close("finished")
    assert [line[:10] for line in log_lines(tmp_path / "a")] == ["step  1/30", "step  2/30"]
    assert len(log_lines(tmp_path / "b")) == 1


def test_messages_go_to_the_terminal_and_the_log_file_once_and_only_while_it_lasts(tmp_path, capsys):
    logger, root = logging.getLogger("gptx.somewhere"), logging.getLogger()
    hydra = logging.StreamHandler(sys.stdout)
    root.addHandler(hydra)
    before = root.level
    root.setLevel(logging.INFO)
    try:
        with messages_to(tmp_path):
            logger.info("batch of %d tokens", 4096)
            logger.error("no space")
            logger.debug("a detail")
        logger.info("after")
    finally:
        root.removeHandler(hydra)
        root.setLevel(before)
    assert capsys.readouterr().out.splitlines() == ["batch of 4096 tokens", "error: no space", "after"]
    assert log_lines(tmp_path) == ["batch of 4096 tokens", "error: no space", "a detail"]


def test_closing_what_was_never_opened_is_allowed(capsys):
    Console(every=1).close("failed")
    assert capsys.readouterr() == ("", "")


def test_a_call_costs_little(tmp_path, capsys):
    sink = opened(tmp_path, every=10, steps=10_000)
    began = time.perf_counter()
    for step in range(1, 1001):
        sink(step, scalars())
    assert (time.perf_counter() - began) / 1000 < 500e-6
    sink.close("finished")
