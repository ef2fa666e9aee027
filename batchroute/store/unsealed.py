"""What a run directory holds beside its sealed parts: answers in journals, where a run is at work or was killed,
and the rows that failed or were left open.

Knows files and records; sums nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.store.failed import read_failed
from batchroute.store.journal import read_journal
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.types import Result


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The sealed `parts` of a directory, and of the rows beside them each once, by what was said of it last.

    `settled` rows are done, and wait in a journal to be sealed; `failed` ones are asked again by the next run;
    `open` ones were begun and have cost something. Failed and open rows may stand in a part since.
    """

    parts: Sequence[Path]
    settled: Sequence[Result]
    failed: Sequence[Result]
    open: Sequence[Result]


def read_unsealed(run: Path) -> Unsealed:
    """What lies in the directory `run`, also while a run seals there: a part is there before its journal goes."""
    layout = RunLayout(run)
    journals = {layout.part_of(journal): list(read_journal(journal)) for journal in layout.journals()}
    parts = layout.parts()
    last = {(result.file, result.row): result for result in read_failed(layout.failed)}
    for part in sorted(journals.keys() - set(parts)):
        last |= {(result.file, result.row): result for result in journals[part]}
    return Unsealed(
        parts=parts,
        settled=[result for result in last.values() if result.status in {"ok", "refused"}],
        failed=[result for result in last.values() if result.status == "failed"],
        open=[result for result in last.values() if result.status == "open"],
    )
