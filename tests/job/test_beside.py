from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from batchroute.job.beside import find_beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    finders, path, modules = [*sys.meta_path], [*sys.path], {*sys.modules}
    yield
    assert sys.path == path
    sys.meta_path[:] = finders
    for name in sys.modules.keys() - modules:
        del sys.modules[name]


def write(folder: Path, module: str, text: str) -> Path:
    path = folder / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def test_a_module_and_a_package_are_found_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path, "ours/__init__.py", "")
    write(tmp_path, "ours/near.py", "from .deep import VALUE")
    write(tmp_path, "ours/deep.py", "VALUE = 7")
    find_beside("ours.near:Router", tmp_path)
    assert import_module("ours.near").VALUE == 7


def test_nothing_else_in_the_folder_is(tmp_path: Path) -> None:
    write(tmp_path, "wanted.py", "")
    write(tmp_path, "unwanted_here.py", "")
    find_beside("wanted:Router", tmp_path)
    import_module("wanted")
    with pytest.raises(ModuleNotFoundError):
        import_module("unwanted_here")


def test_what_an_ordinary_import_finds_comes_first(tmp_path: Path) -> None:
    write(tmp_path, "colorsys.py", "raise AssertionError('not this one')")
    find_beside("colorsys:Router", tmp_path)
    assert hasattr(import_module("colorsys"), "rgb_to_hsv")


def test_two_jobs_may_have_modules_of_the_same_name(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "same_name.py", "VALUE = 'a'")
    second = write(tmp_path / "b", "same_name.py", "VALUE = 'b'")
    seen = []
    for folder in (first, second, second, first):
        find_beside("same_name:Router", folder)
        seen.append(import_module("same_name").VALUE)
    assert seen == ["a", "b", "b", "a"]


def test_the_same_job_loaded_again_keeps_its_module(tmp_path: Path) -> None:
    write(tmp_path, "kept_one.py", "")
    find_beside("kept_one:Router", tmp_path)
    module = import_module("kept_one")
    find_beside("kept_one:Router", tmp_path)
    assert import_module("kept_one") is module
