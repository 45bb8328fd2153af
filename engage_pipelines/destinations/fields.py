"""The typed fields of an action: what its payload may hold, where each value comes from unless a mapping says otherwise, how it is checked.

Fields are checked as Segment's actions are: null and empty values that a field does not allow are left out, simple values are converted
(a number to text, the text "12" to a number, one value to a list of one), what no field names is dropped, and what cannot be converted
is a problem that names the field and never the value.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

Kind = Literal["string", "integer", "number", "boolean", "object", "array", "datetime"]
Format = Literal["email", "uri", "date"]

_MISSING = object()


class UnusableError(ValueError):
    """A value of one record that the vendor cannot use: the record is rejected with these words, the others go. Holds no value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an action's payload.

    `default` is a directive of the mapping kit, or a plain value, None for no default. `items` is the kind of a list's items. `fields` are
    those of an object, empty when it may hold anything.
    """

    name: str
    type: Kind = "string"
    description: str = ""
    default: Any = None
    required: bool = False
    format: Format | None = None
    choices: tuple[str, ...] = ()
    null_allowed: bool = False
    items: Kind | None = None
    fields: tuple["Field", ...] = ()

    def schema(self) -> dict[str, Any]:
        """The field as JSON Schema, for forms."""
        types = {"datetime": ["string", "number"]}.get(self.type, self.type)
        shape: dict[str, Any] = {"type": types, "description": self.description}
        if self.null_allowed:
            shape["type"] = [*([types] if isinstance(types, str) else types), "null"]
        if self.format or self.type == "datetime":
            shape["format"] = self.format or "date-like"
        if self.choices:
            shape["enum"] = list(self.choices)
        if self.items:
            shape["items"] = {"type": self.items}
        if self.fields:
            shape |= _object_schema(self.fields)
        if self.default is not None:
            shape["default"] = self.default
        return shape


def path(where: str) -> dict[str, str]:
    """The directive that takes the value at a path of the record, such as `$.traits.email`."""
    return {"@path": where}


def first_of(where: str, otherwise: str) -> dict[str, Any]:
    """The directive that takes the value at the first path when there is one, and at the second when not."""
    return {"@if": {"exists": path(where), "then": path(where), "else": path(otherwise)}}


def default_mapping(fields: Sequence[Field]) -> dict[str, Any]:
    """What an action sends unless a mapping says otherwise."""
    return {one.name: one.default for one in fields if one.default is not None}


def fields_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """The payload of an action as JSON Schema, for forms; a default is a mapping, not a value."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_object_schema(fields), "additionalProperties": False}


def _object_schema(fields: Sequence[Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {one.name: one.schema() for one in fields},
        "required": [one.name for one in fields if one.required],
    }


def checked(payload: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """The payload as its fields allow it. Raises UnusableError that names every problem and no value."""
    problems: list[str] = []
    kept = _checked_object(payload, fields, problems, "")
    if problems:
        raise UnusableError("; ".join(problems))
    return kept


def _checked_object(payload: Mapping[str, Any], fields: Sequence[Field], problems: list[str], prefix: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for one in fields:
        value = payload.get(one.name, _MISSING)
        if value is None and one.null_allowed:
            kept[one.name] = None
            continue
        if value is _MISSING or value is None or value == "":
            if one.required:
                problems.append(f"{prefix}{one.name} is missing")
            continue
        fits = _converted(value, one, problems, prefix)
        if fits is not _MISSING:
            kept[one.name] = fits
    return kept


def _converted(value: Any, one: Field, problems: list[str], prefix: str) -> Any:
    place = f"{prefix}{one.name}"
    value = _CONVERT[one.type](value)
    if value is _MISSING:
        problems.append(f"{place} must be {_WORDS[one.type]}")
        return _MISSING
    if one.choices and value not in one.choices:
        problems.append(f"{place} must be one of {', '.join(one.choices)}")
        return _MISSING
    if one.format is not None and not _FORMATS[one.format](value):
        problems.append(f"{place} must be {_FORMAT_WORDS[one.format]}")
        return _MISSING
    if one.items is not None:
        return _items(value, one.items, place, problems)
    if one.fields:
        return _checked_object(value, one.fields, problems, f"{place}.")
    return value


def _items(values: list[Any], kind: Kind, place: str, problems: list[str]) -> list[Any]:
    kept = [_CONVERT[kind](item) for item in values if item is not None]
    if any(item is _MISSING for item in kept):
        problems.append(f"every item of {place} must be {_WORDS[kind]}")
    return kept


def _string(value: Any) -> Any:
    value = _only_item(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else _MISSING


def _number(value: Any) -> Any:
    value = _only_item(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _MISSING
        value = int(value) if value.is_integer() else value
    return value if isinstance(value, int | float) and math.isfinite(value) else _MISSING


def _integer(value: Any) -> Any:
    number = _number(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if isinstance(number, int) else _MISSING


def _boolean(value: Any) -> Any:
    value = _only_item(value)
    if isinstance(value, bool):
        return value
    return _TRUTH.get(value, _MISSING) if isinstance(value, str | int) else _MISSING


_TRUTH: dict[str | int, bool] = {"true": True, "false": False, 1: True, 0: False}


def _object(value: Any) -> Any:
    return cast(Any, value) if isinstance(value, dict) else _MISSING


def _array(value: Any) -> Any:
    return cast(Any, value) if isinstance(value, list) else [value]


def _datetime(value: Any) -> Any:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else _MISSING


def _only_item(value: Any) -> Any:
    items = cast(list[Any], value) if isinstance(value, list) else []
    return items[0] if len(items) == 1 else value


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "object": _object,
    "array": _array,
    "datetime": _datetime,
}
_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "datetime": "a date",
}
_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _is_uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path))


_FORMATS: dict[str, Callable[[Any], bool]] = {
    "email": lambda value: isinstance(value, str) and _EMAIL.fullmatch(value) is not None,
    "uri": lambda value: isinstance(value, str) and _is_uri(value),
    "date": lambda value: isinstance(value, str) and _DATE.fullmatch(value) is not None,
}
_FORMAT_WORDS = {"email": "an e-mail address", "uri": "a URL", "date": "a date such as 2026-03-01"}
