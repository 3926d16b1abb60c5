"""A damaged or foreign run folder is told in one line by every command, whatever stands in which of its files."""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import TINY
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from gptx import check, diff, export, forensics, paths, rerun, runs, sample, summary, sweep, upload
from gptx.check import ConfigError
from gptx.compare import cells
from gptx.fit import batches, ladder, ranges
from gptx.log import Run, jsonl, now
from gptx.log.jsonl import Jsonl
from gptx.report.__main__ import report
from gptx.runs import plain
from gptx.runs.folder import RunFolder

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
BOMB = "a: &a [1, 2]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi"))
WHOLE = {
    "empty": b"", "bytes": bytes(range(256)), "zeros": b"\0" * 1000, "bomb": BOMB.encode(), "cut": None, "a folder": None,
    "gone": None, "a pipe": None, "twice": b'{"state": "failed", "state": "finished", "model": 1, "model": 2}',
}  # fmt: skip
FILES = ("run.json", "config.yaml", "overrides.yaml", "metrics.jsonl", "events.jsonl", "tokenizer.json", "wandb_id",
         "checkpoints/step_00000002/about.json", "../sweep.jsonl")  # fmt: skip


def compose_tiny(corpus, *overrides):
    GlobalHydra.instance().clear()
    paths.register()
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        cfg = compose("train", [*TINY, f"data.path={corpus}", "steps=2", "name=x", *overrides])
    check.check(cfg)
    return cfg


@pytest.fixture(scope="module")
def real(corpus, tmp_path_factory) -> Path:
    """The folder of a sweep with one small run, made in this process."""
    folder = tmp_path_factory.mktemp("real") / WHERE
    folder.mkdir(parents=True)
    cfg = compose_tiny(corpus)
    config = OmegaConf.to_container(cfg, resolve=True)
    trainer = check.trainer(cfg)
    overrides = ["optim.lr=1e-3", "steps=2"]
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    trainer.data.save_tokenizer(folder / "tokenizer.json")
    trainer.checkpoints.place(folder, recipe=runs.recipe(config), data=trainer.data.identity)
    trainer.sinks[:] = [Jsonl()]
    trainer.sinks[0].open(Run(folder, "base", "x", 2, 0, config, {}, [], {}, []))
    trainer.fit()
    trainer.record("rollback", text="back", left=2, cursor=9, rate=0.5, sequences=[1, 3], documents=[])
    trainer.sinks[0].close("finished")
    runs.write(
        folder, state="finished", started=now(), ended=now(), recipe=runs.recipe(config), data=trainer.data.identity,
        choices={"model": "nano", "schedule": "cosine"}, overrides=overrides, options=[], job="",
        git={"sha": "a" * 40, "dirty": False}, versions=runs.versions(), hardware=summary.hardware(trainer),
        parameters=summary.parameters(trainer), batch=summary.batch(trainer), budget={"flops": 1}, error="", step=2,
        result=trainer.latest, memory={"predicted": 1, "measured": 2},
    )  # fmt: skip
    (folder / "wandb_id").write_text("abcdef0123 0\n")
    sweep.note(folder.parent, [{"folder": "base", "overrides": overrides, "command": "", "when": now(), "job": "7"}])
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
    monkeypatch.setattr("gptx.upload.Wandb.page", lambda *_: Page())
    monkeypatch.setattr("gptx.rerun.wait", lambda *_: 1)
    monkeypatch.setattr("gptx.rerun.runs.git", dict)
    return {
        "sample": lambda run: sample.sample(run=str(run), length=2, prompt="a", device="cpu"),
        "export": lambda run: export.export(run=str(run), out=str(tmp_path / "out.safetensors")),
        "forensics": lambda run: forensics.forensics(run=str(run), step=1, device="cpu"),
        "upload": lambda run: upload.upload(run=str(run)),
        "report": lambda run: report(str(run), out=str(tmp_path / "out.html")),
        "summary": lambda run: report(str(run), good, out=str(tmp_path / "out.md")),
        "diff": lambda run: diff.diff(str(run), good),
        "rerun": lambda run: rerun.rerun(str(run)),
        "status": lambda run: sweep.status(run.parent),
        "ladder": lambda run: ladder.doubts(found := cells.find([run]), ladder.ladder(found)[0]),
        "batches": lambda run: batches.read([run]),
        "ranges": lambda run: [ranges.ranged(cell) for cell in ranges.ended([run])],
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
    """Every damage: file, what is damaged, how, and the content."""
    for file in FILES:
        tags = TAGS if file.endswith("yaml") else {}
        for how, content in WHOLE.items():
            yield file, "", how, content
        for how, text in (VALUES | tags).items():
            yield file, "", how, text.encode()
        for path in places(parsed(real / file)[0]):
            for how, text in (VALUES | tags).items():
                yield file, ".".join(map(str, path)), how, replaced(real / file, path, text)


def outcome(command, folder: Path) -> str:
    """What a command that refuses says, and "" if it does not. Any other exception is a failure of the test."""
    try:
        command(folder)
    except SystemExit:
        return ""
    except (ConfigError, ValueError, OSError) as error:
        line = " ".join([str(error), str(getattr(error, "filename", None) or "")])
        assert "\n" not in line
        assert "base" in line  # the folder
        return line
    return ""


def tried(commands, damage, capsys, chosen, names):
    """Run commands on damaged copies; nothing but one line comes out, and never the secret."""
    wrong = []
    for file, what, how, content in chosen:
        folder = damage(file, content, how)
        for name in names:
            try:
                told = outcome(commands[name], folder)
            except BaseException as error:
                wrong.append(f"{name}, {file} {what} = {how}: {error!r}"[:300])
                continue
            if SECRET in told + "".join(capsys.readouterr()):
                wrong.append(f"{name}, {file} {what} = {how}: says the secret")
        shutil.rmtree(folder.parent.parent)
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:40]])


CHEAP = "diff", "rerun", "status", "ladder", "batches", "ranges"


def test_a_whole_folder_is_read_by_every_command(commands, real):
    for name in set(commands) - {"batches", "ranges"}:  # which are of other runs
        assert outcome(commands[name], real) == "", name


def test_a_damaged_file_is_one_line(commands, damage, capsys, real):
    every = list(cases(real))
    whole = [case for case in every if not case[1]]
    tried(commands, damage, capsys, whole, CHEAP)
    tried(commands, damage, capsys, every[:: len(every) // 100], [*CHEAP, "sample"])


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_any_value_of_any_file_may_be_anything(commands, damage, capsys, real, file):
    every = [case for case in cases(real) if case[0] == file]
    step = max(1, len(every) // 150)
    tried(commands, damage, capsys, every[:: step], commands)
