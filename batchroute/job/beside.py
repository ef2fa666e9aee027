"""The modules that lie beside a job file: its `package.module:Class` is found there, wherever it is run.

Only what no ordinary import finds is looked for, and only the modules that a job names. sys.path stays as it is:
nothing else in the folder hides or replaces a library.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType


@dataclass(frozen=True, slots=True)
class _Beside:
    """A finder (PEP 451) of one top-level module in one folder; what is below it is found by its own path."""

    module: str
    folder: Path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [str(self.folder)]) if fullname == self.module else None


def find_beside(use: str, folder: Path) -> None:
    """From now on the top-level module of `use` ("package.module:Class") is looked for in `folder`, too.

    In place of the folder of a job before, whose module of the same name is forgotten.
    """
    module = use.partition(":")[0].partition(".")[0]
    finders = [finder for finder in sys.meta_path if isinstance(finder, _Beside) and finder.module == module]
    if finders == [_Beside(module, folder)]:
        return
    for finder in finders:
        sys.meta_path.remove(finder)
    if finders:
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            if _lies_in(sys.modules[name], finders[0].folder):
                del sys.modules[name]
    sys.meta_path.append(_Beside(module, folder))


def looked_for() -> dict[str, str]:
    """By top-level module, the folder in which it is looked for, too: for a process that is to find it as well."""
    return {finder.module: str(finder.folder) for finder in sys.meta_path if isinstance(finder, _Beside)}


def _lies_in(module: ModuleType, folder: Path) -> bool:
    return (getattr(module, "__file__", None) or "").startswith(f"{folder}/")
