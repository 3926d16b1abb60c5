"""Attacks by a stranger who sends folders, configs, weights and laws, and mistakes of a user in bad surroundings.

Each command line runs in this process, in a folder of its own with a small real run; whatever it meets, it succeeds or
says one line, in seconds: no traceback, no code of a stranger, no secret on the disk or the terminal, no escape there.
"""

import contextlib
import hashlib
import io
import itertools
import json
import logging
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY
from hydra.core.global_hydra import GlobalHydra

from gptx import __main__
from gptx.units import printable

pytestmark = pytest.mark.slow
SECRET = "hunter2-of-the-environment"
SECONDS = 20
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
WATCHED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")
X = "{_target_: gptx.sweeps.pool.wait, line: [touch, marker], environment: {}}"  # os.system is on a list of Hydra's own
SMALL = [word for word in TINY if not word.startswith(("observe.", "steps="))] + ["data.path=rhyme.txt", "threads=1"]
NAMES = ["x\x1b]0;own\x07", "a\u202eb", "a b", "a'b", "$(touch marker)", ";touch marker", "-rf", "a=b", "a,b", "[x]", "{x}",
         "a\nb", "a${oc.env:TOKEN}", "caf\xe9 \u4e2d", "~", "%s%n"]  # fmt: skip
VALUES = ["", "nan", "inf", "-1", "0", "1e999", "9" * 30, "\x1b[2J", "../x", "/dev/full", "/", "null", "[1]", "{a: 1}",
          "${oc.env:TOKEN}", "https://u:hunter2@h/", "1e-320", "'"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus) -> Path:
    """A folder with a text, runs/real/a (a finished run) and runs/real/b (another)."""
    place = tmp_path_factory.mktemp("made")
    shutil.copy(corpus, place / "rhyme.txt")
    with contextlib.chdir(place):
        for name, rate in (("a", "3e-3"), ("b", "2e-3")):
            observe = "observe=[validation,samples,ema]", "observe.samples.length=4", f"optim.lr={rate}"
            words = [*SMALL, "name=real", "steps=4", *observe, f"hydra.run.dir=runs/real/{name}"]
            assert attacked("train", *words, seconds=60) == ""
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A working folder with a copy of what was made, and a secret in the environment."""
    monkeypatch.setenv("TOKEN", SECRET)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(printable, "hidden", {})
    return tmp_path


started: list[str] = []
sys.addaudithook(lambda event, _: started.append(event) if event in WATCHED else None)


def called(command: str, words: list[str]) -> None:
    """Run a command as a shell would."""
    GlobalHydra.instance().clear()
    sys.argv = ["gptx", command, *words]
    __main__.main()


class Late(BaseException):
    """The command takes too long."""


def late(*_) -> None:
    raise Late


def attacked(command: str, *words: str, seconds: float = SECONDS) -> str:
    """What is wrong with how a command ended; "" if nothing is."""
    streams, argv, said, code = (sys.stdout, sys.stderr), sys.argv, io.StringIO(), None
    handlers, before = list(logging.getLogger().handlers), signal.signal(signal.SIGALRM, late)
    sys.stdout = sys.stderr = said
    started.clear()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    wrong = []
    try:
        called(command, list(words))
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        wrong.append(repr(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        (sys.stdout, sys.stderr), sys.argv = streams, argv
        logging.getLogger().handlers[:] = handlers
    told = said.getvalue() + (printable.safe(code) if isinstance(code, str) else "")  # as stderr has it
    if isinstance(code, str) and "\n" in code and "cannot run" not in code:
        wrong.append(f"several lines: {code!r}")
    wrong += [f"{what}: {told[-300:]!r}" for what, found in (
        ("a traceback", "Traceback" in told), ("a control character", CONTROL.search(told)), ("the secret", "hunter2" in told)) if found]  # fmt: skip
    harmless = {"subprocess.Popen"} if command == "train" else set()  # which asks git
    wrong += [f"started {started}"] * bool({*started} - harmless)
    wrong += [f"wrote {file}" for file in Path(".").rglob("*") if file.name == "marker" or secret_in(file)]
    return "; ".join(wrong)


def secret_in(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and SECRET.encode() in file.read_bytes()


def end(problems: dict[str, str]) -> None:
    """Fail with all that went wrong."""
    wrong = [f"{line[:150]!r}: {problem}" for line, problem in problems.items() if problem]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(problems)}", *wrong])


def test_a_folder_of_whatever_name_is_only_a_folder(place):
    """Every name by two of the commands in turn."""
    problems, turn = {}, 0
    for name in NAMES:
        run = place / "h" / name
        shutil.copytree("runs/real/a", run)
        relative = os.path.relpath(run)
        lines = [["sample", relative, "length=2"], ["export", relative, f"out=h/{name}.safetensors"],
                     ["diff", relative, "runs/real/b"], ["forensics", relative, "step=2"],
                     ["train", *SMALL, f"from={relative}/checkpoints/step_00000003", "name=b", "steps=3"]]  # fmt: skip
        for line in [*lines, *lines][turn % 5 : turn % 5 + 2]:
            problems[" ".join(line)] = attacked(*line)
        turn += 2
    problems["status"] = attacked("status", "h")
    end(problems)


CONFIGS = {  # of an experiment in a stranger's --config-dir, beside those of test_config_gate.py
    "group into callbacks": "defaults:\n  - /optim@hydra.callbacks.x: theirs",
    "itself": "defaults:\n  - m", "a file elsewhere": "defaults:\n  - /../../../etc/passwd", "a look-up": "defaults:\n  - /model: ${oc.env:TOKEN}",
    "no list": "defaults: 5", "tag": "clip: !!python/object/apply:os.system ['touch marker']", "deep": "a: " + "[" * 3000,
    "deep dicts": "clip: " + "{a: " * 600 + "1" + "}" * 600, "twice": "seed: 1\nseed: 2", "cut": "a: [1", "loop": "a: &a [*a]", "NUL": "a: \x00",
    "bomb": "a: &a [1,2,3,4,5,6,7,8,9]\n" + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "no Hydra": "hydra: null", "a list of Hydra": "hydra: [1]", "no sweeper": "hydra: {sweeper: null}", "no launcher": "hydra: {launcher: null}",
    "no callbacks": "hydra: {callbacks: null}", "no job": "hydra: {job: null}", "no run": "hydra: {run: null}", "no choices": "hydra: {runtime: {choices: null}}",
    "batches of none": "hydra: {sweeper: {max_batch_size: 0}}", "where it is": "hydra: {runtime: {output_dir: marker}}", "what it is": "hydra: {job: {config_name: x}}",
    "a level": 'hydra: {job_logging: {root: {level: "\\e[2J"}}}', "a style": "hydra: {job_logging: {formatters: {plain: {style: '{', format: '{x.y}'}}}}",
    "its help": 'hydra: {help: {template: "\\e]0;x\\a ${oc.env:TOKEN}"}}', "another search path": "hydra: {searchpath: ['file:///tmp']}",
    "many jobs": "hydra: {sweeper: {params: {seed: 'range(0,100000000000)'}}}", "a line": 'hydra: {sweeper: {params: {seed: "0,1\\nallow_targets=[os.]"}}}',
    "a target in a sweep": "hydra: {sweeper: {params: {clip._target_: os.system}}}", "a node by a resolver": "clip: '${oc.create:\"{_target_: os.system}\"}'",
    "a node elsewhere": f"clip: ${{z}}\nz: {X}", "a nested list": f"guard: {{detector: {{window: [{X}]}}}}", "a rate": f"schedule: {{floor: {X}}}",
    "an observer": f"observe: {{x: {X}}}", "a name of one": 'observe: {"\\e[2J": {_target_: gptx.ingredients.observe.norms.Parameters, every: 1}}',
    "a number of one": "observe: {5: {_target_: gptx.ingredients.observe.norms.Parameters, every: 1}}", "a list of targets": "clip: {_target_: [os, system]}",
    "a target by parts": "clip: {_target_: 'os.${y}'}\ny: system", "a secret as target": "clip: {_target_: '${oc.env:TOKEN}'}", "no key": "null: 3",
    "a date": "seed: 2026-01-01", "a name": 'name: "a\\e[2Jb"', "up": "name: ../../x", "a secret as text": "data: {column: '${oc.env:TOKEN}'}",
    "a secret as number": "guard: {patience: '${oc.env:TOKEN}'}", "credentials": "guard: {patience: 'https://u:hunter2@h'}",
    "a secret as trust": "allow_targets: ['${oc.env:TOKEN}']", "trust by a look-up": f"allow_targets: ${{z}}\nz: [os.]\nclip: {X}",
    "a secret as origin": "from: '${oc.env:TOKEN}/x'", "a secret as device": "device: ${oc.env:TOKEN}",
}  # fmt: skip


def test_a_config_folder_of_a_stranger(place):
    """Every config by one of three commands in turn."""
    (place / "c/experiment").mkdir(parents=True)
    (place / "c/optim").mkdir()
    (place / "c/optim/theirs.yaml").write_text(X)
    recipe = [word for word in SMALL if not word.startswith("device=")] + ["experiment=m"]
    commands = ["train", "batch.micro=7"], ["plan"], ["train", "--multirun", "hydra/launcher=basic", "batch.micro=7"]  # fmt: skip
    problems = {}
    for (what, text), line in zip(
        CONFIGS.items(), itertools.cycle(commands)
    ):  # micro=7 divides no batch: nothing trains
        (place / "c/experiment/m.yaml").write_text(f"# @package _global_\nsteps: 1\n{text}\n")
        problems[f"{what}, {line}"] = attacked(*line, "--config-dir", "c", *recipe)
    end(problems)


WORDS = ["hydra.job.env_copy=[NOPE]", "+hydra.job.env_set.A=[1,2]", "allow_targets=5", "allow_targets=${nope}", "allow_targets=o", "optim=[]", "model=",
         "batch.doublings=1000000000000", "batch.context_doublings=1000000000", "batch.growth=1000000000000000", "=", "a", "+", "~", "~model", "+a=b",
         "name=\x1b", "name=a\nb", "hydra.verbose=\x1b", "seed=range(0,1e18)", "seed=range(0,1,0)", "seed=interval(0,1)", "optim=glob(*", "seed=0,1"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_means_nothing(place, word):
    many = ["--multirun", "hydra/launcher=basic"] if "(" in word else []
    end({word: attacked("train", *many, *SMALL, "steps=1", "batch.micro=7", word)})


COMMANDS = {  # what each takes, and the keys that get every value
    "sample": (["runs/real/a", "length=2"], "run prompt length number temperature top_k top_p seed checkpoint weights device allow_targets"),
    "export": (["runs/real/a", "out=a.safetensors"], "run out checkpoint weights"),
    "forensics": (["runs/real/a", "step=2"], "run step sequences weights device data"),
    "formats": ([], "values"), "reference": ([], "write"), "upload": ([], "run"),
    "plan": (["flops=1e19"], "flops params tokens served law vocab context"),
    "plan schedule": (["steps=100"], "at out schedule.warmup"), "plan memory": (["vocab=257"], "vocab batch.micro"),
    "plan decay": ([], "vocab"), "plan coordinates": ([], "widths updates"), "fit scaling": (["runs/real"], "holdout count draws"),
    "fit lr_range": (["runs/real"], "out"), "fit critical_batch": (["runs/real"], "out"), "study": (["optim.lr=log:1e-4..1e-3"], "name trials parallel"),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_value_that_means_nothing_to_a_command(place, command):
    (name, *subject), (usual, keys), problems = command.split(), COMMANDS[command], {}
    turn = itertools.cycle(VALUES)  # each key gets the next four
    for key in keys.split():
        for value in itertools.islice(turn, 4):
            given = [word for word in usual if not word.startswith(f"{key}=")], [f"{key}={value}"]
            line = *subject, *([value, *usual[1:]] if key == "run" else [word for part in given for word in part])
            problems[" ".join(line)] = (
                attacked(name, *line) if not (key == "name" and value not in ("", "/", "../x")) else ""
            )
    end(problems)


STATES = {  # of a checkpoint that somebody else wrote, with its checksum
    "a list of averages": {"observers": {"ema": [1]}}, "no averages": {"observers": {"ema": {"a": 1}}}, "a text as averages": {"observers": {"ema": {"weights": "x"}}},
    "other averages": {"observers": {"ema": {"weights": [torch.zeros(1)]}}}, "other weights": {"judged": [torch.zeros(3)]}, "no weights": {"model": {}},
    "a number as name": {"model": {5: torch.zeros(1)}}, "an escape as name": {"model": {"\x1b[2J": torch.zeros(1)}}, "sparse": {"model": {"token.weight": torch.zeros(320, 32).to_sparse()}},
    "a huge one": {"model": {"token.weight": torch.zeros(1).expand(10**6, 10**6)}}, "a late step": {"step": 10**18}, "an early step": {"step": -5}, "an escape as recipe": {"recipe": {"model.width": "\x1b[2J"}},
    "no optimizer": {"optimizer": {"state": {}, "param_groups": []}}, "another guard": {"guard": {"x": 1}}, "a text as guard": {"guard": "x"}, "a secret": {"recipe": {"model.width": "${oc.env:TOKEN}"}},
}  # fmt: skip


@pytest.mark.parametrize("what", STATES)
def test_a_checkpoint_of_a_stranger(place, what):
    checkpoint = place / "runs/real/a/checkpoints/step_00000004"
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    model = STATES[what].get("model")
    torch.save(state | STATES[what] | ({"model": state["model"] | model} if model else {}), checkpoint / "state.pt")
    (checkpoint / "state.sha256").write_text(hashlib.sha256((checkpoint / "state.pt").read_bytes()).hexdigest())
    shutil.rmtree(checkpoint.with_name("step_00000003"))
    lines = [["sample", "runs/real/a", "length=2", f"weights={weights}"] for weights in ("judged", "ema")]
    lines += [["forensics", "runs/real/a", "step=2"], ["train", *SMALL, f"from={checkpoint.relative_to(place)}", "name=b", "steps=5"]]  # fmt: skip
    first = list(STATES).index(what) % 2
    end({" ".join(line): attacked(*line) for line in lines[first::2]})


NUMBERS = {"batch.context_doublings": 10**12, "batch.doublings": 10**9, "steps": 2**62, "model.width": 10**9, "model.depth": 10**7, "model.context": 10**9,
           "model.vocab_multiple": 10**12, "batch.tokens": 2**62, "batch.micro": 2**62, "schedule.warmup": 2**62, "schedule.total": 0, "optim.lr": 1e299,
           "threads": 2**31, "data.tokenizer": "x\x1b[2J", "data.path": "/dev/zero", "name": "$(touch marker)", "guard.detector.window": 10**12, "from": "/etc/passwd"}  # fmt: skip


@pytest.mark.parametrize("key", NUMBERS)
def test_a_record_with_numbers_that_no_run_has(place, key):
    run = place / "runs/real/a"
    config, record = yaml.safe_load((run / "config.yaml").read_text()), json.loads((run / "run.json").read_text())
    for name, value in ((key, NUMBERS[key]), ("batch.growth", 10**15), ("batch.lengthening", 10**15)):
        node = config
        for part in name.split(".")[:-1]:
            node = node[part]
        node[name.rpartition(".")[2]] = record["recipe"][name] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "run.json").write_text(json.dumps(record))
    lines = [["sample", str(run), "length=2"], ["forensics", str(run), "step=2"], ["diff", str(run), "runs/real/b"],
             ["status", "runs/real"], ["fit", "scaling", "runs/real"]]  # fmt: skip
    first = list(NUMBERS).index(key) % 2
    end({" ".join(line): attacked(*line) for line in lines[first::2]})
