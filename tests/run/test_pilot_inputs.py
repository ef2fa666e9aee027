"""Pilots of jobs in every form: the money adds up, each row is there once, nothing is asked twice."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest

from inputs import lines
from pilots import pilot_job
from sums import sums

if TYPE_CHECKING:
    from pathlib import Path

    from pilots import PilotJob

ROWS = 24
SMALL = {"pilot.rows": 8}
IMAGE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def as_prompts(folder: Path) -> dict[str, Any]:
    lines(folder / "prompts.jsonl", *(row._asdict() for row in sums(ROWS)))
    return {}


def as_images(folder: Path) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": IMAGE}}
    asked = [[{"role": "user", "content": [{"type": "text", "text": row.prompt}, image]}] for row in sums(ROWS)]
    rows = zip(asked, sums(ROWS), strict=True)
    lines(folder / "prompts.jsonl", *({"messages": messages, "answer": row.answer} for messages, row in rows))
    return {"input.messages": "messages"}


def as_batch(folder: Path) -> dict[str, Any]:
    bodies = ({"model": "x", "messages": [{"role": "user", "content": row.prompt}]} for row in sums(ROWS))
    request = {"method": "POST", "url": "/v1/chat/completions"}
    lines(folder / "prompts.jsonl", *({"custom_id": f"c{n}", **request, "body": b} for n, b in enumerate(bodies)))
    return {"input.format": "openai-batch"}


def as_files(folder: Path) -> dict[str, Any]:
    """Two of them, one compressed, with the same row numbers."""
    (folder / "data").mkdir()
    text = [json.dumps(row._asdict()) + "\n" for row in sums(ROWS)]
    (folder / "data" / "a.jsonl").write_text("".join(text[: ROWS // 2]))
    (folder / "data" / "b.jsonl.gz").write_bytes(gzip.compress("".join(text[ROWS // 2 :]).encode()))
    return {"input.path": "data"}


def both(**settings: Any) -> dict[str, Any]:
    return {f"endpoints.{side}.{key}": value for side in ("strong", "weak") for key, value in settings.items()}


BOUND = {"max_tokens": 300}


@pytest.mark.parametrize(
    ("judge", "make", "changes", "endpoint"),
    [
        ("reference", as_prompts, {"input.keep": "*", "output.raw": True}, {}),
        ("rubric", as_images, {}, {}),
        ("pairwise", as_batch, {}, {}),
        ("reference", as_files, {"input.keep": ["digits"], "input.id": "id"}, {}),
        ("rubric", as_prompts, both(api="anthropic", params=BOUND), {"api": "anthropic", "params": BOUND}),
        ("pairwise", as_prompts, both(api="responses"), {"api": "responses"}),
    ],
    ids=["keep-raw", "images", "batch", "files", "anthropic", "responses"],
)
def test_a_job_of_any_form(
    tmp_path: Path, judge: str, make: Any, changes: dict[str, Any], endpoint: dict[str, Any]
) -> None:
    with pilot_job(tmp_path, ROWS) as job:
        by_model = {} if judge == "reference" else job.judged_by(judge, **endpoint)
        job.write(SMALL, make(tmp_path), changes, by_model)
        job.done(pilot_only=True)
        quality = job.report()["quality"]
        assert (quality["rows"], sum(quality["left_out"].values())) == (8, 0)
        assert job.done().complete
        assert_adds_up(job)


def assert_adds_up(job: PilotJob) -> None:
    table = ds.dataset(job.run / "results").to_table().to_pylist()
    assert Counter((row["file"], row["row"]) for row in table).most_common(1)[0][1] == 1
    assert len(table) == ROWS
    assert all(row["response"] for row in table)
    if "raw" in table[0]:
        assert all(json.loads(row["raw"]) for row in table)
    if "digits" in table[0]:
        assert all(row["digits"] for row in table)
    report = job.report()
    assert report["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in table))
    assert report["total_usd"] == pytest.approx(report["cost_usd"] + report["pilot_cost_usd"])
    assert report["total_usd"] == pytest.approx(job.billed_usd())
    assert job.asked_twice() == 0
