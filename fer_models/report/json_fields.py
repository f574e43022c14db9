"""Strict conversion between JSON and frozen dataclasses, by their type annotations.

A value of the wrong type, a missing field and an unknown field are errors that name the field, such as
`results[0].metrics.accuracy.low`. Numbers must be finite.

A field with `optional()` may be missing, and is left out of the JSON where it is None. `JSON_KEYS` of a class
holds the JSON keys that are not the names of its fields. A class with `from_fields` and `to_fields` converts
itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fer_models.errors import UsageError, one_line
from fer_models.store.subject import Subject

_NAMES: dict[Any, str] = {str: "text", int: "an integer", float: "a number", bool: "true or false"}


def optional(default: Any = None) -> Any:
    """A dataclass field that may be missing in JSON, and then is `default`."""
    return field(default=default, metadata={"optional": True})


def decode(kind: Any, value: Any, path: str) -> Any:
    """Convert a JSON value to the type `kind`.

    Args:
        kind: a dataclass, `str`, `int`, `float`, `bool`, `Literal`, `tuple`, `Mapping` with text as keys, a
            union of these with None, or `Any` for any JSON value.
        value: what JSON holds; tuples count as lists.
        path: the field's name for messages.

    Raises:
        UsageError: the value is not of this type. The message names the field.
    """
    origin = get_origin(kind)
    if kind is Any:
        return require_json(value, path)
    if origin in (Union, UnionType):
        return _decode_union(get_args(kind), value, path)
    if origin is Literal:
        return _decode_choice(get_args(kind), value, path)
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _decode_mapping(get_args(kind), value, path)
    convert = _decode_dataclass if is_dataclass(kind) else _decode_scalar
    return convert(kind, value, path)


def encode(value: Any, path: str) -> Any:
    """Convert a value of a type that `decode` knows to JSON.

    Raises:
        UsageError: a number is not finite, or the value has a type that JSON does not have. The message names
            the field.
    """
    if isinstance(value, Subject):
        return value.as_json()  # in the order of the contract
    if hasattr(value, "to_fields"):
        return value.to_fields(path)
    if is_dataclass(value):
        return encode_fields(value, path)
    if isinstance(value, Mapping):
        return {key: encode(inner, f"{path}.{key}") for key, inner in require_object(value, path).items()}
    if isinstance(value, list | tuple):
        return [encode(inner, f"{path}[{i}]") for i, inner in enumerate(value)]
    return require_json(value, path)


def decode_fields(kind: Any, value: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Decode the fields of a dataclass that `value` holds, by attribute name. Unknown keys are ignored here.

    Raises:
        UsageError: a field is missing or has a wrong type.
    """
    decoded = {}
    for member, key, annotation in _members(kind):
        if key in value:
            decoded[member.name] = decode(annotation, value[key], _join(path, key))
        elif not member.metadata.get("optional"):
            raise UsageError(f"The field {_join(path, key)} is missing.")
    return decoded


def unknown_fields(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """The items of a JSON object that are not fields of a dataclass."""
    keys = {key for _, key, _ in _members(kind)}
    return {key: inner for key, inner in value.items() if key not in keys}


def encode_fields(value: Any, path: str) -> dict[str, Any]:
    """Encode the fields of a dataclass, without optional ones that are None."""
    kind: Any = type(value)
    return {
        key: encode(inner, _join(path, key))
        for member, key, _ in _members(kind)
        if (inner := getattr(value, member.name)) is not None or not member.metadata.get("optional")
    }


def require_object(value: Any, path: str) -> Mapping[str, Any]:
    """Return a JSON object.

    Raises:
        UsageError: it is no mapping, or a key is not text.
    """
    if not isinstance(value, Mapping):
        raise _wrong(value, path, "an object")
    for key in value:
        if not isinstance(key, str):
            raise UsageError(f"The field {path} has the key {key!r}, but keys in JSON are text.")
    return value


def require_json(value: Any, path: str) -> Any:
    """Return a copy of a JSON value.

    Raises:
        UsageError: a number is not finite, or the value has a type that JSON does not have.
    """
    if isinstance(value, Mapping):
        return {k: require_json(inner, f"{path}.{k}") for k, inner in require_object(value, path).items()}
    if isinstance(value, list | tuple):
        return [require_json(inner, f"{path}[{i}]") for i, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            f"The field {path} is {value}, but numbers in JSON are finite. Use null for no value."
        )
    if not isinstance(value, str | int | float | None):
        raise UsageError(f"The field {path} is a {type(value).__name__}, which JSON does not have.")
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


@cache
def _members(kind: Any) -> tuple[tuple[Field[Any], str, Any], ...]:
    """The fields of a dataclass with their JSON keys and types."""
    hints, keys = get_type_hints(kind), getattr(kind, "JSON_KEYS", {})
    return tuple((member, keys.get(member.name, member.name), hints[member.name]) for member in fields(kind))


def _decode_union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    options = [kind for kind in kinds if kind is not NoneType]
    if len(options) > 1:  # dataclasses: the one whose required fields fit best
        keys = require_object(value, path).keys()
        options.sort(key=lambda kind: len(_required(kind) - keys))
    return decode(options[0], value, path)


def _decode_mapping(kinds: tuple[Any, ...], value: Any, path: str) -> dict[str, Any]:
    key_kind, inner_kind = kinds
    return {
        decode(key_kind, key, f"{path}, key {key!r},"): decode(inner_kind, inner, f"{path}.{key}")
        for key, inner in require_object(value, path).items()
    }


def _decode_choice(choices: tuple[str, ...], value: Any, path: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise _wrong(value, path, f"one of {', '.join(choices)}")
    return value


def _required(kind: Any) -> set[str]:
    return {key for member, key, _ in _members(kind) if not member.metadata.get("optional")}


def _decode_tuple(kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, path, "a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _wrong(value, path, f"a list of {len(kinds)}")
    return tuple(
        decode(kind, inner, f"{path}[{i}]") for i, (kind, inner) in enumerate(zip(kinds, value, strict=True))
    )


def _decode_dataclass(kind: Any, value: Any, path: str) -> Any:
    object_ = require_object(value, path)
    if hasattr(kind, "from_fields"):
        return kind.from_fields(object_, path)
    decoded = decode_fields(kind, object_, path)
    for key in unknown_fields(kind, object_):
        raise UsageError(f"The field {_join(path, key)} is unknown to this version.")
    return kind(**decoded)


def _decode_scalar(kind: Any, value: Any, path: str) -> Any:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(value, path, _NAMES[kind])
    return require_json(value, path)


def _wrong(value: Any, path: str, expected: str) -> UsageError:
    return UsageError(f"The field {path} is {one_line(repr(value), 60)}, but it must be {expected}.")
