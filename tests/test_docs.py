"""Every command of README and docs does what it says, on runs made tiny; ingredients work as printed; paths exist."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

import pytest

from gptx.__main__ import COMMANDS
from gptx.config import arguments, paths
from gptx.config.groups import GROUPS

PAGES = [paths.ROOT / "README.md", *sorted((paths.ROOT / "docs").glob("*.md")), paths.ROOT / "CONTRIBUTING.md"]
pytestmark = pytest.mark.skipif(not PAGES[0].exists(), reason="an installed package has no README")

TINY = """# @package _global_
steps: 4
threads: 1
batch: {tokens: 256, micro: 4}
model: {context: 32, width: 32, depth: 2, heads: 2}
observe: {validation: {windows: 4}}
"""
ELSEWHERE = re.compile(r"# *needs a (network|cluster|GPU)|# *takes (minutes|hours)")  # composed, not run
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b|\.\.\.|\$")
SLOW = ("bench", "bench saves", "bench tokens", "bench observers", "bench wandb", "exercise")  # parsed, not run


def commands(page: Path) -> list[tuple[str, bool]]:
    """The commands in fences (not of output, ```text) and indented blocks, each with whether it is to be run here."""
    found, fence, here = [], "", True
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fence, here = ("" if fence else line[3:] or "text"), True
        elif fence and ELSEWHERE.match(line):
            here = False
        elif fence != "text" and (fence or line.startswith("    ")):
            text = re.sub(r"\s{2,}#.*", "", line.strip())
            if text.startswith(("python -m gptx", "gptx ")):
                found.append((text, here and not ELSEWHERE.search(line)))
    return found


def quoted(page: Path) -> list[str]:
    """The commands within sentences and tables, those with a placeholder left out."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return [line for line in re.findall(r"`(python -m gptx[^`]*)`", text) if not PLACEHOLDER.search(line)]


def written(root: Path) -> None:
    """The files that README and docs/python.md print, where they say, and a tiny recipe."""
    (root / "README.md").write_text(PAGES[0].read_text())
    code = []
    for page in (PAGES[0], paths.ROOT / "docs/python.md"):
        text = page.read_text()
        code += re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        blocks = re.findall(r"`(mine/[\w/]+\.yaml)`(?:(?!`mine/).)*?```yaml\n(.*?)```", text, re.DOTALL)
        for name, block in blocks:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(block)
    (root / "mylib.py").write_text("\n\n".join(block for block in code if "runs/default/base" not in block))
    (root / "reading.py").write_text(next(block for block in code if "runs/default/base" in block))
    for folder in ("tiny", "mine"):
        (root / folder / "experiment").mkdir(parents=True, exist_ok=True)
        (root / folder / "experiment/tiny.yaml").write_text(TINY)


def shrunk(words: list[str]) -> list[str]:
    """The words of a training run, made tiny by an experiment, which is no part of a run's name."""
    words = [word for word in words if not word.startswith(("compile=", "model=", "steps="))]
    words += [] if "--config-dir" in words else ["--config-dir", "tiny"]
    words += [] if any(word.startswith("experiment=") for word in words) else ["experiment=tiny"]
    own = ["schedule.warmup=1"] if any("schedule.warmup" in word for word in words) else []
    return [*words, *own, "log=[console,jsonl]"]


def composed(words: list[str]) -> list[str]:
    """The words that show the config of a training run, of a sweep that of its first."""
    kept = [word for word in words if word != "--multirun" and not word.startswith(("hydra/", "hydra."))]
    return [*(word if word.startswith("from=") else re.sub(r",[^\[\]]*$", "", word) for word in kept), "--cfg", "job"]


def forked(module: str, words: list[str], folder: Path) -> str:
    """Run a command in a copy of this process, which has torch already; what it printed, "" where it ended well."""
    sys.stdout.flush()
    if not (child := os.fork()):
        code = 1
        out = os.open(folder / "out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        try:
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            os.environ |= {"PYTHONPATH": f"{folder}:{paths.ROOT}", "OMP_NUM_THREADS": "1"}
            sys.argv = [module, *words]
            for name in [name for name in sys.modules if name.startswith("hydra_plugins")]:
                del sys.modules[name]  # of other tests of this process
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            print(end.code if isinstance(end.code, str) else "")
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return (folder / "out.txt").read_text() or "no output" if status else ""


def named(words: list[str]) -> str:
    """The command, of one word or two."""
    return " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]


def parsed(words: list[str]) -> None:
    """Read the words of a command as it would, without running it."""
    name = named(words)
    rest = words[len(name.split()) :]
    if not rest:  # a command that a sentence names
        return
    module, _, function = COMMANDS[name].partition(":")
    arguments.parse(getattr(import_module(module), function), rest)


def tried(line: str, here: bool, folder: Path) -> str:
    """Run a command, or compose or parse one that is for elsewhere; "" where nothing is wrong."""
    words = shlex.split(line, comments=True)
    module, *rest = words if words[0] == "gptx" else words[2:]
    if module == "gptx.train" or rest[:1] == ["train"]:
        rest = [word for word in rest if word != "train"]
        return forked("gptx.train", shrunk(rest) if here else composed(rest), folder)
    if not rest or {"--help"} & {*rest} or rest[0] == "plan":
        return forked("gptx", [word for word in rest if here or not word.startswith("law=")], folder)
    rest = [re.sub(r"^(trials|steps)=.*", r"\1=2", word) for word in rest] if rest[0] == "study" else rest
    if not here or named(rest) in SLOW:
        parsed(rest)
        return ""
    return forked("gptx", [*rest, *["trust=true"] * (rest[0] == "rerun")], folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_readme_and_docs_runs_in_order(tmp_path):
    written(tmp_path)
    lines = [(line, here) for page in PAGES for line, here in commands(page)]
    assert len(lines) > 40
    wrong = {line: said for line, here in lines if (said := tried(line, here, tmp_path))}
    done = subprocess.run([sys.executable, "reading.py"], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(paths.ROOT)})  # fmt: skip
    assert not wrong, "\n\n".join(f"{line}\n{said[-1500:]}" for line, said in wrong.items())
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_within_a_sentence_can_be_typed(tmp_path):
    written(tmp_path)
    wrong = {line: said for page in PAGES for line in quoted(page) if (said := tried(line, False, tmp_path))}
    assert not wrong, "\n\n".join(f"{line}\n{said[-800:]}" for line, said in wrong.items())


def test_the_readme_is_short_and_names_every_group_and_only_options_that_there_are():
    text = PAGES[0].read_text()
    assert len(text.encode()) <= 12 * 1024
    table = dict(re.findall(r"^\| (`[^|]+`) \| (.+) \|$", text, re.MULTILINE))
    named = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    assert {*GROUPS} - named <= {"checkpoints", "sweep"}
    for cell, options in table.items():
        here = {
            file.stem
            for group in re.findall(r"`(\w+)`", cell)
            for file in (paths.ROOT / f"conf/{group}").glob("*.yaml")
        }
        listed = {word for part in re.findall(r"`([a-z0-9_ ]+)`", options) for word in part.split()}
        assert not here or listed <= here | {"chars", "gpt2", "tokenizer"}, f"{cell}: {listed - here}"


def test_every_make_target_path_and_test_that_the_pages_name_is_there():
    targets = set(re.findall(r"^([a-z]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        assert {*re.findall(r"^    make ([a-z]+)", text, re.MULTILINE)} <= targets
        named = re.findall(r"`((?:conf|gptx|tests|experiments|docs)/[\w/.]*\w/?)`", text)
        named += re.findall(r"pytest (tests/[\w/]+(?:\.py)?)", text)
        named += [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
        for name in [name for name in named if "NAME" not in name]:
            place = (page.parent if (page.parent / name).exists() else paths.ROOT) / name
            assert place.exists(), f"{page.name}: {name}"
