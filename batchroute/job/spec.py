"""What a job is: one model per section of a job file, and what must hold between the settings.

Knows no files and no environment: paths are absolute and variables replaced before they get here (`load`).
Every field's description and resume rule is the README's table and the check of a resumed run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from batchroute.job.kinds import (
    BaseUrl,
    Count,
    Device,
    EmbedderName,
    EnvName,
    Fraction,
    HeaderName,
    Mode,
    NotNegative,
    Positive,
    RouterName,
    Text,
    Texts,
    TimeOfDay,
    Usd,
    wrong,
)
from batchroute.job.rules import PROMPTS, at, contradictions, wants_raw
from batchroute.job.tiers import AUTO, asked_tier
from batchroute.types import HIGHEST_THRESHOLD, Finish, OnFinish

if TYPE_CHECKING:
    from collections.abc import Iterator


_EMBEDDER_MODEL = "text-embedding-3-small"


def _fixed(default: Any, what: str, **rules: Any) -> Any:
    """A setting that a run with an answer keeps for good."""
    return Field(default, description=what, json_schema_extra={"resume": False}, **rules)


def _free(default: Any, what: str, **rules: Any) -> Any:
    """A setting that may be another when a run goes on."""
    return Field(default, description=what, json_schema_extra={"resume": True}, **rules)


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class EnvRef(_Section):
    """A header's value that stands in an environment variable, or in the file that NAME_FILE names."""

    env: EnvName


def _header(value: Any) -> str | EnvRef:
    if isinstance(value, EnvRef):
        return value
    if isinstance(value, str) and value.isprintable() and value.isascii():
        return value
    if isinstance(value, dict) and value.keys() == {"env"}:
        return EnvRef(env=value["env"])
    raise wrong('must be a plain text or { env = "NAME" }')


Header: TypeAlias = Annotated[str | EnvRef, BeforeValidator(_header)]


class InputSpec(_Section):
    """Where the prompts are and which columns mean what."""

    path: Texts = _fixed(..., "file, glob, directory or address (s3://...), or a list of them", min_length=1)
    format: Literal["auto", "parquet", "jsonl", "csv", "json", "openai-batch"] = _fixed(
        "auto", "how the files are written; json: each is one array of objects"
    )
    prompt: Text | None = _fixed(None, 'text column; "prompt" when none of the three is given')
    messages: Text | None = _fixed(None, "column of chat messages, instead of `prompt`")
    template: Text | None = _fixed(None, "Jinja template over the columns, instead of `prompt`")
    system: str | None = _fixed(None, "system message before a prompt or template")
    id: Text | None = _fixed(None, "column carried to the results as text")
    keep: Texts = _fixed([], 'columns copied to the results; "*" for all')
    params: Text | None = _fixed(None, "column merged over the endpoint's params for its row")
    reuse: Texts = _fixed([], "finished runs whose equal requests are answered from there at no cost")
    route: Text | None = _fixed(None, 'column that forces a row "strong" or "weak"')
    min_rows: int = _free(0, "with fewer rows than these nothing is sent, exit 2", ge=0)

    @model_validator(mode="before")
    @classmethod
    def _prompt_column(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("format") == "openai-batch" or data.keys() & set(PROMPTS):
            return data
        return {**data, "prompt": "prompt"}


class OutputSpec(_Section):
    """Where the run lives."""

    path: Text = _free(..., "the run's own directory")
    raw: bool = _fixed(False, "keep each answer's whole JSON body; true by default for openai-batch")
    mode: Mode = _free("0700", "access mode of the directories, octal")


class InputPrice(_Section):
    """USD per million tokens of a model that answers without any."""

    input: Usd = _free(..., "USD per million tokens")


class EmbedderSpec(_Section):
    """What turns prompts into vectors."""

    use: EmbedderName = _fixed(
        "builtin", 'builtin, openai, sentence-transformers, column or "package.module:Class"'
    )
    model: Text | None = _fixed(None, f'the embedding model; openai: "{_EMBEDDER_MODEL}" by default')
    dimensions: Count | None = _fixed(None, "length of the vectors to ask for, where the model has several")
    column: Text | None = _fixed(None, "the input's column of vectors, for `column`")
    base_url: BaseUrl | None = _free(None, "address of the embeddings API; openai: OpenAI's own by default")
    api_key_env: EnvName | None = _free(None, "variable that holds the key, or NAME_FILE a path to it")
    api_key_command: Text | None = _free(None, "command that prints the key; run again when it expires")
    api_key_header: HeaderName | None = _free(None, "header for the key, instead of a bearer token")
    cache: Text | None = _free(None, "directory of vectors shared between jobs")
    price: InputPrice | None = _free(None, "USD per million tokens; else from the price table")
    requests_per_minute: Count | None = _free(None, "limit on requests")
    tokens_per_minute: Count | None = _free(None, "limit on tokens")
    max_concurrency: Count = _free(64, "most requests in flight")
    timeout_s: Positive = _free(600.0, "time for one attempt")
    max_attempts: Count = _free(6, "attempts for one batch of texts")

    @model_validator(mode="before")
    @classmethod
    def _openai_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("use") != "openai":
            return data
        openai = {"base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"}
        if "api_key_command" in data:
            del openai["api_key_env"]
        return {"model": _EMBEDDER_MODEL, **({} if "base_url" in data else openai), **data}


class RouterSpec(_Section):
    """What scores the prompts."""

    use: RouterName = _fixed("mf", 'mf, random, length or "package.module:Class"')
    model: Text = _fixed("builtin", "builtin, or the directory or file of a model")
    strong: Text = _fixed("gpt-4-1106-preview", "entry of the MF model's table that stands for the strong side")
    weak: Text = _fixed("mixtral-8x7b-instruct-v0.1", "entry that stands for the weak side")
    text: Text | None = _fixed(None, "column that is scored instead of the last message")
    device: Device = _free("auto", "auto, cpu, cuda or cuda:N")
    batch_size: Count = _free(1024, "prompts scored at a time")
    seed: int = _fixed(0, "seed of the random router", ge=0)
    embedder: EmbedderSpec = Field(default=EmbedderSpec(), description="what turns prompts into vectors")

    @property
    def is_builtin(self) -> bool:
        """Whether it is the model that ships."""
        return self.use == "mf" and self.model == "builtin"


class RoutingSpec(_Section):
    """Which rows go strong; exactly one of the three."""

    strong_fraction: Fraction | None = _fixed(None, "share of this input that goes strong")
    # `strong_fraction = 0` resolves to the next float above the highest score, which may be 1.
    threshold: float | None = _fixed(None, "lowest score that goes strong", ge=0, le=HIGHEST_THRESHOLD)
    budget_usd: Usd | None = _fixed(None, "the lowest threshold whose predicted cost fits")


class TierPrice(_Section):
    """USD per million tokens."""

    input: Usd = _free(..., "USD per million input tokens")
    cached_input: Usd | None = _free(None, "the same for cached input; `input` when not given")
    cache_write: Usd | None = _free(
        None, "the same for input written to a cache; `input` times the model's known factor when not given"
    )
    output: Usd = _free(..., "USD per million output tokens")


class Price(TierPrice):
    """The same, which holds for every tier of service that is not among `tiers`."""

    tiers: dict[Text, TierPrice] = _free({}, "prices of single tiers of service, such as tiers.flex")


class SimulateSpec(_Section):
    """A built-in fake provider on loopback."""

    latency_s: NotNegative = _fixed(0.3, "time an answer takes")
    jitter_s: NotNegative = _fixed(0.0, "most that is added to it at random")
    error_rate: Fraction = _fixed(0.0, "share of requests answered 500")
    rate_limit_rate: Fraction = _fixed(0.0, "share of requests answered 429")
    requests_per_minute: Count | None = _fixed(None, "limit it holds on requests")
    tokens_per_minute: Count | None = _fixed(None, "limit it holds on tokens")
    seed: int = _fixed(0, "seed of its chance", ge=0)
    response_tokens: Count = _fixed(150, "tokens of a middling answer")
    busy: dict[Text, Fraction] = _fixed({}, "service tier to the share of its requests it is full for")


class OnFinishSpec(_Section):
    """What becomes of an answer that did not end by itself; other: the other side is asked."""

    length: OnFinish = _free("keep", "of an answer cut at the token bound")
    content_filter: OnFinish = _free("keep", "of one that a filter cut")
    refusal: OnFinish = _free("keep", "of one in which the model refuses")

    def decided(self) -> dict[Finish, OnFinish]:
        """What is not simply kept."""
        found: dict[Finish, OnFinish] = {
            "length": self.length,
            "content_filter": self.content_filter,
            "refusal": self.refusal,
        }
        return {finish: action for finish, action in found.items() if action != "keep"}


class EndpointSpec(_Section):
    """One side of the job; exactly one of `base_url` and `simulate`."""

    model: Text = _fixed(..., "model asked for")
    base_url: BaseUrl | None = _free(None, "address of the API up to /v1; may carry a query")
    api: Literal["chat", "responses", "anthropic"] = _free(
        "chat", "what it speaks: chat (/v1/chat/completions), responses (/v1/responses), anthropic (/v1/messages)"
    )
    simulate: SimulateSpec | None = _fixed(None, "a fake provider on loopback, instead of base_url")
    api_key_env: EnvName | None = _free(None, "variable that holds the key, or NAME_FILE a path to it")
    api_key_command: Text | None = _free(None, "command that prints the key; run again when it expires")
    api_key_header: HeaderName | None = _free(None, "header for the key, instead of a bearer token")
    requests_per_minute: Count | None = _free(None, "limit on requests")
    tokens_per_minute: Count | None = _free(None, "limit on tokens")
    max_concurrency: Count = _free(64, "most requests in flight")
    timeout_s: Positive = _free(600.0, "time for one attempt")
    max_attempts: Count = _free(6, "attempts for one row")
    max_input_tokens: Count | None = _free(None, "longest row the side takes")
    on_too_long: Literal["refuse", "other"] = _free("refuse", "a longer row: refuse, or the other side")
    max_media_tokens: Count | None = _free(
        None, "most input tokens of an image, a sound or a file; else as the provider publishes it"
    )
    service_tier: Text | None = _free(None, "tier of service to ask for: flex, auto, priority ...")
    on_busy: Literal["wait", "standard"] = _free("wait", "where that tier is full: wait, or the standard tier")
    on_finish: OnFinishSpec = Field(default=OnFinishSpec(), description="answers that did not end by themselves")
    params: dict[str, Any] = _fixed({}, "merged into the request body as they are")
    headers: dict[HeaderName, Header] = _free({}, 'request headers; a secret one as { env = "NAME" }')
    price: Price | None = _free(None, "USD per million tokens; else from the price table")

    @property
    def asked_tier(self) -> str:
        """The tier of service that its requests ask for, where a row does not ask for another."""
        return asked_tier(self.sent_params) or AUTO

    @property
    def sent_params(self) -> dict[str, Any]:
        """What goes into each body: the params, and the tier."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        return {**self.params, **tier}


class Endpoints(_Section):
    """The endpoints by name, in the order of their sections; a job has these two."""

    strong: EndpointSpec = Field(description="the side for prompts that need it")
    weak: EndpointSpec = Field(description="the side for the rest")

    def __getitem__(self, name: str) -> EndpointSpec:
        """Raises KeyError for a name that is none of `names`."""
        return dict(self.items())[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(type(self).model_fields)

    def items(self) -> Iterator[tuple[str, EndpointSpec]]:
        yield from self


class Limits(_Section):
    """When to stop, and which failures to accept."""

    max_cost_usd: Usd | None = _free(None, "hard stop, over all runs of the directory")
    on_budget: Literal["stop", "downgrade"] = _free("stop", "at the budget: stop, or the rest to the weak side")
    stop_at: TimeOfDay | None = _free(None, "local time HH:MM at which to stop")
    max_wall_s: Positive | None = _free(None, "time after which to stop")
    outage_s: Positive = _free(3600.0, "how long to wait for an endpoint that is away")
    stop_after_same_refusal: int = _free(20, "so often the same refusal, no success between: stop; 0 = off", ge=0)
    ok_if_refused: Fraction = _free(0.0, "share of refused rows that still exits 0")
    max_response_mb: Positive = _free(32.0, "longest answer taken")
    drain_s: NotNegative = _free(20.0, "how long a stop awaits answers in flight")


class Notify(_Section):
    """What is told of the end of a run."""

    command: Texts = _free(
        [], "run at a run's end, whatever the end, with report.json (or name, state, error) on stdin; no shell"
    )


class _Whole(_Section):
    """Sections that have to agree with each other."""

    @model_validator(mode="after")
    def _agreeing(self) -> Self:
        found = contradictions(self, Endpoints.model_fields)
        faults = [InitErrorDetails(type=wrong(what), loc=loc, input=None) for loc, what in found]
        if faults:
            raise ValidationError.from_exception_data(type(self).__name__, faults, hide_input=True)
        return self


class Job(_Whole):
    """A whole job; the attributes are the job file's keys."""

    name: Text = _free("job", "name in reports; the job file's stem by default")
    input: InputSpec = Field(description="where the prompts are")
    output: OutputSpec = Field(description="where the run lives")
    router: RouterSpec = Field(default=RouterSpec(), description="what scores the prompts")
    routing: RoutingSpec = Field(description="which rows go strong")
    endpoints: Endpoints = Field(description="the two sides")
    limits: Limits = Field(default=Limits(), description="when to stop")
    notify: Notify = Field(default=Notify(), description="what is told of the end of a run")

    @model_validator(mode="before")
    @classmethod
    def _raw_default(cls, data: Any) -> Any:
        output = at(data, "output")
        return {**data, "output": {**output, "raw": wants_raw(data)}} if isinstance(output, dict) else data


class ScoringJob(_Whole):
    """What scoring a data file needs, where there is no job file."""

    input: InputSpec
    router: RouterSpec


class RouterJob(_Whole):
    """The router alone, for the commands that bring their own texts."""

    router: RouterSpec
