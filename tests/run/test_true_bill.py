"""max_cost_usd against the true bill, counted at the server, for everything that can make an answer dearer."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from aiohttp import web

from jobs import on_both, write_job
from upstream import upstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

LIMIT_USD = 0.02
ROWS = 40
PRICE = {
    "input": 2,
    "cached_input": 0.2,
    "cache_write": 2.5,
    "output": 10,
    "tiers": {
        "flex": {"input": 1, "output": 5},
        "priority": {"input": 4, "cache_write": 5, "output": 20},
    },
}
PNG = "data:image/png;base64," + "A" * 4000


@dataclass(frozen=True)
class Case:
    """What a provider says it billed, its true bill in USD, and what the job and its rows ask for."""

    usage: dict[str, Any]
    usd: float
    answer: dict[str, Any]
    params: dict[str, Any]
    row_params: dict[str, Any]
    image: dict[str, Any] | None = None


def case(
    usage: dict[str, Any],
    usd: float,
    *,
    answer: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
    row_params: dict[str, Any] | None = None,
    image: dict[str, Any] | None = None,
) -> Case:
    return Case(usage, usd, answer or {}, params or {}, row_params or {}, image)


def counts(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


CASES = {
    "all of it written to a cache": case(
        counts(100, 100, prompt_tokens_details={"cache_write_tokens": 100}), 100 * 2.5e-6 + 100 * 10e-6
    ),
    "written by Anthropic's name": case(counts(100, 100, cache_creation_input_tokens=100), 100 * 2.5e-6 + 0.001),
    "half of it read": case(
        counts(100, 100, prompt_tokens_details={"cached_tokens": 50}), 0.0001 + 0.00001 + 0.001
    ),
    "reasoning beside the completion": case(counts(50, 2, total_tokens=150), 0.0001 + 0.001),
    "priority, and nothing asked": case(counts(100, 100), 0.0024, answer={"service_tier": "priority"}),
    "priority for auto": case(
        counts(100, 100), 0.0024, answer={"service_tier": "priority"}, params={"service_tier": "auto"}
    ),
    "flex asked, standard given": case(
        counts(100, 100), 0.0012, answer={"service_tier": "default"}, params={"service_tier": "flex"}
    ),
    "flex asked, nothing said": case(counts(100, 100), 0.0006, params={"service_tier": "flex"}),
    "flex asked, priority by the row": case(
        counts(100, 100), 0.0024, params={"service_tier": "flex"}, row_params={"service_tier": "priority"}
    ),
    "a tier that no price names": case(counts(100, 100), 0.0012, answer={"service_tier": "scale"}),
    "the provider's own cost": case(counts(100, 100, cost=0.0011), 0.0011),
    "an image": case(counts(2000, 100), 0.005, image={"url": PNG}),
    "an image by its address": case(counts(2000, 100), 0.005, image={"url": "https://example.com/a.png"}),
}


@pytest.mark.parametrize("concurrency", [1, 16])
@pytest.mark.parametrize("name", CASES)
def test_the_true_bill_never_passes_the_limit(
    tmp_path: Path, batchroute: Command, name: str, concurrency: int
) -> None:
    of, billed, lock = CASES[name], 0.0, threading.Lock()

    async def say(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        nonlocal billed
        with lock:
            billed += of.usd
        message = {"role": "assistant", "content": "fine"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return web.json_response(
            {"id": "c", "model": asked["model"], "choices": choices, "usage": of.usage, **of.answer}
        )

    content: Any = "x" * 90
    if of.image is not None:
        content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": of.image}]
    line = {"messages": [{"role": "user", "content": content}], "params": {"max_tokens": 100, **of.row_params}}
    (tmp_path / "prompts.jsonl").write_text(f"{json.dumps(line)}\n" * ROWS)
    with upstream(say) as provider:
        job = write_job(
            tmp_path,
            on_both("base_url", f"{provider.url}/v1"),
            on_both("price", PRICE),
            on_both("params", of.params),
            on_both("max_concurrency", concurrency),
            on_both("max_media_tokens", 2000),
            {"input.messages": "messages", "input.params": "params", "limits.max_cost_usd": LIMIT_USD},
        )
        said = batchroute("run", job, "--json")
    report = json.loads(said.out)
    assert said.code == 4, "the limit ends the run"
    assert 0 < billed <= LIMIT_USD + 1e-12
    assert report["ok"] == round(billed / of.usd)
    assert report["cost_usd"] == pytest.approx(billed)
    assert report["unconfirmed_usd"] == 0
    rows = pl.read_parquet(tmp_path / "run" / "results" / "*.parquet")
    assert rows["cost_usd"].to_list() == [pytest.approx(of.usd)] * report["ok"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "our-own"}, "endpoints.strong.max_media_tokens, endpoints.weak.max_media_tokens"),
        ({"model": "gpt-6.1-sol"}, "give images a detail"),
        ({"model": "gpt-4o", "params": {"max_tokens": 5}}, None),
    ],
)
def test_media_that_nothing_bounds_need_a_bound_under_a_budget(
    tmp_path: Path, batchroute: Command, changes: dict[str, Any], words: str | None
) -> None:
    content = [{"type": "image_url", "image_url": {"url": PNG}}]
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n"
    )
    both = {"params": {"max_tokens": 5}, "price": {"input": 2, "output": 10}, **changes}
    job = write_job(
        tmp_path,
        *(on_both(key, value) for key, value in both.items()),
        on_both("base_url", None),
        on_both("simulate", {"latency_s": 0}),
        {"input.messages": "messages", "limits.max_cost_usd": 1},
    )
    for command in ("check", "plan", "run"):
        said = batchroute(command, job)
        assert said.code == (0 if words is None else 2)
        assert words is None or words in said.err + said.out


def test_a_later_row_whose_media_nothing_bounds_is_refused(tmp_path: Path, batchroute: Command) -> None:
    """Only the beginning of the input is looked at before the first request."""
    text = {"messages": [{"role": "user", "content": "x" * 2000}]}
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}
    lines = [text] * 6000 + [image]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = write_job(
        tmp_path,
        on_both("model", "our-own"),
        on_both("params", {"max_tokens": 5}),
        on_both("price", {"input": 0.001, "output": 0.001}),
        on_both("base_url", None),
        on_both("simulate", {"latency_s": 0}),
        {"input.messages": "messages", "limits.max_cost_usd": 100},
    )
    said = batchroute("run", job, "--json")
    report = json.loads(said.out)
    assert (said.code, report["ok"], report["refused"]) == (3, 6000, 1)
    rows = pl.read_parquet(tmp_path / "run" / "results" / "*.parquet").filter(pl.col("status") == "refused")
    assert rows["error_type"].item() == "unbounded"
    assert "max_media_tokens" in rows["error"].item()


def test_a_model_that_answers_for_another_is_said_once_counted_and_priced_as_itself(
    tmp_path: Path, batchroute: Command
) -> None:
    """Asked for at 0.1 and 0.5, it answers at the 2 and 10 of another, which the table has."""

    async def say(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        choices = [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]
        other = "gpt-6.1-sol" if "1" in asked["messages"][0]["content"] else "openai/gpt-6-luna-2026-09-01"
        return web.json_response({"model": other, "choices": choices, "usage": counts(1000, 100)})

    prompts = "".join(json.dumps({"prompt": str(number)}) + "\n" for number in range(20))
    (tmp_path / "prompts.jsonl").write_text(prompts)
    with upstream(say) as provider:
        job = write_job(
            tmp_path,
            on_both("base_url", f"{provider.url}/v1"),
            on_both("model", "gpt-6-luna"),
            on_both("price", {"input": 0.1, "output": 0.5}),
            {"routing.threshold": 1.0},
        )
        said = batchroute("run", job, "--json")
    report = json.loads(said.out)
    assert said.code == 0
    assert said.err.count("the weak endpoint was asked for gpt-6-luna and answered with gpt-6.1-sol") == 1
    assert said.err.count("answered with") == 1
    assert report["other_models"] == {"weak": {"gpt-6.1-sol": 11}}
    assert report["cost_usd"] == pytest.approx(11 * 0.003 + 9 * 0.00015)


async def bills_too_much(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
    """Each answer names a cost of its own, $0.003 where less than $0.0015 was reserved."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]
    return web.json_response({"choices": choices, "usage": counts(100, 100, cost=0.003)})


def write_job_under(folder: Path, url: str, limit_usd: float, *, rows: int, concurrency: int) -> Path:
    (folder / "prompts.jsonl").write_text(f'{{"prompt": "{"x" * 90}"}}\n' * rows)
    return write_job(
        folder,
        on_both("base_url", f"{url}/v1"),
        on_both("price", PRICE),
        on_both("params", {"max_tokens": 100, "service_tier": "default"}),
        on_both("max_concurrency", concurrency),
        {"routing.threshold": 1.0, "limits.max_cost_usd": limit_usd},
    )


@pytest.mark.parametrize(("concurrency", "limit_usd", "answers"), [(1, 0.02, 6), (16, 0.2, 66)])
def test_what_is_billed_beyond_a_reservation_is_reserved_for_the_next(
    tmp_path: Path, batchroute: Command, concurrency: int, limit_usd: float, answers: int
) -> None:
    with upstream(bills_too_much) as provider:
        job = write_job_under(tmp_path, provider.url, limit_usd, rows=100, concurrency=concurrency)
        said = batchroute("run", job, "--json")
    assert said.code == 4
    assert json.loads(said.out)["cost_usd"] == pytest.approx(len(provider.seen) * 0.003)
    assert len(provider.seen) == answers


def test_the_next_run_knows_what_is_billed_beyond_a_reservation(tmp_path: Path, batchroute: Command) -> None:
    """$0.002 are left after the first run, and half of what an answer costs would have been reserved for it."""
    with upstream(bills_too_much) as provider:
        job = write_job_under(tmp_path, provider.url, LIMIT_USD, rows=20, concurrency=1)
        for _ in range(2):
            said = batchroute("run", job, "--json")
            assert said.code == 4
    assert len(provider.seen) == 6
    assert json.loads(said.out)["cost_usd"] == pytest.approx(6 * 0.003)


@pytest.mark.parametrize("status", [408, 424, 499])
def test_a_server_that_gave_up_over_a_request_may_have_billed_it(
    tmp_path: Path, batchroute: Command, status: int
) -> None:
    """Every other attempt works until something times out, is billed, and brings no usage."""

    async def say(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if len(provider.seen) % 2:
            return web.json_response({"error": {"message": "given up"}}, status=status)
        choices = [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]
        return web.json_response({"choices": choices, "usage": counts(100, 100)})

    (tmp_path / "prompts.jsonl").write_text(f'{{"prompt": "{"x" * 90}"}}\n' * ROWS)
    with upstream(say) as provider:
        job = write_job(
            tmp_path,
            on_both("base_url", f"{provider.url}/v1"),
            on_both("price", PRICE),
            on_both("params", {"max_tokens": 100, "service_tier": "default"}),
            {"routing.threshold": 1.0, "limits.max_cost_usd": 0.01},
        )
        report = json.loads(batchroute("run", job, "--json").out)
    billed = len(provider.seen) * 0.0012
    assert 0.0048 <= billed <= 0.01
    assert billed <= report["cost_usd"] + report["unconfirmed_usd"] <= 0.01


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_request_that_leaves_a_full_tier_may_be_answered_in_the_accounts_own(
    tmp_path: Path, batchroute: Command, concurrency: int
) -> None:
    """Flex is full, and without a tier the account's is priority: four times the price of what was asked for."""
    billed, lock = 0.0, threading.Lock()

    async def say(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        nonlocal billed
        if asked.get("service_tier") == "flex":
            return web.json_response({"error": {"code": "resource_unavailable", "message": "full"}}, status=429)
        with lock:
            billed += 0.0024
        choices = [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]
        usage = counts(100, 100)
        return web.json_response({"choices": choices, "usage": usage, "service_tier": "priority"})

    (tmp_path / "prompts.jsonl").write_text(f'{{"prompt": "{"x" * 90}"}}\n' * ROWS)
    with upstream(say) as provider:
        job = write_job(
            tmp_path,
            on_both("base_url", f"{provider.url}/v1"),
            on_both("price", PRICE),
            on_both("params", {"max_tokens": 100}),
            on_both("service_tier", "flex"),
            on_both("on_busy", "standard"),
            on_both("max_concurrency", concurrency),
            {"routing.threshold": 1.0, "limits.max_cost_usd": LIMIT_USD},
        )
        said = batchroute("run", job, "--json")
    assert said.code == 4
    assert 0 < billed <= LIMIT_USD
    assert json.loads(said.out)["cost_usd"] == pytest.approx(billed)


def test_a_plan_counts_media_as_a_reservation_does(tmp_path: Path, batchroute: Command) -> None:
    """400 characters and an image of low detail: 100 tokens and, at gpt-4o, 85; the base64 is no text."""
    image = {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}
    line = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 400}, image]}]}
    (tmp_path / "prompts.jsonl").write_text(f"{json.dumps(line)}\n" * ROWS)
    job = write_job(
        tmp_path,
        on_both("price", {"input": 2, "output": 10}),
        on_both("params", {"max_tokens": 100}),
        on_both("base_url", None),
        on_both("simulate", {"latency_s": 0, "response_tokens": 100}),
        on_both("model", "gpt-4o"),
        {"endpoints.strong.max_media_tokens": 900, "input.messages": "messages", "routing.threshold": 1.0},
    )
    plan = json.loads(batchroute("plan", job, "--json").out)
    weak, strong = ROWS * (185 * 2 + 100 * 10) / 1e6, ROWS * (1000 * 2 + 100 * 10) / 1e6
    assert plan["cost_usd"]["mid"] == pytest.approx(weak, rel=0.01)
    assert plan["all_weak_usd"] == pytest.approx(weak, rel=0.01)
    assert plan["all_strong_usd"] == pytest.approx(strong, rel=0.01)


# The table has a priority price for this model, and none for flex.
SIMULATED = {**on_both("base_url", None), **on_both("simulate", {"latency_s": 0}), **on_both("model", "gpt-4o")}


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_tier_without_a_known_price_needs_one_under_a_budget(
    tmp_path: Path, batchroute: Command, command: str
) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "x"}\n')
    params = on_both("params", {"max_tokens": 5, "service_tier": "flex"})
    said = batchroute(command, write_job(tmp_path, SIMULATED, params, {"limits.max_cost_usd": 1}))
    assert said.code == 2
    words = "set endpoints.strong.price (the table has none for the tier flex), endpoints.weak.price"
    assert words in said.err + said.out


def test_a_tier_without_a_known_price_costs_null(tmp_path: Path, batchroute: Command) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "x"}\n')
    job = write_job(tmp_path, SIMULATED, on_both("params", {"max_tokens": 5, "service_tier": "flex"}))
    assert "price of the tier flex unknown" in batchroute("check", job).out
    report = json.loads(batchroute("run", job, "--json").out)
    assert (report["ok"], report["cost_unknown_rows"], report["savings_usd"]) == (1, 1, None)


def test_a_row_that_asks_for_a_tier_of_unknown_price_is_refused_under_a_budget(
    tmp_path: Path, batchroute: Command
) -> None:
    lines = [{"prompt": "a", "params": {"service_tier": tier}} for tier in ("priority", "flex", "auto")]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    budget = {"input.params": "params", "limits.max_cost_usd": 1, **on_both("params", {"max_tokens": 5})}
    said = batchroute("run", write_job(tmp_path, SIMULATED, budget), "--json")
    rows = pl.read_parquet(tmp_path / "run" / "results" / "*.parquet").sort("row")
    assert said.code == 3
    assert rows["status"].to_list() == ["ok", "refused", "ok"]
    assert rows["error_type"][1] == "unbounded"
    assert "service_tier flex" in rows["error"][1]
