"""The rules of the house, checked."""

import ast
from pathlib import Path

import pytest

from gptx.config import paths

PACKAGE = paths.PACKAGE
FILES = sorted(PACKAGE.rglob("*.py"))
CONFIG = {
    "train.py",
    "sample.py",
    "export.py",
    "forensics.py",
    "__main__.py",
    "coordinates.py",
    "presets.py",
    "reference.py",
    "bench.py",
    "bench_saves.py",
    "cost.py",
    "check.py",
    "preflight.py",
    "launch.py",
    "slurm.py",
    "mistakes.py",
    "search_path.py",
    "arguments.py",
    "hydra_node.py",
    "recorded.py",
    "local.py",
    "steps.py",
    "saves.py",
    "study.py",
    "observers.py",
    "validate.py",
    "hydra_errors.py",
}
VOCABULARY = (
    "gptx.files",
    "gptx.units",
    "gptx.distributed.rank",
    "gptx.distributed.shards",
)  # words that ingredients may share
EXCEPTIONS = {("observe", "gptx.ingredients.model.generate"), ("observe", "gptx.ingredients.data.text")}


def imports(path: Path, *, inside_functions: bool = True) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if inside_functions else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_only_commands_and_their_config_know_hydra():
    for path in FILES:
        if path.name not in CONFIG and path.parent.name not in ("config", "bench"):
            assert not {"hydra", "omegaconf"} & {name.split(".")[0] for name in imports(path)}, path


def test_the_loop_imports_no_ingredient():
    assert not [name for name in imports(PACKAGE / "trainer.py") if name.startswith("gptx")]


@pytest.mark.parametrize("group", sorted(f.parent.name for f in Path(paths.CONF).glob("*/") for f in f.glob("*.yaml")))
def test_an_ingredient_lives_in_the_module_of_its_group_and_imports_no_other(group):
    inside = PACKAGE / "ingredients"
    room = inside / group if (inside / group).is_dir() else inside / f"{group}.py"
    if group == "hydra":
        return
    assert room.exists(), f"conf/{group} has no gptx/ingredients/{group}"
    for path in room.rglob("*.py") if room.is_dir() else [room]:
        others = {name for name in imports(path) if name.startswith("gptx") and not name.startswith(VOCABULARY)}
        own = f"gptx.ingredients.{group}"
        assert not {name for name in others if not name.startswith(own) and (group, name) not in EXCEPTIONS}, path


@pytest.mark.parametrize("package", ["wandb", "tiktoken", "matplotlib", "tqdm", "datasets", "pydantic"])
def test_heavy_packages_are_imported_where_they_are_used(package):
    for path in FILES:
        assert package not in {name.split(".")[0] for name in imports(path, inside_functions=False)}, path


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_files_are_replaced_and_flushed_in_one_module(call):
    def used(path: Path) -> bool:
        nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))
        return any(node.attr == call and isinstance(node.value, ast.Name) and node.value.id == "os" for node in nodes)

    assert [path for path in FILES if used(path)] == [PACKAGE / "files.py"]


def test_numbers_become_json_in_one_module_and_elsewhere_it_is_refused_to_write_nan():
    """Else a file may hold NaN, which is no JSON; the others write text, digests, or messages of plain values."""
    plain = {"tokenizers.py", "cache.py", "mixture.py", "rows.py", "sources.py", "separated.py", "hub.py", "recorded.py",
             "peers.py", "status.py", "weights.py"}  # fmt: skip
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.dumps" and path.name not in plain:
                assert "allow_nan=False" in ast.unparse(node), path


def test_nothing_is_called_utils():
    refused = {"utils", "helpers", "common", "misc", "manager", "handler"}
    assert not [path for path in FILES if path.stem in refused]


def test_the_loop_reads_on_one_screen():
    tree = ast.parse((PACKAGE / "trainer.py").read_text())
    methods = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    first, last = methods["fit"].lineno, methods["report"].end_lineno
    assert last - first < 75
