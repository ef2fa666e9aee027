"""What a job is: one model per section of a job file, and what must hold between the settings.

Knows no files and no environment: paths are absolute and variables replaced before they get here (`load`).
Every field's description and resume rule is the README's table and the check of a resumed run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from batchroute.job.endpoint import EndpointSpec, InputPrice
from batchroute.job.engine import EngineSpec
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
from batchroute.job.pilot import JUDGE_NAME, CheckSpec, PilotSpec
from batchroute.job.rules import PROMPTS, at, contradictions, wants_raw
from batchroute.job.section import Section, fixed, free
from batchroute.types import HIGHEST_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Iterator


_EMBEDDER_MODEL = "text-embedding-3-small"


class InputSpec(Section):
    """Where the prompts are and which columns mean what."""

    path: Texts = fixed(..., "file, glob, directory or address (s3://...), or a list of them", min_length=1)
    format: Literal["auto", "parquet", "jsonl", "csv", "json", "openai-batch"] = fixed(
        "auto", "how the files are written; json: each is one array of objects"
    )
    prompt: Text | None = fixed(None, 'text column; "prompt" when none of the three is given')
    messages: Text | None = fixed(None, "column of chat messages, instead of `prompt`")
    template: Text | None = fixed(None, "Jinja template over the columns, instead of `prompt`")
    system: str | None = fixed(None, "system message before a prompt or template")
    id: Text | None = fixed(None, "column carried to the results as text")
    keep: Texts = fixed([], 'columns copied to the results; "*" for all')
    params: Text | None = fixed(None, "column merged over the endpoint's params for its row")
    reuse: Texts = fixed([], "finished runs whose equal requests are answered from there at no cost")
    route: Text | None = fixed(None, 'column that forces a row "strong" or "weak"')
    min_rows: int = free(0, "with fewer rows than these nothing is sent, exit 2", ge=0)

    @model_validator(mode="before")
    @classmethod
    def _prompt_column(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("format") == "openai-batch" or data.keys() & set(PROMPTS):
            return data
        return {**data, "prompt": "prompt"}


class OutputSpec(Section):
    """Where the run lives."""

    path: Text = free(..., "the run's own directory")
    raw: bool = fixed(False, "keep each answer's whole JSON body; true by default for openai-batch")
    mode: Mode = free("0700", "access mode of the directories, octal")


class EmbedderSpec(Section):
    """What turns prompts into vectors."""

    use: EmbedderName = fixed(
        "builtin", 'builtin, openai, sentence-transformers, column or "package.module:Class"'
    )
    model: Text | None = fixed(None, f'the embedding model; openai: "{_EMBEDDER_MODEL}" by default')
    dimensions: Count | None = fixed(None, "length of the vectors to ask for, where the model has several")
    column: Text | None = fixed(None, "the input's column of vectors, for `column`")
    base_url: BaseUrl | None = free(None, "address of the embeddings API; openai: OpenAI's own by default")
    api_key_env: EnvName | None = free(None, "variable that holds the key, or NAME_FILE a path to it")
    api_key_command: Text | None = free(None, "command that prints the key; run again when it expires")
    api_key_header: HeaderName | None = free(None, "header for the key, instead of a bearer token")
    cache: Text | None = free(None, "directory of vectors shared between jobs")
    price: InputPrice | None = free(None, "USD per million tokens; else from the price table")
    requests_per_minute: Count | None = free(None, "limit on requests")
    tokens_per_minute: Count | None = free(None, "limit on tokens")
    max_concurrency: Count = free(64, "most requests in flight")
    timeout_s: Positive = free(600.0, "time for one attempt")
    max_attempts: Count = free(6, "attempts for one batch of texts")

    @model_validator(mode="before")
    @classmethod
    def _openai_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("use") != "openai":
            return data
        openai = {"base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"}
        if "api_key_command" in data:
            del openai["api_key_env"]
        return {"model": _EMBEDDER_MODEL, **({} if "base_url" in data else openai), **data}


class RouterSpec(Section):
    """What scores the prompts."""

    use: RouterName = fixed("mf", 'mf, random, length or "package.module:Class"')
    model: Text = fixed("builtin", "builtin, or the directory or file of a model")
    strong: Text = fixed("gpt-4-1106-preview", "entry of the MF model's table that stands for the strong side")
    weak: Text = fixed("mixtral-8x7b-instruct-v0.1", "entry that stands for the weak side")
    text: Text | None = fixed(None, "column that is scored instead of the last message")
    device: Device = free("auto", "auto, cpu, cuda or cuda:N")
    batch_size: Count = free(1024, "prompts scored at a time")
    seed: int = fixed(0, "seed of the random router", ge=0)
    embedder: EmbedderSpec = Field(default=EmbedderSpec(), description="what turns prompts into vectors")

    @property
    def is_builtin(self) -> bool:
        """Whether it is the model that ships."""
        return self.use == "mf" and self.model == "builtin"


class RoutingSpec(Section):
    """Which rows go strong; exactly one of `quality`, `strong_fraction`, `threshold` and `budget_usd`."""

    quality: float | None = fixed(
        None, "share of the strong side's quality to keep at the least cost, measured by the pilot", gt=0, le=1
    )
    confidence: float = fixed(0.9, "how sure that is to be, over the drawing of the pilot", gt=0, lt=1)

    strong_fraction: Fraction | None = fixed(None, "share of this input that goes strong")
    # `strong_fraction = 0` resolves to the next float above the highest score, which may be 1.
    threshold: float | None = fixed(None, "lowest score that goes strong", ge=0, le=HIGHEST_THRESHOLD)
    budget_usd: Usd | None = fixed(None, "the lowest threshold whose predicted cost fits")


class Endpoints(Section):
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


class Limits(Section):
    """When to stop, and which failures to accept."""

    max_cost_usd: Usd | None = free(None, "hard stop, over all runs of the directory")
    on_budget: Literal["stop", "downgrade"] = free("stop", "at the budget: stop, or the rest to the weak side")
    stop_at: TimeOfDay | None = free(None, "local time HH:MM at which to stop")
    max_wall_s: Positive | None = free(None, "time after which to stop")
    outage_s: Positive = free(3600.0, "how long to wait for an endpoint that is away")
    stop_after_same_refusal: int = free(20, "so often the same refusal, no success between: stop; 0 = off", ge=0)
    on_unproven: Literal["strong", "stop"] = free(
        "strong", "where no share but all strong is shown to keep routing.quality: all strong, or stop"
    )
    ok_if_refused: Fraction = free(0.0, "share of refused rows that still exits 0")
    max_response_mb: Positive = free(32.0, "longest answer taken")
    drain_s: NotNegative = free(20.0, "how long a stop awaits answers in flight")


class Notify(Section):
    """What is told of the end of a run."""

    command: Texts = free(
        [], "run at a run's end, whatever the end, with report.json (or name, state, error) on stdin; no shell"
    )


class _Whole(Section):
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

    name: Text = free("job", "name in reports; the job file's stem by default")
    input: InputSpec = Field(description="where the prompts are")
    output: OutputSpec = Field(description="where the run lives")
    router: RouterSpec = Field(default=RouterSpec(), description="what scores the prompts")
    routing: RoutingSpec = Field(description="which rows go strong")
    endpoints: Endpoints = Field(description="the two sides")
    pilot: PilotSpec | None = Field(default=None, description="rows asked of both sides and graded, first of all")
    check: CheckSpec | None = Field(default=None, description='what a good answer is, for pilot.judge = "check"')
    limits: Limits = Field(default=Limits(), description="when to stop")
    engine: EngineSpec = Field(default=EngineSpec(), description="where the work is done")
    notify: Notify = Field(default=Notify(), description="what is told of the end of a run")

    @property
    def judge(self) -> EndpointSpec | None:
        """The model that grades the pilot's answers, where one does."""
        return None if self.pilot is None else self.pilot.endpoint

    @property
    def asked(self) -> dict[str, EndpointSpec]:
        """Every endpoint that a run asks, by name: those of its rows, and the judge."""
        sides = dict(self.endpoints.items())
        return sides if self.judge is None else {**sides, JUDGE_NAME: self.judge}

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
