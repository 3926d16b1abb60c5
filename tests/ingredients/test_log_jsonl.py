"""metrics.jsonl is the record of a run: no kill, no full disk and no resume may spoil it."""

import json
import math
import resource
import signal
import subprocess
import sys
from random import Random
from types import SimpleNamespace

import pytest
import torch
from metric_rows import read_rows

from gptx import files
from gptx.ingredients.checkpoints import files as checkpoints
from gptx.ingredients.log.jsonl import Jsonl
from gptx.runs import metrics
from gptx.runs.folder import RunFolder


def opened(folder):
    sink = Jsonl()
    sink.open(SimpleNamespace(folder=folder))
    return sink


def write(folder, steps, **scalars):
    sink = opened(folder)
    for step in steps:
        sink(step, scalars or {"train/loss": 1 / step})
    sink.close("finished")


def test_every_row_comes_back_as_it_was_written(tmp_path):
    row = {"train/loss": 0.1 + 0.2, "train/perplexity": math.inf, "train/tokens": 10**15, "sample/text": 'a\n"é"\x00'}
    write(tmp_path, [7], **row)
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 7, **row}]


def test_nan_is_kept(tmp_path):
    write(tmp_path, [1], loss=math.nan)
    assert math.isnan(read_rows(tmp_path / "metrics.jsonl")[0]["loss"])


def strictly(text):
    """What JSON of no extension says."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_what_is_not_finite_is_null_with_a_word_beside_it_and_comes_back(tmp_path):
    write(tmp_path, [1], **{"train/loss": math.nan, "train/perplexity": math.inf, "down": -math.inf, "fine": 1.5})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert strictly(line) == {
        "step": 1, "train/loss": None, "train/perplexity": None, "down": None, "fine": 1.5,
        "nonfinite": {"train/loss": "nan", "train/perplexity": "inf", "down": "-inf"},
    }  # fmt: skip
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    assert repr(row) == "{'step': 1, 'train/loss': nan, 'train/perplexity': inf, 'down': -inf, 'fine': 1.5}"


def test_a_file_of_an_earlier_version_reads_the_same(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": NaN}\n{"step": 2, "train/loss": -Infinity}\n')
    opened(tmp_path)(3, {"train/loss": math.nan})
    assert repr([row["train/loss"] for row in read_rows(tmp_path / "metrics.jsonl")]) == "[nan, -inf, nan]"
    steps, losses = metrics.read_metrics(tmp_path)["train/loss"]
    assert (steps.tolist(), repr(losses.tolist())) == ([1, 2, 3], "[nan, -inf, nan]")


def test_any_nest_of_numbers_is_strict_json_and_comes_back():
    draw = Random(0)

    def nest(depth):
        kind = draw.randrange(4 if depth else 2)
        if kind == 2:
            return [nest(depth - 1) for _ in range(draw.randrange(4))]
        if kind == 3:
            return {f"k{i}": nest(depth - 1) for i in range(draw.randrange(4))}
        return draw.choice([math.nan, math.inf, -math.inf]) if kind else draw.choice([None, True, 3, 0.1, "nan", "é\n"])

    for _ in range(300):
        value = {"top": nest(4), "more": [nest(3), math.nan]}
        text = files.to_json(value)
        strictly(text)
        assert repr(files.from_json(text)) == repr(value)
    assert files.to_json({"tensor": torch.tensor(0.5), "lost": torch.tensor(math.nan)}).startswith(
        '{"tensor": 0.5, "lost": null'
    )


@pytest.mark.parametrize("words", ["5", '"nan"', '{"a": "nan", "c": "inf", "d": ["inf"]}', '{"b": [null, "1e9"]}'])
def test_words_that_fit_no_null_say_nothing(words):
    found = files.from_json(f'{{"a": 1, "b": [2, null], "c": "x", "d": null, "nonfinite": {words}}}')
    assert [found[key] for key in "abcd"] == [1, [2, None], "x", None]


@pytest.mark.parametrize(
    "words", [["inject=nan_gradient", "inject.batches=4", "guard=none"], ["optim.lr=1e30", "guard=watch"]]
)
def test_every_file_of_a_run_that_diverges_is_strict_json_and_tells_so(build, tmp_path, words):
    trainer, folder = build("observe=[validation,gradients,noise_scale]", "observe.noise_scale.every=1",
                            "observe.gradients.every=1", "checkpoints.every=2", *words), tmp_path / "run"  # fmt: skip
    folder.mkdir()
    trainer.sinks.append(opened(folder))
    trainer.fit()
    RunFolder(folder).write(
        state="finished", step=trainer.step, result=trainer.latest, recipe={"clip.max_norm": math.inf}
    )
    (about,) = (folder / "checkpoints/step_00000006").glob("*.json")
    for file in (folder / "run.json", about, folder / "metrics.jsonl", folder / "events.jsonl"):
        for text in [file.read_text()] if file.suffix == ".json" else file.read_text().splitlines():
            strictly(text)
    loss = trainer.latest["validation/loss"]
    assert not math.isfinite(loss)
    record = RunFolder(folder).read()
    assert repr(record["result"]["validation/loss"]) == repr(loss)
    assert record["recipe"] == {"clip.max_norm": math.inf}
    assert repr(metrics.read_metrics(folder).end("validation/loss")) == repr(loss)
    assert repr(checkpoints.saved_losses(folder / "checkpoints")[6]) == repr(loss)


def test_sigkill_loses_no_row_that_the_trainer_has_handed_over(tmp_path):
    program = (
        "import sys, itertools, pathlib, types; from gptx.ingredients.log.jsonl import Jsonl; sink = Jsonl()\n"
        "sink.open(types.SimpleNamespace(folder=pathlib.Path(sys.argv[1])))\n"
        "for step in itertools.count(1): sink(step, {'train/loss': 1 / step}); print(step, flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line == "500\n":
            process.send_signal(signal.SIGKILL)
    handed_over = int(line)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows[:handed_over]] == list(range(1, handed_over + 1))


@pytest.mark.parametrize("torn", ['{"step": 4, "train/loss": 0.2', '{"step": 4, "train/loss": 0.25}', "{", "\0" * 99])
def test_a_last_line_torn_by_a_kill_spoils_neither_the_lines_before_nor_those_after(tmp_path, torn):
    write(tmp_path, [1, 2, 3])
    path = tmp_path / "metrics.jsonl"
    with open(path, "a") as file:
        file.write(torn)
    assert [row["step"] for row in read_rows(path)][:3] == [1, 2, 3]
    write(tmp_path, [4, 5])
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_of_a_step_done_twice_the_last_counts_and_rows_come_in_the_order_of_steps(tmp_path):
    write(tmp_path, [1, 2, 3, 4], attempt=1)
    write(tmp_path, [3, 4, 5], attempt=2)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["attempt"]) for row in rows] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]


def test_a_full_disk_costs_rows_and_one_line_but_not_the_run(tmp_path, caplog):
    sink = opened(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # the write that crosses it is cut, as on a full disk
    try:
        for step in range(1, 100):
            sink(step, {"train/loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sink(100, {"train/loss": 1.0})
    sink.close("finished")
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [*range(1, len(steps)), 100]
    assert 10 < len(steps) < 30
    assert [record.message for record in caplog.records] == [
        f"metrics.jsonl lacks step {len(steps)} (No space left on device); training goes on"
    ]


def test_a_folder_that_is_not_there_is_noticed_before_the_first_update(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        opened(tmp_path / "missing")
