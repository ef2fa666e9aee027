"""What --shard means, and what a share may use of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import UsageFault
from batchroute.run.shards.share import is_own, parse_share, refuse_too_many, share_of
from batchroute.send.allowance import EndpointLimits
from batchroute.store.sharded import Share
from jobs import job_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "environ", "share"),
    [
        ("0/1", {}, Share(0, 1)),
        ("2/3", {}, Share(2, 3)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, Share(2, 4)),
        (
            "auto",
            {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10"},
            Share(2, 4),
        ),
        (  # --array=0-9:3
            "auto",
            {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "3"},
            Share(3, 4),
        ),
        ("auto", {"JOB_COMPLETION_INDEX": "7", "BATCHROUTE_SHARDS": "8"}, Share(7, 8)),
    ],
)
def test_a_share_is_read(text: str, environ: dict[str, str], share: Share) -> None:
    assert parse_share(text, environ) == share


@pytest.mark.parametrize(
    ("text", "environ", "word"),
    [
        ("3/3", {}, "counted from 0"),
        ("-1/3", {}, "I/N"),
        ("0/0", {}, "counted from 0"),
        ("1", {}, "I/N"),
        ("1/3/5", {}, "I/N"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "2"}, "SLURM_ARRAY_TASK_COUNT"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "BATCHROUTE_SHARDS"),
        ("auto", {"JOB_COMPLETION_INDEX": "8", "BATCHROUTE_SHARDS": "8"}, "counted from 0"),
        ("auto", {"JOB_COMPLETION_INDEX": "two", "BATCHROUTE_SHARDS": "8"}, "whole number"),
    ],
)
def test_what_is_no_share_is_refused(text: str, environ: dict[str, str], word: str) -> None:
    with pytest.raises(UsageFault, match=word):
        parse_share(text, environ)


@given(st.integers(1, 500), st.integers(0, 5000), st.integers(1, 10_000), st.integers(1, 10_000))
def test_shares_add_up_to_the_whole_and_never_to_more(of: int, extra: int, requests: int, tokens: int) -> None:
    shares = [Share(index, of) for index in range(of)]
    limits = EndpointLimits(of + extra, requests, tokens * of)
    parts = [share_of(share, limits) for share in shares]
    assert sum(part.max_concurrency for part in parts) == of + extra
    assert min(part.max_concurrency for part in parts) >= 1
    assert sum(part.requests_per_minute or 0 for part in parts) <= requests * (1 + 1e-9)
    assert sum(part.tokens_per_minute or 0 for part in parts) <= tokens * of
    assert [[share for share in shares if is_own(share, shard)] for shard in range(of)] == [
        [each] for each in shares
    ]


def test_no_limit_stays_none() -> None:
    assert share_of(Share(1, 2), EndpointLimits(2)) == EndpointLimits(1, None, None)


def test_more_processes_than_slots_are_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path / "a.jsonl", tmp_path / "run", {"endpoints.weak.max_concurrency": 2})
    refuse_too_many(job, 2)
    with pytest.raises(UsageFault, match=r"endpoints\.weak\.max_concurrency = 2 .* 3 processes"):
        refuse_too_many(job, 3)
