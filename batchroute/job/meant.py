"""What the writer of a wrong setting may have meant: the right key, the right table, the right number.

Knows the settings, the usual params of a request, and what other tools call the same. No words of it hold a value
but that of a number.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from batchroute.job.settings import settings
from batchroute.job.toml import dotted
from batchroute.types import HIGHEST_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.job.toml import Loc

# Of a request's body: in a job file they stand in `params`, which goes into the body as it is.
_PARAMS = {
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "stop", "seed"),
    *("n", "response_format", "reasoning_effort", "reasoning", "thinking", "tools", "tool_choice", "logprobs"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "extra_body", "metadata", "user", "verbosity"),
}
# What other tools call it.
_SYNONYMS = {
    **dict.fromkeys(("file", "files", "data", "dir", "folder", "dataset"), "path"),
    **dict.fromkeys(("column", "text_column", "prompt_column", "field"), "prompt"),
    **dict.fromkeys(("fraction", "share", "strong_share", "strong_ratio", "ratio"), "strong_fraction"),
    **dict.fromkeys(("url", "api_base", "endpoint", "host", "azure_endpoint"), "base_url"),
    **dict.fromkeys(("api_key", "key", "token", "api_token", "key_env"), "api_key_env"),
    **dict.fromkeys(("concurrency", "workers", "parallel", "max_workers"), "max_concurrency"),
    **dict.fromkeys(("rpm", "rate_limit", "requests_per_min"), "requests_per_minute"),
    **dict.fromkeys(("tpm", "tokens_per_min"), "tokens_per_minute"),
    **dict.fromkeys(("timeout", "request_timeout"), "timeout_s"),
    **dict.fromkeys(("retries", "max_retries", "num_retries"), "max_attempts"),
    **dict.fromkeys(("budget", "max_cost", "max_usd", "cost_limit", "max_budget"), "max_cost_usd"),
    **dict.fromkeys(("max_time", "max_seconds", "time_limit"), "max_wall_s"),
    **dict.fromkeys(("deployment", "engine", "model_name"), "model"),
}
_IN_PARAMS = "it goes into the request, so it belongs in params"
_MOST_PLACES = 3
_SURELY = 0.9  # of difflib's likeness: a letter more or less


def key_meant(loc: Loc, *, is_flag: bool) -> str:
    """For a key that there is not: the same in another table, a near one in its own, another word for it."""
    key, table = str(loc[-1]), loc[:-1]
    listed = [place for place, _ in settings() if "*" not in place and len(place) > 1]
    known = sorted(listed, key=lambda place: place[0] != "endpoints")  # whose keys are written most
    here = [str(place[-1]) for place, _ in settings() if place[:-1] == table]
    if key in _PARAMS and table[:1] in {(), ("endpoints",)}:
        return "did you mean endpoints.strong.params or endpoints.weak.params?" if is_flag else _IN_PARAMS
    if table == () and (near := difflib.get_close_matches(key, here, 1, cutoff=_SURELY)):
        return f"did you mean {near[0]}?"
    if places := [place for place in known if place[-1] == key]:
        return _in_other_tables(places, is_flag=is_flag)
    synonym = _SYNONYMS.get(key)
    if near := [synonym] if synonym in here else difflib.get_close_matches(key, here, 1):
        return f"did you mean {near[0]}?"
    if places := [place for place in known if place[-1] == synonym]:
        return f"did you mean {_either([dotted(place) for place in places])}?"
    return "remove it"


def number_meant(value: Any, most: float | None) -> str:
    """The number that a wrong one may stand for: a share as a percentage, a comma as a point, one in quotes."""
    if isinstance(value, str):
        text = value.strip().removesuffix("%").strip().replace(",", ".")
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) is None:
            return ""
        is_percentage = value.strip().endswith("%")
        return f"; {_percentage(float(text))}" if is_percentage else f"; write {text}"
    if most == 1 and isinstance(value, int | float) and 1 < value <= 100:
        return f"; {_percentage(float(value))}"
    return "; scores lie in [0, 1]" if most == HIGHEST_THRESHOLD else ""


def _percentage(value: float) -> str:
    return f"{value:g} % is {value / 100:{'.2f' if value.is_integer() else 'g'}}"


def _in_other_tables(places: Sequence[Loc], *, is_flag: bool) -> str:
    if is_flag:
        return f"did you mean {_either([dotted(place) for place in places])}?"
    return f"it belongs in {_either([f'[{dotted(place[:-1])}]' for place in places])}"


def _either(names: Sequence[str]) -> str:
    *most, last = names[:_MOST_PLACES]
    return f"{', '.join(most)} or {last}" if most else last
