"""Where everything of a run lies in its directory.

    job.toml  lock  journal-00003  failed.jsonl  ledger.json  embeddings.journal
    plan.json  status.json  report.json  report.html  _SUCCESS
    input.parquet                the frame that Python gave as input
    scores/part-00000.parquet    what the router says, in input order
    results/part-00000.parquet   journal-00000 sealed; never anything else in this folder
    shards.json  shards.lock     how the input was cut, where that was done; who does it
    epoch  job.lock              the driver's epoch; the turn in which one process alone writes job.toml
    shards/00017/                lock, epoch, attempts.json, journals, failed.jsonl, ledger.json, done, and
                                 embeddings.journal of shard 17
    probe                        what a cluster's machines are to read, and not to lock
    workers/0-of-3/              lock and status.json of a process that works on every third shard
    results/part-00017-00000.parquet   its journal-00000 sealed; its scores and requests likewise
    pilot/                       what both sides were asked, to learn what routing keeps: see `store/pilot`
    requests/part-00000.parquet  fingerprints of the requests that the part's ok rows answer

The only place that has these names. Knows nothing of what the files hold.
"""

from __future__ import annotations

from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.store.files import unfinished_name

if TYPE_CHECKING:
    from collections.abc import Iterable


_SHARDS = "shards"


class RunLayout:
    """The names in the run directory `path`, or of one of its shards; none of them need exist.

    A shard has names of its own for what one process writes while it works on it, and the run's for all else.
    """

    def __init__(self, path: Path, shard: int | None = None) -> None:
        self.path = path
        self.shard = shard
        self.own = path if shard is None else path / _SHARDS / f"{shard:05d}"
        self.lock = self.own / "lock"  # whose the directory is, or the shard
        self.epoch = self.own / "epoch"  # which driver's turn it is, or of a shard, which writer's
        self.attempts = self.own / "attempts.json"  # of a shard: processes that began it, and did not end in order
        self.done = self.own / "done"  # of a shard: what came of it
        self.shards = path / "shards.json"  # how the input was cut
        self.cutting = path / "shards.lock"  # who cuts it
        self.turn = path / "job.lock"  # whose turn it is to write what all processes share
        self.workers = path / "workers"
        self.last_share = self.workers / "last"  # which of them was the last to end
        self.probe = path / "probe"  # what machines of a cluster are asked for, as long as a driver works
        self.job = path / "job.toml"  # the resolved job, and what the directory is held to
        self.frame = path / "input.parquet"  # the input, where that was a frame and no file
        self.failed = self.own / "failed.jsonl"  # the rows that the next run asks again
        self.ledger = self.own / "ledger.json"  # what is unconfirmed, and how far a run at work may spend
        self.paid = self.own / "embeddings.journal"  # what embeddings cost, whatever becomes of their scores
        self.plan = path / "plan.json"  # what a plan foretold, for the report
        self.status = path / "status.json"  # what the lanes do while a run works, or did last
        self.report = path / "report.json"
        self.page = path / "report.html"  # where `report --html` writes it, if asked for no other place
        self.success = path / "_SUCCESS"  # stands there where the last run's exit code was 0
        self.scores = path / "scores"
        self.results = path / "results"
        self.requests = path / "requests"
        self.pilot = path / "pilot"
        self.pilot_answers = self.pilot / "answers.journal"  # of both sides
        self.verdicts = self.pilot / "verdicts.jsonl"  # what a judge that is a model said
        self.pilot_rows = self.pilot / "rows.parquet"  # both answers of each row, with their grades
        self.watched_rows = self.pilot / "watch.parquet"  # the same of later rows that both sides were asked
        self.labels = self.pilot / "labels.parquet"  # the same as labels, for `train` and `evaluate`
        self.pilot_quality = self.pilot / "pilot.json"  # what the pilot found
        self.other_scores = self.pilot / "scores"  # by another router than the job's, until it takes over
        self.first_scores = self.pilot / "first-scores"  # the job's router's, when another one has taken over
        self.own_router = self.pilot / "model"  # the router that was fitted on it

    def part(self, number: int) -> Path:
        """The part that the journal of this number is sealed into."""
        return part_in(self.results, number, self.shard)

    def journal(self, number: int) -> Path:
        """The answers that are not sealed into that part yet."""
        return self.own / f"journal-{number:05d}"

    def parts(self) -> list[Path]:
        """The sealed parts, oldest first; of a whole run in the order of its shards."""
        return parts_in(self.results, self.shard)

    def score_parts(self) -> list[Path]:
        """The parts of the scores, in input order."""
        return score_parts_in(self.scores, self.shard)

    def has_scores(self) -> bool:
        """Whether any row of the run has one."""
        return next(self.scores.glob(f"{_stem(None)}-*.parquet"), None) is not None

    def journals(self) -> list[Path]:
        """The journals, oldest first."""
        return sorted(self.own.glob("journal-*"))

    def part_of(self, journal: Path) -> Path:
        """The part that a journal is sealed into."""
        return self.part(number_of(journal))

    def unfinished_parts(self) -> list[Path]:
        """Parts that a crash cut short; they lie in no folder that a reader of results looks into."""
        return list(self.path.glob(unfinished_name(f"{_stem(self.shard)}-*")))

    def foreign(self) -> list[Path]:
        """What lies in a directory where a run is to begin, but for what a first start may have left there."""
        first = {path.name for path in (self.frame, self.shards, self.epoch)}
        ours = {*self._of_processes, *first, *map(unfinished_name, (*first, self.job.name))}
        cut_short = f"{unfinished_name(self.shards.name)}."
        entries = (entry for entry in self.path.iterdir() if entry.name not in ours)
        return [entry for entry in entries if not entry.name.startswith(cut_short)]

    def clearable(self) -> list[Path]:
        """Of a run all but its job, its input and its shards; of a shard all it has.

        Never locks and epochs, nor the bill for embeddings, which stays to be paid.
        """
        kept = {*self._of_processes, *(path.name for path in (self.job, self.frame, self.shards, self.paid))}
        return [entry for entry in self.own.iterdir() if entry.name not in {*kept, self.epoch.name, _SHARDS}]

    @property
    def _of_processes(self) -> set[str]:
        return {path.name for path in (self.lock, self.turn, self.cutting, self.workers, self.probe)}

    def share(self, index: int, of: int) -> ShareLayout:
        """What a process has to itself that works on every `of`-th shard."""
        return ShareLayout(self.workers / f"{index}-of-{of}")

    def shares(self) -> list[ShareLayout]:
        """Those of all such processes that ever were."""
        return [ShareLayout(folder) for folder in sorted(self.workers.glob("*-of-*"))]


class ShareLayout:
    """The names in the folder of a process that works on a share of the shards, as 0-of-3."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "lock"
        self.status = folder / "status.json"
        self.ended = folder / "ended"  # it is at work no longer, though it may still have its lock; and why

    @property
    def words(self) -> str:
        """As the user writes it: 0/3."""
        return self.folder.name.replace("-of-", "/")

    @property
    def of(self) -> int:
        """How many such processes divide the shards."""
        return int(self.folder.name.rpartition("-")[2])


def layouts_of(path: Path) -> list[RunLayout]:
    """Where the run's journals, failed rows, ledgers and bills lie: in its shards, in order, or in itself."""
    run = RunLayout(path)
    if not run.shards.exists():
        return [run]
    names = sorted(folder.name for folder in path.glob(f"{_SHARDS}/*") if folder.name.isdecimal())
    return [RunLayout(path, int(name)) for name in names]


def part_in(folder: Path, number: int, shard: int | None = None) -> Path:
    """The part of this number, of results or of scores; where there are shards it is the shard's number."""
    return folder / f"{_stem(shard)}-{number:05d}.parquet"


def parts_in(folder: Path, shard: int | None = None) -> list[Path]:
    """All parts in such a folder, or those of one shard, in the order of their numbers."""
    return sorted(folder.glob(f"{_stem(shard)}-*.parquet"))


def score_parts_in(folder: Path, shard: int | None = None) -> list[Path]:
    """The same of scores, whose parts are numbered without a gap.

    Those of one shard are asked for by their names: a folder may hold the parts of ten thousand.
    """
    if shard is None:
        return parts_in(folder)
    return list(takewhile(Path.exists, (part_in(folder, number, shard) for number in count())))


def shard_of(part: Path) -> int:
    """The shard that a part of a run with shards is of."""
    return int(part.stem.split("-")[1])


def by_shard(parts: Iterable[Path]) -> list[list[Path]]:
    """The parts of each shard, in the order of the shards."""
    found: dict[int, list[Path]] = {}
    for part in parts:
        found.setdefault(shard_of(part), []).append(part)
    return [found[shard] for shard in sorted(found)]


def _stem(shard: int | None) -> str:
    return "part" if shard is None else f"part-{shard:05d}"


def fingerprints_of(part: Path) -> Path:
    """Where the fingerprints of a part's ok rows lie."""
    return RunLayout(part.parent.parent).requests / part.name


def number_of(path: Path) -> int:
    """The number of a part or a journal."""
    return int(path.stem.rpartition("-")[2])
