"""Each stage of a run alone, in rows per CPU second; the best of a few passes, since noise only adds."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from batchroute.job.spec import InputSpec, RouterSpec
from batchroute.run.open import open_input
from batchroute.score.embed.product import DenseProduct, given_vectors
from batchroute.score.mf import mf_scores
from batchroute.score.router import Scorer, load_scorer
from batchroute.send.allowance import EndpointLimits, OwnLimits
from batchroute.send.classify import Answer, classify
from batchroute.send.dialects.chat import read_chat
from batchroute.send.lane import Lane
from batchroute.send.request import Outcome, Request, Spent
from batchroute.send.retry import RetryPolicy
from batchroute.send.verdict import Asked
from batchroute.store.columns import ResultColumns
from batchroute.store.journal import Journal
from batchroute.store.layout import fingerprints_of
from batchroute.store.parts import seal
from batchroute.types import Prompt, Questions, Result
from server import completion

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from workload import Folder

ASKED = Asked(b"", 0, had_success=True)
PASSES = 3
VECTOR_DIM = 1536


def measure_stages(folder: Folder) -> dict[str, float]:
    """Rows per second of reading, scoring, dispatch, journal and sealing."""
    rows = min(folder.rows, 20_000)
    lines = folder.data(rows)
    columns = folder.path / "prompts.parquet"
    records = [msgspec.json.decode(line) for line in lines.read_bytes().splitlines()]
    pq.write_table(pa.Table.from_pylist(records), columns)
    journal = folder.path / "journal"
    part = folder.path / "results" / "part-00000.parquet"
    for place in (part, fingerprints_of(part)):
        place.parent.mkdir()
    return {
        "read JSONL": speed(rows, partial(read, lines)),
        "read Parquet": speed(rows, partial(read, columns)),
        "score, built-in": speed(rows, scoring(lines)),
        **vectors_stages(100_000),
        "classify answers": speed(rows, partial(classified, rows)),
        "dispatch, no network": speed(rows, partial(dispatched, rows)),
        "journal": speed(rows, partial(journalled, journal, rows)),
        "seal": speed(rows, partial(sealed, journal, part)),
    }


def speed(rows: int, work: Callable[[], Any]) -> float:
    best_s = float("inf")
    for _ in range(PASSES):
        started = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - started)
    return rows / best_s


def read(data: Path) -> None:
    source = open_input(InputSpec(path=[str(data)], prompt="prompt", id="id", keep=["topic"]), RouterSpec(), None)
    for chunk in source.chunks():
        for prompt in chunk.prompts(np.arange(len(chunk.rows))):
            assert prompt.refusal is None


def scoring(data: Path) -> Callable[[], None]:
    """Built-in scores of texts that are read already."""
    source = open_input(InputSpec(path=[str(data)], prompt="prompt"), RouterSpec(), None)
    scorer, questions = load_scorer(RouterSpec()), [chunk.questions() for chunk in source.chunks()]

    def score() -> None:
        for part in questions:
            scorer.score(part)

    return score


def vectors_stages(rows: int) -> dict[str, float]:
    """Scores of vectors that are there, and how fast they could be read at all: twice the same numbers."""
    vectors = np.random.default_rng(0).random((rows, VECTOR_DIM), np.float32)
    vector = torch.from_numpy(vectors[0] / VECTOR_DIM)
    scorer = Scorer("benchmark", partial(mf_scores, DenseProduct(given_vectors, vector)), RouterSpec().batch_size)
    questions = Questions(
        texts=[""] * rows,
        ids=[None] * rows,
        forced=[None] * rows,
        refused=np.zeros(rows, np.bool_),
        chars=np.zeros(rows, np.int64),
        vectors=vectors,
    )
    return {
        "score, vectors of 1,536": speed(rows, lambda: scorer.score(questions)),
        "read vectors of 1,536": speed(rows, vectors.max),
    }


def classified(rows: int) -> None:
    body = completion().split(b"\r\n\r\n", 1)[1]
    for _ in range(rows):
        assert classify(200, {}, body, ASKED, read_chat).verdict == "ok"


def dispatched(rows: int) -> None:
    asyncio.run(lane_of(rows))


async def lane_of(rows: int) -> None:
    answer = classify(200, {}, completion().split(b"\r\n\r\n", 1)[1], ASKED, read_chat)
    request = Request(Prompt("prompts.jsonl", 0, None, b"[]"), b"{}", 100, 0.5, "score")

    async def send(request: Request) -> Answer:
        return answer

    async def requests() -> AsyncGenerator[Request, None]:
        for _ in range(rows):
            yield request

    allowance = OwnLimits(EndpointLimits(512, requests_per_minute=10**8))
    lane = Lane({"": send}, RetryPolicy(6, 60.0), allowance, lambda _: None, most_open=1088)
    await lane.deliver(requests(), Nowhere())


class Nowhere:
    """A sink that keeps nothing."""

    def settle(self, request: Request, outcome: Outcome) -> None:
        pass

    def leave(self, request: Request, spent: Spent) -> None:
        pass


def journalled(path: Path, rows: int) -> None:
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for row in range(rows):
        journal.append(result(row))
    journal.sync()
    journal.close()


def result(row: int) -> Result:
    return Result(
        file="prompts.jsonl",
        row=row,
        id=f"r{row}",
        score=0.5,
        route="weak",
        route_reason="score",
        model="gpt-6-luna",
        status="ok",
        response="All of it is made up, so that nothing has to be thought about. " * 15,
        prompt_tokens=211,
        completion_tokens=180,
        cost_usd=0.001,
        attempts=1,
        latency_s=0.1,
        finished_at=1_790_000_000_000_000,
    )


def sealed(journal: Path, part: Path) -> None:
    seal(journal, part, ResultColumns(pa.schema([])))
