from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from batchroute.job.endpoint import EndpointSpec, EnvRef
from batchroute.job.rules import contradictions, longest_output
from batchroute.job.settings import changed_settings, frozen_settings, settings
from batchroute.job.spec import Endpoints, Job, Limits
from batchroute.send.dialects.chat import ChatBody
from batchroute.types import SIDES, Prompt

if TYPE_CHECKING:
    from batchroute.job.toml import Loc


def job_values(**changes: Any) -> dict[str, Any]:
    """A small valid job, with `changes` such as `limits__drain_s=3` made in it."""
    values: dict[str, Any] = {
        "input": {"path": "/data/a.jsonl"},
        "output": {"path": "/runs/a"},
        "routing": {"strong_fraction": 0.1},
        "endpoints": {
            "strong": {"model": "gpt-6.1-sol", "base_url": "https://api.openai.com/v1"},
            "weak": {"model": "gpt-6-luna", "simulate": {}},
        },
    }
    for place, value in changes.items():
        *tables, key = place.split("__")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
        table[key] = value
    return values


def faults(**changes: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Job.model_validate(job_values(**changes))
    return {".".join(map(str, fault["loc"])): fault["msg"] for fault in caught.value.errors()}


def test_defaults_are_those_of_the_contract() -> None:
    job = Job.model_validate(job_values())
    assert job.input.path == ["/data/a.jsonl"]
    assert (job.input.format, job.input.prompt, job.input.keep) == ("auto", "prompt", [])
    assert (job.output.raw, job.output.mode) == (False, "0700")
    assert (job.router.use, job.router.model, job.router.embedder.use) == ("mf", "builtin", "builtin")
    assert (job.router.strong, job.router.weak) == ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
    strong, weak = job.endpoints.strong, job.endpoints.weak
    assert (strong.max_concurrency, strong.timeout_s, strong.max_attempts) == (64, 600, 6)
    assert weak.simulate is not None
    assert (weak.simulate.latency_s, weak.simulate.error_rate, weak.simulate.response_tokens) == (0.3, 0, 150)
    assert job.limits == Limits(
        outage_s=3600, stop_after_same_refusal=20, ok_if_refused=0, max_response_mb=32, drain_s=20
    )


def test_money_is_exact() -> None:
    job = Job.model_validate(
        job_values(
            limits__max_cost_usd=0.1,
            endpoints__strong__params={"max_tokens": 9},
            endpoints__weak__params={"max_tokens": 9},
            endpoints__weak__price={"input": 0.15, "output": 1},
        )
    )
    assert job.limits.max_cost_usd == Decimal("0.1")
    assert job.endpoints.weak.price is not None
    assert (job.endpoints.weak.price.input, job.endpoints.weak.price.output) == (Decimal("0.15"), Decimal(1))


def test_openai_batch_keeps_raw_bodies_and_has_no_prompt_column() -> None:
    job = Job.model_validate(job_values(input__format="openai-batch"))
    assert job.output.raw
    assert job.input.prompt is None
    assert not Job.model_validate(job_values(input__format="openai-batch", output__raw=False)).output.raw


def test_openais_embeddings_need_one_word() -> None:
    embedder = Job.model_validate(job_values(router__embedder__use="openai")).router.embedder
    assert embedder.model == "text-embedding-3-small"
    assert (embedder.base_url, embedder.api_key_env) == ("https://api.openai.com/v1", "OPENAI_API_KEY")


def test_a_local_embeddings_server_is_not_sent_openais_key() -> None:
    embedder = Job.model_validate(
        job_values(router__embedder={"use": "openai", "base_url": "http://127.0.0.1:1/v1"})
    ).router.embedder
    assert embedder.api_key_env is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("input__path", []),
        ("input__path", ""),
        ("input__path", ["a", 3]),
        ("input__format", "xlsx"),
        ("input__prompt", ""),
        ("input__keep", 3),
        ("output__raw", "yes"),
        ("output__mode", "999"),
        ("router__use", "MF"),
        ("router__use", "package:"),
        ("router__device", "gpu"),
        ("router__batch_size", 0),
        ("router__batch_size", 10.0),
        ("router__embedder__use", "word2vec"),
        ("routing__strong_fraction", 1.01),
        ("routing__strong_fraction", -0.1),
        ("routing__strong_fraction", True),
        ("endpoints__strong__model", ""),
        ("endpoints__strong__timeout_s", 0),
        ("endpoints__strong__max_concurrency", 0),
        ("endpoints__strong__requests_per_minute", 0),
        ("endpoints__strong__on_too_long", "drop"),
        ("endpoints__strong__api_key_env", "sk-0123"),
        ("endpoints__strong__headers", {"x y": "v"}),
        ("endpoints__strong__headers", {"x": "a\nb"}),
        ("endpoints__strong__headers", {"x": {"env": "A", "else": "B"}}),
        ("endpoints__strong__headers", {"x": {"env": 3}}),
        ("endpoints__strong__headers", {"Authorization": "Bearer x"}),
        ("endpoints__strong__headers", {"Host": "elsewhere.example"}),
        ("endpoints__strong__headers", {"content-length": {"env": "LENGTH"}}),
        ("endpoints__strong__price", {"input": 1}),
        ("endpoints__strong__price", {"input": -1, "output": 1}),
        ("endpoints__strong__price", {"input": "1", "output": 1}),
        ("endpoints__strong__price", {"input": 1, "cached_input": 2, "output": 1}),
        ("endpoints__strong__price", {"input": 1, "cache_write": -1, "output": 1}),
        ("endpoints__strong__price", {"input": 1, "output": 1, "tiers": 3}),
        ("endpoints__strong__price", {"input": 1, "output": 1, "tiers": {"flex": {"input": 1}}}),
        ("endpoints__strong__price", {"input": 1, "output": 1, "tiers": {"flex": {"output": 1}}}),
        ("endpoints__strong__price", {"input": 1, "output": 1, "tiers": {"": {"input": 1, "output": 1}}}),
        ("endpoints__strong__price", {"input": 1, "output": 1, "tiers": {"auto": {"input": 1, "output": 1}}}),
        ("endpoints__strong__price", {"input": 1, "output": 1, "tiers": {"Default": {"input": 1, "output": 1}}}),
        (
            "endpoints__strong__price",
            {"input": 1, "output": 1, "tiers": {key: {"input": 1, "output": 1} for key in ("flex", "FLEX")}},
        ),
        (
            "endpoints__strong__price",
            {"input": 1, "output": 1, "tiers": {"flex": {"input": 1, "cached_input": 2, "output": 1}}},
        ),
        ("endpoints__strong__max_media_tokens", 0),
        ("endpoints__strong__params", {"a": [math.nan]}),
        ("endpoints__strong__params", {"a": {"b": {1, 2}}}),
        ("endpoints__weak__simulate", {"error_rate": 2}),
        ("limits__max_cost_usd", math.inf),
        ("limits__stop_at", "24:00"),
        ("limits__stop_at", "6:00"),
        ("limits__on_budget", "panic"),
        ("limits__ok_if_refused", 2),
        ("limits__drain_s", -1),
        ("name", ""),
    ],
)
def test_what_no_setting_can_be_is_a_fault_there(place: str, value: object) -> None:
    assert any(loc.startswith(place.replace("__", ".")) for loc in faults(**{place: value}))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "api.openai.com/v1",
        "https://",
        "http://x:99999/v1",
        "http://x/#a",
        "http://a b/",
        "http://u@x/",
    ],
)
def test_an_address_is_http_without_user_or_fragment(url: str) -> None:
    assert list(faults(endpoints__strong__base_url=url)) == ["endpoints.strong.base_url"]


@pytest.mark.parametrize("url", ["http://x:${PORT}/v1", "https://x/${DEPLOYMENT}/v1"])
def test_a_variable_in_an_address_is_not_sent_as_it_stands(url: str) -> None:
    assert faults(endpoints__strong__base_url=url) == {
        "endpoints.strong.base_url": "a ${NAME} is filled in paths only; write the address, or give it by --set"
    }


def test_an_address_may_carry_a_query() -> None:
    url = "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
    assert Job.model_validate(job_values(endpoints__strong__base_url=url)).endpoints.strong.base_url == url


CHAT = {"max_tokens": 10}


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({}, []),
        ({"input__prompt": "p", "input__messages": "m"}, [("input", "messages")]),
        ({"input__messages": "m", "input__template": "t"}, [("input", "template")]),
        ({"input__messages": "m", "input__system": "s"}, [("input", "system")]),
        ({"input__template": "t", "input__system": "s"}, []),
        ({"input__format": "openai-batch", "input__prompt": "p"}, [("input", "prompt")]),
        ({"input__format": "openai-batch", "input__params": "p"}, [("input", "params")]),
        ({"routing": {}}, [("routing",)]),
        ({"routing__threshold": 0.5}, [("routing", "threshold")]),
        (
            {"routing__budget_usd": 5, "routing__threshold": 0.5},
            [("routing", "threshold"), ("routing", "budget_usd")],
        ),
        ({"endpoints__weak__base_url": "http://x"}, [("endpoints", "weak", "simulate")]),
        ({"endpoints__weak": {"model": "m"}}, [("endpoints", "weak")]),
        ({"endpoints__strong__api_key_header": "api-key"}, [("endpoints", "strong", "api_key_header")]),
        ({"endpoints__strong__params": {"stream": False}}, [("endpoints", "strong", "params", "stream")]),
        ({"endpoints__strong__params": {"n": 2}}, [("endpoints", "strong", "params", "n")]),
        ({"endpoints__strong__params": {"n": 2}, "output__raw": True}, []),
        ({"endpoints__strong__params": {"n": 1}}, []),
        ({"router__embedder__use": "column"}, [("router", "embedder", "column")]),
        ({"router__embedder__use": "sentence-transformers"}, [("router", "embedder", "model")]),
        ({"router__embedder__api_key_header": "k"}, [("router", "embedder", "api_key_header")]),
        ({"router__embedder__api_key_header": "k", "router__embedder__use": "openai"}, []),
        ({"limits__max_cost_usd": 1}, [("endpoints", "strong", "params"), ("endpoints", "weak", "params")]),
        (
            {"limits__max_cost_usd": 1, "endpoints__strong__params": CHAT},
            [("endpoints", "weak", "params")],
        ),
        (
            {
                "limits__max_cost_usd": 1,
                "endpoints__strong__params": {"max_completion_tokens": 0},
                "endpoints__weak__params": {"max_output_tokens": True},
            },
            [("endpoints", "strong", "params"), ("endpoints", "weak", "params")],
        ),
        (
            {
                "limits__max_cost_usd": 1,
                "endpoints__strong__params": {"max_tokens": 100, "max_completion_tokens": -1},
                "endpoints__weak__params": {"max_tokens": 100, "n": 0},
            },
            [("endpoints", "strong", "params"), ("endpoints", "weak", "params")],
        ),
        ({"limits__max_cost_usd": 1, "input__params": "params"}, []),
        ({"endpoints__weak__service_tier": "flex", "endpoints__weak__params": {"service_tier": "flex"}}, []),
        (
            {"endpoints__weak__service_tier": "flex", "endpoints__weak__params": {"service_tier": "auto"}},
            [("endpoints", "weak", "service_tier")],
        ),
        (
            {
                "endpoints__weak__api": "anthropic",
                "endpoints__weak__service_tier": "flex",
                "endpoints__weak__params": {"max_tokens": 10},
            },
            [("endpoints", "weak", "service_tier")],
        ),
        ({"limits__max_cost_usd": 1, "input__format": "openai-batch"}, []),
    ],
)
def test_settings_that_cannot_hold_together(changes: dict[str, Any], places: list[Loc]) -> None:
    assert [loc for loc, _ in contradictions(job_values(**changes), SIDES)] == places


BOUND = st.none() | st.integers(-1, 3) | st.sampled_from([True, 2.0, 0.5, "4"])


@given(
    st.fixed_dictionaries(
        {}, optional={"max_tokens": BOUND, "max_completion_tokens": BOUND, "max_output_tokens": BOUND, "n": BOUND}
    )
)
def test_a_budgeted_job_is_valid_if_and_only_if_its_rows_are_bounded(params: dict[str, Any]) -> None:
    """A job that `check` passed, and whose every row was then refused as unbounded, is what this keeps away."""
    params = {name: value for name, value in params.items() if value is not None}
    values = job_values(
        limits__max_cost_usd=1,
        output__raw=True,
        endpoints__strong__params=params,
        endpoints__weak__params={"max_tokens": 1},
    )
    longest = ChatBody("model", params)(Prompt(file="a", row=0, id=None, messages=b"[]")).longest
    assert bool(longest) == (list(contradictions(values, SIDES)) == [])


@pytest.mark.parametrize(
    ("params", "longest"),
    [
        ({}, 0),
        ({"max_completion_tokens": 4}, 4),
        ({"max_output_tokens": 4}, 4),
        ({"max_tokens": 4, "max_completion_tokens": 6}, 6),
        ({"max_tokens": "4"}, 0),
        ({"max_tokens": None, "n": 2}, 0),
        ({"max_tokens": 4, "n": None}, 4),
        ({"max_tokens": 4.0, "n": 3.0}, 12),
        ({"max_tokens": -1}, 0),
        ({"max_tokens": -1, "max_completion_tokens": 6}, 0),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": True}, 0),
        ({"max_tokens": 4.5}, 0),
        ({"max_tokens": float("inf")}, 0),
        ({"max_tokens": 4, "n": -2}, 0),
        ({"max_tokens": 4, "n": "3"}, 0),
    ],
)
def test_output_is_bounded_by_whichever_name_bounds_it(params: dict[str, Any], longest: int) -> None:
    assert longest_output(params) == longest


@pytest.mark.parametrize("junk", [{}, {"input": 3, "endpoints": [], "routing": "x"}, {"endpoints": {"strong": 3}}])
def test_junk_has_faults_rather_than_a_traceback(junk: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate(junk)


def test_no_fault_shows_a_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Job.model_validate(job_values(hunter="hunter2", endpoints__strong__base_url="http://u:hunter2@x"))
    assert "hunter2" not in str(caught.value)


def test_a_job_can_be_put_together_from_its_parts() -> None:
    job = Job.model_validate(job_values())
    strong = EndpointSpec(model="m", base_url="http://x", headers={"x-token": EnvRef(env="TOKEN")})
    sides = Endpoints(strong=strong, weak=job.endpoints.weak)
    again = Job(input=job.input, output=job.output, routing=job.routing, endpoints=sides)
    assert again.endpoints.strong.headers == {"x-token": EnvRef(env="TOKEN")}
    assert Job.model_validate(again) is again


def test_a_job_cannot_be_changed() -> None:
    job = Job.model_validate(job_values())
    with pytest.raises(ValidationError, match="frozen"):
        job.name = "other"


FROZEN_CHANGES: dict[str, object] = {
    "input.format": "jsonl",
    "input.prompt": "q",
    "input.system": "s",
    "input.id": "id",
    "input.keep": ["a"],
    "input.params": "p",
    "input.reuse": ["/old"],
    "input.route": "r",
    "output.raw": True,
    "router.use": "random",
    "router.model": "/m",
    "router.strong": "a",
    "router.weak": "b",
    "router.text": "t",
    "router.seed": 1,
    "router.embedder.use": "a:B",
    "router.embedder.model": "m",
    "router.embedder.dimensions": 256,
    "router.embedder.column": "c",
    "routing.strong_fraction": 0.2,
    "endpoints.strong.model": "gpt-4o",
    "endpoints.strong.params": {"temperature": 0},
    "endpoints.weak.simulate": {"seed": 1},
}
FREE_CHANGES: dict[str, object] = {
    "name": "n",
    "input.path": "/moved/a.jsonl",
    "output.path": "/moved/run",
    "output.mode": "0750",
    "router.device": "cuda",
    "router.batch_size": 1,
    "router.embedder.cache": "/cache",
    "endpoints.strong.base_url": "https://other/v1",
    "endpoints.strong.price": {"input": 1, "output": 2},
    "endpoints.strong.headers": {"x": "y"},
    "endpoints.weak.max_concurrency": 1,
    "limits.max_wall_s": 5,
}


def changed_by(place: str, value: object) -> list[str]:
    before = Job.model_validate(job_values())
    after = Job.model_validate(job_values(**{place.replace(".", "__"): value}))
    return changed_settings(frozen_settings(before), frozen_settings(after))


@pytest.mark.parametrize(("place", "value"), FROZEN_CHANGES.items())
def test_what_a_run_keeps_for_good(place: str, value: object) -> None:
    assert changed_by(place, value) == [place]


@pytest.mark.parametrize(("place", "value"), FREE_CHANGES.items())
def test_what_may_be_another_when_a_run_goes_on(place: str, value: object) -> None:
    assert changed_by(place, value) == []


def test_the_same_sum_written_otherwise_has_not_changed() -> None:
    whole, point = (Job.model_validate(job_values(routing={"budget_usd": usd})) for usd in (25, 25.0))
    assert changed_settings(frozen_settings(whole), frozen_settings(point)) == []
    assert frozen_settings(whole)["routing.budget_usd"] == 25


def test_a_setting_that_only_one_side_knows_has_changed() -> None:
    assert changed_settings({"a": 1, "b": None}, {"a": 1, "c": None}) == ["c", "b"]


def test_every_setting_says_what_it_is() -> None:
    assert [loc for loc, info in settings() if not info.description] == []


def test_what_an_older_version_did_not_know_has_its_default() -> None:
    weak = {"model": "m", "simulate": {"latency_s": 0.5}}
    before = frozen_settings(Job.model_validate(job_values(endpoints__weak=weak)))
    known_then = {key: value for key, value in before.items() if key != "input.route"}
    known_then["endpoints.weak.simulate"] = {"latency_s": 0.5}
    assert changed_settings(known_then, before) == []
    known_then["endpoints.weak.simulate"] = {"latency_s": 0.4}
    assert changed_settings(known_then, before) == ["endpoints.weak.simulate"]
    known_then["endpoints.weak.simulate"] = {"latency_s": 0.5, "gone": 1}
    assert changed_settings(known_then, before) == ["endpoints.weak.simulate"]
