"""Prompts made of several columns by a Jinja template, in its sandbox; knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Mapping

# What an expression over a row's values may raise: the row's affair, like a missing value.
_ROW_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
# An error may quote the row's text, which can be of any length.
_SHOWN_CHARS = 200


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
            raise ValueError(f"the template fails: {str(error)[:_SHOWN_CHARS]}") from error


def compile_template(source: str) -> PromptTemplate:
    """The template for `source`; InputFault where it is not one."""
    # No autoescape: prompts are plain text, never HTML.
    sandbox = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    # The other globals would hide columns of the same name, and `lipsum` is random.
    sandbox.globals = {name: sandbox.globals[name] for name in ("range", "namespace")}
    try:
        columns = meta.find_undeclared_variables(sandbox.parse(source)) - sandbox.globals.keys()
        return PromptTemplate(tuple(sorted(columns)), sandbox.from_string(source))
    except jinja2.TemplateSyntaxError as error:
        raise InputFault(f"input.template: line {error.lineno}: {error.message}; mend the template") from error
