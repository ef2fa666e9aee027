"""Scoring for many callers: together, each for itself where one is bad, and by way of an embeddings API."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

from batchroute import Controller
from batchroute.errors import ModelFault, Stopped, UsageFault
from batchroute.job.spec import RouterSpec
from batchroute.score.rater import AT_ONCE_CHARS, Rated, open_thread_rater
from batchroute.score.router import Scorer, load_scorer
from batchroute.serve import scoring as scoring_module
from batchroute.serve.scoring import JointScoring
from batchroute.simulate.behaviour import Behaviour
from checkpoints import routellm_checkpoint, routellm_scores
from servers import threaded_simulator
from serving import client, serve, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batchroute.score.rater import OpenRater
    from batchroute.types import Floats, Questions


def scored(
    scorer: Scorer, texts: list[str], open_rater: OpenRater = open_thread_rater
) -> tuple[list[Any], JointScoring]:
    """What came of scoring all these at the same time."""

    async def work() -> tuple[list[Any], JointScoring]:
        scoring = JointScoring(scorer, open_rater, print)
        working = asyncio.create_task(scoring.run())
        found = await asyncio.gather(*(scoring.score(text) for text in texts), return_exceptions=True)
        working.cancel()
        await asyncio.wait([working])
        return found, scoring

    return asyncio.run(work())


def test_what_comes_at_once_is_one_batch_and_scored_as_alone() -> None:
    scorer = load_scorer(RouterSpec(batch_size=64))
    texts = [f"question {n} " + "why? " * n for n in range(64)]
    found, scoring = scored(scorer, texts)
    assert (scoring.batches, scoring.texts) == (1, 64)
    alone, _ = scored(scorer, texts[5:6])
    assert found[5] == pytest.approx(alone[0], abs=1e-6)


@pytest.mark.parametrize(
    ("quick", "texts", "here"),
    [
        (True, ["short"], True),
        (True, ["x" * (AT_ONCE_CHARS + 1)], False),
        (True, ["one", "two"], False),
        (False, ["short"], False),
    ],
)
def test_a_thread_is_asked_where_that_is_worth_its_while(quick: bool, texts: list[str], here: bool) -> None:
    threads: list[threading.Thread] = []

    def rate(questions: Questions) -> Floats:
        threads.append(threading.current_thread())
        return np.full(len(questions.texts), 0.5)

    found, _ = scored(Scorer("watched", rate, 64, quick=quick), texts)
    assert found == [0.5] * len(texts)
    assert [thread is threading.current_thread() for thread in threads] == [here]


def test_what_comes_while_a_batch_is_scored_is_the_next_one() -> None:
    scoring_now, go_on = threading.Event(), threading.Event()

    def rate(questions: Questions) -> Floats:
        scoring_now.set()
        assert go_on.wait(20)
        return np.full(len(questions.texts), 0.5)

    async def work() -> list[int]:
        scoring = JointScoring(Scorer("slow", rate, 100), open_thread_rater, print)
        working = asyncio.create_task(scoring.run())
        first = asyncio.create_task(scoring.score("a"))
        await asyncio.to_thread(scoring_now.wait, 20)
        later = [asyncio.create_task(scoring.score(text)) for text in "bcd"]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *later)
        working.cancel()
        await asyncio.wait([working])
        return [scoring.batches, scoring.texts]

    assert asyncio.run(work()) == [2, 4]


def test_a_text_the_router_fails_on_spoils_no_other() -> None:
    def rate(questions: Questions) -> Floats:
        return np.array([np.nan if text == "bad" else 0.25 for text in questions.texts])

    found, _ = scored(Scorer("picky", rate, 100), ["a", "bad", "b"])
    assert found[::2] == [0.25, 0.25]
    assert isinstance(found[1], ModelFault)


class Raising:
    """A router of a user's own, with a mistake in it."""

    def score(self, prompts: list[str]) -> list[float]:
        return [{"good": 0.25, "better": 0.75}[prompt] for prompt in prompts]


def test_a_router_that_raises_fails_one_request_of_a_server_and_its_operator_is_told_once(tmp_path: Path) -> None:
    with threaded_simulator() as provider:
        changes = {"router.use": "test_scoring:Raising"}
        with serve(tmp_path, provider.url, provider.url, changes) as served, client(served, timeout=20) as ask:
            for text in ("bad", "worse"):
                with pytest.raises(openai.InternalServerError, match="KeyError") as raised:
                    ask.chat.completions.create(model="router", messages=user(text))
                assert (raised.value.status_code, raised.value.code) == (500, "router")
                assert text not in str(raised.value), "what a router raises is for the operator"
            assert ask.chat.completions.create(model="router", messages=user("good")).model == "small-model"
        (said,) = served.said
    assert "KeyError" in said
    assert "'bad'" in said
    assert "test_scoring.py:" in said


def test_a_router_that_raises_fails_one_call_of_a_controller() -> None:
    async def ask(controller: Controller, text: str) -> Any:
        asking = controller.acompletion(router="test_scoring:Raising", threshold=0.5, messages=user(text))
        return await asyncio.wait_for(asking, 20)

    with (
        threaded_simulator() as provider,
        Controller(["test_scoring:Raising"], "a", "b", api_base=provider.url) as controller,
    ):
        with pytest.raises(ModelFault) as raised:
            asyncio.run(ask(controller, "bad"))
        assert isinstance(raised.value.__cause__, KeyError)
        assert asyncio.run(ask(controller, "better")).model == "a"


def test_a_scoring_that_ends_leaves_no_caller_waiting() -> None:
    """A mistake of ours, or a setting that only shows when the first text is scored."""

    @asynccontextmanager
    async def open_rater(scorer: Scorer) -> AsyncIterator[Any]:
        raise UsageFault("an embedder needs a price")
        yield

    async def work() -> list[Any]:
        scoring = JointScoring(load_scorer(RouterSpec(use="length")), open_rater, print)
        first = asyncio.create_task(scoring.score("a"))
        await asyncio.sleep(0)
        with pytest.raises(UsageFault):
            await scoring.run()
        return await asyncio.wait_for(asyncio.gather(first, scoring.score("b"), return_exceptions=True), 20)

    assert [type(found) for found in asyncio.run(work())] == [Stopped, Stopped]


class Away:
    """A rater that stops at its first text."""

    ahead = 100
    stopped: str | None = None

    async def rate(self, questions: Questions) -> Rated | None:
        self.stopped = "does not answer"
        return None


def test_a_rater_that_stopped_is_told_and_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_module, "REST_S", 0.01)
    begun: Counter[str] = Counter()

    @asynccontextmanager
    async def open_rater(scorer: Scorer) -> AsyncIterator[Any]:
        begun["raters"] += 1
        if begun["raters"] == 1:
            yield Away()
        else:
            async with open_thread_rater(scorer) as rater:
                yield rater

    async def work() -> tuple[Any, float]:
        scoring = JointScoring(load_scorer(RouterSpec(use="length")), open_rater, print)
        working = asyncio.create_task(scoring.run())
        (failed,) = await asyncio.gather(scoring.score("x" * 500), return_exceptions=True)
        while True:
            try:
                score = await scoring.score("x" * 500)
                break
            except Stopped:
                await asyncio.sleep(0.01)
        working.cancel()
        await asyncio.wait([working])
        return failed, score

    failed, score = asyncio.run(work())
    assert isinstance(failed, Stopped)
    assert "does not answer" in str(failed)
    assert score == 0.5


def test_a_server_and_a_controller_behind_an_embeddings_api(tmp_path: Path) -> None:
    """A checkpoint of RouteLLM's own reads OpenAI's vectors, as it says nothing else."""
    model = routellm_checkpoint(tmp_path / "model.safetensors")
    with threaded_simulator(Behaviour(keep_requests=100)) as provider:
        embedder = {"use": "openai", "base_url": provider.url}
        changes = {"router": {"use": "mf", "model": str(model), "embedder": embedder}}
        with serve(tmp_path, provider.url, provider.url, changes) as served, client(served) as ask:
            raw = ask.chat.completions.with_raw_response.create(model="router-mf-0.5", messages=user("Hello"))
        score = float(raw.headers["x-batchroute-score"])
        config = {"mf": {"checkpoint_path": model, "embedder": embedder}}
        with Controller(["mf"], "a", "b", config=config, api_base=provider.url) as names:
            scores = names.batch_calculate_win_rate(["Hello", "", "Hello"], "mf")
            assert names.route("Hello", "mf", score) == "a"
        routes = provider.stats().by_route
    assert scores.tolist() == pytest.approx(routellm_scores(model, ["Hello", "", "Hello"]), abs=1e-6)
    assert score == scores[0]
    assert routes == {"POST /v1/embeddings": 3, "POST /v1/chat/completions": 1}


def test_an_embedder_that_is_away_is_no_fault_of_the_client(tmp_path: Path) -> None:
    model = routellm_checkpoint(tmp_path / "model.safetensors")
    with threaded_simulator() as provider, threaded_simulator(Behaviour(api_key="another")) as other:
        embedder = {"use": "openai", "base_url": other.url}
        changes = {"router": {"use": "mf", "model": str(model), "embedder": embedder}}
        with serve(tmp_path, provider.url, provider.url, changes) as served, client(served) as ask:
            for _ in range(2):
                with pytest.raises(openai.InternalServerError, match="embedder") as raised:
                    ask.chat.completions.create(model="router-mf-0.5", messages=user("Hello"))
                assert raised.value.status_code == 503
            assert ask.chat.completions.create(model="weak", messages=user("Hello")), "which needs no score"
