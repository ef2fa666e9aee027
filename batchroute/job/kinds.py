"""The kinds of values that settings have, and the words in which a wrong one is refused.

Knows no section of a job; no message holds the value, which may be a key.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from batchroute.job.rules import VARIABLE_NAME

_CLASS = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"


def wrong(what: str) -> PydanticCustomError:
    """A fault whose text is `what`."""
    # The text goes through a placeholder because braces in it would be taken for one.
    return PydanticCustomError("job", "{what}", {"what": what})


def _matching(pattern: str, what: str) -> AfterValidator:
    """Texts that match as a whole; the fault says `what` they must be and never what they are."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise wrong(f"must be {what}")
        return text

    return AfterValidator(check)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_decimal(value: Any) -> Any:
    """A number as it is written: 0.1 is a tenth of a dollar, not the nearest binary fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise wrong("must be a number of US dollars")
    return Decimal(str(value))


def _count_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise wrong('must be a whole number above 0, or "auto"')


def _seconds_or_auto(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (is_number and 0 < value < math.inf):
        return value
    raise wrong('must be a number of seconds above 0, or "auto"')


def _truth_or_auto(value: Any) -> Any:
    if value == "auto" or isinstance(value, bool):
        return value
    raise wrong('must be true, false or "auto"')


def _endpoint_url(url: str) -> str:
    """An http(s) URL; the message never holds it, because a password may stand in it."""
    if "${" in url:
        raise wrong("a ${NAME} is filled in paths only; write the address, or give it by --set")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        raise wrong('must be an http or https address such as "https://api.openai.com/v1"')
    if "@" in parts.netloc:
        raise wrong("must not hold a user or password; remove them and name the key's variable in api_key_env")
    return url


def _endpoint_urls(value: Any) -> Any:
    if isinstance(value, str):
        return _endpoint_url(value)
    if not isinstance(value, list):
        raise wrong("must be a text in quotes, or a list of texts")
    if not value or not all(isinstance(url, str) for url in value):
        raise wrong("must name one address or more, each in quotes")
    addresses = [_endpoint_url(url) for url in value]
    if len({url.rstrip("/") for url in addresses}) < len(addresses):
        raise wrong("names an address twice; name each once")
    return addresses


Text: TypeAlias = Annotated[str, Field(min_length=1)]
Texts: TypeAlias = Annotated[
    list[Text],
    BeforeValidator(_as_list),
    WithJsonSchema({"type": ["string", "array"], "minLength": 1, "items": {"type": "string", "minLength": 1}}),
]
Count: TypeAlias = Annotated[int, Field(ge=1)]
CountOrAuto: TypeAlias = Annotated[int | Literal["auto"], BeforeValidator(_count_or_auto)]
SecondsOrAuto: TypeAlias = Annotated[float | Literal["auto"], BeforeValidator(_seconds_or_auto)]
TruthOrAuto: TypeAlias = Annotated[bool | Literal["auto"], BeforeValidator(_truth_or_auto)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Usd: TypeAlias = Annotated[
    Decimal,
    BeforeValidator(_as_decimal),
    Field(ge=0),
    PlainSerializer(float, return_type=float, when_used="json"),  # 25 and 25.0 are the same setting
    WithJsonSchema({"type": "number", "minimum": 0}),
]
BaseUrl: TypeAlias = Annotated[str, AfterValidator(_endpoint_url)]
BaseUrls: TypeAlias = Annotated[str | list[str], BeforeValidator(_endpoint_urls)]
EnvName: TypeAlias = Annotated[
    str, _matching(VARIABLE_NAME, "the name of an environment variable, never the key itself")
]
HeaderName: TypeAlias = Annotated[
    str, _matching(r"[\w!#$%&'*+.^`|~-]+", "a header's name: letters, digits and dashes")
]
RouterName: TypeAlias = Annotated[
    str, _matching(rf"[a-z][a-z0-9_-]*|{_CLASS}", 'mf, random, length or "package.module:Class"')
]
EmbedderName: TypeAlias = Annotated[
    str,
    _matching(
        rf"builtin|openai|sentence-transformers|column|{_CLASS}",
        'builtin, openai, sentence-transformers, column or "package.module:Class"',
    ),
]
JudgeName: TypeAlias = Annotated[
    str,
    _matching(
        rf"reference|rubric|pairwise|check|{_CLASS}",
        'reference, rubric, pairwise, check or "package.module:Class"',
    ),
]
FunctionName: TypeAlias = Annotated[str, _matching(_CLASS, '"package.module:name"')]
Device: TypeAlias = Annotated[str, _matching(r"auto|cpu|cuda(:\d+)?", '"auto", "cpu", "cuda" or "cuda:N"')]
Mode: TypeAlias = Annotated[str, _matching(r"0?[0-7]{3}", 'an octal mode as a text, such as "0750"')]
TimeOfDay: TypeAlias = Annotated[
    str, _matching(r"([01]\d|2[0-3]):[0-5]\d", 'a time of day as HH:MM, such as "06:00"')
]
