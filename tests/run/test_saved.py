"""What real runs saved, by cause, against going through their rows: caches, a tier of service, reuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest

from batchroute.report.build import build_report
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from inputs import lines
from jobs import job_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.report.figures import Report
    from servers import ThreadedSimulator

ROWS = 40
FLEX = {"input": 1.0, "cached_input": 0.1, "cache_write": 1.25, "output": 5.0}
PRICE = {"input": 2.0, "cached_input": 0.2, "cache_write": 2.5, "output": 10.0, "tiers": {"flex": FLEX}}
WEAK = {"input": 0.25, "cached_input": 0.025, "output": 1.0}
PREFIX = "the same beginning of every prompt, " * 150  # more than the 1,024 tokens that a cache begins with


def run(
    folder: Path, name: str, servers: tuple[ThreadedSimulator, ThreadedSimulator], changes: dict[str, Any]
) -> Report:
    strong, weak = servers
    weak.control({"response_tokens": 40})
    lines(
        folder / "prompts.jsonl", *({"prompt": f"{PREFIX}{row} {'x' * (row * 97 % 900)}"} for row in range(ROWS))
    )
    ours = {
        "endpoints.strong.base_url": strong.url,
        "endpoints.weak.base_url": weak.url,
        "endpoints.strong.model": "gpt-6.1-sol",
        "endpoints.weak.model": "gpt-5-mini",
        "endpoints.strong.price": PRICE,
        "endpoints.weak.price": WEAK,
        "endpoints.strong.params": {"service_tier": "flex"},
        "endpoints.strong.max_concurrency": 2,
        "routing": {"strong_fraction": 0.5},
        **changes,
    }
    job = job_of(folder / "prompts.jsonl", folder / name, ours)
    assert run_job(job, RunOptions(environ={})).exit_code(0.0) == 0
    return build_report(folder / name)


def causes_of(folder: Path) -> dict[str, float]:
    """Row by row, in the words of the documentation."""
    rows: list[dict[str, Any]] = ds.dataset(folder / "results").to_table().to_pylist()
    saved = dict.fromkeys(("reuse", "delivery", "caching"), 0.0)
    for row in rows:
        price: dict[str, Any] = PRICE if row["route"] == "strong" else WEAK
        prompt, completion, cached = (row[f"{kind}_tokens"] or 0 for kind in ("prompt", "completion", "cached"))
        listed = prompt * price["input"] + completion * price["output"]
        if row["attempts"] == 0:
            saved["reuse"] += listed / 1e6
            continue
        tier: dict[str, Any] = FLEX if row["service_tier"] == "flex" else price
        saved["delivery"] += (listed - prompt * tier["input"] - completion * tier["output"]) / 1e6
        written = row["cache_write_tokens"] or 0
        dearer = tier.get("cache_write", tier["input"]) - tier["input"]
        saved["caching"] += (cached * (tier["input"] - tier["cached_input"]) - written * dearer) / 1e6
    return saved


def assert_adds_up(report: Report, folder: Path) -> None:
    causes = causes_of(folder)
    found = {cause: getattr(report, f"saved_{cause}_usd") for cause in causes}
    assert found == pytest.approx(causes, abs=1e-9)
    assert report.saved_routing_usd is not None
    assert report.savings_usd == pytest.approx(report.saved_routing_usd + sum(found.values()), abs=1e-12)
    assert report.all_strong_usd is not None
    assert report.total_usd is not None
    assert report.savings_usd == pytest.approx(report.all_strong_usd - report.total_usd, abs=1e-12)


def test_caches_a_tier_and_reuse_each_save_what_their_rows_say(
    tmp_path: Path, servers: tuple[ThreadedSimulator, ThreadedSimulator]
) -> None:
    first = run(tmp_path, "first", servers, {})
    assert_adds_up(first, tmp_path / "first")
    assert first.service_tiers["strong"]["flex"] == ROWS // 2
    assert (first.cached_tokens or 0) > 0, "the weak side's cache is read"
    assert (first.saved_delivery_usd or 0) > 0
    assert first.saved_reuse_usd == 0
    # More of them strong: the answers that stay are taken over, tiers and cache with them, for nothing.
    changes = {"input.reuse": [str(tmp_path / "first")], "routing": {"strong_fraction": 0.75}}
    again = run(tmp_path, "again", servers, changes)
    assert_adds_up(again, tmp_path / "again")
    assert again.reused == ROWS * 3 // 4
    assert (again.saved_reuse_usd or 0) > 0
