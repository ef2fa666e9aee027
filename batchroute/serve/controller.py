"""RouteLLM's interface: its Controller's constructor, calls and answers, on batchroute's routers and endpoints.

All callers of one controller, synchronous or not, share its limits, retries and connections, and those who come at
the same time are scored together. Neither `openai` nor `litellm` is needed.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.errors import RoutingError, Unanswered
from batchroute.input.row import Refusal
from batchroute.score.rater import bare_questions
from batchroute.send.open import asks_for_vectors
from batchroute.serve.background import BackgroundLoop
from batchroute.serve.chat import chat_request, decide_route, parse_model, read_threshold
from batchroute.serve.forward import failure_of
from batchroute.serve.scoring import score_texts
from batchroute.serve.settings import load_router, open_memory_budget, read_pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from batchroute.serve.forward import LiveResult
    from batchroute.types import Floats, Result


# What an answer may leave out, and reads as None: callers ask `if message.tool_calls:`.
_OPTIONAL = frozenset(
    {
        *("annotations", "audio", "content", "finish_reason", "function_call", "logprobs", "reasoning_content"),
        *("refusal", "service_tier", "system_fingerprint", "tool_calls", "usage"),
    }
)


class Controller:
    """Routes prompts and chat completions between a strong and a weak model."""

    def __init__(
        self,
        routers: Sequence[str],
        strong_model: str,
        weak_model: str,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        progress_bar: bool = False,
        *,
        strong: Mapping[str, Any] | None = None,
        weak: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        """`config` holds each router's settings, as in [router] or as RouteLLM names them:
        {"mf": {"checkpoint_path": DIR}}; by default they are the built-in model's.

        `strong` and `weak` are a job file's settings of [endpoints.*] for one side alone - base_url, api_key or
        api_key_env, requests_per_minute, price - and go before `api_base` and `api_key`; `limits` are those of
        [limits]. Without any address it is OpenAI's, with the key in OPENAI_API_KEY. `progress_bar` does nothing:
        routers load at once. Raises RoutingError for what is no router or setting, ModelFault for a bad model.

        `limits={"max_cost_usd": ...}` holds over all that this object spends: a request that may cost more than is
        left is Unanswered with the error_type "budget" and never sent. Requests must then bound their answers.
        """
        own = {"strong": {**(strong or {}), "model": strong_model}, "weak": {**(weak or {}), "model": weak_model}}
        self._pair = read_pair(own, limits or {}, api_base, api_key)
        self.model_pair = SimpleNamespace(strong=strong_model, weak=weak_model)
        self.routers = {name: load_router(name, (config or {}).get(name, {})) for name in routers}
        self._budget = open_memory_budget(self._pair, self.routers.values())
        self.model_counts: dict[str, Counter[str]] = {name: Counter() for name in routers}
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.completion, acreate=self.acompletion))
        self._background: BackgroundLoop | None = None
        self._starting = threading.Lock()

    def __repr__(self) -> str:
        pair = self.model_pair
        return f"Controller(routers={list(self.routers)}, strong_model={pair.strong!r}, weak_model={pair.weak!r})"

    def route(self, prompt: str, router: str, threshold: float) -> str:
        """The name of the model a prompt goes to: strong if and only if its score reaches the threshold."""
        lowest = self._threshold(router, threshold)
        score = self._scores(_texts([prompt]), router)[0]
        return str(self.model_pair.strong if score >= lowest else self.model_pair.weak)

    def batch_calculate_win_rate(self, prompts: Any, router: str) -> Any:
        """The scores of many prompts, in vectorised batches: strong win rates in [0, 1].

        A pandas Series gives one with the same index and name, a polars Series one with the same name, any other
        sequence of texts a float64 array of its length.
        """
        self._threshold(router, 0.0)
        scores = self._scores(_texts(prompts), router)
        library = type(prompts).__module__.partition(".")[0]
        if library == "pandas":
            return type(prompts)(scores, index=prompts.index, name=prompts.name)
        return type(prompts)(prompts.name, scores) if library == "polars" else scores

    def completion(
        self, *, router: str | None = None, threshold: float | None = None, **params: Any
    ) -> ChatCompletion:
        """A chat completion by the model that its last message is routed to; blocks.

        `params` are the request's fields: messages, temperature, tools, ...; a `model` such as "router-mf-0.11593"
        stands for `router` and `threshold`. Raises RoutingError before anything is sent; Unanswered where the
        endpoint refuses, or fails in every attempt.
        """
        background = self._running()
        return background.submit(self._ask(background, router, threshold, params)).result()

    async def acompletion(
        self, *, router: str | None = None, threshold: float | None = None, **params: Any
    ) -> ChatCompletion:
        """As `completion`, from any event loop."""
        background = await asyncio.to_thread(self._running)
        work = background.submit(self._ask(background, router, threshold, params))
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Closes the connections; what is under way ends as Unanswered. A later call opens new ones."""
        with self._starting:
            background, self._background = self._background, None
        if background is not None:
            background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> BackgroundLoop:
        with self._starting:
            if self._background is None:
                self._background = BackgroundLoop(self._pair, self.routers, self._budget)
                weakref.finalize(self, self._background.close)
            return self._background

    async def _ask(
        self, background: BackgroundLoop, router: str | None, threshold: float | None, params: Mapping[str, Any]
    ) -> ChatCompletion:
        fields = {name: value for name, value in params.items() if value is not None}
        if "model" in fields:
            router, threshold = parse_model(fields.pop("model"))
        lowest = self._threshold(router, threshold)
        if fields.get("stream"):
            raise RoutingError("a Controller does not stream; `batchroute serve` does, for any OpenAI client")
        try:
            chat = chat_request(None, fields.pop("messages", None), fields)
            score = await background.scorings[str(router)].score(chat.text)
            decision = decide_route(lowest, score, chat.chars, self._pair.endpoints)
            self.model_counts[str(router)][getattr(self.model_pair, decision.endpoint)] += 1
            ended = await background.live.ask(chat, decision)
        except Refusal as refusal:
            raise RoutingError(str(refusal)) from refusal
        return _completion(ended)

    def _scores(self, texts: list[str], name: str) -> Floats:
        """In the caller's thread, but for an embeddings API, which needs an event loop."""
        router = self.routers[name]
        if not asks_for_vectors(router.spec):
            return router.scorer.score(bare_questions(texts))
        scoring = score_texts(router.rater_opener(self._pair, self._budget), router.scorer, texts)
        return self._running().submit(scoring).result()

    def _threshold(self, router: str | None, threshold: float | None) -> float:
        if router is None or threshold is None:
            raise RoutingError("name a router and a threshold, or a model such as router-mf-0.11593")
        if router not in self.routers:
            raise RoutingError(f"there is no router {router!r} here; there are {', '.join(self.routers)}")
        return read_threshold(threshold)


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """A JSON object whose fields are attributes and keys, as are those of every object inside it.

    `answer.choices[0].message.content` and `answer["choices"][0]["message"]["content"]` are the same;
    `answer.model_dump()` is plain dictionaries and lists. `routed` is the row a run would have recorded: its
    `route`, `score`, `attempts`, and `cost_usd`, None where price or usage is unknown. Objects inside have none.
    """

    _fields: dict[str, Any]
    routed: Result | None = None

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            return _readable(self._fields[name])
        if name in _OPTIONAL:
            return None
        raise AttributeError(f"the answer has no {name!r}; it has {', '.join(self._fields)}")

    def __getitem__(self, name: str) -> Any:
        return _readable(self._fields[name])

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def keys(self) -> list[str]:
        return list(self._fields)

    def get(self, name: str, default: Any = None) -> Any:
        return _readable(self._fields.get(name, default))

    def model_dump(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return self._fields

    def model_dump_json(self) -> str:
        return msgspec.json.encode(self._fields).decode()


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return ChatCompletion(value)
    return [_readable(item) for item in value] if isinstance(value, list) else value


def _texts(prompts: Iterable[Any]) -> list[str]:
    texts = list(prompts)
    wrong = next((place for place, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise RoutingError(f"prompt {wrong} is a {type(texts[wrong]).__name__}, not a text")
    return texts


def _completion(ended: LiveResult) -> ChatCompletion:
    answer = ended.outcome.answer
    if ended.outcome.status == "ok":
        return ChatCompletion(msgspec.json.decode(answer.body or "{}"), ended.result)
    status = answer.status if answer.status is not None and answer.status >= 400 else failure_of(answer)[0]
    raise Unanswered(f"{ended.result.model}: {answer.error}", answer.error_type or "failed", status)
