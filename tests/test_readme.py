"""Every command of the README does what it says, on a run made tiny; the examples of new ingredients work as printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gptx.config import paths

README = paths.ROOT / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="an installed package has no README")

TINY = """# @package _global_
steps: 4
batch: {tokens: 256, micro: 4}
model: {context: 32, width: 32, depth: 1, heads: 2}
observe: {validation: {windows: 4}}
"""


def commands() -> list[str]:
    """The command lines of the README, without their remarks."""
    lines = re.findall(r"^    ((?:python -m gptx|torchrun|make) ?.*)$", README.read_text(), re.MULTILINE)
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def shrunk(line: str, folder: Path) -> list[str]:
    """The words of a command, on this interpreter, with a tiny experiment laid over a training run."""
    words = [sys.executable if word == "python" else word for word in shlex.split(line)]
    words += ["trust=true"] if "gptx.commands.rerun" in words else []  # for the --config-dir of the experiment
    if "gptx.train" in words and "--help" not in words:
        words = [word for word in words if not word.startswith(("compile=", "model=", "steps="))]
        words += [] if "--config-dir" in words else ["--config-dir", str(folder / "tiny")]
        words += (
            ["experiment=tiny", "log=[console,jsonl]", "schedule.warmup=1"]
            if "schedule.warmup" in line
            else ["experiment=tiny"]
        )
    return words


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as a reader has it: the README beside, the new ingredients written as the README prints them."""
    root = tmp_path_factory.mktemp("reader")
    (root / "README.md").write_text(README.read_text())
    for config in ("tiny", "my_conf"):
        (root / config / "experiment").mkdir(parents=True)
        (root / config / "experiment/tiny.yaml").write_text(TINY)
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    (root / "my_conf/optim").mkdir()
    (root / "my_conf/optim/adagrad.yaml").write_text(next(b for b in blocks if "Adagrad" in b))
    return root


def run(words: list[str], folder: Path):
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_runs_in_order(folder):
    lines = [line for line in commands() if line.startswith("python") and "schedule=parabola" not in line]
    lines.insert(0, "python -m gptx.train")  # what make train does
    assert len(lines) >= 12
    for line in lines:
        result = run(shrunk(line, folder), folder)
        assert result.returncode == 0, f"{line}\n{result.stdout}{result.stderr}"


@pytest.mark.slow
def test_the_new_schedule_of_the_readme_is_one_function_and_one_yaml(folder):
    text = README.read_text()
    function = re.search(r"```python\n(def parabola.*?)```", text, re.DOTALL)[1]
    yaml = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "schedule.parabola" in b)
    (folder / "mylib.py").write_text("from gptx.units.lengths import Length\n\n\n" + function)
    (folder / "my_conf/schedule").mkdir()
    (folder / "my_conf/schedule/parabola.yaml").write_text(
        yaml.replace("gptx.ingredients.schedule.parabola", "mylib.parabola")
    )
    words = [
        "-m",
        "gptx.train",
        "--config-dir",
        "my_conf",
        "experiment=tiny",
        "schedule=parabola",
        "allow_targets=[mylib.]",
    ]
    result = run([sys.executable, *words], folder)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in commands() if line.startswith("make")} <= targets


def test_every_test_that_the_docs_name_is_there():
    named = [name for file in sorted((paths.ROOT / "docs").glob("*.md"))
             for name in re.findall(r"tests/\w+\.py", file.read_text())]  # fmt: skip
    assert named
    for name in named:
        assert (paths.ROOT / name).exists(), name


def test_every_path_of_the_readme_exists():
    for word in re.findall(r"`((?:conf|gptx|tests|experiments)/[\w/.]+)`", README.read_text()):
        if word not in ("conf/schedule/parabola.yaml", "experiments/NAME/"):
            assert (paths.ROOT / word).exists(), word


def test_the_table_of_ingredients_names_every_option():
    text = README.read_text()
    for file in Path(paths.CONF).glob("*/*.yaml"):
        if file.parent.name not in ("hydra", "checkpoints", "parallel", "log"):
            assert re.search(rf"\b{file.stem}\b", text), f"{file.parent.name}={file.stem}"
