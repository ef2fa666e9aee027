"""What can become of one of chat's words in another API: values of which the tables of the APIs are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

Fields: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Callable[[Any], Fields]  # a value -> the fields that stand for it, none where it changes nothing

ABSENT = "has no such field; remove it"


class Wording(NamedTuple):
    """How an API words what chat has params for.

    `rules` are laid over each other in their order: of two words for one thing the later counts. `tables` are
    fields of which a row may set one entry and keep the endpoint's others. `defaults` stand where no param says
    otherwise; `settle` makes of all the fields of a body what is sent.
    """

    rules: Mapping[str, Rule]
    tables: frozenset[str]
    defaults: Fields
    settle: Callable[[dict[str, Any]], dict[str, Any]] = dict


class Untranslatable(Exception):
    """A field that an API cannot carry; the text names it, and a rule's goes on from the API's name."""


def named(field: str) -> Rule:
    """The same value under another name."""
    return lambda value: {field: value}


def within(table: str, field: str) -> Rule:
    """The same value inside a table."""
    return lambda value: {table: {field: value}}


def ignored(_value: Any) -> Fields:
    """A hint that changes no answer: how a stream is sent, what is cached, how fast."""
    return {}


def only(*neutral: Any, why: str = ABSENT) -> Rule:
    """A field that the API lacks, which may stand only where it changes nothing."""

    def rule(value: Any) -> Fields:
        if value not in neutral:
            raise Untranslatable(why)
        return {}

    return rule


def refused(why: str = ABSENT) -> Rule:
    """A field that cannot stand."""

    def rule(_value: Any) -> Fields:
        raise Untranslatable(why)

    return rule


def one_of(table: Mapping[str, Fields], why: str) -> Rule:
    """A value of which each has its own translation."""

    def rule(value: Any) -> Fields:
        found = table.get(value) if isinstance(value, str) else None
        if found is None:
            raise Untranslatable(why)
        return found

    return rule


def inner_table(value: Any, name: str) -> Fields | None:
    """The table inside a table, as in {"type": "function", "function": {...}}; None where there is none."""
    inner = value.get(name) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else None
