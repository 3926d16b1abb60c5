"""What a config, an experiment or a run folder of somebody else may name: no code but the ingredients of a group.

Every later form in which a config could name code goes through the same gate, and its attack into the same lists.
"""

import importlib
import inspect
import json
import pkgutil
import shlex
import sys
from itertools import cycle
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from omegaconf import OmegaConf

import gptx
from gptx.commands import forensics, rerun
from gptx.compare import meaning
from gptx.config import compose, presets, validate
from gptx.config.build import offered, permitted
from gptx.config.errors import ConfigError
from gptx.job.load import load
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run

GROUPS = sorted(presets.defaults())
NESTED = {"observe": "observe.custom.function", "guard": "guard.detector", "data": "data.sources.text"}


def names() -> list[str]:
    """Every public callable of every module of gptx, those that it imported included, and what those offer."""
    found: dict[str, None] = {}
    for module in pkgutil.walk_packages(gptx.__path__, "gptx."):
        if module.name.endswith("__main__"):
            continue
        opened = importlib.import_module(module.name)
        for name in [name for name in vars(opened) if not name.startswith("__")]:
            member = getattr(opened, name)
            found |= dict.fromkeys([f"{module.name}.{name}"] if callable(member) else [])
            if isinstance(member, ModuleType):
                below = [each for each in ("system", "popen", "Popen", "run", "rmtree", "load", "main", "call", "wait",
                                           "import_module", "exec_module", "write_text", "open") if hasattr(member, each)]  # fmt: skip
                found |= dict.fromkeys(f"{module.name}.{name}.{each}" for each in below)
    beyond = ["os.system", "posix.system", "builtins.eval", "builtins.exec", "subprocess.run", "torch.load", "shutil.rmtree",
              "torch.hub.load", "torch.nn.utils.os.system", "torch.optim.os.system", "torch.optim.lr_scheduler.LambdaLR",
              "torch.utils.cpp_extension.load_inline", "importlib.import_module", "pickle.loads", "runpy.run_path",
              "hydra.utils.call", "hydra.utils.instantiate", "omegaconf.OmegaConf.register_new_resolver"]  # fmt: skip
    return [*found, *beyond]


NAMES = names()


@pytest.fixture
def marker(tmp_path):
    """A file that no attack may make; whoever starts a process or writes it has failed."""
    file = tmp_path / "marker"
    started: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple) -> None:
        if watching and event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "os.fork",
            "socket.connect",
        ):
            started.append(event)

    sys.addaudithook(watch)
    yield file
    watching.clear()
    assert not started
    assert not file.exists()


def attack(name: str, marker: Path) -> dict:
    """A node that would run a command, or write the marker, whatever its target calls its arguments."""
    command = ["touch", str(marker)]
    try:
        target = check_find(name)
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError, AttributeError):
        parameters = []
    words = {p.name: command if "line" in p.name or "command" in p.name or "words" in p.name else str(marker)
             for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}  # fmt: skip
    return {"_target_": name, "_args_": [shlex.join(command)], **words}


def check_find(name: str):
    """The object of a dotted name."""
    module, _, member = name.rpartition(".")
    if module in sys.modules:
        return getattr(sys.modules[module], member)
    raise AttributeError(name)


def refuses_all_but_what_is_offered(pairs):
    for name, group in pairs:
        if name in offered(group):
            continue
        with pytest.raises(ConfigError) as refusal:
            permitted(name, group)
        assert str(refusal.value).startswith(f"{group}._target_: ")


def test_a_group_builds_what_its_files_name_and_nothing_else():
    assert len(NAMES) > 1500
    for group in GROUPS:
        assert set(offered(group)) <= {*NAMES, "torch.optim.SGD", "torch.optim.Adafactor"}
        assert all(callable(permitted(name, group)) for name in offered(group))
    refuses_all_but_what_is_offered(attempts(len(NAMES) * 2))


@pytest.mark.slow
def test_every_public_name_in_every_group_is_refused_but_for_what_its_files_name():
    refuses_all_but_what_is_offered((name, group) for group in GROUPS for name in NAMES)


def test_a_library_gives_a_group_what_fits_it():
    assert permitted("torch.optim.Adagrad", "optim").__name__ == "Adagrad"
    assert permitted("torch.nn.LayerNorm", "model.norm").__name__ == "LayerNorm"
    for target, path in [("torch.optim.Adagrad", "model"), ("torch.nn.LayerNorm", "schedule"), ("torch.nn.init.zeros_", "model"),
                         ("torch.optim.swa_utils.AveragedModel", "optim"), ("torch.optim.lr_scheduler.StepLR", "optim")]:  # fmt: skip
        with pytest.raises(ConfigError, match=r"\._target_: "):
            permitted(target, path)


@pytest.mark.parametrize(
    "target", [None, 5, "", "os", "..os", "os.system;x", ["os.system"], {"a": 1}, "os.system ", "ｏs.system"]
)
def test_a_target_that_is_no_dotted_name_is_refused(target):
    with pytest.raises(ConfigError, match=r"^optim\._target_: "):
        permitted(target, "optim")


def test_allow_targets_trusts_what_an_object_is_and_not_the_name_it_is_reached_by(tmp_path, monkeypatch):
    (tmp_path / "reexports.py").write_text("import os\nfrom os import system\ndef mine():\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert permitted("reexports.mine", "schedule", ["reexports."])() == 3
    for target in ("reexports.system", "reexports.os.system"):
        with pytest.raises(ConfigError, match=r"posix\.system is not in an allowed package"):
            permitted(target, "schedule", ["reexports."])
    with pytest.raises(ConfigError, match="not in an allowed package"):
        permitted("reexports.mine", "schedule", [""])


def test_no_public_name_runs_from_a_config(composed, marker):
    cfg, groups = composed(), cycle(GROUPS)
    for name in NAMES:
        group = next(groups)
        if name in offered(group):
            continue
        for path in (group, NESTED.get(group, f"{group}.inner")):
            node = OmegaConf.create(attack(name, marker))
            with pytest.raises(ConfigError, match=r"_target_|_args_"):
                validate.walk(node, path, (), cfg)


def foreign(folder: Path, config: dict) -> Path:
    """A run folder as a stranger would send it, with a record that trusts everything."""
    folder.mkdir(parents=True, exist_ok=True)
    text = '{"state": "finished", "recipe": {"steps": 6}, "data": {"train_documents": 1}, "overrides": ["allow_targets=[os.]"]}'
    (folder / "run.json").write_text(text)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(json.loads(json.dumps({**config, "allow_targets": ["os.", "gptx.", "posix."]})))
    )
    return folder


def attempts(count: int) -> list[tuple[str, str]]:
    """`count` pairs of a name and a group, spread over all of them."""
    every = len(NAMES) * len(GROUPS)
    return [(NAMES[i % len(NAMES)], GROUPS[i // len(NAMES)]) for i in range(0, every, every // count)]


def refuses_a_foreign_folder(composed, tmp_path, marker, pairs):
    config = OmegaConf.to_container(composed(), resolve=True)
    for name, group in pairs:
        if name in offered(group):
            continue
        folder = foreign(tmp_path / "foreign", {**config, group: attack(name, marker)})
        if group in ("model", "decay", "parametrization"):
            with pytest.raises(ConfigError, match=rf"{group}"):
                load(folder)
        with pytest.raises(ConfigError, match=None if group in forensics._UNUSED else group):
            forensics._rebuilt(RunFolder(folder).begun(), "cpu", (), None)
        cell = Run(folder, "x", "finished", {}, {**config, group: attack(name, marker)})
        assert (
            "learning rate at step 1" not in meaning.recipe_in_words(cell) or group != "schedule"
        )  # which would have called it


def test_a_foreign_run_folder_runs_nothing(composed, tmp_path, marker):
    refuses_a_foreign_folder(composed, tmp_path, marker, attempts(40))


@pytest.mark.slow
def test_a_foreign_run_folder_runs_nothing_whatever_it_names(composed, tmp_path, marker):
    refuses_a_foreign_folder(composed, tmp_path, marker, attempts(120))


LEAVES = {  # what an experiment or an option of a stranger's --config-dir could say to Hydra itself
    "a callback": ("hydra: {callbacks: {mine: {_target_: gptx.sweeps.pool.wait, line: [touch, MARKER]}}}", "hydra.callbacks.mine"),
    "a nested callback": ("hydra: {callbacks: {preflight: {more: {_target_: os.system, command: touch MARKER}}}}", "hydra.callbacks"),
    "no callback": ("hydra: {callbacks: {preflight: null}}", "hydra.callbacks"),
    "a launcher": ("hydra: {launcher: {_target_: gptx.sweeps.pool.wait, line: [touch, MARKER]}}", "hydra.launcher"),
    "inside a launcher": ("hydra: {launcher: {gpus_per_node: {_target_: os.system, command: touch MARKER}}}", "hydra.launcher"),
    "lines of shell": ("hydra: {launcher: {setup: [touch MARKER]}}", "hydra.launcher.setup"),
    "a word with a line end": ('hydra: {launcher: {partition: "x\\ntouch MARKER"}}', "hydra.launcher.partition"),
    "a sweeper": ("hydra: {sweeper: {_target_: os.system}}", "hydra.sweeper"),
    "trust in a sweep": ("hydra: {sweeper: {params: {allow_targets: '[os.]'}}}", "hydra.sweeper.params.allow_targets"),
    "Hydra in a sweep": ("hydra: {sweeper: {params: {hydra.callbacks.x._target_: os.system}}}", "hydra.sweeper.params.hydra"),
    "a factory of a formatter": ("hydra: {job_logging: {formatters: {plain: {(): os.system, cmd: touch MARKER}}}}", r"job_logging.*\(\)"),
    "a class of a handler": ("hydra: {job_logging: {handlers: {terminal: {class: logging.FileHandler, filename: MARKER}}}}", r"class=logging.FileHandler"),
    "a filter": ("hydra: {job_logging: {filters: {x: {(): os.system}}}}", "filters"),
    "an import": ("hydra: {job_logging: {handlers: {terminal: {stream: ext://os.environ}}}}", "stream=ext://os.environ"),
    "an attribute": ("hydra: {job_logging: {handlers: {terminal: {.: {x: 1}}}}}", "not allowed"),
    "Hydra's own logging": ("hydra: {hydra_logging: {handlers: {console: {(): os.system}}}}", r"hydra_logging.*\(\)"),
    "a callback elsewhere": ("hydra: {callbacks: {mine: '${evil}'}}\nevil: {_target_: os.system, command: touch MARKER}", "hydra.callbacks.mine"),
    "callbacks elsewhere": ("hydra: {callbacks: '${evil}'}\nevil: {a: {_target_: os.system}}", "hydra.callbacks"),
    "a launcher elsewhere": ("hydra: {launcher: '${evil}'}\nevil: {_target_: os.system}", "hydra.launcher"),
    "a sweeper elsewhere": ("hydra: {sweeper: {max_batch_size: '${evil}'}}\nevil: {_target_: os.system}", "hydra.sweeper"),
    "a sweep elsewhere": ("hydra: {sweeper: {params: '${evil}'}}\nevil: {a: 1}", "hydra.sweeper.params"),
    "logging elsewhere": ("hydra: {job_logging: '${evil}'}\nevil: {version: 1, root: {level: INFO}}", "hydra.job_logging"),
    "a handler elsewhere": ("hydra: {job_logging: {handlers: {terminal: '${evil}'}}}\nevil: {(): os.system}", "hydra.job_logging"),
    "a made node": ("hydra: {callbacks: {x: '${oc.create:\"{_target_: os.system}\"}'}}", "hydra.callbacks.x"),
    "the environment": ("hydra: {job: {env_set: {LD_PRELOAD: MARKER}}}", "hydra.job.env_set"),
    "where runs go": ("hydra: {run: {dir: MARKER}}", "hydra.run.dir"),
    "where sweeps go": ("hydra: {sweep: {dir: MARKER}}", "hydra.sweep.dir"),
    "typed words": ("hydra: {overrides: {task: ['allow_targets=[os.]']}}", "hydra.overrides"),
    "trust": ("allow_targets: [os.]\nclip: {_target_: os.system, command: touch MARKER}", "allow_targets: a file cannot"),
    "a secret as a name": ("name: x-${oc.env:HOME}", "name=.*: the run folder would show"),
    "Hydra's own folder": ("hydra: {output_subdir: .hydra}", "hydra.output_subdir"),
    "another working folder": ("hydra: {job: {chdir: true}}", "hydra.job.chdir"),
}  # fmt: skip


def from_config_dir(folder: Path, text: str, *words: str):
    """What Hydra composes from an experiment in a --config-dir."""
    (folder / "experiment").mkdir(exist_ok=True, parents=True)
    (folder / "experiment/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    return compose.composed(["experiment=mine", f"hydra.searchpath=[file://{folder}]", *words], hydra=True)


@pytest.mark.parametrize("what", LEAVES)
def test_a_file_gives_hydra_nothing_that_runs(what, tmp_path, marker):
    text, message = LEAVES[what]
    with pytest.raises(ConfigError, match=message) as refusal:
        from_config_dir(tmp_path, text.replace("MARKER", str(marker)))
    assert "\n" not in str(refusal.value)


def test_a_file_may_say_what_is_plain_data_and_the_command_line_more(tmp_path, monkeypatch):
    cfg = from_config_dir(tmp_path, "name: mine\nhydra: {launcher: {parallel: 2}, sweeper: {params: {seed: '0,1'}}}")
    assert cfg.hydra.launcher.parallel == 2
    words = ["hydra/launcher=slurm", "hydra.launcher.setup=[module load cuda]", "hydra.run.dir=here",
             "+hydra.launcher.additional_parameters.hold=true", "+hydra.job.env_set.A=b"]  # fmt: skip
    cfg = from_config_dir(tmp_path, "name: mine", *words)
    assert cfg.hydra.launcher.setup == ["module load cuda"]
    (tmp_path / "theirs.py").write_text("class Callback:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    trusted = "allow_targets=[theirs.]", "+hydra.callbacks.x._target_=theirs.Callback"
    assert "x" in from_config_dir(tmp_path, "name: mine", *trusted).hydra.callbacks


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+hydra.foo=1", "hydra.foo: no such key"),
        ("+hydra.run.foo=1", "hydra.run.foo: no such key"),
        ("~hydra", "~hydra: gptx needs this section"),
        ("~hydra.callbacks", "~hydra.callbacks: gptx needs this section"),
        ("hydra={}", "hydra=.*: gptx needs this section"),
        ("hydra.job.chdir=true", "hydra.job.chdir=True: paths are relative"),
        ("hydra.output_subdir=x", "hydra.output_subdir"),
        ("hydra/job_logging=default", "hydra.job_logging.handlers.file"),
        ("hydra.callbacks.preflight._target_=os.system", "hydra.callbacks: gptx needs its own"),
        ("+hydra.callbacks.x._target_=os.system", "os.system is not in an allowed package"),
        ("hydra.launcher._target_=os.system", "hydra.launcher._target_: os.system is not allowed there"),
        ("+hydra.launcher.x._target_=os.system", "hydra.launcher.x._target_: os.system is not allowed there"),
    ],
)
def test_what_is_typed_for_hydra_is_held_to_the_list_too(tmp_path, word, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        from_config_dir(tmp_path, "name: mine", word)
    assert "\n" not in str(refusal.value)


def test_a_callback_of_a_config_folder_is_refused_before_its_constructor(command, tmp_path):
    text = LEAVES["a callback"][0].replace("MARKER", str(tmp_path / "marker"))
    (tmp_path / "theirs/experiment").mkdir(parents=True)
    (tmp_path / "theirs/experiment/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    for words in (
        ["experiment=mine"],
        ["--multirun", "experiment=mine", "seed=0,1"],
        ["experiment=mine", "--cfg", "job"],
    ):
        result = command("train", "--config-dir", "theirs", *words)
        assert result.returncode == 1
        assert result.stderr.startswith("config error: hydra.callbacks.mine._target_: gptx.sweeps.pool.wait"), (
            result.stderr
        )
    planned = command("plan", "--config-dir", "theirs", "experiment=mine")
    assert "hydra.callbacks.mine" in planned.stderr
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("option", ["--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun"])
def test_options_that_pass_gptx_by_are_refused(command, option):
    result = command("train", option, "x")
    assert result.returncode == 1
    assert result.stderr.startswith(f"config error: {option}"), result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["allow_targets=[os.]"], ["hydra.searchpath=[pkg://evil]"], ["+hydra.callbacks.x=1"],
                                   ["--config-dir=theirs"], ["-m"], ["hydra/launcher=x"], ["++hydra.job.env_set.A=1"],
                                   ["data.path=https://theirs/${oc.env:TOKEN}"], ["data.path=${oc.${model}:TOKEN}"]])  # fmt: skip
def test_a_record_that_goes_beyond_a_recipe_is_made_again_with_trust_alone(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    folder = foreign(tmp_path / "runs/theirs/cell", {"name": "theirs"})
    text = (folder / "run.json").read_text().replace('"allow_targets=[os.]"', ", ".join(f'"{word}"' for word in words))
    (folder / "run.json").write_text(text)
    with pytest.raises(ValueError, match="its record asks for more than a recipe"):
        rerun.rerun("runs/theirs/cell")


@pytest.mark.slow
def test_a_run_takes_no_folder_that_holds_something_else_and_deletes_no_other_run(command, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    for words in (
        ["hydra.run.dir=mine"],
        ["hydra.run.dir=mine", "overwrite=true"],
        ["hydra.run.dir=.", "overwrite=true"],
    ):
        refused = command("train", *words)
        assert refused.returncode == 1
        assert "which is no run's" in refused.stderr, refused.stderr
        assert refused.stderr.count("\n") == 1
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    for folder in ("other/inner", "other"):  # the second finds the first below it
        assert command("train", f"hydra.run.dir={folder}", "steps=1").returncode == 0
    assert command("train", "hydra.run.dir=other", "steps=1", "overwrite=true").returncode == 0
    assert (tmp_path / "other/inner/run.json").exists()
    sweep = command("train", "--multirun", "hydra.run.dir=other", "seed=0,1")
    assert sweep.returncode == 1
    assert sweep.stderr == "config error: hydra.run.dir is of a single run; a sweep goes to hydra.sweep.dir\n"
