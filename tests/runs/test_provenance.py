"""The code of a run is recorded: own classes, in a repository or not, and what differs in it is told."""

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from gptx.commands.diff import difference_lines
from gptx.compare import collect
from gptx.config import paths
from gptx.job import resume
from gptx.report.one import machine_facts
from gptx.runs import plain, provenance
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
CLASS = """from helper_{n} import scaled


class Plain:
    def step(self):
        return scaled(1.0)
"""
HELPER = "def scaled(lr):\n    return lr\n"


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True).stdout


SECRETS = """# https://me:pass1234@host/x
API_KEY = "me:pass1234"
HEADERS = {'token': 'me:pass1234'}
key = "lr"
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """library("changed"): a module of one's own and its helper, loaded; their folder, number and config."""
    count = 0

    def make(kind: str):
        nonlocal count
        count += 1
        n = f"{count}_{uuid.uuid4().hex[:8]}"
        folder = tmp_path / f"lib{count}"
        folder.mkdir()
        (folder / f"mine_{n}.py").write_text(CLASS.format(n=n))
        (folder / f"helper_{n}.py").write_text(HELPER)
        (folder / "big.bin").write_bytes(b"0" * 100)
        if kind != "no repository":
            git(folder, "init", "-q")
        if kind == "ignored":
            (folder / ".gitignore").write_text("*.py\n")
        if kind in ("clean", "changed", "ignored"):
            git(folder, "add", ".")
            git(folder, "commit", "-qm", "one")
        if kind == "untracked":
            git(folder, "commit", "-qm", "none", "--allow-empty")
        if kind == "changed":
            (folder / f"helper_{n}.py").write_text(HELPER + SECRETS)
            (folder / "big.bin").write_bytes(b"1" * 100)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.chdir(folder)
        __import__(f"mine_{n}")
        for name in (f"mine_{n}", f"helper_{n}"):
            monkeypatch.setitem(sys.modules, name, sys.modules[name])  # and away with it afterwards
        return (
            folder,
            n,
            {"optim": {"_target_": f"mine_{n}.Plain"}, "sources": [{"_target_": "gptx.ingredients.decay.matrices"}]},
        )

    yield make
    provenance.digest.cache_clear()
    provenance.repository.cache_clear()


@pytest.mark.parametrize("kind", ["clean", "changed", "untracked", "uncommitted", "ignored", "no repository"])
def test_the_code_of_an_own_class_is_in_the_record_whatever_its_repository(library, kind):
    folder, n, config = library(kind)
    code, patch = provenance.code_of(config)
    assert {f"mine_{n}", f"helper_{n}", "gptx.ingredients.decay", "gptx.trainer"} <= {*code["sources"]}
    assert not [
        name for name in code["sources"] if name.startswith(("torch", "gptx.ingredients.log", "tests", "pytest"))
    ]
    told = code["repositories"].get(folder.name)
    if kind == "no repository":
        assert told is None
        return
    assert told["sha"] == ("" if kind == "uncommitted" else git(folder, "rev-parse", "HEAD").strip())
    own = {f"helper_{n}.py": code["sources"][f"helper_{n}"], f"mine_{n}.py": code["sources"][f"mine_{n}"]}
    expected = {"clean": {}, "ignored": {}, "untracked": own, "uncommitted": own}
    if kind == "changed":
        assert {*told["changed"]} == {f"helper_{n}.py", "big.bin"}
        assert all(line in patch for line in ("***@host", 'API_KEY = "***"', "{'token': '***'}", 'key = "lr"'))
    else:
        assert told["changed"] == expected[kind]
    assert "pass1234" not in patch
    assert "big.bin" not in patch
    if told["changed"]:  # what ran can be had again from the commit and the patch
        shutil.rmtree(clone := folder.parent / "clone", ignore_errors=True)
        git(folder, "clone", "-q", ".", str(clone))
        own_part = patch[patch.index(f"# {folder.name}") :].split("\n# ")[0]
        (clone / "x.patch").write_text(own_part)
        git(clone, "apply", "x.patch")
        made = (clone / f"helper_{n}.py").read_text().replace("***", "me:pass1234")
        assert made == (folder / f"helper_{n}.py").read_text()
    plain.validated({"code": [{"step": 0, **code}]}, plain.RECORD, folder)


def test_a_source_that_changed_is_named_also_where_the_class_only_imports_it(library):
    folder, n, config = library("no repository")
    record = {"code": [{"step": 0, **provenance.code_of(config)[0]}]}
    assert provenance.changed_since(record, config) == ""
    (folder / f"helper_{n}.py").write_text(HELPER.replace("lr\n", "0.5 * lr\n"))
    assert provenance.changed_since(record, config) == ""  # this process has loaded the one before
    provenance.digest.cache_clear()
    assert provenance.changed_since(record, config) == f"helper_{n}.py"
    assert resume.as_asked(RunFolder(folder), record, config) == f", but by other code: helper_{n}.py changed since"
    for old in ({}, {"git": {}}, {"code": []}):  # of an earlier version
        assert provenance.changed_since(old, config) == ""
        assert provenance.facts(old) == {}


def test_a_large_repository_costs_neither_time_nor_room(library, monkeypatch):
    folder, n, config = library("clean")
    names = [f"f{i:03d}.txt" for i in range(provenance.MOST + 20)]
    for name in names:
        (folder / name).write_text("a\n")
    git(folder, "add", *names)
    git(folder, "commit", "-qm", "many")
    for name in names:
        (folder / name).write_text("b\n")
    (folder / "data").mkdir()
    (folder / "data/untracked.bin").write_bytes(b"0" * 1000)
    (folder / "big.bin").write_bytes(b"2" * 1000)
    (folder / f"mine_{n}.py").write_text(CLASS.format(n=n) + "# long\n" * 100)
    monkeypatch.setattr(provenance, "LARGEST", 500)
    monkeypatch.setattr(provenance, "LONGEST_PATCH", 100)
    code, patch = provenance.code_of(config)
    changed = code["repositories"][folder.name]["changed"]
    assert changed["big.bin"] == "1,000 bytes"
    assert changed["and more"] == "22 files"
    assert len(changed) == provenance.MOST + 1
    assert not [name for name in changed if name.startswith("data")]
    assert "# left out: " in patch
    assert "# long" not in patch


@pytest.mark.parametrize(("path", "patience"), [("nowhere", 5.0), (None, 0.0)])
def test_without_git_or_with_one_that_hangs_the_sources_are_known(library, monkeypatch, path, patience):
    _, n, config = library("changed")
    monkeypatch.setattr(provenance, "GIT_PATIENCE", patience)
    if path:
        monkeypatch.setenv("PATH", path)
    code, patch = provenance.code_of(config)
    assert f"helper_{n}" in code["sources"]
    assert code["repositories"] == {}
    assert patch == ""
    assert provenance.git() == {}


def test_the_repository_around_an_installed_package_is_not_its_own(library, monkeypatch, tmp_path):
    folder, _, _ = library("ignored")
    installed = folder / ".venv/site-packages/installed_optimizer.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("class Plain:\n    pass\n")
    monkeypatch.syspath_prepend(installed.parent)
    monkeypatch.setitem(sys.modules, "installed_optimizer", __import__("installed_optimizer"))
    monkeypatch.chdir(tmp_path)
    code, _ = provenance.code_of({"optim": {"_target_": "installed_optimizer.Plain"}})
    assert "installed_optimizer" in code["sources"]
    assert folder.name not in code["repositories"]
    package = folder / ".venv/gptx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert provenance.git()["sha"] == git(paths.PACKAGE, "rev-parse", "HEAD").strip()
    monkeypatch.setattr(paths, "PACKAGE", package)
    assert provenance.git() == {}


def code(step: int = 0, mine: str = "aa", sha: str = "1" * 40, **changed: str) -> dict:
    return {"step": step, "sources": {"mine": mine, "gptx.ingredients.decay": "dd"},
            "repositories": {"lib": {"sha": sha, "changed": changed}, "gptx": {"sha": "9" * 40, "changed": {}}}}  # fmt: skip


def test_codes_are_kept_in_the_order_in_which_a_run_went_on_with_them():
    first = [code()]
    assert provenance.since([], 0, code()) == first
    assert provenance.since(first, 5, code(5)) == first
    both = provenance.since(first, 5, code(5, "bb"))
    assert [(each["step"], each["sources"]["mine"]) for each in both] == [(0, "aa"), (5, "bb")]
    assert provenance.since(both, 5, code(5, "cc"))[1:] == [code(5, "cc")]  # what was made from 5 on is made again
    assert provenance.since(both, 0, code(0, "cc")) == [code(0, "cc")]
    facts = provenance.facts({"code": both})
    assert facts["code of mine"] == "aa, from step 6 on bb"
    assert facts["code of gptx.ingredients.decay"] == "dd"
    assert "commit of gptx" not in facts  # it is told as the commit
    old = {"code": [code(5)]}  # of an earlier version, which told no code, and went on with this one
    assert provenance.facts(old) == provenance.facts({"code": [code()]})
    assert provenance.differing([old, {"code": [code()]}]) == {}


def test_diff_and_report_say_in_what_code_two_runs_differ():
    cells = [
        Run(Path(name), name, "finished", {"state": "finished", "code": [each], "git": {"sha": "9" * 40}}, {"seed": 0})
        for name, each in (("a", code()), ("b", code(mine="bb", mine_py="bb")), ("c", code(sha="2" * 40)))
    ]
    told = "\n".join(difference_lines(cells[0], cells[1]))
    assert "other code or packages, which can change anything:" in told
    assert "code of mine" in told
    assert "mine_py bb" in told
    assert "commit of lib" in "\n".join(difference_lines(cells[0], cells[2]))
    assert "same code and packages" in difference_lines(cells[0], cells[0])
    assert collect.environment(cells[:2])["code of mine"] == ["aa", "bb"]
    assert "code of mine" not in collect.environment([cells[0], cells[2]])
    assert collect.environment([cells[0], cells[2]])["commit of lib"] == ["1" * 12, "2" * 12]
    old = Run(Path("o"), "o", "finished", {"state": "finished", "git": {}}, {"seed": 0})  # of an earlier version
    assert not [key for key in collect.environment([cells[0], old]) if "code" in key]
    told = "\n".join(difference_lines(old, cells[0]))
    assert "sources of what was built  not known" in told
    assert "code of" not in told
    pairs = dict(machine_facts(cells[1].record))
    assert (pairs["code of mine"], pairs["uncommitted in lib"]) == ("bb", "mine_py bb")
    assert "uncommitted in gptx" not in pairs
    assert "code of gptx.ingredients.decay" not in pairs


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_finished_run_of_other_code_is_said_to_be_one_and_so_is_a_resume(command, tmp_path):
    own = tmp_path / "mylib.py"
    text = (
        "import torch\n\n\nclass Plain(torch.optim.SGD):\n    def step(self, closure=None):\n        super().step()\n"
    )
    own.write_text(text)
    git(tmp_path, "init", "-q")
    (tmp_path / "conf/optim").mkdir(parents=True)
    (tmp_path / "conf/optim/plain.yaml").write_text("_target_: mylib.Plain\n_partial_: true\nlr: 0.1\n")
    words = ["--config-dir", "conf", "optim=plain", "allow_targets=[mylib.]", "hydra.run.dir=here",
             "checkpoints.every=4", "checkpoints.keep=5"]  # fmt: skip
    made = command("train", *words)
    assert made.returncode == 0, made.stderr
    assert "class Plain" in (tmp_path / "here/code_00000000.patch").read_text()
    own.write_text(text + "# changed\n")
    again = command("train", *words)
    assert again.returncode == 0
    assert "already finished: validation loss" in again.stdout + again.stderr
    assert "but by other code: mylib.py changed since" in again.stdout + again.stderr
    RunFolder(tmp_path / "here").write(state="preempted")
    shutil.rmtree(tmp_path / "here/checkpoints/step_00000006")
    on = command("train", *words, "record_patch=false")
    assert on.returncode == 0, on.stderr
    assert "warning: the steps before were made by other code: mylib.py changed since" in on.stdout + on.stderr
    record = json.loads((tmp_path / "here/run.json").read_text())
    assert [each["step"] for each in record["code"]] == [0, 4]
    assert not (tmp_path / "here/code_00000004.patch").exists()
