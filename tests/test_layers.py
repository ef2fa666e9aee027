"""The layers of the house: a room imports only from the lines below its own, never from a room beside it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, deque
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import batchroute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# From the bottom to the top.
LAYERS = """
types errors
job simulate quality lease
input
store
send report
score route
learn grade
run
serve
show
python cli
__main__
"""
LINE_OF = {room: number for number, line in enumerate(LAYERS.split("\n")) for room in line.split()}
# A room may import from itself; of the two files at the bottom neither needs the other.
HEAVY = ("torch", "polars", "pyarrow", "aiohttp", "rich", "pydantic", "numpy", "msgspec")
PACKAGE = Path(batchroute.__file__).parent


def module_of(path: Path, package: Path = PACKAGE) -> str:
    """`batchroute/input/open.py` -> `input.open`, a package's own file -> the package."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imported_by(tree: ast.Module, *, typing_too: bool) -> set[str]:
    """What a file imports, anywhere in it; that for annotations only where asked for."""
    skipped = set() if typing_too else {node for block in _typing_blocks(tree) for node in ast.walk(block)}
    return {name for node in ast.walk(tree) if node not in skipped for name in _named(node)}


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
    """`from batchroute.job import spec` imports a module, `from batchroute.job.spec import Job` a thing of one."""
    inner = f"{module}.{name}".removeprefix("batchroute.")
    return f"batchroute.{inner}" if inner in MODULES else module


def ours(names: Iterable[str]) -> set[str]:
    """The modules of the package among them; its own file, which holds the version, is left out."""
    return {name.removeprefix("batchroute.") for name in names if name.startswith("batchroute.")}


def violations(sources: Mapping[str, str]) -> list[str]:
    """Of modules with their texts: imports that go upwards, sideways, or take a thing from a room's own face."""
    found = []
    for module, text in sources.items():
        room = module.partition(".")[0]
        for name in sorted(ours(imported_by(ast.parse(text), typing_too=True))):
            other = name.partition(".")[0]
            if other != room and LINE_OF[other] >= LINE_OF[room]:
                found.append(f"{module} imports {name}, which is not below it")
            elif name in PACKAGES:
                found.append(f"{module} imports from {name} itself: import from the module that has it")
    return found


PACKAGES = {module for module, path in MODULES.items() if path.name == "__init__.py"} - {"", "cli"}


def in_a_circle(imports: Mapping[str, set[str]]) -> set[str]:
    """The modules that cannot be put in an order in which each comes after all that it imports."""
    left = dict(imports)
    while ready := [module for module, needs in left.items() if not needs & left.keys() - {module}]:
        for module in ready:
            del left[module]
    return set(left)


def test_every_room_has_its_layer() -> None:
    assert {module.split(".")[0] for module in MODULES} - {""} == LINE_OF.keys()


@pytest.mark.parametrize("face", sorted(set(PACKAGE.rglob("*/__init__.py"))), ids=module_of)
def test_a_room_lists_its_modules(face: Path) -> None:
    inside = {path.stem for path in face.parent.glob("*.py")} | {
        path.parent.name for path in face.parent.glob("*/__init__.py")
    }
    listed = set(re.findall(r"\w+", ast.get_docstring(ast.parse(face.read_text())) or ""))
    assert inside - {"__init__"} <= listed


def test_imports_go_only_downwards() -> None:
    assert not violations({module: path.read_text() for module, path in MODULES.items() if module})


@pytest.mark.parametrize(
    ("module", "line", "word"),
    [
        ("send.lane", "from batchroute.run.engine import Engine", "not below"),
        ("send.lane", "from batchroute.report.build import build_report", "not below"),
        ("route.sides", "def f():\n    from batchroute.score.router import load_scorer", "not below"),
        ("types", "from batchroute.errors import UsageFault", "not below"),
        ("run.engine", "if TYPE_CHECKING:\n    from batchroute.show.words import money", "not below"),
        ("run.engine", "from batchroute.simulate import start", "from the module"),
        ("run.engine", "from batchroute.send.lane import Lane", None),
        ("serve.app", "from batchroute.serve.chat import ModelNames", None),
    ],
)
def test_a_planted_import_is_found(module: str, line: str, word: str | None) -> None:
    found = violations({module: line})
    assert (word is None and not found) or (word is not None and [word in words for words in found] == [True])


def test_no_modules_import_each_other() -> None:
    trees = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}
    imports = {module: ours(imported_by(tree, typing_too=False)) for module, tree in trees.items()}
    assert not in_a_circle(imports)
    assert in_a_circle({**imports, "types": {"send.lane"}}) >= {"types", "send.lane"}, "a planted circle is found"


@cache
def loads(module: str) -> frozenset[str]:
    """What a file imports as it is imported itself: not what its functions import when they run."""
    tree = ast.parse(MODULES[module].read_text())
    return frozenset(name for node in tree.body for name in _named(node))


def libraries_behind(module: str) -> set[str]:
    """All that is loaded when a module is imported, as far as our own files say."""
    seen: set[str] = set()
    found: set[str] = set()
    waiting = deque([module])
    while waiting:
        each = waiting.popleft()
        seen.add(each)
        found |= {name.split(".")[0] for name in loads(each)}
        waiting.extend((ours(loads(each)) & MODULES.keys()) - seen)
    return found


@pytest.mark.parametrize(
    ("module", "unknown"),
    [
        ("cli", {*HEAVY, "asyncio", "tomllib"}),
        ("job.load", {"torch", "polars", "pyarrow", "aiohttp", "numpy"}),
        ("send.lane", {"torch", "polars", "pyarrow", "aiohttp", "pydantic"}),
        ("store.rows", {"torch", "polars", "aiohttp", "pydantic"}),
        ("input.open", {"torch", "polars", "aiohttp"}),
        ("simulate.server", {"torch", "polars", "pyarrow", "pydantic"}),
        ("run.engine", {"torch", "polars"}),
        ("serve.server", {"torch", "polars"}),
        ("serve.controller", {"torch", "polars"}),
    ],
)
def test_a_module_loads_no_library_it_has_no_business_with(module: str, unknown: set[str]) -> None:
    assert libraries_behind(module) & unknown == set()


def test_a_run_in_one_process_loads_nothing_that_runs_many() -> None:
    many = ("batchroute.run.shards", "batchroute.run.workers", "batchroute.lease")
    loaded = (
        f"import sys, batchroute.run.engine; print(*[name for name in sys.modules if name.startswith({many!r})])"
    )
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_command_line_starts_without_anything_heavy() -> None:
    loaded = f"import sys, batchroute.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_no_two_test_files_have_the_same_name() -> None:
    """pytest would import the first for both, and refuse to go on."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
