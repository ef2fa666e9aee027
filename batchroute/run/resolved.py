"""A threshold resolved anew in a directory that has answers: whether they all stay on their sides.

A share of 100 rows and of the 20,000 that they begin have thresholds of their own. Say the pilot's was 0.52:

    answered         score 0.71 strong   0.55 strong   0.48 weak   0.12 weak
    over all 0.50    each row is where its score sends it: the run goes on, with 0.50
    over all 0.56    0.55 would be weak, and its strong answer is paid: another directory has to take over the rest

Knows the rows that stand in the directory; how a threshold comes about is decided in route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from batchroute.store.identity import Identity


def refuse_moved(run: Path, identity: Identity, threshold: float, rows: int, *, sent: bool = False) -> None:
    """AnsweredOtherwise where a row that is answered or paid would change side at this threshold of `rows`.

    `sent`: a pilot was asked on the way to it.
    """
    if identity.threshold is None:
        return
    from batchroute.report.read import scan_rows  # noqa: PLC0415 - imports polars, which most runs do not need

    found = scan_rows(run)
    moved = sum(moved_rows(frame, threshold) for frame in (found.settled, found.open.lazy()))
    if moved:
        raise identity.conflict(
            f"has answers at the threshold {identity.threshold:.5f}, that of {identity.rows or 0:,} rows; over "
            f"{rows:,} rows it is {threshold:.5f}, and {moved:,} of those answered would change side. "
            f"{'Put' if sent else 'Nothing was sent; put'} --limit back"
        )


def moved_rows(results: pl.LazyFrame, threshold: float) -> int:
    """How many rows were answered, refused or paid on the side to which their score would not send them."""
    import polars as pl  # noqa: PLC0415 - the same

    by_score = (pl.col("route_reason") == "score") & pl.col("score").is_not_null()
    final = pl.col("status").is_in(["ok", "refused"]) | (pl.col("cost_usd") > 0)
    # The rule of route/sides, for rows that neither a demand nor their length has sent anywhere.
    moved = (pl.col("score") >= threshold) != (pl.col("route") == "strong")
    return int(results.select((by_score & final & moved).sum()).collect().item())
