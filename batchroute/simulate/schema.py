"""A small valid instance of a JSON schema, as far as structured outputs go; knows no requests.

Covers what OpenAI and Anthropic accept there: objects, arrays, enum, const, anyOf, $ref into the schema itself,
lengths and bounds. A `pattern` and a `format` beyond the common ones are not obeyed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEEPEST = 64  # of a schema that refers to itself
FORMATS: Mapping[str, str] = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """The smallest value that fits; ValueError for a schema that only an endless one fits."""
    root = schema if root is None else root
    if depth > DEEPEST:
        raise ValueError("the schema refers to itself without an end")
    if not isinstance(schema, dict):
        return {}
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return instance(_referred(root, schema["$ref"]), root, depth + 1)
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return instance(min(schema[several], key=_nesting), root, depth + 1)
    return _of_type(schema, root, depth)


def _nesting(schema: Any) -> int:
    """The first leaf of several schemas is taken, so that one which refers to itself finds its end."""
    if not isinstance(schema, dict) or schema.get("type") in {"object", "array"}:
        return 1
    return 2 if "$ref" in schema else 0


def _of_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(properties.get(name), root, depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        return [instance(schema.get("items"), root, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        text = FORMATS.get(schema.get("format", ""), "simulated")[: schema.get("maxLength")]
        return text.ljust(schema.get("minLength", 0), ".")
    if kind in {"integer", "number"}:
        return _number(schema, kind)
    return None if kind == "null" else False


def _number(schema: dict[str, Any], kind: str) -> float:
    """The bound that is given, 0 without one."""
    step = schema.get("multipleOf", 1)
    if "minimum" in schema:
        return _whole(math.ceil(schema["minimum"] / step) * step, kind)
    if "exclusiveMinimum" in schema:
        return _whole((math.floor(schema["exclusiveMinimum"] / step) + 1) * step, kind)
    most = schema.get("maximum", schema.get("exclusiveMaximum", 1) - step)
    return _whole(min(0, math.floor(most / step) * step), kind)


def _whole(number: float, kind: str) -> float:
    return int(number) if kind == "integer" else number


def _referred(root: Any, reference: str) -> Any:
    """What `#/$defs/name` stands for; `#` is the whole."""
    found = root
    for name in reference.lstrip("#").split("/"):
        if name:
            found = found[name.replace("~1", "/").replace("~0", "~")]
    return found
