"""What embeddings brought that is not sealed yet: scores by text, in the run directory; and the bill of them all.

A vector is worth its money until its row's score is sealed, and all that is wanted of it is the score: 24 bytes a
text instead of 6 KB. The scores count for the scorer that made them, the bill for the directory. The file stays
small: only as many of the latest scores are kept as can be unsealed.
"""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from batchroute.score.api.cache import DIGEST_BYTES, digest
from batchroute.score.api.requests import TEXTS_IN_FLIGHT
from batchroute.store.embeddings import Bill, PaidRecord
from batchroute.store.files import saving, whole_file
from batchroute.store.journal import Journal, read_records
from batchroute.store.scores import LARGEST_PART_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.store.layout import RunLayout

REMEMBERED = 65_536  # texts paid for by this run, of which a repeated one is not asked for again
MOST_UNSEALED = LARGEST_PART_ROWS + 2 * TEXTS_IN_FLIGHT


class PaidScores:
    """The scores and the bill of one locked run directory or shard, or of none: then they are only remembered.

    On file are always the scores of the latest MOST_UNSEALED texts, and never of many more than twice so many.
    """

    def __init__(self, layout: RunLayout | None, scorer: str) -> None:
        """Takes up what is there; `scorer` is the identity whose scores still count."""
        self.bill = Bill()
        self._scorer = scorer
        self._recent: dict[bytes, float] = {}
        self._older: dict[bytes, float] = {}
        self._writing = threading.Lock()
        self._journal: Journal | None = None
        self._texts = 0  # whose scores are on file
        if layout is not None:
            with saving(layout.paid):
                self._journal = Journal(layout.paid)
            for record in read_records(layout.paid, PaidRecord):
                self.bill = self.bill.plus(record.usd)
                self._texts += record.texts
                if record.scorer == scorer:
                    self._older |= _scores_of(record)

    def known(self, texts: Sequence[str]) -> dict[str, float]:
        """The scores that were paid for: by an earlier run and not sealed, or a little while ago."""
        found: dict[str, float] = {}
        for text in texts:
            key = digest(text)
            score = self._recent.get(key, self._older.get(key))
            if score is not None:
                found[text] = score
        return found

    def add(self, texts: Sequence[str], scores: Sequence[float], usd: Decimal | None) -> None:
        """Puts what a request brought, and its price, on file before anything is built on it."""
        digests = b"".join(map(digest, texts))
        record = PaidRecord(self._scorer, usd, digests, np.array(scores, "<f8").tobytes())
        with self._writing:
            self.bill = self.bill.plus(usd)
            self._remember(record)
            if self._journal is not None:
                with saving(self._journal.path):
                    self._journal.append(record)
                    self._texts += record.texts
                    if self._texts > 2 * MOST_UNSEALED:
                        self._journal = self._rewrite(self._journal, MOST_UNSEALED)

    def _remember(self, record: PaidRecord) -> None:
        """What was unsealed at the start lies before all that is paid now, and has been asked for when it goes."""
        self._recent |= _scores_of(record)
        if len(self._recent) > REMEMBERED:
            self._recent, self._older = {}, self._recent

    def sync(self) -> None:
        """Forces what was added onto the disk."""
        if self._journal is not None:
            with self._writing, saving(self._journal.path):
                self._journal.sync()

    def close(self, *, sealed: bool) -> None:
        """Closes the file, synced; where all scores are `sealed` only the bill stays in it."""
        if self._journal is not None:
            with saving(self._journal.path):
                if sealed and self._texts:
                    self._journal = self._rewrite(self._journal, 0)
                self._journal.sync()
                self._journal.close()

    def _rewrite(self, old: Journal, most_texts: int) -> Journal:
        """The bill and the latest scores, in a new file that takes the place of the old one when it is whole."""
        latest: list[PaidRecord] = []
        texts = 0
        for record in reversed(list(read_records(old.path, PaidRecord))):
            if texts + record.texts > most_texts:
                break
            texts += record.texts
            latest.append(PaidRecord(record.scorer, Decimal(0), record.digests, record.scores))
        with whole_file(old.path) as unfinished:
            new = Journal(unfinished)
            new.append(PaidRecord("", self.bill.usd))
            if not self.bill.complete:
                new.append(PaidRecord("", None))
            for record in reversed(latest):
                new.append(record)
            new.close()
        old.close()
        self._texts = texts
        return Journal(old.path)


def _scores_of(record: PaidRecord) -> dict[bytes, float]:
    keys = (record.digests[at : at + DIGEST_BYTES] for at in range(0, len(record.digests), DIGEST_BYTES))
    return dict(zip(keys, np.frombuffer(record.scores, "<f8").tolist(), strict=True))
