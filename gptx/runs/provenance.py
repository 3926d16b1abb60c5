"""What made a run: the sources of the classes that its config builds, their repositories, versions and processor."""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections import defaultdict
from contextlib import suppress
from functools import cache
from itertools import filterfalse
from pathlib import Path
from typing import Any

from gptx.config import paths
from gptx.config.build import find_target
from gptx.config.groups import GROUPS
from gptx.ingredients.log import shown
from gptx.units.printable import masked

_ASIDE = {f"gptx.ingredients.{name}" for name, group in GROUPS.items() if not group.decides} | {"gptx.sweeps"}
_ROOM = re.compile(r"gptx\.(?:ingredients\.)?\w+|")  # of a module: gptx.trainer, gptx.ingredients.optim; else ""
_PYTHON = sysconfig.get_path("stdlib")
_PACKAGES = ("gptx", "torch", "numpy", "hydra-core", "omegaconf", "tiktoken", "datasets", "wandb", "submitit")
GIT_PATIENCE = 5.0  # seconds that git may take for one answer
MOST = 200  # changed files that are listed
LARGEST = 10_000_000  # bytes of a changed file that is read
LONGEST_PATCH = 1_000_000  # characters of a patch
_LITERAL = re.compile(  # what a source calls a secret: API_KEY = "...", password: str = '...'
    r"""((?:(?:api|access|auth|private|secret)_?key|token|secret|passw(?:or)?d|credentials?)["']?\s*"""
    r"""(?::[^=\n"']{0,30})?[=:]\s*[rbu]?(["']))[^"'\n]+(?=\2)""",
    re.IGNORECASE,
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.*?)\s*$", info.read_text() if info.exists() else "", re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _ask(folder: Path, *words: str) -> str | None:
    """What git prints; None without git or a repository, or if it takes too long."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    with suppress(OSError, subprocess.TimeoutExpired):
        command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=false", "-C", str(folder), *words]
        told = subprocess.run(command, capture_output=True, timeout=GIT_PATIENCE, env=environment)
        return told.stdout.decode(errors="replace") if told.returncode in (0, 1) else None  # 1: files differ
    return None


def git() -> dict:
    """Commit of gptx's own repository, and whether files were changed since; empty without one."""
    if not _ask(paths.PACKAGE, "ls-files", "__init__.py"):  # in a repository of others it is ignored, as in .venv
        return {}
    commit, status = _ask(paths.PACKAGE, "rev-parse", "HEAD"), _ask(paths.PACKAGE, "status", "--porcelain")
    return {"sha": commit.strip(), "dirty": status != ""} if commit else {}


def code_of(config: dict) -> tuple[dict, str]:
    """`sources` and `repositories` of what a config builds, for run.json; a patch of what changed, without secrets."""
    sources, files = _modules(config), {_repository_of(Path.cwd()): list[Path]()}
    for file in filterfalse(_installed, sources.values()):
        files.setdefault(_repository_of(file.parent), []).append(file)
    gptx = _repository_of(paths.PACKAGE) if git() else None
    repositories, patches = dict[str, dict](), ""
    for root in sorted(filter(None, files)):
        facts, patch = repository(root, tuple(files[root]))
        name = "gptx" if root == gptx else root.name
        repositories |= {str(root) if name in repositories else name: facts} if facts else {}
        patches += f"# {name}, commit {facts['sha']}\n{patch}" if patch else ""
    digests = {name: digest(file) for name, file in sources.items()}
    return {"sources": digests, "repositories": repositories}, masked(_LITERAL.sub(r"\1***", patches))


def _modules(config: dict) -> dict[str, Path]:
    """Source file of every loaded module with code of what a config builds: of gptx all in the rooms of these classes,
    of an installed package those of the classes alone, of one's own all loaded from the same folder or below."""
    targets = {"gptx.trainer.Trainer", *_targets(config)}
    homes = {str(getattr(find_target(target, target), "__module__", "")) for target in targets}
    files = _loaded(homes)
    own = {name for name in files if not name.startswith("gptx.")}
    parts = {name: files[name].parts for name in homes & own if not _installed(files[name])}
    # from which they are imported: /a of b.c in /a/b/c.py
    folders = {Path(*p[: -1 - name.count(".") - (p[-1] == "__init__.py")]) for name, p in parts.items()}
    beside = {name for name in own if not folders.isdisjoint(files[name].parents)}
    rooms = set(map(_room, homes)) - _ASIDE - {""}  # which decide nothing of a result
    kept = {name for name in files if _room(name) in rooms} | homes & own | beside
    return {name: files[name] for name in sorted(kept)}


def _room(module: str) -> str:
    return _ROOM.match(module)[0]  # type: ignore[index]


def _loaded(homes: set[str]) -> dict[str, Path]:
    """Source file of every loaded module that is gptx's, one's own, or one of `homes`."""
    files = {name: Path(str(getattr(module, "__file__", ""))) for name, module in sys.modules.copy().items()}
    kept = [name for name in files if name in homes or name.startswith("gptx.") or not _installed(files[name])]
    return {name: files[name].resolve() for name in kept if files[name].suffix == ".py" and files[name].is_file()}


def _targets(node: Any) -> set[str]:
    own = {node["_target_"]} if isinstance(node, dict) and "_target_" in node else set()
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return own.union(*map(_targets, children))


def _installed(file: Path) -> bool:
    """True for a file of an installed package or of Python itself: its version says what is in it."""
    return not {"site-packages", "dist-packages"}.isdisjoint(file.parts[:-1]) or file.is_relative_to(_PYTHON)


@cache
def digest(file: Path) -> str:
    """The first 16 digits of the SHA-256 of a source, as this process first saw it: what it has loaded stays loaded."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _repository_of(folder: Path) -> Path | None:
    folder = folder.resolve()
    return next((root for root in (folder, *folder.parents) if (root / ".git").exists()), None)


@cache
def repository(root: Path, sources: tuple[Path, ...]) -> tuple[dict, str]:
    """Commit, changed files and patch of a repository's `sources`; empty if git does not know the repository."""
    if _ask(root, "rev-parse", "--git-dir") is None:
        return {}, ""
    commit = (_ask(root, "rev-parse", "--verify", "-q", "HEAD") or "").strip()
    names = list(map(str, sources))
    others = _ask(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *names) if names else ""
    new = (others or "").split("\0")[:-1]
    diffs = [["HEAD", "--", *names]] if names and commit else []
    diffs += [["--no-index", "--", os.devnull, name] for name in new]
    plain = "diff", "--no-ext-diff", "--no-textconv", "--no-color"
    patch = "".join(filter(None, (_ask(root, *plain, *words) for words in diffs)))
    whole = len(patch) <= LONGEST_PATCH
    return {"sha": commit} | _changed(root, new), patch if whole else f"# left out: {len(patch):,} characters\n"


def _changed(root: Path, new: list[str]) -> dict[str, dict]:
    """What the changed and the `new` files of a repository are; empty if git does not answer in time."""
    if (status := _ask(root, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")) is None:
        return {}
    names = sorted({*(entry[3:] for entry in status.split("\0")[:-1]), *new})
    more = {"and more": f"{len(names) - MOST} files"} if len(names) > MOST else {}
    return {"changed": {name: _content(root / name) for name in names[:MOST]} | more}


def _content(file: Path) -> str:
    """A changed file in a word: its digest, its size if it is large, or that it is gone."""
    try:
        if not file.is_file():
            return "a folder" if file.is_dir() else "deleted"
        size = file.stat().st_size
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if size <= LARGEST else f"{size:,} bytes"
    except OSError as error:
        return error.strerror or "unreadable"


def since(before: list[dict], step: int, now: dict) -> list[dict]:
    """The codes of a run, each with the step after which it began, if the run goes on after `step` with code `now`."""
    kept = [each for each in before if each.get("step", 0) < step]
    pairs = [(kept[-1].get(part, {}), now.get(part, {})) for part in ("sources", "repositories")] if kept else []
    same = all(one[name] == other[name] for one, other in pairs for name in one if name in other)
    return kept if kept and same else [*kept, {"step": step, **now}]


def changed_since(record: dict, config: dict) -> str:
    """The names of the files that are not as they were when a recorded run was made; empty if all are."""
    made = (record.get("code") or [{}])[-1].get("sources", {})
    found = [str(shown(file)) for name, file in _modules(config).items() if made.get(name) not in (None, digest(file))]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def facts(record: dict) -> dict[str, str]:
    """The code of a recorded run, a fact for each repository and source, all values in order if the code changed."""
    codes = record.get("code", [])
    first = min((code.get("step", 0) for code in codes), default=0)
    told, last = defaultdict[str, list[str]](list), dict[str, str]()
    for code in codes:
        begins = f"from step {code['step'] + 1} on " if code.get("step", 0) > first else ""
        for name, value in _facts(code).items():
            if last.get(name) != value:
                told[name].append(begins + (value or "nothing"))
            last[name] = value
    return {name: ", ".join(values) for name, values in told.items()}


def _facts(code: dict) -> dict[str, str]:
    found = {f"code of {name}": value for name, value in code.get("sources", {}).items()}
    for name, repo in code.get("repositories", {}).items():
        found |= {f"commit of {name}": repo.get("sha", "")[:12]} if name != "gptx" else {}
        found[f"uncommitted in {name}"] = "; ".join(f"{file} {is_}" for file, is_ in repo.get("changed", {}).items())
    return found


def of_both(one: dict, other: dict) -> tuple[dict[str, str], dict[str, str]]:
    """The facts of code that both records have; if one has none, that the other has some."""
    first, second = facts(one), facts(other)
    if not first or not second:
        known = {"sources of what was built": "recorded"}
        return known if first else {}, known if second else {}
    return {name: first[name] for name in first if name in second}, {n: second[n] for n in second if n in first}


def differing(records: list[dict]) -> dict[str, list[str]]:
    """The facts of code in which several runs differ, with their values; a run without such a fact is passed over."""
    each = [facts(record) for record in records]
    values = {name: list(dict.fromkeys(told[name] for told in each if name in told)) for told in each for name in told}
    return {name: several for name, several in values.items() if len(several) > 1}
