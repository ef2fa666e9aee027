"""`judge = "check"`: an answer is right if it is as [check] of the job says, else it has a fault.

Knows the answer and its row; nothing of what becomes of an answer that has a fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction, signature
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from jsonschema_rs import Draft202012Validator, ValidationError

from batchroute.errors import JobFault, ModelFault, OwnCodeFault
from batchroute.grade.custom import call
from batchroute.grade.embedded import json_value
from batchroute.score.embed.embedders import import_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchroute.job.pilot import CheckSpec

    Rule = Callable[[Mapping[str, Any], str], str | None]  # row, response -> what is wrong

MOST_FAULTS = 3  # of a schema that are named
_SHOWN_CHARS = 200
_HERE = "job:///check/schema"  # what a relative $ref is held against, which names no file


@dataclass(frozen=True, slots=True)
class Check:
    """What a good answer is like, made ready; any thread may use it."""

    rules: Sequence[Rule]

    def fault(self, row: Mapping[str, Any], response: str | None) -> str | None:
        """What is wrong with an answer, the first thing; None where nothing is.

        `row` as `custom.grade_row` makes it. OwnCodeFault where the user's function raises, or gives neither None
        nor what is wrong.
        """
        if response is None:
            return "has no text"
        return next((fault for rule in self.rules if (fault := rule(row, response))), None)


def load_check(spec: CheckSpec) -> Check:
    """The job's [check], its schema read where that is a file; JobFault where it cannot be used."""
    schema = spec.json_schema
    value = _schema_in(Path(schema)) if isinstance(schema, str) else schema
    return make_check(schema=value, regex=spec.regex, function=spec.function, strip=spec.strip)


def _schema_in(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise JobFault([f"check.schema: {path} cannot be read ({error.strerror}); fix the path"]) from error
    except msgspec.DecodeError as error:
        raise JobFault([f"check.schema: {path} is no JSON: {error}"]) from error


def make_check(
    *, schema: Any | None = None, regex: str | None = None, function: str | None = None, strip: bool = True
) -> Check:
    """The check of these settings; `schema` is the value of the JSON Schema itself, an object or a truth value.

    JobFault names every setting that cannot be used, and the place in a schema.
    """
    wanted = {
        "regex": regex and partial(_regex_rule, regex),
        "schema": None if schema is None else partial(_schema_rule, schema, strip=strip),
        "function": function and partial(_function_rule, function),
    }
    rules, faults = [], []
    for key, make in wanted.items():
        if make:
            try:
                rules.append(make())
            except ValueError as fault:
                faults.append(f"check.{key}: {fault}")
    if faults:
        raise JobFault(faults)
    return Check(rules)


def _regex_rule(regex: str) -> Rule:
    try:
        pattern = re.compile(regex)
    except re.error as fault:
        raise ValueError(f"no regular expression: {fault}") from fault
    return lambda _, response: None if pattern.search(response) else f"does not match {_cut(regex)}"


def _schema_rule(schema: Any, *, strip: bool) -> Rule:
    """JSON Schema 2020-12, without any file or address: only what stands in the schema can be referred to."""
    try:
        validator = Draft202012Validator(schema, retriever=_retrieve_nothing, base_uri=_HERE)
    except ValidationError as fault:
        raise ValueError(_described(fault)) from fault

    def rule(_: Mapping[str, Any], response: str) -> str | None:
        try:
            value = json_value(response, strip=strip)
        except ValueError as fault:
            return f"not JSON: {fault}"
        if validator.is_valid(value):
            return None
        return "; ".join(map(_described, islice(validator.iter_errors(value), MOST_FAULTS)))

    return rule


def _retrieve_nothing(uri: str) -> Any:
    raise ValueError(f"{uri} is not fetched; put it under $defs")


def _described(fault: ValidationError) -> str:
    """ "at /items/0/price: -1 is less than the minimum of 0"."""
    place = "".join(f"/{step}" for step in fault.instance_path)
    return f"at {_cut(place)}: {_cut(fault.message)}" if place else _cut(fault.message)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _function_rule(use: str) -> Rule:
    try:
        function = import_named(use)
    except ModelFault as fault:
        raise ValueError(str(fault)) from fault
    if wrong := _unfit(function):
        raise ValueError(f"{use}: {wrong}")

    def rule(row: Mapping[str, Any], response: str) -> str | None:
        fault = call(use, function, dict(row), response)
        if fault is None or (isinstance(fault, str) and fault.strip()):
            return fault
        raise OwnCodeFault(f"{use} gave {_cut(repr(fault))}; it must give None, or say what is wrong")

    return rule


def _unfit(function: Any) -> str | None:
    if not callable(function):
        return "is no function"
    if iscoroutinefunction(function):
        return "must not be async"
    try:
        signature(function).bind({}, "")
    except TypeError as fault:
        return f"must take a row and its response: {fault}"
    except ValueError:  # a function written in C does not say what it takes
        return None
    return None
