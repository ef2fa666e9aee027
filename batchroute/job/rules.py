"""What must hold between the settings of a job.

Reads the settings before they are checked one by one, so that every fault is found at once; a wrong type is passed
over here. Knows no files and no models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from batchroute.job.params.translate import untranslatable
from batchroute.job.tiers import AUTO, STANDARD, tier_of
from batchroute.job.toml import Loc

Fault: TypeAlias = tuple[Loc, str]  # where, and what with what to do

PROMPTS = ("prompt", "messages", "template")
TARGETS = ("quality", "strong_fraction", "threshold", "budget_usd")
JUDGE: Loc = ("pilot", "endpoint")
JUDGES_BY_MODEL = ("rubric", "pairwise")
PROVIDERS = ("base_url", "simulate")
# The names under which servers bound an answer: older chat APIs, chat with reasoning, and /v1/responses.
OUTPUT_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Of an environment variable; most keys, pasted in its place, do not match it.
VARIABLE_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
OURS_IN_BODY = ("model", "messages", "stream")
# Whatever the provider, their values are keys, which never stand in a job file as plain text.
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key"}
# They follow from the address and the body; another value breaks the request or sends it elsewhere.
_OUR_HEADERS = {"host", "content-length", "transfer-encoding", "content-encoding", "connection"}


def at(data: Any, *keys: str) -> Any:
    """What stands at `keys`; None where nothing does, or where something on the way is no table."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else getattr(data, key, None)
    return data


def contradictions(job: Any, endpoints: Iterable[str]) -> Iterator[Fault]:
    """What cannot hold together in a job with the `endpoints` of these names, checked or not."""
    yield from _input_contradictions(job)
    yield from _routing_contradictions(job)
    if at(job, "limits", "on_budget") == "downgrade" and at(job, "limits", "max_cost_usd") is None:
        yield ("limits", "on_budget"), "has no budget to keep; add max_cost_usd, or remove it"
    yield from _embedder_contradictions(job)
    yield from _pilot_contradictions(job)
    if at(job, "engine", "use") in {"processes", "ray"}:
        yield from undivided(job)
    for loc in endpoint_places(endpoints):
        if at(job, *map(str, loc)) is not None:
            yield from _endpoint_contradictions(job, loc)
            yield from _params_contradictions(job, loc)


def endpoint_places(endpoints: Iterable[str]) -> list[Loc]:
    """Where a job may have an endpoint: those of its rows, and the pilot's judge."""
    return [*(("endpoints", name) for name in endpoints), JUDGE]


def wants_raw(job: Any) -> Any:
    """Whether raw bodies are to be kept: as a job, checked or not, says; by default for openai-batch."""
    raw = at(job, "output", "raw")
    return at(job, "input", "format") == "openai-batch" if raw is None else raw


def _input_contradictions(job: Any) -> Iterator[Fault]:
    given = [key for key in PROMPTS if at(job, "input", key) is not None]
    # Each line of OpenAI's batch format holds a whole request body, with its id and its params.
    if at(job, "input", "format") == "openai-batch":
        for key in (*given, *(key for key in ("system", "id", "params") if at(job, "input", key) is not None)):
            yield ("input", key), "openai-batch lines bring their own; remove it"
        return
    for key in given[1:]:
        yield ("input", key), f"cannot stand beside {given[0]}; keep one of {_either(PROMPTS)}"
    if given == ["messages"] and at(job, "input", "system") is not None:
        yield ("input", "system"), "goes before a prompt or template; messages bring their own, remove it"


def _routing_contradictions(job: Any) -> Iterator[Fault]:
    given = [key for key in TARGETS if at(job, "routing", key) is not None]
    for key in given[1:]:
        yield ("routing", key), f"cannot stand beside {given[0]}; keep one of {_either(TARGETS)}"
    if not given and at(job, "routing") is not None:
        yield ("routing",), f"does not say which rows go strong; add one of {_either(TARGETS)}"


def _pilot_contradictions(job: Any) -> Iterator[Fault]:
    """Between the target, the pilot that measures it, and its judge."""
    pilot, target, judge = at(job, "pilot"), at(job, "routing", "quality"), at(job, "pilot", "judge")
    if target is not None and pilot is None:
        yield ("routing", "quality"), "needs a [pilot] to measure it; add one with a judge"
    if target is None and at(job, "limits", "on_unproven") == "stop":
        yield ("limits", "on_unproven"), "has nothing to be shown; add routing.quality, or remove it"
    if target is None and at(pilot, "rows") == "auto":
        yield ("pilot", "rows"), '"auto" goes on until routing.quality is shown; add that, or write a number'
    by_model = judge in JUDGES_BY_MODEL
    needs: tuple[tuple[str, bool, str], ...] = (
        ("reference", judge == "reference", "name the column with the right answer"),
        ("endpoint", by_model, "add a [pilot.endpoint] with the model that judges"),
    )
    for key, is_read, what in needs:
        if is_read and at(pilot, key) is None:
            yield ("pilot", key), f'missing, which judge = "{judge}" needs; {what}'
        if judge is not None and not is_read and at(pilot, key) is not None:
            yield ("pilot", key), f'is not read by judge = "{judge}"; remove it, or use another judge'
    if judge is not None and not by_model and at(pilot, "criteria") is not None:
        yield ("pilot", "criteria"), f'is not read by judge = "{judge}"; remove it, or use another judge'
    yield from _check_contradictions(job, is_judge=judge == "check")


def undivided(job: Any) -> Iterator[Fault]:
    """What a job has that needs the whole input in one process, and so cannot be done shard by shard."""
    if at(job, "pilot") is not None:
        yield (
            ("pilot",),
            (
                "needs the whole input in one process; run `batchroute pilot` on another output.path, set "
                "routing.threshold to what it found, and remove [pilot] and routing.quality"
            ),
        )
    if at(job, "limits", "on_budget") == "downgrade":
        yield (
            ("limits", "on_budget"),
            (
                '"downgrade" needs the whole input in one process; remove it, or set routing.budget_usd, which '
                "chooses the threshold by what it will cost"
            ),
        )


def _check_contradictions(job: Any, *, is_judge: bool) -> Iterator[Fault]:
    check = at(job, "check")
    if is_judge and check is None:
        yield ("pilot", "judge"), '"check" needs a [check]; add one with schema, regex or function'
    if check is not None and not is_judge:
        yield ("check",), 'is read by pilot.judge = "check" only; add that, or remove it'
    if check is not None and all(at(check, key) is None for key in ("schema", "json_schema", "regex", "function")):
        yield ("check",), "does not say what a good answer is; add schema, regex or function"


def _embedder_contradictions(job: Any) -> Iterator[Fault]:
    loc = ("router", "embedder")
    embedder = at(job, *loc)
    use = at(embedder, "use")
    if use == "column" and at(embedder, "column") is None:
        yield (*loc, "column"), "missing; name the input's column of vectors"
    if use == "sentence-transformers" and at(embedder, "model") is None:
        yield (*loc, "model"), "missing; name a model, or a local directory with a leading ./ or /"
    is_openai = use == "openai" and at(embedder, "base_url") is None
    if at(embedder, "api_key_header") is not None and not _has_key(embedder) and not is_openai:
        yield (*loc, "api_key_header"), "has no key to send; add api_key_env"
    yield from _key_contradictions(embedder, loc)


def _endpoint_contradictions(job: Any, loc: Loc) -> Iterator[Fault]:
    endpoint = at(job, *map(str, loc))
    given = [key for key in PROVIDERS if at(endpoint, key) is not None]
    if len(given) > 1:
        yield (*loc, "simulate"), "cannot stand beside base_url; keep one of them"
    if not given:
        yield loc, "does not say where to send; add base_url, or simulate = {} for a trial run"
    base_url = at(endpoint, "base_url")
    for url in map(urlsplit, map(str, base_url if isinstance(base_url, list) else [base_url])):
        if url.hostname == "api.anthropic.com" and not url.path.rstrip("/").endswith("/v1"):
            yield (*loc, "base_url"), 'does not end in /v1; write "https://api.anthropic.com/v1"'
    if at(endpoint, "api_key_header") is not None and not _has_key(endpoint):
        yield (*loc, "api_key_header"), "has no key to send; add api_key_env"
    yield from _key_contradictions(endpoint, loc)
    if str(at(endpoint, "api_key_header")).lower() in _OUR_HEADERS:
        yield (*loc, "api_key_header"), "names a header that is set by batchroute; name the provider's own"
    for name, value in items_of(at(endpoint, "headers")):
        if name.lower() in _OUR_HEADERS:
            yield (*loc, "headers", name), "is set by batchroute; remove it"
        if name.lower() in _SECRET_HEADERS and isinstance(value, str):
            yield (*loc, "headers", name), 'holds a secret; put it in a variable and write { env = "NAME" }'
    yield from _price_contradictions((*loc, "price"), at(endpoint, "price"))


def _price_contradictions(loc: Loc, price: Any) -> Iterator[Fault]:
    """Of a whole price, its tiers by name within it."""
    full, cached = at(price, "input"), at(price, "cached_input")
    if isinstance(full, int | float | Decimal) and isinstance(cached, int | float | Decimal) and cached > full:
        yield (*loc, "cached_input"), "is above the price of input; exchange the two"
    named = dict[str | None, str]()
    for name, tier in items_of(at(price, "tiers")):
        yield from _price_contradictions((*loc, "tiers", name), tier)
        if tier_of(name) in {STANDARD, AUTO}:
            yield (*loc, "tiers", name), "is the standard tier, whose price stands in `price` itself; remove it"
        elif tier_of(name) in named:
            yield (*loc, "tiers", name), f"is the same tier as {named[tier_of(name)]}; keep one of them"
        named[tier_of(name)] = name


def _has_key(spec: Any) -> bool:
    return at(spec, "api_key_env") is not None or at(spec, "api_key_command") is not None


def _key_contradictions(spec: Any, loc: Loc) -> Iterator[Fault]:
    if at(spec, "api_key_env") is not None and at(spec, "api_key_command") is not None:
        yield (*loc, "api_key_command"), "cannot stand beside api_key_env; keep one of them"


def _params_contradictions(job: Any, place: Loc) -> Iterator[Fault]:
    loc = (*place, "params")
    endpoint = at(job, *map(str, place))
    params = at(endpoint, "params")
    for name in OURS_IN_BODY:
        if at(params, name) is not None:
            yield (*loc, name), "is set by batchroute; remove it"
    for key, value in items_of(params):
        yield from _not_json((*loc, key), value)
    api = str(at(endpoint, "api"))
    uncarried = dict(untranslatable(api, dict(items_of(params))))
    yield from (((*loc, name), what) for name, what in uncarried.items())
    n = at(params, "n")
    if isinstance(n, int) and n > 1 and not wants_raw(job) and "n" not in uncarried:
        yield (*loc, "n"), "several choices are kept only in the raw body; set output.raw = true, or remove it"
    yield from _tier_contradictions(endpoint, place, api)
    brought = at(job, "input", "params") is not None or at(job, "input", "format") == "openai-batch"
    rows_have_params = brought and place != JUDGE
    who = "the anthropic API" if api == "anthropic" else "max_cost_usd"
    is_needed = api == "anthropic" or at(job, "limits", "max_cost_usd") is not None
    if is_needed and not rows_have_params:
        yield from ((loc, what) for what in _unbounded(dict(items_of(params)), who))


def _tier_contradictions(spec: Any, loc: Loc, api: str) -> Iterator[Fault]:
    tier, in_params = at(spec, "service_tier"), at(spec, "params", "service_tier")
    if tier is None:
        return
    if in_params is not None and in_params != tier:
        yield (*loc, "service_tier"), "is another one than params.service_tier; keep one of them"
    yield from (((*loc, name), what) for name, what in untranslatable(api, {"service_tier": tier}))


def _unbounded(params: Mapping[str, Any], who: str) -> Iterator[str]:
    """What keeps these params from bounding the output of a row, which then would be refused; `who` needs it."""
    if longest_output(params):
        return
    given = [name for name in (*OUTPUT_BOUNDS, "n") if params.get(name) is not None]
    void = next((name for name in given if not _count(params[name])), None)
    if void is not None:
        yield f"{who} needs an output bound, and {void} is none; make it a number above 0, or remove it"
    else:
        bounds = _either(OUTPUT_BOUNDS)
        yield f"{who} needs an output bound: add {bounds}; or rows bring it: input.params, openai-batch"


def longest_output(params: Mapping[str, Any]) -> int:
    """Tokens of output that a request's params allow, over all its choices; 0 where they set no bound.

    Servers differ in which of several bounds they read, so the largest counts; one that is no whole number above 0
    makes them all void, since some servers take -1 for "as many as you like".
    """
    bounds = [_count(params[name]) for name in OUTPUT_BOUNDS if params.get(name) is not None]
    choices = params.get("n")
    longest = max(bounds, default=0) if all(bounds) else 0
    return longest * (1 if choices is None else _count(choices))


def _count(value: Any) -> int:
    """A whole number above 0, else 0; a column of numbers with nulls in it brings 3.0 for 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _not_json(loc: Loc, value: Any) -> Iterator[Fault]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _not_json((*loc, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json((*loc, index), item)
    elif not (math.isfinite(value) if isinstance(value, float) else isinstance(value, str | int | None)):
        yield loc, "JSON has no dates, nan or inf; write a text or a number"


def items_of(table: Any) -> Iterator[tuple[str, Any]]:
    """What stands in a table; nothing where it is none."""
    if isinstance(table, Mapping):
        yield from table.items()


def _either(keys: tuple[str, ...]) -> str:
    return f"{', '.join(keys[:-1])} or {keys[-1]}"
