"""Where the job files that ship with the command lie: copied into a wheel, in a checkout in jobs/.

Knows which there are; reads none.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# pyproject.toml copies them into a wheel; a checkout, also one that is installed as editable, has the one copy.
_FOLDERS = (_PACKAGE / "jobs", _PACKAGE.parent / "jobs")


def recipe(stem: str) -> Path:
    """The job file `stem`.toml, one of those that ship."""
    places = [folder / f"{stem}.toml" for folder in _FOLDERS]
    return next((path for path in places if path.is_file()), places[0])
