"""RouteLLM's calls, on real endpoints."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import batchroute
from batchroute import Controller, RoutingError, Unanswered
from batchroute.errors import BatchrouteError, ModelFault
from batchroute.job.spec import RouterSpec
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from batchroute.serve.chat import ModelNames, parse_model, read_threshold
from checkpoints import write_mf
from serving import KEY, user
from upstream import answer, completion, upstream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.types import Vectors
    from servers import ThreadedSimulator

OTHER_KEY = "sk-canary-Wm2cR4yT9sHd5gJe"
PRICE = {"input": 2.0, "output": 10.0}
HARD = "Prove that there are infinitely many primes, and that their sum of reciprocals diverges. " * 3
EASY = "Hi"


def controller(*servers: ThreadedSimulator, routers: Sequence[str] = ("length",), **options: Any) -> Controller:
    strong, weak = servers
    urls = {"strong": strong.url, "weak": weak.url}
    sides = {side: {"base_url": url, "price": PRICE, **options.pop(side, {})} for side, url in urls.items()}
    return Controller(routers=routers, strong_model="big-model", weak_model="small-model", **sides, **options)


# --- model strings


@pytest.mark.parametrize(
    ("model", "router", "threshold"),
    [
        ("router-mf-0.11593", "mf", 0.11593),
        ("router-random-0.5", "random", 0.5),
        ("router-mf-0", "mf", 0.0),
        ("router-mf-1", "mf", 1.0),
        ("router-mf-1e-3", "mf", 0.001),
        ("router-my.package:Class-0.25", "my.package:Class", 0.25),
    ],
)
def test_a_model_string_names_a_router_and_a_threshold(model: str, router: str, threshold: float) -> None:
    assert parse_model(model) == (router, threshold)


@pytest.mark.parametrize(
    "model",
    [
        *("", "router", "router-mf", "router-mf-", "gpt-4-0613", "routers-mf-0.5", "router--0.5", None, 7),
        *("router-mf-high", "router-mf-nan", "router-mf-inf", "router-mf--0.1", "router-mf-1.01"),
    ],
)
def test_what_is_no_model_string_is_one_kind_of_error(model: Any) -> None:
    with pytest.raises(RoutingError):
        parse_model(model)


@given(st.floats(0, 1))
def test_every_threshold_is_read_as_it_is_written(threshold: float) -> None:
    assert parse_model(f"router-mf-{threshold!r}") == ("mf", threshold)
    assert read_threshold(threshold) == threshold


@given(st.text(max_size=30) | st.floats() | st.integers())
def test_nothing_else_gets_through(threshold: object) -> None:
    try:
        number = read_threshold(threshold)
    except RoutingError:
        return
    assert 0 <= number <= 1


NAMES = ModelNames("mf", 0.25, {"big": "strong", "small": "weak", "strong": "strong", "weak": "weak"})


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        *(("router", 0.25), ("router-mf", 0.25), ("router-mf-0.5", 0.5)),
        *(("big", "strong"), ("strong", "strong"), ("small", "weak"), ("weak", "weak")),
    ],
)
def test_what_a_servers_clients_may_write(model: str, wanted: str | float) -> None:
    assert NAMES.read(model) == wanted


@pytest.mark.parametrize("model", [None, "", "other", "router-random-0.5", "router-mf-2", "router-"])
def test_and_what_not(model: object) -> None:
    with pytest.raises(RoutingError):
        NAMES.read(model)


def test_without_a_threshold_of_the_job_a_model_must_bring_one() -> None:
    names = ModelNames("mf", None, {})
    assert names.read("router-mf-0.5") == 0.5
    with pytest.raises(RoutingError, match=r"is not known yet; write one, as in router-mf-0\.5"):
        names.read("router")


# --- scores


def local(**options: Any) -> Controller:
    return Controller(
        ["mf", "random", "length"], "big-model", "small-model", api_base="http://127.0.0.1:9/v1", **options
    )


def test_route_gives_the_models_name_and_a_tie_goes_strong() -> None:
    names = local()
    score = float(names.batch_calculate_win_rate([HARD], "mf")[0])
    assert names.route(HARD, "mf", score) == "big-model"
    assert names.route(HARD, "mf", float(np.nextafter(score, 1))) == "small-model"
    assert names.route(EASY, "mf", 0) == "big-model"
    assert names.route("x" * 10_000, "length", 1) == "small-model"


@pytest.mark.parametrize(("router", "threshold"), [("bert", 0.5), ("mf", float("nan")), ("mf", -1), ("mf", None)])
def test_a_call_with_a_bad_router_or_threshold(router: str, threshold: Any) -> None:
    with pytest.raises(RoutingError):
        local().route(EASY, router, threshold)


def test_win_rates_come_as_their_prompts_came() -> None:
    names = local()
    prompts = [EASY, HARD, "What is 2 + 2?", ""]
    plain = names.batch_calculate_win_rate(prompts, "mf")
    assert (plain.dtype, plain.shape) == (np.float64, (4,))
    assert [names.route(text, "mf", score) for text, score in zip(prompts, plain, strict=True)] == [
        "big-model"
    ] * 4

    of_pandas = names.batch_calculate_win_rate(pd.Series(prompts, index=list("abcd"), name="prompt"), "mf")
    assert isinstance(of_pandas, pd.Series)
    assert of_pandas.to_dict() == dict(zip("abcd", plain, strict=True))
    assert of_pandas.name == "prompt"

    of_polars = names.batch_calculate_win_rate(pl.Series("prompt", prompts), "mf")
    assert isinstance(of_polars, pl.Series)
    assert (of_polars.name, of_polars.to_list()) == ("prompt", plain.tolist())
    assert len(names.batch_calculate_win_rate([], "mf")) == 0


def test_a_prompt_that_is_no_text_is_named() -> None:
    with pytest.raises(RoutingError, match="prompt 1 is a float"):
        local().batch_calculate_win_rate(pd.Series(["a", float("nan")]), "mf")


class FourNumbers:
    """An embedder: vectors of four numbers, from the text's length."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.array([[len(text) / 1000, 1, 0, 0] for text in texts], np.float32)


def test_a_checkpoint_in_routellms_format(tmp_path: Path) -> None:
    config = {"dim": 2, "num_models": 64, "text_dim": 4, "num_classes": 1, "use_proj": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = {"P.weight": torch.randn(64, 2), "text_proj.0.weight": torch.randn(2, 4)}
    save_file({**weights, "classifier.0.weight": torch.randn(1, 2)}, tmp_path / "model.safetensors")
    settings = {"checkpoint_path": str(tmp_path), "strong_model": "gpt-4-0613", "num_models": 64}
    mf = {"mf": {**settings, "embedder": {"use": "test_controller:FourNumbers"}}}
    names = Controller(["mf"], "big-model", "small-model", config=mf)
    assert 0 < names.batch_calculate_win_rate([HARD], "mf")[0] < 1
    with pytest.raises(ModelFault, match="claude-9"):
        Controller(["mf"], "a", "b", config={"mf": {**mf["mf"], "weak_model": "claude-9"}})


def test_a_model_of_ones_own_is_read_with_the_embedder_it_names(tmp_path: Path) -> None:
    weights = {"P.weight": torch.randn(3, 2), "text_proj.0.weight": torch.randn(2, 4)}
    weights |= {"classifier.0.weight": torch.randn(1, 2)}
    model = write_mf(tmp_path, weights, ("a", "b", "c"), "test_controller:FourNumbers")
    config = {"mf": {"model": model, "strong": "a", "weak": "b"}}
    scores = Controller(["mf"], "big-model", "small-model", config=config).batch_calculate_win_rate([HARD], "mf")
    spec = RouterSpec(model=str(model), strong="a", weak="b", embedder={"use": "column"})  # type: ignore[arg-type]  # pydantic reads it
    vectors = FourNumbers().embed([HARD])
    assert scores == pytest.approx(load_scorer(spec).score(bare_questions([HARD], vectors)))


@pytest.mark.parametrize(
    ("routers", "config", "words"),
    [
        (["mlp"], {}, "no router 'mlp'; there are mf, random, length and"),
        (["bert"], {}, "no router 'bert'"),
        (["mf"], {"mf": {"devise": "cpu"}}, "devise"),
        (["mf"], {"mf": {"checkpoint_path": "/nowhere/at/all"}}, "/nowhere/at/all"),
    ],
)
def test_a_router_that_cannot_be_made(routers: list[str], config: dict[str, Any], words: str) -> None:
    with pytest.raises(BatchrouteError, match=words):
        Controller(routers, "a", "b", config=config)


# --- completions


def test_a_completion_goes_where_its_last_message_says(
    servers: tuple[ThreadedSimulator, ThreadedSimulator],
) -> None:
    with controller(*servers) as client:
        messages = [*user("x" * 5000), {"role": "assistant", "content": "y"}, *user(EASY)]
        short = client.chat.completions.create(model="router-length-0.5", messages=messages, temperature=0.5)
        parts = [{"type": "text", "text": "z" * 400}, {"type": "image_url", "image_url": {"url": "data:,"}}] * 2
        long = client.completion(router="length", threshold=0.5, messages=[{"role": "user", "content": parts}])
    strong, weak = (server.stats() for server in servers)
    assert (strong.requests, weak.requests) == (1, 1)
    sent = {"model": "small-model", "messages": messages, "temperature": 0.5, "stream": False}
    assert json.loads(weak.recorded[0].body) == sent
    assert json.loads(strong.recorded[0].body)["messages"][0]["content"] == parts
    assert (short.model, long.model) == ("small-model", "big-model")
    assert client.model_counts["length"] == {"small-model": 1, "big-model": 1}


def test_an_answer_is_read_by_attribute_and_by_key(servers: tuple[ThreadedSimulator, ThreadedSimulator]) -> None:
    with controller(*servers) as client:
        said = client.completion(model="router-length-0.5", messages=user(EASY))
    text = said.choices[0].message.content
    assert text == said["choices"][0]["message"]["content"]
    assert text.startswith("[simulated]")
    assert said.usage.completion_tokens == said.model_dump()["usage"]["completion_tokens"] > 0
    assert said.choices[0].message.tool_calls is None
    assert "usage" in said
    assert {**said}.keys() == set(said.keys()) == set(json.loads(said.model_dump_json()))
    assert (said.get("nothing"), said.get("model")) == (None, "small-model")
    with pytest.raises(AttributeError, match="nothing"):
        said.nothing  # noqa: B018 - it is the question
    usage, price = said.usage, PRICE
    cost = Decimal(usage.prompt_tokens) * int(price["input"]) + Decimal(usage.completion_tokens) * int(
        price["output"]
    )
    assert (said.routed.route, said.routed.attempts) == ("weak", 1)
    assert said.routed.cost_usd == pytest.approx(float(cost) / 1e6)


def test_many_callers_share_one_lane_and_are_scored_together(
    servers: tuple[ThreadedSimulator, ThreadedSimulator],
) -> None:
    for server in servers:
        server.control({"latency_s": 0.02})
    with controller(*servers, weak={"max_concurrency": 3}) as client:

        async def ask() -> list[Any]:
            asking = (
                client.chat.completions.acreate(model="router-length-0.9", messages=user(str(n)))
                for n in range(20)
            )
            return await asyncio.gather(*asking)

        with ThreadPoolExecutor(20) as threads:
            blocking = [
                threads.submit(client.completion, model="router-length-0.9", messages=user(str(n)))
                for n in range(20)
            ]
            answers = [*asyncio.run(ask()), *(future.result() for future in blocking)]
        scoring = client._running().scorings["length"]
    assert len(answers) == 40
    assert servers[1].stats().requests == 40
    assert servers[1].stats().max_in_flight == 3
    assert scoring.texts == 40
    assert scoring.batches < 40


def test_a_request_is_retried_as_a_row_is(servers: tuple[ThreadedSimulator, ThreadedSimulator]) -> None:
    with controller(*servers) as client:
        said = client.completion(model="router-length-0.9", messages=user("[[fault:503:2]]"))
    assert said.routed.attempts == 3
    assert servers[1].stats().by_status == {"503": 2, "200": 1}


@pytest.mark.parametrize(
    ("fault", "error_type", "status"),
    [
        ("context_length_exceeded", "context_length", 400),
        ("422", "http_422", 422),
        ("invalid_api_key", "invalid_key", 401),
        ("500", "http_500", 500),
        ("truncated", "malformed", 502),
    ],
)
def test_a_request_that_comes_to_nothing(
    servers: tuple[ThreadedSimulator, ThreadedSimulator], fault: str, error_type: str, status: int
) -> None:
    with controller(*servers, weak={"max_attempts": 1}) as client:
        with pytest.raises(Unanswered) as raised:
            client.completion(model="router-length-0.9", messages=user(f"[[fault:{fault}]]"))
        assert (raised.value.error_type, raised.value.status) == (error_type, status)
        assert client.completion(model="router-length-0.9", messages=user(EASY)), "and no other request suffers"


@pytest.mark.parametrize(
    "params",
    [
        {"messages": user(EASY)},
        {"model": "gpt-4", "messages": user(EASY)},
        {"model": "router-mf-0.5", "messages": user(EASY)},
        {"model": "router-length-0.5"},
        {"model": "router-length-0.5", "messages": []},
        {"model": "router-length-0.5", "messages": "Hello"},
        {"model": "router-length-0.5", "messages": user(EASY), "stream": True},
        {"router": "length", "threshold": 2, "messages": user(EASY)},
    ],
)
def test_what_cannot_be_asked_is_never_sent(
    servers: tuple[ThreadedSimulator, ThreadedSimulator], params: dict[str, Any]
) -> None:
    with controller(*servers) as client, pytest.raises(RoutingError):
        client.completion(**params)
    assert [server.stats().requests for server in servers] == [0, 0]


# --- money


def test_a_limit_on_money_holds_over_all_calls(servers: tuple[ThreadedSimulator, ThreadedSimulator]) -> None:
    """10 tokens at $10 a million are a tenth of a thousandth of a dollar; the input comes to about twice that."""
    client = controller(*servers, limits={"max_cost_usd": 0.001})
    ask: dict[str, Any] = {"model": "router-length-0.9", "messages": user(EASY), "max_tokens": 10}
    answers: list[Any] = []

    def ask_on() -> None:
        while len(answers) < 100:
            answers.append(client.completion(**ask))

    with pytest.raises(Unanswered, match="max_cost_usd") as raised:
        ask_on()
    assert (raised.value.error_type, raised.value.status) == ("budget", 429)
    sent = servers[1].stats().requests
    assert 2 < len(answers) == sent
    spent = sum(said.routed.cost_usd for said in answers)
    assert 0.0005 < spent <= 0.001
    client.close()
    with client, pytest.raises(Unanswered, match="max_cost_usd"):
        client.completion(**ask)
    assert servers[1].stats().requests == sent


def test_a_request_whose_answer_has_no_bound_is_not_asked_under_a_limit_on_money(
    servers: tuple[ThreadedSimulator, ThreadedSimulator],
) -> None:
    unbounded = pytest.raises(RoutingError, match="max_tokens")
    with controller(*servers, limits={"max_cost_usd": 1.0}) as client, unbounded:
        client.completion(model="router-length-0.9", messages=user(EASY))
    assert servers[1].stats().requests == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": {"max_cost_usd": 1.0, "on_budget": "downgrade"}}, "on_budget"),
        ({"limits": {"max_cost_usd": 1.0}, "weak": {"price": None}}, "weak.price"),
    ],
)
def test_a_limit_on_money_that_cannot_hold_is_refused(
    servers: tuple[ThreadedSimulator, ThreadedSimulator], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RoutingError, match=words):
        controller(*servers, **options)


# --- keys


def keys_seen(*servers: ThreadedSimulator) -> list[str | None]:
    return [server.stats().recorded[0].headers.get("Authorization") for server in servers]


def ask_both(client: Controller) -> None:
    with client:
        client.completion(router="length", threshold=0.0, messages=user(EASY))
        client.completion(router="length", threshold=1.0, messages=user(EASY))


def test_each_side_gets_its_own_key(servers: tuple[ThreadedSimulator, ThreadedSimulator]) -> None:
    ask_both(controller(*servers, api_key=KEY, weak={"api_key": OTHER_KEY}))
    assert keys_seen(*servers) == [f"Bearer {KEY}", f"Bearer {OTHER_KEY}"]


def test_openais_key_goes_to_openai_alone(
    servers: tuple[ThreadedSimulator, ThreadedSimulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ask_both(controller(*servers))
    assert keys_seen(*servers) == [None, None]


def test_a_key_named_by_its_variable(
    servers: tuple[ThreadedSimulator, ThreadedSimulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", OTHER_KEY)
    ask_both(controller(*servers, api_key=KEY, strong={"api_key_env": "CANARY_KEY"}))
    assert keys_seen(*servers) == [f"Bearer {OTHER_KEY}", f"Bearer {KEY}"]


def test_no_key_is_shown(servers: tuple[ThreadedSimulator, ThreadedSimulator]) -> None:
    servers[1].control({"api_key": "another"})
    with controller(*servers, api_key=KEY, limits={"outage_s": 1}) as client:
        with pytest.raises(Unanswered) as raised:
            client.completion(model="router-length-0.9", messages=user(EASY))
        shown = [repr(client), repr(vars(client)), repr(vars(client._running())), str(raised.value)]
    with pytest.raises(RoutingError) as wrong:
        controller(*servers, api_key=KEY, strong={"api_key": KEY, "colour": KEY})
    shown += [str(wrong.value), repr(wrong.value)]
    assert "[secret]" in str(raised.value), "the provider echoed it"
    assert not {KEY[i : i + 8] for i in range(len(KEY) - 7) for text in shown if KEY[i : i + 8] in text}


# --- its thread


def loops() -> int:
    return sum(thread.name == "batchroute" for thread in threading.enumerate())


def test_closing_lets_go_of_what_is_under_way_and_a_later_call_begins_anew(
    servers: tuple[ThreadedSimulator, ThreadedSimulator],
) -> None:
    servers[1].control({"latency_s": 30.0})
    client = controller(*servers)
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(client.completion, model="router-length-0.9", messages=user(EASY))
        while not servers[1].stats().requests:
            time.sleep(0.01)
        client.close()
        with pytest.raises(Unanswered, match="closed"):
            asking.result(20)
    assert loops() == 0
    servers[1].control({"latency_s": 0.0})
    assert client.completion(model="router-length-0.9", messages=user(EASY)).model == "small-model"
    client.close()
    client.close()
    assert loops() == 0


def test_a_call_that_meets_a_close_is_unanswered(servers: tuple[ThreadedSimulator, ThreadedSimulator]) -> None:
    """Another thread may close a controller between the moment a call has found its thread and its use of it."""
    with controller(*servers) as client:
        background = client._running()
        client.close()
        fields = {"messages": user(EASY)}
        with pytest.raises(Unanswered, match="closed") as raised:
            background.submit(client._ask(background, "length", 0.9, fields))
    assert (raised.value.error_type, raised.value.status) == ("stopped", 503)
    assert servers[1].stats().requests == 0


def test_a_controller_that_is_forgotten_ends_its_thread(
    servers: tuple[ThreadedSimulator, ThreadedSimulator],
) -> None:
    client = controller(*servers)
    assert client.completion(model="router-length-0.9", messages=user(EASY)).model == "small-model"
    assert loops() == 1
    del client
    deadline = time.monotonic() + 20
    while loops() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert loops() == 0


def test_settings_of_a_job_file_hold_for_a_side() -> None:
    with upstream(answer) as provider:
        plain = {"headers": {"x-team": "data"}, "params": {"max_tokens": 7}}
        client = Controller(["random"], "a", "b", api_base=provider.url, strong=plain)
        with client:
            said = client.completion(model="router-random-0", messages=user(EASY))
    ((headers, body),) = provider.seen
    assert headers["x-team"] == "data"
    assert json.loads(body) == {"max_tokens": 7, "model": "a", "messages": user(EASY), "stream": False}
    assert said.model_dump() == completion()


def test_it_is_a_public_name() -> None:
    assert batchroute.Controller is Controller
