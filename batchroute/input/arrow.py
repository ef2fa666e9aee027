"""Arrow's types and arrays in our terms: what a column can be read as, and its Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from batchroute.input.row import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from batchroute.input.row import Kind
    from batchroute.types import Vectors

    Check: TypeAlias = Callable[[pa.DataType], bool]


def _any_of(*checks: Check) -> Check:
    return lambda kind: any(check(kind) for check in checks)


_is_binary = _any_of(types.is_binary, types.is_large_binary, types.is_binary_view)
_is_text = _any_of(types.is_string, types.is_large_string, types.is_string_view, _is_binary, types.is_null)
_is_list = _any_of(types.is_list, types.is_large_list, types.is_fixed_size_list)
_is_number = _any_of(types.is_floating, types.is_integer)


def _is_vector(kind: pa.DataType) -> bool:
    return types.is_null(kind) or (_is_list(kind) and _is_number(kind.value_type))


# What a column of each kind may be, and how a message describes it.
_KINDS: dict[Kind, tuple[Check, str]] = {
    "text": (_is_text, "text"),
    "messages": (_any_of(_is_text, _is_list), "a list of messages or its JSON text"),
    "params": (_any_of(_is_text, types.is_struct, types.is_map), "a struct or its JSON text"),
    "vector": (_is_vector, "a list of numbers"),
    "any": (lambda _kind: True, "anything"),
}


def fits(kind: pa.DataType, need: Kind) -> bool:
    """Whether a column of this type can be what it is needed for."""
    check, _ = _KINDS[need]
    return check(_value_type(kind))


def described(need: Kind) -> str:
    """What a column is needed for, in words."""
    return _KINDS[need][1]


def _value_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _value_type(kind.storage_type)
    return _value_type(kind.value_type) if types.is_dictionary(kind) else kind


def has_nested_dictionary(kind: pa.DataType) -> bool:
    """Whether a list, struct or map of this type holds a dictionary."""
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return any(types.is_dictionary(each) or has_nested_dictionary(each) for each in inner)


def to_python(array: pa.Array) -> list[Any]:
    """Python values; nulls in structs are absent, dates are text, what cannot be read is `Unreadable`."""
    array = _storage(array)
    if types.is_temporal(array.type):
        array = array.cast(pa.string())
    try:
        values: list[Any] = array.to_pylist()
    except ValueError:
        values = [_value(scalar) for scalar in array]
    normalize = _normalizer(array.type)
    return values if normalize is _same else [normalize(value) for value in values]


def _storage(array: pa.Array) -> pa.Array:
    while array.type != _value_type(array.type):
        array = array.storage if isinstance(array.type, pa.BaseExtensionType) else array.dictionary_decode()
    return array


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return Unreadable("not UTF-8")
    except ValueError as error:
        return Unreadable(f"not readable: {error}")


def _normalizer(kind: pa.DataType) -> Callable[[Any], Any]:
    """What turns pyarrow's value of this type into ours; `_same` where they are the same.

    Structs lose the null fields that Arrow fills in where a row has none, maps become dicts, bytes text.
    """
    kind = _value_type(kind)
    if types.is_struct(kind):
        fields = {field.name: _normalizer(field.type) for field in kind}
        if _is_media(kind):
            fields["bytes"] = lambda _: Unreadable("bytes")
        return lambda value: (
            {name: fields[name](item) for name, item in value.items() if item is not None}
            if isinstance(value, dict)
            else value
        )
    if types.is_map(kind):
        of_item = _normalizer(kind.item_type)
        return lambda value: (
            {key: of_item(item) for key, item in value if item is not None} if isinstance(value, list) else value
        )
    if _is_list(kind) and (inner := _normalizer(kind.value_type)) is not _same:
        return lambda value: [inner(item) for item in value] if isinstance(value, list) else value
    return _text_of_bytes if _is_binary(kind) else _same


def _is_media(kind: pa.DataType) -> bool:
    """Whether this is how data sets of Hugging Face keep an image or a sound: its bytes, which are never text."""
    names = [field.name for field in kind]
    return "path" in names and names.count("bytes") == 1 and _is_binary(_value_type(kind.field("bytes").type))


def _same(value: Any) -> Any:
    return value


def _text_of_bytes(value: Any) -> Any:
    """Old writers do not mark text as such."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return Unreadable("not UTF-8")


def list_lengths(array: pa.Array) -> NDArray[np.int64]:
    """[n] the lists' lengths, -1 for null."""
    if types.is_null(array.type):
        return np.full(len(array), -1)
    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False)
    return lengths


def matrix(array: pa.Array, dim: int) -> Vectors:
    """[n, dim] of n lists of that length; NaN for null numbers. No copy where they are float32 already."""
    flat = array.flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = flat.astype(np.float32, copy=False).reshape(len(array), dim)
    return vectors
