"""The rules of the house, each checked over the source and each shown to find what breaks it."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from gptx.config import paths

PACKAGE = paths.PACKAGE
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))
           if "conf" not in path.relative_to(PACKAGE).parts[:1]}  # fmt: skip
OPTIONS = sorted({path.parent.name for path in paths.ROOT.glob("conf/*/*.yaml")} - {"hydra", "experiment", "sweep"})

LINES = 23_780  # of Python, JavaScript and CSS in gptx/; raised once, for ablations; it only falls
LONGEST = 300  # lines of a file
COMPLEX, SOME_COMPLEX, MANY = 12, 10, 30  # complexity of a function at most; fewer than MANY are above SOME_COMPLEX

LAYERS = (  # a file imports its own room, or a lower layer; rooms of one layer do not import each other
    ("units", "files", "trainer", "distributed"),
    ("ingredients",),
    ("config",),
    ("runs",),
    ("estimate",),
    ("job", "show"),
    ("compare",),
    ("plan", "report", "sweeps", "bench"),
    ("fit",),
    ("exercise", "commands", "train"),
    ("__main__",),
)
SAME_LAYER = {  # imports between rooms of one layer, or between ingredients, each with its reason
    ("files", "units"): "an error of a file is printable",
    ("distributed", "files"): "what ranks say to one another is strict JSON",
    ("distributed", "units"): "a message is printable",
    ("observe", "data"): "observe/downstream.py completes words and writes samples: text to tokens and back",
    ("observe", "model"): "observe/downstream.py writes samples with the model's own generate",
}
INTERNAL = (
    "sweeps/",
    "config/compose.py",
    "config/command_line.py",
    "config/cells.py",
)  # the gate stands where Hydra reads its files
HYDRA = ("config/", "sweeps/preflight.py", "sweeps/jobs.py", "sweeps/local.py", "sweeps/slurm.py", "train.py")
TWICE = {"main", "log", "none"}  # names that several rooms may define; clip=none and inject=none are both functions
HEAVY = ("wandb", "tiktoken", "matplotlib", "plotly", "tqdm", "datasets", "pydantic", "scipy", "tensorboard")


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def module(path: str) -> str:
    return ".".join(["gptx", *path.removesuffix(".py").removesuffix("__init__").strip("/").split("/")]).rstrip(".")


def room(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def imported(path: str, text: str, *, nested: bool = True) -> set[str]:
    """Modules, and names in them, that a file imports; absolute, whatever the form."""
    found = set()
    package = module(path).split(".") if path.endswith("__init__.py") else module(path).split(".")[:-1]
    for node in ast.walk(parsed(text)) if nested else parsed(text).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += [node.module] if node.module else []
            found |= {".".join(base)} | {".".join([*base, alias.name]) for alias in node.names}
    return found


def arrows(sources: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Which file imports which, inside functions too."""
    files = {module(path): path for path in sources}
    for path, text in sources.items():
        for name in imported(path, text):
            if (other := files.get(name)) and other != path and name != module(path).rpartition(".")[0]:
                yield path, other


def calls(text: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(parsed(text)) if isinstance(node, ast.Call))


def defined(text: str) -> Iterator[str]:
    """The top-level names of a file that begin with no underscore."""
    for node in parsed(text).body:
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names += [target.id for target in targets if isinstance(target, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))


def complexity(function: ast.AST) -> int:
    branches = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert, ast.comprehension)
    count = 1
    for node in ast.walk(function):
        count += isinstance(node, branches)
        count += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
        count += len(node.ifs) if isinstance(node, ast.comprehension) else 0
    return count


def a_file_imports_its_own_room_or_a_lower_layer(sources):
    layer = {name: number for number, rooms in enumerate(LAYERS) for name in rooms}
    for path, other in arrows(sources):
        here, there = room(path), room(other)
        if other == "__init__.py":  # the version
            continue
        if here not in layer or there not in layer:
            yield f"{path if here not in layer else other} is in no layer"
        elif here == there == "ingredients":
            own, foreign = (each.split("/")[1].removesuffix(".py") for each in (path, other))
            if own != foreign and other != "ingredients/__init__.py" and (own, foreign) not in SAME_LAYER:
                yield f"{path} imports the ingredient {other}"
        elif here != there and layer[there] >= layer[here] and (here, there) not in SAME_LAYER:
            yield f"{path} imports {other} of a layer that is not lower"


def nobody_imports_a_command(sources):
    for path, other in arrows(sources):
        command = other.startswith("commands/") or other == "train.py" or other.endswith("__main__.py")
        if command and other != "commands/__init__.py" and path != "__main__.py":  # which dispatches to all
            yield f"{path} imports the command {other}"


def hydra_stays_in_config_sweeps_and_train(sources):
    for path, text in sources.items():
        names = imported(path, text)
        if {name.split(".")[0] for name in names} & {"hydra", "omegaconf"} and not path.startswith(HYDRA):
            yield f"{path} imports Hydra or OmegaConf"
        if any(name.startswith("hydra._internal") for name in names) and not path.startswith(INTERNAL):
            yield f"{path} imports hydra._internal"


def the_trainer_imports_nothing_of_gptx(sources):
    yield from (
        f"trainer.py imports {name}" for name in imported("trainer.py", sources["trainer.py"]) if "gptx" in name
    )


def no_file_imports_itself_by_way_of_others(sources):
    graph: dict[str, set[str]] = {}
    for path, other in arrows(sources):
        graph.setdefault(path, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(error.args[1])


def every_group_of_conf_has_its_room_and_its_row(sources):
    from gptx.config.groups import GROUPS

    for group in OPTIONS:
        if not {f"ingredients/{group}.py", f"ingredients/{group}/__init__.py"} & {*sources}:
            yield f"conf/{group} has no gptx/ingredients/{group}"
        if group not in GROUPS:
            yield f"conf/{group} has no row in config/groups.py"
    for path, text in sources.items():
        for node in ast.walk(parsed(text)) if path not in ("config/groups.py", "config/moved.py") else ():
            parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
            words = [each.value for each in parts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if len(words) > 3 and {*words} <= {*OPTIONS}:
                yield f"{path}:{node.lineno} holds a list of groups; config/groups.py has them"


def a_public_name_is_defined_in_one_room(sources):
    homes: dict[str, set[str]] = {}
    for path, text in sources.items():
        inside = path.split("/")[1].removesuffix(".py") if room(path) == "ingredients" and "/" in path else ""
        for name in defined(text):
            homes.setdefault(name, set()).add(f"{room(path)}/{inside}".rstrip("/"))
    for name, rooms in homes.items():
        if len(rooms) > 1 and name not in TWICE:
            yield f"{name} is defined in {', '.join(sorted(rooms))}"


def files_are_replaced_and_configs_composed_in_one_module(sources):
    homes = {"os.replace": "files.py", "os.fsync": "files.py", "compose": "config/compose.py"}
    for path, text in sources.items():
        for call in calls(text):
            name = ast.unparse(call.func)
            if name in homes and path != homes[name] and (name != "compose" or "hydra.compose" in imported(path, text)):
                yield f"{path}:{call.lineno} calls {name}, which is {homes[name]}'s"


def files_and_functions_stay_small(sources):
    found = []
    for path, text in sources.items():
        if text.count("\n") > LONGEST:
            yield f"{path} has {text.count(chr(10))} lines"
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append((complexity(node), f"{path}: {node.name}"))
    yield from (f"{name} has complexity {count}" for count, name in found if count > COMPLEX)
    if sum(count > SOME_COMPLEX for count, _ in found) >= MANY:
        yield f"{MANY} functions or more are above complexity {SOME_COMPLEX}"


RULES: dict[Callable, tuple[str, str]] = {  # each with a file that breaks it
    a_file_imports_its_own_room_or_a_lower_layer: ("units/new.py", "def f():\n    from ..config import keys\n"),
    nobody_imports_a_command: ("exercise/new.py", "from gptx.commands import sample\n"),
    hydra_stays_in_config_sweeps_and_train: ("plan/new.py", "def f():\n    import omegaconf\n"),
    the_trainer_imports_nothing_of_gptx: ("trainer.py", "from . import files\n"),
    no_file_imports_itself_by_way_of_others: ("units/amounts.py", "def f():\n    from . import lengths\n    from .phrases import joined\n"),
    every_group_of_conf_has_its_room_and_its_row: ("plan/new.py", 'GIVEN = ["model", "optim", "schedule", "clip"]\n'),
    a_public_name_is_defined_in_one_room: ("plan/new.py", "class RunFolder: ...\n"),
    files_are_replaced_and_configs_composed_in_one_module: ("plan/new.py", "import os\n\nos.replace('a', 'b')\n"),
    files_and_functions_stay_small: ("plan/new.py", "def f(x):\n" + "    if x: ...\n" * 12),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rule_and_the_rule_finds_what_breaks_it(rule):
    assert not list(rule(SOURCES))
    path, text = RULES[rule]
    planted = SOURCES | {path: text}
    if path == "units/amounts.py":
        planted |= {"units/phrases.py": "from gptx.units import amounts\n"}
    assert list(rule(planted)), f"{path} breaks the rule, and it says nothing"


def test_the_package_stays_below_its_ceiling():
    assert lines() <= LINES


def lines() -> int:
    return sum(
        path.read_text().count("\n") for end in ("py", "js", "css", "html") for path in PACKAGE.rglob(f"*.{end}")
    )


def test_tests_mirror_the_rooms():
    known = {room(path) for path in SOURCES} | {"fixtures"}
    assert {
        path.name for path in (paths.ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith("_")
    } <= known


@pytest.mark.parametrize("package", HEAVY)
def test_heavy_packages_are_imported_where_they_are_used(package):
    for path, text in SOURCES.items():
        assert package not in {name.split(".")[0] for name in imported(path, text, nested=False)}, path


def test_numbers_become_json_in_one_module_and_elsewhere_it_is_refused_to_write_nan():
    """Else a file may hold NaN, which is no JSON; the others write text, digests, or messages of plain values."""
    plain = (
        "ingredients/data/",
        "ingredients/checkpoints/weights.py",
        "config/",
        "distributed/peers.py",
        "runs/manifest.py",
    )
    for path, text in SOURCES.items():
        for call in calls(text):
            if ast.unparse(call.func) == "json.dumps" and not path.startswith(plain):
                assert "allow_nan=False" in ast.unparse(call), path


def test_nothing_is_called_utils():
    refused = {"utils", "helpers", "common", "misc", "manager", "handler"}
    assert not [path for path in SOURCES if path.split("/")[-1].removesuffix(".py") in refused]


def test_the_loop_reads_on_one_screen():
    methods = {node.name: node for node in ast.walk(parsed(SOURCES["trainer.py"])) if isinstance(node, ast.FunctionDef)}
    assert methods["report"].end_lineno - methods["fit"].lineno < 75
