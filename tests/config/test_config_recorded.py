"""What a run writes down of its config: nothing that was looked up in the environment, no credentials."""

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gptx.config import compose
from gptx.config.keys import differences, flat
from gptx.config.recorded import recorded
from gptx.units.printable import hidden, masked

SECRET = "hunter2-and-more"


@pytest.fixture(autouse=True)
def nothing_hidden():
    yield
    hidden.clear()


@pytest.fixture
def config(monkeypatch):
    """config("a: ${oc.env:TOKEN}"): what is recorded of it, and the config itself."""
    compose.register()
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("RATE", "0.003")
    monkeypatch.setenv("JSON", f"{{inner: {SECRET}}}")

    def make(text: str) -> dict:
        return recorded(OmegaConf.create(f"name: x\n{text}"))

    return make


@pytest.mark.parametrize(
    "text",
    [
        "a: ${oc.env:TOKEN}",
        "a: ${b}\nb: ${oc.env:TOKEN}",
        "a: before ${oc.env:TOKEN} after",
        "a: ['x', '${oc.env:TOKEN}', {deep: '${oc.env:TOKEN}'}]",
        "a: ${oc.decode:${oc.env:JSON}}",
        "a: ${b}\nb: {c: '${oc.env:TOKEN}', d: 3}",
        "a: ${oc.select:b}\nb: ${oc.env:TOKEN}",
        "a: ${oc.dict.values:b}\nb: {c: '${oc.env:TOKEN}'}",
        "a: ${oc.env:${which}}\nwhich: TOKEN",
        "a: ${oc.env:TOKEN,other}",
    ],
)
def test_a_text_from_the_environment_is_written_as_it_was_typed_with_a_digest(config, monkeypatch, text):
    first = config(text)
    assert SECRET not in json.dumps(first)
    assert "(sha256 " in json.dumps(first)
    assert masked(f"no such file: {SECRET}") == "no such file: ${oc.env:TOKEN}" or "JSON" in text
    monkeypatch.setenv("TOKEN", "another-value")
    monkeypatch.setenv("JSON", "{inner: another}")
    assert differences(flat(first), flat(config(text)))  # another value is another run


def test_numbers_and_booleans_have_their_value_and_so_has_the_name(config):
    plain = "lr: ${oc.decode:${oc.env:RATE}}\nwidth: 64\nnothing: null\nflag: ${oc.decode:${oc.env:NONE,true}}\ntext: ${width}"
    assert config(plain) == {"name": "x", "lr": 0.003, "width": 64, "nothing": None, "flag": True, "text": 64}
    assert recorded(OmegaConf.create("name: run-${oc.env:TOKEN}"))["name"] == f"run-{SECRET}"
    assert masked(f"runs/run-{SECRET}") == f"runs/run-{SECRET}"  # a path that must be typed again


@pytest.mark.parametrize(
    "value",
    ["https://me:hunter2-and-more@host/x", ["s3://hunter2-and-more@bucket"], {"u": "x https://a:hunter2-and-more@h"}],
)
def test_credentials_of_urls_are_masked_wherever_they_stand(config, value):
    text = json.dumps(config(f"a: {json.dumps(value)}"))
    assert SECRET not in text
    assert "***@" in text


def files_with(folder: Path, secret: str) -> list[str]:
    return [str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and secret.encode() in f.read_bytes()]


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_secret(command, tmp_path, corpus):
    url = f"https://me:{SECRET}@example.org/x?token={SECRET}"
    shutil.copy(corpus, tmp_path / "hunter2-text.txt")
    words = ["data.path=${oc.env:TEXT}", f"observe.samples.prompt='{url}'", "observe=[validation,samples]", "optim.lr=${oc.env:RATE}",
             "log=[console,jsonl,wandb,postmortem]", "steps=2", "name=secret"]  # fmt: skip
    told = {"TEXT": "hunter2-text.txt", "RATE": "0.002"}
    for more in (
        ["--multirun", "seed=0,1", "hydra.launcher.parallel=2"],
        ["--multirun", "seed=0,1", "hydra.launcher.parallel=2"],
    ):
        made = command("train", *more, *words, **told)
        assert made.returncode == 0, made.stdout + made.stderr
    assert "already finished" in made.stdout
    folder = tmp_path / "runs/secret"
    exported = command("export", f"{folder}/seed=0", f"out={folder}/weights.safetensors", **told)
    assert exported.returncode == 0, exported.stderr
    reported = command("report", str(folder), **told)
    assert reported.returncode == 0, reported.stderr
    assert not files_with(folder, SECRET)
    assert not files_with(folder, "hunter2-text")
    record = json.loads((folder / "seed=0/run.json").read_text())
    assert record["recipe"]["optim.lr"] == 0.002
    assert "hunter2" not in made.stdout + made.stderr + exported.stdout + reported.stdout
    failed = command("train", "--multirun", "seed=0,1", *words, TEXT="hunter2-gone.txt", RATE="0.002")
    assert failed.returncode == 1
    assert "hunter2" not in failed.stdout + failed.stderr
    assert not files_with(folder, "hunter2-gone")
