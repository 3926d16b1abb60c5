"""What code makes a run: the sources of the classes that its config builds, and the repositories that they are from.

A source is known by its digest, in a repository or not. What git says is bounded in time and size, and may be missing.
"""

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from gptx.config import paths
from gptx.config.build import find
from gptx.ingredients.log import shown
from gptx.units.printable import masked

WATCHED = ("gptx.ingredients.log", "gptx.ingredients.checkpoints")  # rooms that decide nothing of a result
TRAINER = "gptx.trainer.Trainer"  # which every config builds
PATIENCE = 5.0  # seconds that git may take for one answer
MOST = 200  # changed files that are listed
LARGEST = 10_000_000  # bytes of a changed file that is read
LONGEST = 1_000_000  # characters of a patch
LITERAL = re.compile(  # what a source calls a secret: API_KEY = "...", password: str = '...'
    r"""((?:(?:api|access|auth|private|secret)_?key|token|secret|passw(?:or)?d|credentials?)["']?\s*"""
    r"""(?::[^=\n"']{0,30})?[=:]\s*[rbu]?(["']))[^"'\n]+(?=\2)""",
    re.IGNORECASE,
)
GIT = "git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=false"


def ask(folder: Path, *words: str) -> str | None:
    """What git says of a folder; None where there is no git, no repository, or no answer in time."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        told = subprocess.run([*GIT, "-C", str(folder), *words], capture_output=True, timeout=PATIENCE, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.decode(errors="replace") if told.returncode == 0 else None


def git() -> dict:
    """Commit of gptx's own repository and whether it was changed since; empty where it was installed without one."""
    if not ask(paths.PACKAGE, "ls-files", "__init__.py"):  # in a repository of others it is ignored, as in .venv
        return {}
    commit, status = ask(paths.PACKAGE, "rev-parse", "HEAD"), ask(paths.PACKAGE, "status", "--porcelain")
    return {"sha": commit.strip(), "dirty": status != ""} if commit else {}


def code(config: dict) -> tuple[dict, str]:
    """The code of what a checked config builds, as run.json has it (`sources` and `repositories`), and a patch of what
    is uncommitted in these sources, without secrets."""
    sources = modules(config)
    roots = {name: repository_of(file.parent) for name, file in sources.items()}
    gptx = repository_of(paths.PACKAGE) if git() else None
    repositories, patches = dict[str, dict](), ""
    for root in sorted({root for root in (*roots.values(), repository_of(Path.cwd())) if root}):
        facts, patch = repository(root, tuple(file for name, file in sources.items() if roots[name] == root))
        name = "gptx" if root == gptx else root.name
        repositories |= {str(root) if name in repositories else name: facts} if facts else {}
        patches += f"# {name}, commit {facts['sha']}\n{patch}" if patch else ""
    digests = {name: digest(file) for name, file in sources.items()}
    return {"sources": digests, "repositories": repositories}, masked(LITERAL.sub(r"\1***", patches))


def modules(config: dict) -> dict[str, Path]:
    """Source file of every loaded module with code of what a checked config builds, by the module's name.

    Of a package that is installed these are the modules of the classes alone, of gptx all in their rooms,
    of one's own code all that is loaded from the same folder or below.
    """
    homes = homes_of(config)
    rooms = {room(home) for home in homes if home.startswith("gptx.")} - {*WATCHED}
    files = loaded(homes)
    own = {name: file for name, file in files.items() if name in homes and not name.startswith("gptx.")}
    folders = [above(name, file) for name, file in own.items() if not installed(str(file))]

    def belongs(name: str) -> bool:
        if name.startswith("gptx."):
            return within(name, rooms)
        return name in homes or any(files[name].is_relative_to(folder) for folder in folders)

    return {name: files[name] for name in sorted(files) if belongs(name)}


def room(module: str) -> str:
    """The room of a module of gptx: gptx.trainer, gptx.ingredients.optim."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1] == "ingredients" else 2])


def homes_of(config: dict) -> set[str]:
    """The modules that the classes and functions are from which a checked config builds."""
    return {str(getattr(find(target, target), "__module__", "")) for target in {TRAINER, *targets(config)}}


def loaded(homes: set[str]) -> dict[str, Path]:
    """Source file of every loaded module that is gptx's, one's own, or one of `homes`."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.copy().items()}
    sources = {name: file for name, file in files.items() if isinstance(file, str) and file.endswith(".py")}
    kept = [name for name in sources if name in homes or name.startswith("gptx.") or not installed(sources[name])]
    return {name: Path(sources[name]).resolve() for name in kept if os.path.isfile(sources[name])}


def above(name: str, file: Path) -> Path:
    """The folder from which a module is imported, where /a/b/c.py is b.c: /a."""
    return Path(*file.parts[: -1 - name.count(".") - (file.name == "__init__.py")])


def within(name: str, rooms: set[str]) -> bool:
    """True for a module that is one of `rooms`, or lies in one."""
    return any(f"{name}.".startswith(f"{room}.") for room in rooms)


def targets(node: Any) -> set[str]:
    """Every `_target_` in a config."""
    if isinstance(node, dict):
        own = {node["_target_"]} if "_target_" in node else set()
        return own.union(*map(targets, node.values()))
    return set().union(*map(targets, node)) if isinstance(node, list) else set()


def installed(file: str) -> bool:
    """True for a file of a package that was installed, or of Python itself: its version says what is in it."""
    packages = any(f"{os.sep}{name}{os.sep}" in file for name in ("site-packages", "dist-packages"))
    return packages or file.startswith(sysconfig.get_path("stdlib"))


@cache
def digest(file: Path) -> str:
    """The first 16 digits of the SHA-256 of a source, as this process first saw it: what it has loaded stays loaded."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def repository_of(folder: Path) -> Path | None:
    """The root of the repository in which a folder lies."""
    folder = folder.resolve()
    return next((root for root in (folder, *folder.parents) if (root / ".git").exists()), None)


@cache
def repository(root: Path, sources: tuple[Path, ...]) -> tuple[dict, str]:
    """Commit and changed files of a repository, with those of the `sources` that no commit has, and the patch of these
    sources; nothing where git does not know it. The sources that it ignores are none of its."""
    commit = ask(root, "rev-parse", "--verify", "-q", "HEAD")
    if commit is None and ask(root, "rev-parse", "--git-dir") is None:
        return {}, ""
    names = [str(file) for file in sources]
    others = ask(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *names) if names else ""
    new = (others or "").split("\0")[:-1]
    words = "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", *names
    patch = (ask(root, *words) if names and commit else "") or ""
    patch += "".join(added(root, name) for name in new)
    facts = {"sha": (commit or "").strip()} | changed(root, new)
    return facts, patch if len(patch) <= LONGEST else f"# left out: {len(patch):,} characters\n"


def changed(root: Path, new: list[str]) -> dict[str, dict]:
    """The changed files of a repository and those that are `new` to it, each with what it is; nothing where git does
    not answer in time."""
    status = ask(root, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames")
    if status is None:
        return {}
    names = sorted({*(entry[3:] for entry in status.split("\0")[:-1]), *new})
    found = {name: state(root / name) for name in names[:MOST]}
    return {"changed": found | ({"and more": f"{len(names) - MOST} files"} if len(names) > MOST else {})}


def state(file: Path) -> str:
    """What a changed file is: its digest, its size where it is large, or that it is gone."""
    try:
        if not file.is_file():
            return "a folder" if file.is_dir() else "deleted"
        size = file.stat().st_size
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if size <= LARGEST else f"{size:,} bytes"
    except OSError as error:
        return error.strerror or "unreadable"


def added(root: Path, name: str) -> str:
    """The patch that adds a text file."""
    lines = (root / name).read_text(errors="replace").splitlines(keepends=True)
    end = "" if not lines or lines[-1].endswith("\n") else "\n\\ No newline at end of file\n"
    head = (
        f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n"
    )
    return head + "".join(f"+{line}" for line in lines) + end if lines else ""


def since(before: list[dict], step: int, now: dict) -> list[dict]:
    """The codes of a run, each with the update after which it began, where it goes on after update `step`."""
    kept = [each for each in before if each.get("step", 0) < step]
    return kept if kept and not apart(kept[-1], now) else [*kept, {"step": step, **now}]


def apart(old: dict, new: dict) -> list[str]:
    """The sources and repositories, known to both codes, in which they differ."""
    pairs = [(old.get(part, {}), new.get(part, {})) for part in ("sources", "repositories")]
    return [name for one, other in pairs for name in one if name in other and one[name] != other[name]]


def changed_since(record: dict, config: dict) -> str:
    """The files that are not as they were when a recorded run was made, in words; empty where all are."""
    made = record["code"][-1].get("sources", {}) if record.get("code") else {}
    if not made:
        return ""
    found = [str(shown(file)) for name, file in modules(config).items() if made.get(name) not in (None, digest(file))]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{', '.join(found[:3])}{more}"


def facts(record: dict) -> dict[str, str]:
    """With what code a run was made, beside gptx's commit: a fact for each repository and each source, all its codes
    in a row where it went on with another. Of an earlier version, which told none, nothing is known."""
    first = min((each.get("step", 0) for each in record.get("code", [])), default=0)
    found: dict[str, list[tuple[int, str]]] = {}
    for each in record.get("code", []):
        for name, value in told(each).items():
            known = found.setdefault(name, [])
            known += [(each.get("step", 0), value)] if not known or known[-1][1] != value else []
    return {
        name: ", ".join(
            (f"from update {step + 1} on " if step > first else "") + (value or "nothing") for step, value in values
        )
        for name, values in found.items()
    }


def told(code: dict) -> dict[str, str]:
    """One code of a run, a fact a name; gptx's own commit is told elsewhere."""
    found = {f"code of {name}": value for name, value in code.get("sources", {}).items()}
    for name, repo in code.get("repositories", {}).items():
        found |= {f"commit of {name}": repo.get("sha", "")[:12]} if name != "gptx" else {}
        found[f"uncommitted in {name}"] = "; ".join(f"{file} {is_}" for file, is_ in repo.get("changed", {}).items())
    return found


def of_both(one: dict, other: dict) -> tuple[dict[str, str], dict[str, str]]:
    """The facts of code that the records of two runs both tell; where one tells nothing, that the other does."""
    first, second = facts(one), facts(other)
    if not first or not second:
        known = {"sources of what was built": "recorded"}
        return known if first else {}, known if second else {}
    return {name: first[name] for name in first if name in second}, {n: second[n] for n in second if n in first}


def differing(records: list[dict]) -> dict[str, list[str]]:
    """The facts of code in which several runs differ, with what they say of it; a run that does not tell is passed
    over."""
    each = [facts(record) for record in records]
    values = {name: list(dict.fromkeys(told[name] for told in each if name in told)) for told in each for name in told}
    return {name: several for name, several in values.items() if len(several) > 1}
