from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import batchroute

if TYPE_CHECKING:
    from collections.abc import Iterable

# A module may import from every line above its own, and from those left of it on the same line.
LAYERS = """
errors types scrub kept
tomlfile consistency job keys jobfile prices threshold
simulate
source
classify limits deadline transport
endpoint
journal parts done scores store identity
budget dispatch
ngrams surface embed checkpoint mlp projection router labels ridge
rating routing results progress feed scoring directory estimate lanes vectors
lookup spool reuse downgrade
process
engine
check scorefile report export
evaluate train
scored planning calibrate whatif followup
display
serve controller
cli
__main__
"""
ORDER = LAYERS.split()
HEAVY = ("torch", "polars", "pyarrow", "aiohttp", "rich", "pydantic", "numpy", "msgspec")
PACKAGE = Path(batchroute.__file__).parent


def module_of(path: Path) -> str:
    """`batchroute/source/open.py` -> `source.open`, a package's own file -> the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


@cache
def imports(module: str, *, typing_too: bool) -> frozenset[str]:
    """What a file imports, anywhere in it; that for annotations only where asked for."""
    tree = ast.parse(MODULES[module].read_text())
    skipped = set() if typing_too else {node for block in _typing_blocks(tree) for node in ast.walk(block)}
    return frozenset(name for node in ast.walk(tree) if node not in skipped for name in _named(node))


@cache
def loads(module: str) -> frozenset[str]:
    """What a file imports as it is imported itself: not what its functions import when they run."""
    tree = ast.parse(MODULES[module].read_text())
    return frozenset(name for node in tree.body for name in _named(node))


def _typing_blocks(tree: ast.Module) -> list[ast.If]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]


def _named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "inside the package, import from the module by its full name"
        return [_imported(node.module or "", alias.name) for alias in node.names]
    return []


def _imported(module: str, name: str) -> str:
    """`from batchroute import job` imports a module, `from batchroute.job import Job` a thing of one."""
    inner = f"{module}.{name}".removeprefix("batchroute.")
    return f"batchroute.{inner}" if inner in MODULES else module


def ours(names: Iterable[str]) -> set[str]:
    """The modules of the package among them; its own file, which holds the version, is left out."""
    return {name.removeprefix("batchroute.") for name in names if name.startswith("batchroute.")}


def libraries_behind(module: str) -> set[str]:
    """All that is loaded when a module is imported, as far as our own files say."""
    seen: set[str] = set()
    waiting = {module}
    found: set[str] = set()
    while waiting:
        seen |= waiting
        names = {name for each in waiting for name in loads(each)}
        found |= {name.split(".")[0] for name in names}
        waiting = (ours(names) & MODULES.keys()) - seen
    return found


def test_every_module_has_its_layer() -> None:
    placed = {module.split(".")[0] for module in MODULES} - {""}
    assert placed == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {""}))
def test_imports_go_only_upwards(module: str) -> None:
    layer = module.partition(".")[0]
    above = set(ORDER[: ORDER.index(layer) + 1])
    against = {name for name in ours(imports(module, typing_too=True)) if name.split(".")[0] not in above}
    assert not against, f"{module} imports {sorted(against)}, which stand below it"


def test_no_modules_import_each_other() -> None:
    left = {module: ours(imports(module, typing_too=False)) for module in MODULES}
    while ready := [module for module, needs in left.items() if not needs & left.keys() - {module}]:
        for module in ready:
            del left[module]
    assert not left, f"these import each other in a circle: {sorted(left)}"


@pytest.mark.parametrize(
    ("module", "unknown"),
    [
        ("cli", {*HEAVY}),
        ("job", {"torch", "polars", "pyarrow", "aiohttp", "numpy"}),
        ("dispatch", {"torch", "polars", "pyarrow", "aiohttp", "pydantic"}),
        ("store", {"torch", "polars", "aiohttp", "pydantic"}),
        ("source", {"torch", "polars", "aiohttp"}),
        ("simulate", {"torch", "polars", "pyarrow", "pydantic"}),
        ("engine", {"torch", "polars"}),
        ("serve", {"torch", "polars"}),
        ("controller", {"torch", "polars"}),
    ],
)
def test_a_module_loads_no_library_it_has_no_business_with(module: str, unknown: set[str]) -> None:
    assert libraries_behind(module) & unknown == set()


def test_the_command_line_starts_without_anything_heavy() -> None:
    loaded = f"import sys, batchroute.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
