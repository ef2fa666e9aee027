"""Prompts made of several columns by a Jinja template, in its sandbox; knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2.runtime import Context

# What an expression over a row's values may raise: the row is refused, as for a missing value.
_ROW_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
# An error may quote the row's text, which can be of any length.
_SHOWN_CHARS = 200
# Of what a product or a power may make: far above any prompt, far below what a machine has.
_MOST_REPEATED = 10_000_000


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's, which bounds ranges, with a bound on the two operators that make much of little."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _made(operator, left, right) > _MOST_REPEATED:
            raise ValueError(f"{operator} makes more than {_MOST_REPEATED:,} characters, items or bits")
        return super().call_binop(context, operator, left, right)


def _made(operator: str, left: Any, right: Any) -> float:
    """How many characters, items or bits an operator's result has, at most."""
    if operator == "**":
        return left.bit_length() * right if isinstance(left, int) and isinstance(right, int) else 0
    for thing, times in ((left, right), (right, left)):
        if isinstance(thing, str | bytes | list | tuple) and isinstance(times, int):
            return len(thing) * times
    return 0


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A compiled template and the columns it reads."""

    columns: tuple[str, ...]
    template: jinja2.Template

    def render(self, values: Mapping[str, object]) -> str:
        """The prompt for one row's values; ValueError where they do not fit it."""
        try:
            return self.template.render(values)
        except _ROW_ERRORS as error:
            why = str(error)[:_SHOWN_CHARS] or type(error).__name__
            raise ValueError(f"the template fails: {why}") from error


def compile_template(source: str) -> PromptTemplate:
    """The template for `source`; InputFault where it is not one."""
    # No autoescape: prompts are plain text, never HTML.
    sandbox = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
    # The other globals would hide columns of the same name, and `lipsum` is random.
    sandbox.globals = {name: sandbox.globals[name] for name in ("range", "namespace")}
    del sandbox.filters["random"]  # a row must ask the same whenever it is asked
    try:
        columns = meta.find_undeclared_variables(sandbox.parse(source)) - sandbox.globals.keys()
        return PromptTemplate(tuple(sorted(columns)), sandbox.from_string(source))
    except jinja2.TemplateSyntaxError as error:
        what = error.message
        if what == "No filter named 'random'.":
            what = "the filter `random` would make another prompt each time the row is read"
        raise InputFault(f"input.template: line {error.lineno}: {what}; fix the template") from error
