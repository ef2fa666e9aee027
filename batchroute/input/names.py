"""The columns or files that are there, and the one that was meant; looks into no folder."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_SHOWN_NAMES = 20


def near_file(name: str, there: Sequence[str]) -> str | None:
    """The file that was meant, of those there: it has that name and an ending, or nearly that name."""
    whole = [other for other in there if other.partition(".")[0] == name]
    return next(iter(whole or difflib.get_close_matches(name, there, 1)), None)


def instead_of(name: str, there: Collection[str]) -> str:
    """What to tell who named a column that is not among those there."""
    folded = {other.casefold(): other for other in there}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    meant = f"did you mean {folded[near[0]]!r}? " if near else ""
    more = ", ..." if len(there) > _SHOWN_NAMES else ""
    return f"{meant}it has {', '.join(list(there)[:_SHOWN_NAMES]) or 'no columns'}{more}"
