"""A damaged or foreign run folder is told in one line by every command, whatever stands in which of its files."""

import itertools
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import yaml
from conftest import TINY
from omegaconf import OmegaConf

from gptx.commands import diff, forensics, rerun, sample
from gptx.config import validate
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.config.keys import recipe
from gptx.fit import batches, ladder, lr_range
from gptx.ingredients.checkpoints import files
from gptx.ingredients.log import RunInfo, jsonl, now
from gptx.ingredients.log.jsonl import Jsonl
from gptx.job import summary
from gptx.job.build import trainer_of
from gptx.report import upload
from gptx.report.__main__ import report
from gptx.runs import manifest, plain, provenance
from gptx.runs.folder import RunFolder
from gptx.runs.run import find
from gptx.sweeps.status import status as status_of

SECRET = "a-secret-of-the-environment"
WHERE = "x/base"  # of the damaged run

# What stands in place of a value, as it is written; or of a whole file.
VALUES = {
    "null": "null", "list": "[]", "lists": "[[1], {}]", "dict": "{}", "number": "42", "negative": "-1", "text": '"strange"',
    "true": "true", "deep": "[" * 10_000 + "]" * 10_000, "beyond float": "1" + "0" * 400, "beyond int": "9" * 5000,
    "infinite": "1e999", "zero": "0", "look-up": '"${oc.env:GPTX_SECRET}"', "decoded": '"${oc.decode:${oc.env:GPTX_SECRET}}"',
    "missing": '"???"', "lines": '"two\\nlines"',
}  # fmt: skip
TAGS = {"tag": "!!python/object/apply:os.system [id]", "own tag": "!x 3", "alias": "&a [1]", "binary": "!!binary AA=="}
BOMB = "a: &a [1, 2]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)
WHOLE = {
    "empty": b"", "bytes": bytes(range(256)), "zeros": b"\0" * 1000, "bomb": BOMB.encode(), "cut": None, "a folder": None,
    "gone": None, "a pipe": None, "twice": b'{"state": "failed", "state": "finished", "model": 1, "model": 2}',
}  # fmt: skip
FILES = ("run.json", "config.yaml", "overrides.yaml", "metrics.jsonl", "events.jsonl", "tokenizer.json", "wandb_id",
         "checkpoints/step_00000002/about.json", "../sweep.jsonl")  # fmt: skip


def compose_tiny(corpus, *overrides):
    cfg = composed([*TINY, f"data.path={corpus}", "steps=2", "name=x", *overrides])
    validate.check(cfg)
    return cfg


@pytest.fixture(scope="module")
def real(corpus, tmp_path_factory) -> Path:
    """The folder of a sweep with one small run, made in this process."""
    folder = tmp_path_factory.mktemp("real") / WHERE
    folder.mkdir(parents=True)
    cfg = compose_tiny(corpus)
    config = OmegaConf.to_container(cfg, resolve=True)
    trainer = trainer_of(cfg)
    overrides = ["optim.lr=1e-3", "steps=2"]
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    trainer.data.save_tokenizer(folder / "tokenizer.json")
    trainer.checkpoints.place(folder, recipe=recipe(config), data=trainer.data.identity)
    trainer.sinks[:] = [Jsonl()]
    trainer.sinks[0].open(RunInfo(folder, "base", "x", 2, 0, config, {}, [], {}, []))
    trainer.fit()
    trainer.record("rollback", text="back", left=2, cursor=9, rate=0.5, sequences=[1, 3], documents=[])
    trainer.sinks[0].close("finished")
    RunFolder(folder).write(state="finished", started=now(), ended=now(), recipe=recipe(config), data=trainer.data.identity,
        choices={"model": "nano", "schedule": "cosine"}, overrides=overrides, options=[], job="",
        git={"sha": "a" * 40, "dirty": False}, versions=provenance.versions(), **summary.run_facts(trainer), error="", step=2,
        result=trainer.latest, memory={"predicted": 1, "measured": 2},
    )  # fmt: skip
    (folder / "wandb_id").write_text("abcdef0123 0\n")
    manifest.note(folder.parent, [{"folder": "base", "overrides": overrides, "command": "", "when": now(), "job": "7"}])
    shutil.copytree(folder, folder.parent.parent / "good/base")
    return folder


class Page:
    """What W&B would be."""

    resumed, url = False, ""

    def log(self, row):
        json.dumps(row)

    def finish(self, exit_code):
        pass


@pytest.fixture
def commands(real, tmp_path, monkeypatch):
    """Every command that reads a run folder, by its name."""
    good = str(real.parent.parent / "good/base")
    monkeypatch.setenv("GPTX_SECRET", SECRET)
    monkeypatch.setattr("gptx.report.upload.Wandb.page", lambda *_: Page())
    monkeypatch.setattr("gptx.commands.rerun.wait", lambda *_: 1)
    monkeypatch.setattr("gptx.commands.rerun.provenance.git", dict)
    return {
        "sample": lambda run: sample.sample(str(run), length=2, prompt="a", device="cpu"),
        "export": lambda run: sample.export(str(run), out=str(tmp_path / "out.safetensors")),
        "forensics": lambda run: forensics.forensics(str(run), step=1, device="cpu"),
        "upload": lambda run: upload.upload(str(run)),
        "report": lambda run: report(str(run), out=str(tmp_path / "out.html")),
        "summary": lambda run: report(str(run), good, out=str(tmp_path / "out.md")),
        "diff": lambda run: diff.diff(str(run), good),
        "rerun": lambda run: rerun.rerun(str(run)),
        "status": lambda run: status_of(str(run.parent)),
        "ladder": lambda run: ladder.of_runs(find([run]), "one"),
        "batches": lambda run: batches.read_sweep([run]),
        "ranges": lambda run: lr_range.read_ranges([run]),
    }


@pytest.fixture
def damage(real, tmp_path):
    """damage("run.json", text): the path of a copy of the real run whose file holds that text."""
    counter = itertools.count()

    def make(file: str, content: bytes | None, how: str = "") -> Path:
        folder = tmp_path / str(next(counter)) / WHERE
        shutil.copytree(real, folder, copy_function=os.link)
        shutil.copytree(real.parent, folder.parent, copy_function=os.link, dirs_exist_ok=True,
                        ignore=lambda *_: ["base"])  # fmt: skip
        target = folder / file
        before = target.read_bytes()
        target.unlink()
        if how == "a folder":
            target.mkdir()
        elif how == "a pipe":
            os.mkfifo(target)
        elif how != "gone":
            target.write_bytes(before[: len(before) // 2] if how == "cut" else content or b"")
        return folder

    return make


def parsed(file: Path):
    """What a file holds, and how to write it."""
    if file.suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        return rows, lambda rows: "".join(json.dumps(row) + "\n" for row in rows)
    if file.suffix == ".yaml":
        return yaml.safe_load(file.read_text()), lambda value: yaml.safe_dump(value, sort_keys=False)
    return (json.loads(file.read_text()), json.dumps) if file.suffix == ".json" else ({}, str)


def places(node, path=()):
    """The path of every value below a node; of a tokenizer's ranks the first."""
    children = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else [])
    for key, child in children[:60] if len(children) < 200 else children[:1]:
        yield (*path, key)
        yield from places(child, (*path, key))


def replaced(file: Path, path: tuple, text: str) -> bytes:
    """The file with that text in place of one value."""
    whole, write = parsed(file)
    node = whole
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "@@"
    return write(whole).replace('"@@"', text).replace("'@@'", text).encode()


def cases(real: Path):
    """Every damage: file, what is damaged, how, and what makes the content."""
    for file in FILES:
        tags = TAGS if file.endswith("yaml") else {}
        for how, content in WHOLE.items():
            yield file, "", how, lambda content=content: content
        for how, text in (VALUES | tags).items():
            yield file, "", how, text.encode
        for path in places(parsed(real / file)[0]):
            for how, text in (VALUES | tags).items():
                yield file, ".".join(map(str, path)), how, partial(replaced, real / file, path, text)


def outcome(command, folder: Path) -> str:
    """What a command that refuses says, and "" if it does not. Any other exception is a failure of the test."""
    try:
        command(folder)
    except SystemExit:
        return ""
    except (ConfigError, ValueError, OSError) as error:
        line = str(error)
        assert "\n" not in line
        assert "/x" in line or "base" in line  # the folder
        return line
    return ""


def tried(commands, damage, capsys, chosen, names):
    """Run on each damaged copy one of the commands in turn: nothing but one line comes out, and never the secret."""
    wrong = []
    for (file, what, how, made), name in zip(chosen, itertools.cycle(names), strict=False):
        folder = damage(file, made(), how)
        try:
            told = outcome(commands[name], folder)
        except BaseException as error:
            wrong.append(f"{name}, {file} {what} = {how}: {error!r}"[:300])
        else:
            if SECRET in told + "".join(capsys.readouterr()):
                wrong.append(f"{name}, {file} {what} = {how}: says the secret")
        shutil.rmtree(folder.parent.parent)
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:40]])


def test_a_folder_of_before_the_code_was_recorded_is_read_by_every_command(commands, damage, real):
    config = yaml.safe_load((real / "config.yaml").read_text())
    assert config.pop("record_patch")
    folder = damage("config.yaml", yaml.safe_dump(config).encode())
    assert not {"code", "reason"} & {*json.loads((folder / "run.json").read_text())}
    for name in set(commands) - {"batches", "ranges"}:
        assert outcome(commands[name], folder) == "", name


QUICK = "diff", "ladder", "status", "rerun", "batches", "ranges", "summary"  # seven, so that every file meets each


def test_a_whole_folder_is_read_by_every_command(commands, real):
    for name in set(commands) - {"batches", "ranges"}:  # which are of other runs
        assert outcome(commands[name], real) == "", name


def test_a_file_that_is_anything_else_is_told_in_one_line(commands, damage, capsys, real):
    tried(commands, damage, capsys, [case for case in cases(real) if not case[1]][::2], QUICK)


@pytest.mark.slow
def test_any_value_of_any_file_may_be_anything(commands, damage, capsys, real):
    """GPTX_EVERY=1 tries all of them; that takes minutes."""
    tried(commands, damage, capsys, list(cases(real))[:: int(os.environ.get("GPTX_EVERY", "29"))], sorted(commands))


@pytest.mark.parametrize(("file", "content", "words"), [
    ("run.json", b'{"state": 42}', r"run.json: state: 42 is not one of running, finished, failed"),
    ("run.json", b"[]", r"run.json: all of it: a list is not"),
    ("run.json", b'{"a": 1, "a": 2}', r"run.json cannot be read \(the key 'a' comes twice\)"),
    ("run.json", b"[" * 10_000, r"run.json cannot be read \(nested more than 30 levels deep\)"),
    ("run.json", b'{"step": 1' + b"0" * 400 + b"}", r"run.json cannot be read \(step: an integer of more than 300 digits\)"),
    ("config.yaml", b"a: !!python/object/apply:os.system [id]", r"config.yaml cannot be read \(the tag .*, line 1"),
    ("config.yaml", BOMB.encode(), r"config.yaml cannot be read \(an alias or its anchor, line 1"),
    ("config.yaml", b"seed: 1\nseed: 2\n", r"config.yaml cannot be read \(found duplicate key seed, line 2"),
    ("config.yaml", b"model: [nano]", r"config.yaml: model: a list is not a valid dictionary"),
    ("config.yaml", b"", r"config.yaml: all of it: None is not"),
])  # fmt: skip
def test_the_line_names_file_and_field_and_a_comparison_goes_on_without_the_run(
    commands, damage, real, file, content, words
):
    folder = damage(file, content)
    for name in ("diff", "rerun", "sample", "export", "forensics", "upload"):
        with pytest.raises((ConfigError, ValueError), match=words):
            commands[name](folder)
    shutil.copytree(real, folder.parent / "other")
    found = find([folder.parent])
    assert {cell.name: cell.state for cell in found} == {"base": "unreadable", "other": "finished"}
    assert re.search(words, next(cell.problem for cell in found if cell.problem))


def test_the_status_of_a_sweep_names_the_damaged_run_and_counts_it(damage, capsys):
    assert status_of(str(damage("config.yaml", b"seed: x").parent))
    assert re.search(r"unreadable .*base.*config.yaml: seed: 'x' is not a valid integer", capsys.readouterr().out)


LOOK_UPS = "${oc.env:GPTX_SECRET}", "${oc.decode:${oc.env:GPTX_SECRET}}", "\\\\${oc.env:GPTX_SECRET}"


@pytest.mark.slow
@pytest.mark.parametrize("key", ["model.init", "data.path", "schedule.floor", "name", "log.wandb.project", "optim.lr"])
def test_a_look_up_that_stands_in_a_folder_is_never_made(commands, damage, real, tmp_path, capsys, key):
    for text in LOOK_UPS:
        config = yaml.safe_load((real / "config.yaml").read_text())
        node, *path = config, *key.split(".")
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = text
        folder = damage("config.yaml", yaml.safe_dump(config).encode())
        said = [outcome(command, folder) for command in commands.values()]
        written = [file.read_bytes() for file in (*tmp_path.glob("out.*"), *folder.rglob("*")) if file.is_file()]
        assert SECRET not in "".join([*said, *capsys.readouterr()])
        assert not any(SECRET.encode() in content for content in written)


@pytest.mark.parametrize("text", LOOK_UPS)
def test_what_is_to_be_built_holds_no_look_up(damage, text):
    run = RunFolder(damage("config.yaml", yaml.safe_dump({"model": {"width": text}, "name": text}).encode()))
    assert run.config["name"] == text
    with pytest.raises(ConfigError, match=r"config.yaml: model.width: '.*' is not resolved, since it was read from a"):
        run.literal("model")


def test_the_values_of_a_config_are_those_that_omegaconf_writes(real, tmp_path):
    file = tmp_path / "config.yaml"
    odd = {"a": [1e-3, 1e22, 0.1, -0.0, 3], "b": {"on": "on", "1": "1e-3", "null": None, "x": "2026-01-01"}, "c": True,
           "d": "two\nlines", "e": "\u00e9\u202e", "f": "0x1f", "g": "", "h": "1_000", "i": "???"}  # fmt: skip
    OmegaConf.save(OmegaConf.create(odd), file)
    assert plain.read(file) == odd
    file.write_text("a: 1e-3\nb: 2026-01-01\nc: .5\nd: 1e3\ne: 0o7\nf: yes\n")
    assert plain.read(file) == OmegaConf.to_container(OmegaConf.load(file))
    assert RunFolder(real).config == OmegaConf.to_container(OmegaConf.load(real / "config.yaml"))


@pytest.mark.parametrize("folder", ["/etc", "../other", "a/../../b", "", "..", 3, None])
def test_a_sweep_names_no_folder_outside_of_its_own(tmp_path, folder):
    manifest.note(tmp_path, [{"folder": folder}, {"folder": "a", "job": 3}, {"folder": "mine"}])
    assert list(manifest.noted(tmp_path)) == ["mine"]


def test_rows_that_no_run_writes_are_counted_and_left_out(tmp_path):
    rows = [
        {"step": 1, "x": 1.5},
        {"step": -1},
        {"step": 2**60},
        {"step": True},
        {"step": 2, "x": 10**400},
        {"step": 0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "[" * 10_000)
    assert jsonl.rows(tmp_path / "metrics.jsonl") == ([{"step": 1, "x": 1.5}], 6)
    events = [
        {"step": 1, "event": "a"},
        {"step": 1, "event": 3},
        {"step": 1, "sequences": [3, 2]},
        {"step": 1, "left": "x"},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in events))
    assert jsonl.events(tmp_path / "events.jsonl") == ([{"step": 1, "event": "a", "text": "", "time": ""}], 3)


@pytest.mark.parametrize(("key", "value", "words"), [
    ("model.width", 64, "config.yaml: the checkpoint is of another model: model.width was 32, is 64"),
    ("model.context", 16, "config.yaml: the checkpoint is of another model: model.context was 32, is 16"),
])  # fmt: skip
def test_weights_of_another_model_are_one_line(commands, damage, real, key, value, words):
    config = yaml.safe_load((real / "config.yaml").read_text())
    group, name = key.split(".")
    config[group][name] = value
    folder = damage("config.yaml", yaml.safe_dump(config).encode())
    for command in ("sample", "export"):
        with pytest.raises(ConfigError, match=words):
            commands[command](folder)
    with pytest.raises((ConfigError, ValueError), match=r"in the checkpoint and .* in the config's model|another"):
        commands["forensics"](folder)


@pytest.mark.parametrize(
    "state", [[], {"model": []}, {"model": {"a": 3}, "observers": {}, "judged": None}, None, "text"]
)
def test_a_checkpoint_of_something_else_is_one_line(commands, damage, state):
    folder = damage("wandb_id", b"")
    for checkpoint in (folder / "checkpoints").glob("step_*"):
        for file in ("state.pt", "state.sha256"):
            (checkpoint / file).unlink()
        with (checkpoint / "state.pt").open("wb") as file:
            (checkpoint / "state.sha256").write_text(files.write_state(state, file))
    for name in ("sample", "export", "forensics"):
        with pytest.raises((ConfigError, ValueError), match=r"is not what a run saves|whole"):
            commands[name](folder)


@pytest.mark.slow
def test_a_run_is_not_continued_over_a_damaged_record(damage, command):
    folder = damage("run.json", b'{"state": 42}')
    told = command("train", "steps=2", f"hydra.run.dir={folder}")
    assert told.returncode == 1
    assert re.fullmatch(r"config error: .*run.json: state: 42 is not one of .*; overwrite=true starts afresh, or choose another name=",
                        told.stderr.strip())  # fmt: skip
    assert (folder / "run.json").read_text() == '{"state": 42}'
