"""The fields of a mapping as inputs of a form: where each comes from, and what it is; read from a mapping, and written back.

Each field of the action's schema is a `Row`; what a mapping holds besides has rows of its own. A row says where the value comes from:

| source | value |
|---|---|
| none | nothing is sent |
| path | the first of some paths of the record that is there |
| literal | a value of its own, of the kind of the field |
| template | a text with values of the record in double braces |
| fields | an object of known fields, each a row |
| rows | an object of names that people choose, or a list: each a row |
| json | anything else that the mapping kit can say |
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from engage_pipelines.destinations.base import SYNC_MODE, Action
from engage_pipelines.destinations.fields import Field
from engage_pipelines.domain.mapping import validate_mapping
from engage_pipelines.server.console.forms import Problems

ANY = "any"
MOST_ROWS = 100
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?\Z")
_WHOLE = re.compile(r"-?\d{1,15}\Z")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Row:
    """One value: `at` is what its inputs are called by; `key` is the name that people chose, of a row of an object."""

    at: str
    name: str
    kind: str
    source: str
    text: str = ""
    hint: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    rows: tuple["Row", ...] = ()
    key: str = ""
    is_extra: bool = False

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """What can be chosen, with words."""
        if self.kind == "object":
            own = (("fields", "field by field"),) if self.source == "fields" or self.has_fields else (("rows", "names and values"),)
        elif self.kind == "array":
            own = (("rows", "a list of values"),)
        else:
            text = self.kind in {"string", ANY} and not self.choices
            own = (("literal", "a fixed value"), *((("template", "text with variables"),) if text else ()))
        return (("none", "not sent"), ("path", "from the record"), *own, ("json", "as JSON"))

    @property
    def has_fields(self) -> bool:
        return any(not row.key and not row.is_extra for row in self.rows) and self.kind == "object"

    @property
    def is_sent(self) -> bool:
        return self.source != "none"


def has_form(fields: Mapping[str, Any]) -> bool:
    """Whether a mapping is an object of fields, and not one directive that makes the whole payload."""
    return not any(name.startswith("@") for name in fields)


# ---- from a mapping


def rows_of(fields: Mapping[str, Any], action: Action) -> list[Row]:
    """A row for each field of the action, then one for each further name that the mapping has."""
    inputs = _inputs(action)
    rows = [_of_field(f"f.{number}", one, fields.get(one.name, _MISSING)) for number, one in enumerate(inputs)]
    known = {one.name for one in inputs}
    extra = [name for name in fields if name not in known]
    first = len(inputs)
    return rows + [
        replace(_of_value(f"f.{first + number}", ANY, fields[name]), name=name, is_extra=True) for number, name in enumerate(extra)
    ]


def _inputs(action: Action) -> Sequence[Field]:
    """The typed fields; of an action that takes any object none, its default mapping has names of its own."""
    if action.sync_modes and all(one.name != SYNC_MODE for one in action.inputs):
        return (*action.inputs, Field(SYNC_MODE, description="What may happen to records.", choices=action.sync_modes))
    return action.inputs


def _of_field(at: str, one: Field, value: Any) -> Row:
    row = _of_value(at, one.type, value, one)
    return replace(row, name=one.name, hint=one.description, required=one.required, choices=one.choices)


def _of_value(at: str, kind: str, value: Any, one: Field | None = None) -> Row:
    sub = one.fields if one is not None else ()
    if value is _MISSING:
        return Row(at, "", kind, "none", rows=_of_fields(at, sub, {}))
    paths = _paths(value)
    if paths is not None:
        return Row(at, "", kind, "path", ", ".join(paths), rows=_of_fields(at, sub, {}))
    if kind == "object" and isinstance(value, dict) and value and has_form(cast("dict[str, Any]", value)):
        return _of_object(at, cast("dict[str, Any]", value), sub)
    if kind == "array" and isinstance(value, list) and value:
        items = [replace(_of_value(f"{at}.{n}", ANY, item), is_extra=True) for n, item in enumerate(cast("list[Any]", value))]
        return Row(at, "", kind, "rows", rows=tuple(items))
    if kind in {"string", ANY} and isinstance(value, dict) and list(cast("dict[str, Any]", value)) == ["@template"]:
        text = cast("dict[str, Any]", value)["@template"]
        if isinstance(text, str):
            return Row(at, "", kind, "template", text)
    text = _literal_text(value, kind, one.choices if one is not None else ())
    if text is not None:
        return Row(at, "", kind, "literal", text)
    return Row(at, "", kind, "json", json.dumps(value, ensure_ascii=False, indent=2), rows=_of_fields(at, sub, {}))


def _of_object(at: str, value: Mapping[str, Any], sub: Sequence[Field]) -> Row:
    if sub and value.keys() <= {one.name for one in sub}:
        return Row(at, "", "object", "fields", rows=_of_fields(at, sub, value))
    if sub:
        return Row(at, "", "object", "json", json.dumps(value, ensure_ascii=False, indent=2), rows=_of_fields(at, sub, {}))
    rows = [replace(_of_value(f"{at}.{n}", ANY, inner), key=name, is_extra=True) for n, (name, inner) in enumerate(value.items())]
    return Row(at, "", "object", "rows", rows=tuple(rows))


def _of_fields(at: str, sub: Sequence[Field], value: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(_of_field(f"{at}.{number}", one, value.get(one.name, _MISSING)) for number, one in enumerate(sub))


def _paths(value: Any) -> list[str] | None:
    """The paths of which the first one that is there is taken; None for a value that is not just that."""
    if not isinstance(value, dict):
        return None
    node = cast("dict[str, Any]", value)
    if list(node) == ["@path"] and isinstance(node["@path"], str) and "," not in node["@path"]:
        return [node["@path"]]
    options = node.get("@if")
    if list(node) != ["@if"] or not isinstance(options, dict):
        return None
    choice = cast("dict[str, Any]", options)
    if choice.keys() != {"exists", "then", "else"} or choice["exists"] != choice["then"]:
        return None
    first, others = _paths(choice["then"]), _paths(choice["else"])
    return None if first is None or others is None or len(first) > 1 else [*first, *others]


def _literal_text(value: Any, kind: str, choices: Sequence[str]) -> str | None:
    if kind == "boolean":
        return ("true" if value else "false") if isinstance(value, bool) else None
    if kind in {"number", "integer"}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return json.dumps(value) if is_number and _NUMBER.match(json.dumps(value)) else None
    if not isinstance(value, str) or value == "" or kind in {"object", "array"}:
        return None
    return value if not choices or value in choices else None


# ---- from a form


def rows_in(form: Mapping[str, str], action: Action) -> list[Row]:
    """The rows as a form says them; rows that were dropped are gone, and one is added where that was asked for."""
    inputs = _inputs(action)
    rows = [_field_in(form, f"f.{number}", one) for number, one in enumerate(inputs)]
    extra = [at for at in _numbered(form, "f", "name") if int(at.rpartition(".")[2]) >= len(inputs)]
    kept = [at for at in extra if at != form.get("drop")]
    rows += [replace(_row_in(form, at, ANY), name=form.get(f"{at}.name", "").strip(), is_extra=True) for at in kept]
    if form.get("add") == "f" and len(rows) < MOST_ROWS:
        rows.append(Row(f"f.{len(inputs) + len(extra)}", "", ANY, "path", is_extra=True))
    return rows


def _field_in(form: Mapping[str, str], at: str, one: Field) -> Row:
    row = _row_in(form, at, one.type)
    if one.fields:
        row = replace(row, rows=tuple(_field_in(form, f"{at}.{number}", inner) for number, inner in enumerate(one.fields)))
    return replace(row, name=one.name, hint=one.description, required=one.required, choices=one.choices)


def _row_in(form: Mapping[str, str], at: str, kind: str) -> Row:
    source, text = form.get(f"{at}.from", "none"), form.get(f"{at}.value", "")
    row = Row(at, "", kind, source, text if source in {"json", "literal", "template"} else text.strip())
    if kind not in {"object", "array"}:
        return row
    names = _numbered(form, at, "from")
    rows = [replace(_row_in(form, one, ANY), key=form.get(f"{one}.key", "").strip(), is_extra=True) for one in names]
    kept = [one for one in rows if one.at != form.get("drop")]
    wants_first = source == "rows" and not names
    if (form.get("add") == at or wants_first) and len(kept) < MOST_ROWS:
        kept.append(Row(f"{at}.{len(names)}", "", ANY, "path", is_extra=True))
    return replace(row, rows=tuple(kept))


def _numbered(form: Mapping[str, str], at: str, last: str) -> list[str]:
    """The places below `at` that the form has an input of that name for, in order."""
    sign = re.compile(rf"{re.escape(at)}\.(\d{{1,4}})\.{last}\Z")
    found = [sign.match(name) for name in form]
    return [f"{at}.{number}" for number in sorted(int(one[1]) for one in found if one is not None)][:MOST_ROWS]


# ---- to a mapping


def fields_in(rows: Sequence[Row], problems: Problems) -> dict[str, Any]:
    """The mapping that the rows say; what cannot be used is noted beside its row."""
    return _object_of([(row.name, row) for row in rows], problems)


def _object_of(named: Sequence[tuple[str, Row]], problems: Problems) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, row in named:
        value = _value_of(row, problems)
        if value is _MISSING:
            if row.required:
                problems.add(row.at, f"{name} is required.", "Say where it comes from.")
        elif not name or name.startswith("@"):
            problems.add(row.at, "It has no name that a field can have." if not name else f"{name[:40]!r} begins with @.", "Name it.")
        elif name in found:
            problems.add(row.at, f"{name[:40]!r} is there twice.", "Take one of them out.")
        else:
            found[name] = value
    return found


def _value_of(row: Row, problems: Problems) -> Any:
    match row.source:
        case "none":
            return _MISSING
        case "path":
            return _path_value(row, problems)
        case "literal":
            return _literal_value(row, problems)
        case "template" if row.kind in {"string", ANY}:
            return _checked({"@template": row.text}, row, problems) if row.text else _MISSING
        case "fields" if row.kind == "object":
            return _object_of([(one.name, one) for one in row.rows], problems) or _MISSING
        case "rows" if row.kind == "object":
            return _object_of([(one.key, one) for one in row.rows], problems) or _MISSING
        case "rows" if row.kind == "array":
            return [value for one in row.rows if (value := _value_of(one, problems)) is not _MISSING] or _MISSING
        case "json":
            return _json_value(row, problems)
        case _:
            problems.add(row.at, f"{row.source[:40]!r} is nothing that {row.name or 'it'} can come from.", "Choose another.")
            return _MISSING


def _path_value(row: Row, problems: Problems) -> Any:
    paths = [part.strip() for part in row.text.split(",") if part.strip()]
    if not paths:
        problems.add(row.at, "No path is named.", "Write one such as $.traits.email, or several with commas between them.")
        return _MISSING
    wrong = next((path for path in paths if not path.startswith("$.") and path != "$"), None)
    if wrong is not None:
        problems.add(row.at, f"{wrong[:60]!r} is no path of the record.", "Paths begin with $. as in $.traits.email.")
        return _MISSING
    value: dict[str, Any] = {"@path": paths[-1]}
    for path in reversed(paths[:-1]):
        value = {"@if": {"exists": {"@path": path}, "then": {"@path": path}, "else": value}}
    return _checked(value, row, problems)


def _literal_value(row: Row, problems: Problems) -> Any:
    text = row.text if row.kind in {"string", ANY} else row.text.strip()
    if text == "":
        return _MISSING
    if row.choices and text not in row.choices:
        problems.add(row.at, f"{text[:40]!r} is none of {', '.join(row.choices)}.", "Choose one of them.")
        return _MISSING
    if row.kind == "boolean":
        if text in {"true", "false"}:
            return text == "true"
        problems.add(row.at, f"{text[:40]!r} is neither true nor false.", "Choose one of the two.")
        return _MISSING
    if row.kind in {"number", "integer"}:
        if (_WHOLE if row.kind == "integer" else _NUMBER).match(text):
            return json.loads(text.lstrip("0") or "0") if text.isdigit() else float(text) if "." in text else int(text)
        problems.add(row.at, f"{text[:40]!r} is not a {'whole ' if row.kind == 'integer' else ''}number.", "Write digits.")
        return _MISSING
    return text


def _json_value(row: Row, problems: Problems) -> Any:
    try:
        value = json.loads(row.text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        problems.add(row.at, "It is not JSON.", "Texts stand in double quotes, objects in braces.")
        return _MISSING
    return _checked(value, row, problems)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _checked(value: Any, row: Row, problems: Problems) -> Any:
    """The value, with what the mapping kit has against it noted beside the row."""
    wrong = validate_mapping({"value": value})
    if wrong:
        problems.add(row.at, f"It cannot be used: {wrong[0].removeprefix('/value').lstrip(': ')[:300]}.", "Correct it.")
    return value
