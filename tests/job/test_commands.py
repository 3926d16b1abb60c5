"""The commands as a user types them: what they print, what they leave behind, and how they refuse."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from metric_rows import read_rows

from gptx.config import paths

ERROR_WORDS = ("Traceback", 'File "')


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def refused(result, message: str) -> None:
    """One clear line, exit code 1, no stack trace."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.search(message, result.stderr), result.stderr
    assert not any(word in result.stdout + result.stderr for word in ERROR_WORDS), result.stderr
    said = [line for line in result.stderr.strip().splitlines() if not line.startswith("data: tokenising")]
    assert len(said) == 1, result.stderr


def test_a_run_trains_samples_finishes_and_is_left_alone_when_started_again(command, tmp_path):
    first = command("train")
    assert first.returncode == 0, first.stderr
    folder = next((tmp_path / "runs/default").iterdir())
    lines = [line for line in first.stdout.splitlines() if not line.startswith("warning: ")]
    words = (
        "model",
        "data",
        "batch",
        "length",
        "device",
        "needs",
        "kept in",
        "finished in",
    )  # with log=[jsonl] no steps
    assert [line.startswith(word) for word, line in zip(words, lines, strict=False)] == [True] * len(words), (
        first.stdout
    )
    for said in ("256 tokens per step = 4 sequences of 32 tokens x 2 accumulation x 1 process", "cpu", "float32",
                 "6 steps = 1.54k tokens", "validation loss", "peak memory", f"python -m gptx sample {folder.relative_to(tmp_path)}"):  # fmt: skip
        assert said in first.stdout, first.stdout
    assert "optimizer  AdamW: matrices" in (folder / "train.log").read_text()
    assert "weight decay 0.1" not in first.stdout
    assert record(folder)["state"] == "finished"
    assert record(folder)["batch"] == {"tokens": 256, "micro": 4, "context": 32, "accumulation": 2, "processes": 1}
    rows = read_rows(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert record(folder)["result"]["validation/loss"] == rows[-1]["validation/loss"]

    again = command("train")
    assert again.returncode == 0
    assert "already finished" in again.stdout
    assert read_rows(folder / "metrics.jsonl") == rows

    text = command("sample", str(folder), "prompt=7 green ", "length=20", "seed=3")
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith("7 green ")
    assert command("sample", str(folder), "prompt=7 green ", "length=20", "seed=3").stdout == text.stdout
    greedy = [command("sample", str(folder), "length=20", "greedy=true", f"seed={seed}").stdout for seed in (1, 2)]
    assert greedy[0] == greedy[1]

    drawn = command("report", str(folder))
    assert drawn.returncode == 0, drawn.stderr
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_folder_that_holds_another_recipe_is_refused_by_its_keys_and_stays_as_it_was(command, tmp_path):
    where = "hydra.run.dir=here"
    assert command("train", where).returncode == 0
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "here").rglob("*") if f.name != ".lock"}
    refused(
        command("train", where, "optim.lr=1e-2", "seed=5"),
        r"here holds another run: .*optim.lr was 0.003, is 0.01; seed was 0, is 5;",
    )
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "here").rglob("*") if f.name != ".lock"} == before
    fresh = command("train", where, "optim.lr=1e-2", "overwrite=true")
    assert fresh.returncode == 0, fresh.stderr
    assert record(tmp_path / "here")["recipe"]["optim.lr"] == 0.01


@pytest.mark.slow
def test_a_changed_text_is_refused_when_a_run_is_continued(command, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a rose is a rose is a rose, and so on and on. " * 200)
    assert command("train", f"data.path={text}", "hydra.run.dir=here").returncode == 0
    text.write_text("another text, of which the run knows nothing. " * 200)
    held = json.loads((tmp_path / "here/run.json").read_text()) | {"state": "interrupted"}
    (tmp_path / "here/run.json").write_text(json.dumps(held))
    refused(command("train", f"data.path={text}", "hydra.run.dir=here"), "here holds another run: data.digest was")


@pytest.mark.slow
def test_a_micro_batch_may_change_when_a_run_is_continued(command, tmp_path):
    stopped = start("steps=2000", "checkpoints.every=2000", cwd=tmp_path, corpus=None)
    folder = wait_for_update(tmp_path, 3)
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    assert record(folder)["state"] == "interrupted"
    step = record(folder)["step"]
    again = start("steps=2000", "batch.micro=2", cwd=tmp_path, corpus=None)
    try:
        wait_for_update(tmp_path, step + 3)
    finally:
        again.kill()
        again.wait()
    assert f"continues after step {step}" in (folder / "train.log").read_text()


def start(*words: str, cwd: Path, corpus: Path | None):
    """A small run in the background, on a text of its own."""
    text = cwd / "own.txt"
    if not text.exists():
        text.write_text("".join(f"line {i} of a text that goes on for a while\n" for i in range(300)))
    from conftest import TINY

    return subprocess.Popen(
        [sys.executable, "-m", "gptx.train", *TINY, f"data.path={text}", *words],
        cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_update(root: Path, step: int, seconds: float = 60) -> Path:
    """The folder of the only run below `root`, once it has made update `step`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for metrics in root.glob("runs/*/*/metrics.jsonl"):
            rows = read_rows(metrics)
            if rows and rows[-1]["step"] >= step:
                return metrics.parent
        time.sleep(0.05)
    raise AssertionError(f"no update {step} within {seconds} s")


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(signal.SIGKILL, signal.SIGKILL), (signal.SIGTERM, signal.SIGHUP)])
def test_a_run_that_was_killed_goes_on_bit_identically(command, tmp_path, stops):
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    recipe = ["steps=150", "checkpoints.every=10", "model.dropout=0.1"]
    for attempt, stop in enumerate(stops):
        process = start(*recipe, cwd=tmp_path / "cut", corpus=None)
        wait_for_update(tmp_path / "cut", 30 + 40 * attempt)
        process.send_signal(stop)
        assert process.wait(60) == (-signal.SIGKILL if stop == signal.SIGKILL else 128 + stop)
    assert start(*recipe, cwd=tmp_path / "cut", corpus=None).wait(120) == 0
    assert start(*recipe, cwd=tmp_path / "whole", corpus=None).wait(120) == 0
    cut, whole = (next((tmp_path / name / "runs/default").iterdir()) for name in ("cut", "whole"))
    read = [
        [(row["step"], row["train/loss"], row["train/grad_norm"]) for row in read_rows(f / "metrics.jsonl")]
        for f in (cut, whole)
    ]
    assert read[0] == read[1]
    assert record(cut)["result"]["validation/loss"] == record(whole)["result"]["validation/loss"]


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused_and_a_signal_saves_the_first(command, tmp_path):
    first = start("steps=100000", cwd=tmp_path, corpus=None)
    try:
        folder = wait_for_update(tmp_path, 2)
        words = [f"data.path={tmp_path / 'own.txt'}", "steps=100000"]
        refused(command("train", *words), f"{folder.relative_to(tmp_path)} is in use by another process")
        assert record(folder)["state"] == "running"
        first.send_signal(signal.SIGUSR1)
        assert first.wait(60) == 128 + signal.SIGUSR1
    finally:
        first.kill()
        first.wait()
    assert record(folder)["state"] == "preempted"
    assert (folder / f"checkpoints/step_{record(folder)['step']:08d}").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_runs_every_cell_then_nothing_then_only_what_is_missing(command, tmp_path):
    sweep = ["--multirun", "schedule=constant,cosine", "seed=0,1", "name=pair", "steps=3"]
    first = command("train", *sweep, timeout=300)
    assert first.returncode == 0, first.stdout + first.stderr
    folders = sorted(f for f in (tmp_path / "runs/pair").iterdir() if f.is_dir())
    assert len(folders) == 4
    assert [f.name for f in folders] == [f"schedule={s},seed={n}" for s in ("constant", "cosine") for n in (0, 1)]
    assert first.stdout.count("finished in") == 4

    again = command("train", *sweep, timeout=300)
    assert again.returncode == 0
    assert again.stdout.count("already finished") == 4
    assert "finished in" not in again.stdout

    shutil.rmtree(folders[2])
    third = command("train", *sweep, timeout=300)
    assert third.stdout.count("already finished") == 3
    assert third.stdout.count("finished in") == 1


def test_one_failed_job_does_not_stop_the_others_and_the_exit_code_tells(command, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("too short for a context of 64, but long enough for one of 16. " * 4)
    result = command("train", "--multirun", "model.context=64,16", "name=mixed", f"data.path={text}", "batch.tokens=64",
                     "batch.micro=1", "hydra.launcher.parallel=1")  # fmt: skip
    assert result.returncode == 1
    shown, listed = result.stdout.index("FAILED"), result.stdout.rindex("failed ")
    assert shown < result.stdout.index("finished in") < listed
    states = {f.name: record(f)["state"] for f in (tmp_path / "runs/mixed").iterdir() if f.is_dir()}
    assert sorted(states.values()) == ["failed", "finished"]


def test_a_sweep_with_a_job_that_cannot_run_is_refused_whole(command, tmp_path):
    result = command("train", "--multirun", "optim.lr=1e-3,fast,1e-2", "batch.micro=4,3")
    assert result.returncode == 1
    assert "4 of 6 jobs cannot run, so nothing was started" in result.stderr
    assert "optim.lr: 'fast' is not a valid" in result.stderr
    assert "batch.tokens=256 is not a multiple of" in result.stderr
    result = command("train", "--multirun", "precision=fp32,fp8", "optim.lr=1e-3,-1")
    assert "3 of 4 jobs cannot run, so nothing was started" in result.stderr
    assert "precision=fp8 needs an NVIDIA GPU" in result.stderr
    assert "optim.lr=-1.0: 0 or more" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.lrr=1"], "config error: optim.lrr: no such key; did you mean 'optim.lr'"),
        (["--cfg", "job", "optim.lrr=1"], "config error: optim.lrr: no such key; did you mean 'optim.lr'"),
        (["+optim.lrr=1"], "config error: optim.lrr: no such key; did you mean 'optim.lr'"),
        (["--lr", "1e-3"], "config error: --lr: no such option; write optim.lr=1e-3"),
        (
            ["schedule=warmup,cosine"],
            "config error: schedule=warmup,cosine: several values; --multirun sweeps over them\n",
        ),
        (["schedule=cosin"], "config error: schedule=cosin: no such option; did you mean 'cosine'"),
        (["optim=null"], "config error: .*"),
        (["steps=many"], "config error: steps: 'many' is not a length"),
        (["data.path=???"], "config error: data.path: a value is needed"),
        (["batch.tokens=500"], "config error: batch.tokens=500 is not a multiple"),
        (["model.heads=5"], "config error: model.heads=5 does not divide"),
        (["schedule.warmup=99"], "config error: schedule: warmup=99 steps is longer than the run, 6 steps"),
        (["device=cuda"], "config error: device=cuda is not there|parallel: device=cuda is not there"),
        (["data.path=missing.txt"], "missing.txt"),
        (["model=gpt3"], "config error: model=gpt3: no such option"),
        (["optim._target_=os.system"], "config error: optim._target_: os.system is not in an allowed package"),
        (["steps=("], "config error: "),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(command, tmp_path, words, message):
    refused(command("train", *words), message)
    assert not [f for f in (tmp_path / "runs").rglob("*") if f.is_file()]


@pytest.mark.slow
def test_a_text_that_cannot_be_used_is_one_line_that_names_the_file(command, tmp_path):
    files = {
        "empty.txt": b"",
        "binary.txt": b"\x00\x01" * 500,
        "latin.txt": "é".encode("latin-1") * 500,
        "short.txt": b"hi",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        refused(command("train", f"data.path={tmp_path / name}"), f"config error: data: .*{name.split('.')[0]}")
    assert not [f for f in (tmp_path / "runs").rglob("*") if f.is_file()]


@pytest.mark.slow
def test_a_character_that_the_tokenizer_does_not_know_is_named(command, tmp_path):
    assert command("train", "data.tokenizer=chars", "hydra.run.dir=here").returncode == 0
    refused(command("sample", "here", "prompt=ß"), "error: .*ß")


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="needs a folder that refuses writing")
def test_a_folder_that_cannot_be_written_is_one_line(command, tmp_path):
    refused(command("train", "hydra.run.dir=/proc/runs"), "error: /proc/runs: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "error: nowhere: no run there"),
        (["run=nowhere"], "error: run=nowhere: write nowhere alone, without run="),
        (["prompt=x"], "error: run: a value is needed"),
        (["x", "length=long"], "error: length: 'long' is not a valid int"),
        (["x", "temperature=-1"], "error: temperature=-1.0 must be 0"),
        (["x", "top_p=2"], "error: top_p=2.0 must be above 0"),
        (["x", "stray"], "error: 'stray' is not key=value"),
        (["promt=x"], "error: promt: no such key; did you mean 'prompt'"),
        (["x", "--prompt", "y"], "error: --prompt: write prompt=..."),
        (["x", "--greedy"], "error: --greedy: write greedy=true"),
        (["x", "seed=1", "seed=2"], "error: seed: is given twice"),
    ],
)
def test_sample_refuses_in_one_line(command, words, message):
    refused(command("sample", *words), message)


def test_report_refuses_what_is_no_run(command, tmp_path):
    refused(command("report", str(tmp_path)), "error: .*: no run there")


@pytest.mark.slow
def test_plan_decay_names_every_parameter_with_its_count(command, tmp_path, corpus):
    result = command("plan", "decay", "data=text", f"data.path={corpus}", "model.width=32")
    assert result.returncode == 0, result.stderr
    counts = [
        int(line.split()[-1].replace(",", "")) for line in result.stdout.splitlines() if re.match("  .*[0-9]$", line)
    ]
    heads = [int(n.replace(",", "")) for n in re.findall(r"^\w+: ([\d,]+) in", result.stdout, re.MULTILINE)]
    assert sum(counts) == sum(heads)
    assert len(heads) == 3


def test_help_is_a_page_for_a_newcomer_and_comes_at_once(command):
    began = time.monotonic()
    page = command("train", "--help", tiny=False)
    seconds = time.monotonic() - began
    experiments = sorted(file.parent.name for file in (paths.ROOT / "experiments").glob("*/experiment.yaml"))
    assert "warmup" in experiments
    options = {
        group: sorted(file.stem for file in paths.ROOT.glob(f"conf/{group}/*.yaml")) for group in ("optim", "schedule")
    }
    for said in ("--multirun schedule=constant,warmup,cosine", *(f"{group}: {', '.join(each)}" for group, each in options.items()),
                 f"experiment: {', '.join(experiments)}", "lr: 0.003"):  # fmt: skip
        assert said in page.stdout, page.stdout
    assert seconds < 20  # a hang, not a speed: bench measures speed


def test_help_and_a_wrong_word_do_not_import_torch(command):
    for words in (["--help"], ["optim=adamm"], ["--cfg", "job"]):
        result = command("train", *words, tiny=False, PYTHONPROFILEIMPORTTIME="1")
        assert not re.search(r"\| +torch$", result.stderr, re.MULTILINE), words


def test_a_users_own_config_folder_and_class(command, tmp_path):
    (tmp_path / "mine/optim").mkdir(parents=True)
    (tmp_path / "mine/optim/plain.yaml").write_text("_target_: mylib.Plain\n_partial_: true\nlr: 0.1\n")
    (tmp_path / "mylib.py").write_text("import torch\nclass Plain(torch.optim.SGD):\n    pass\n")
    refused(
        command("train", "--config-dir", "mine", "optim=plain"),
        r"mylib.Plain is not in an allowed package.*allow_targets=\[mylib.\]",
    )
    result = command("train", "--config-dir", "mine", "optim=plain", "allow_targets=[mylib.]")
    assert result.returncode == 0, result.stderr
    assert "optimizer Plain" in result.stdout


@pytest.mark.slow
def test_a_class_in_the_folder_of_the_command_is_not_found_where_python_s_path_is_to_be_safe(command, tmp_path):
    (tmp_path / "mylib.py").write_text("from gptx.ingredients.clip import none\n")
    words = ["clip=none", "clip._target_=mylib.none", "allow_targets=[mylib.]"]
    here = str(Path(paths.PACKAGE).parent)
    refused(command("train", *words, PYTHONSAFEPATH="1", PYTHONPATH=here), r"no module mylib")


@pytest.mark.slow
def test_verbose_and_cfg_job_work_as_in_any_hydra_application(command):
    shown = command("train", "--cfg", "job", "optim.lr=0.5")
    assert "lr: 0.5" in shown.stdout
    assert command("train", "hydra.verbose=gptx").returncode == 0


def test_a_terminal_sees_a_live_line(tmp_path, corpus):
    from conftest import TINY

    leader, follower = pty.openpty()
    words = [w for w in TINY if not w.startswith(("log=", "steps="))]
    process = subprocess.Popen(
        [sys.executable, "-m", "gptx.train", *words, f"data.path={corpus}", "log=[console,jsonl]", "steps=30"],
        cwd=tmp_path, stdout=follower, stderr=follower, env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    assert process.wait(60) == 0
    text = seen.decode(errors="replace")
    assert re.search(r"\r[^\n]*30/30 loss \d", text), text
    assert "tok/s" in text
    assert "eta" in text


@pytest.mark.slow
def test_the_package_works_from_a_wheel_in_any_folder(tmp_path, corpus):
    """Needs the package index for the build environment of the wheel."""
    root = paths.ROOT
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "-o", str(tmp_path), str(root)], check=True, capture_output=True
    )
    site = tmp_path / "site"
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    from conftest import TINY

    result = subprocess.run(
        [sys.executable, "-c", "import gptx.train as t; print(t.__file__); t.main()", *TINY, f"data.path={corpus}"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert str(site) in result.stdout
    assert (site / "gptx/conf/train.yaml").exists()
    assert (site / "gptx/experiments/shakespeare_char/experiment.yaml").exists()


@pytest.mark.slow
def test_a_run_says_how_its_batch_and_its_rate_begin(command):
    result = command("train", "batch=growing", "batch.tuned_at=64", "batch.doublings=1")
    assert "tokens grow from 128; learning rate x 2 (sqrt from 64 tokens)" in result.stdout
    result = command("train", "batch=short_first", "name=short")
    assert "sequences lengthen from 8" in result.stdout


@pytest.mark.slow
def test_a_run_that_diverged_is_finished_and_says_so(command, tmp_path):
    words = ["optim=sgd", "optim.lr=1e9", "clip=none", "name=lost", "observe=[validation,samples,parses]", "steps=4"]
    result = command("train", *words)
    assert result.returncode == 0, result.stderr
    assert "no sample: the model's logits are not finite" in result.stdout
    assert "already finished" in command("train", *words).stdout
    (folder,) = (tmp_path / "runs" / "lost").iterdir()
    result = command("sample", str(folder))
    assert result.returncode == 1
    assert result.stderr.startswith("error: the model's logits are not finite")


def test_a_refused_overwrite_leaves_the_run_that_was_there(command, tmp_path):
    assert command("train", "name=kept").returncode == 0
    (folder,) = (tmp_path / "runs" / "kept").iterdir()
    before = sorted(path.name for path in folder.rglob("*"))
    result = command("train", "name=kept", "overwrite=true", "batch.micro=8", "observe=[noise_scale]",
                     "~observe.validation.windows")  # fmt: skip
    assert result.returncode == 1
    assert sorted(path.name for path in folder.rglob("*")) == before
