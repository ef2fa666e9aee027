"""A run against a provider that answers in shapes of its own: what the results say of each row, once each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from aiohttp import web

from jobs import on_both, write_job
from upstream import completion, upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

LARGE = "word " * 40_000  # 200,000 characters: 50,000 tokens by estimate
FILTERED = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": True}}}]


@dataclass(frozen=True)
class Case:
    """What a provider says at first, and what the row comes to; it answers well from then on."""

    body: Any
    expected: Mapping[str, Any]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = "a question"
    asked: int = 1


def answered(**fields: Any) -> dict[str, Any]:
    return {**completion(), **fields}


def event_stream(*deltas: dict[str, Any]) -> str:
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


CASES = {
    "its name in the body": Case(answered(), {"request_id": "chatcmpl-1", "served_model": "served-model"}),
    "its name in a header": Case(answered(), {"request_id": "r-1"}, headers={"x-request-id": "r-1"}),
    "its tier": Case(answered(service_tier="flex"), {"service_tier": "flex"}),
    "a refusal": Case(completion(None, refusal="No."), {"response": None, "refusal": "No."}),
    "thinking": Case(
        completion([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]),  # type: ignore[arg-type]
        {"response": "yes", "reasoning": "hm"},
    ),
    "a stream": Case(event_stream({"content": "fi"}, {"content": "ne"}), {"response": "fine", "cost_usd": None}),
    "a filter's verdict": Case(
        answered(choices=[], prompt_filter_results=FILTERED, service_tier="default"),
        {
            "status": "refused",
            "error_type": "content_filter",
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "cost_usd": pytest.approx(0.0003),
            "request_id": "chatcmpl-1",
            "service_tier": "default",
        },
    ),
    "no more than a name": Case(
        {"error": {"message": "no such field"}},
        {"status": "refused", "error_type": "http_400", "request_id": "r-2", "cost_usd": None},
        status=400,
        headers={"request-id": "r-2"},
    ),
    "a row too large for the account": Case(
        {"error": {"message": "slower"}},
        {"status": "refused", "error_type": "too_large"},
        status=429,
        headers={"x-ratelimit-limit-tokens": "30000", "retry-after": "1"},
        text=LARGE,
    ),
    "an error in a choice": Case(
        answered(choices=[{"finish_reason": "error", "error": {"code": 502, "message": "away"}}]),
        {"response": "Hello", "attempts": 2, "prompt_tokens": 200, "cost_usd": pytest.approx(0.0006)},
        asked=2,
    ),
    "zeros": Case(
        answered(usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        {"response": "Hello", "prompt_tokens": None, "completion_tokens": None, "cost_usd": None},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_answer_comes_to_its_row(tmp_path: Path, batchroute: Command, name: str) -> None:
    of, asked = CASES[name], Counter[str]()

    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        text = body["messages"][-1]["content"]
        asked[text] += 1
        assert body["stream"] is False
        if text != of.text or asked[text] > 1:
            return web.json_response(completion())
        said = of.body if isinstance(of.body, str) else json.dumps(of.body)
        return web.Response(text=said, status=of.status, headers=of.headers, content_type="application/json")

    texts = ["before", of.text, "behind"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    with upstream(say) as provider:
        job = write_job(
            tmp_path,
            on_both("base_url", provider.url),
            on_both("price", {"input": 2, "output": 10}),
            on_both("max_concurrency", 1),
            {"routing.threshold": 1.0, "router.use": "random"},
        )
        batchroute("run", job)
    rows = pl.read_parquet(tmp_path / "run" / "results" / "*.parquet").sort("row").to_dicts()
    assert {key: rows[1][key] for key in of.expected} == dict(of.expected)
    assert [row["status"] for row in (rows[0], rows[2])] == ["ok", "ok"]
    assert asked == {"before": 1, of.text: of.asked, "behind": 1}
