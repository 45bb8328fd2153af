"""Settings of a pydantic model as fields of a form: of a destination, or of a connection's list.

A field of the form is called as the setting, behind a prefix that says whose it is. Secrets are never written into a page.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from engage_pipelines.server.console.forms import WHOLE, Problems

OPERATORS = "files_dir"
"""The setting that the operator makes, never a form."""


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting as a form shows it: `kind` is text, secret, truth, maybe (true, false or not said), number, choice or json."""

    name: str
    kind: str
    hint: str
    required: bool
    value: str
    choices: Sequence[str] = ()


def fields_of(
    model: type[BaseModel], kept: Mapping[str, Any], given: Mapping[str, str] | None, *, prefix: str, secret: frozenset[str] = frozenset()
) -> list[SettingField]:
    """The settings of a model: with what someone typed, secrets left out of that, or as they are kept, secrets masked."""
    fields = {name: info for name, info in model.model_fields.items() if name != OPERATORS}
    return [_field(name, info, kept, given, prefix=prefix, is_secret=name in secret) for name, info in fields.items()]


def _field(
    name: str, info: FieldInfo, kept: Mapping[str, Any], given: Mapping[str, str] | None, *, prefix: str, is_secret: bool
) -> SettingField:
    kind, choices = _kind(info, is_secret=is_secret)
    value = kept.get(name, "" if info.default is PydanticUndefined else info.default)
    text = _as_text(value, kind)
    if given is not None and not is_secret:
        text = given.get(f"{prefix}{name}", "")
    return SettingField(name, kind, info.description or "", info.is_required(), text, choices)


def _kind(info: FieldInfo, *, is_secret: bool) -> tuple[str, Sequence[str]]:
    schema = _plain_schema(info)
    if is_secret and schema.get("type", "string") == "string":
        return "secret", ()
    if "enum" in schema:
        return "choice", [str(each) for each in schema["enum"]]
    if schema.get("type") == "boolean" and info.default is None:
        return "maybe", ()
    kinds = {"boolean": "truth", "integer": "number", "number": "number", "string": "text"}
    return kinds.get(str(schema.get("type")), "json"), ()


def _plain_schema(info: FieldInfo) -> Mapping[str, Any]:
    kind: Any = info.annotation
    schema: dict[str, Any] = TypeAdapter(kind).json_schema()
    options = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return options[0] if len(options) == 1 else schema


def _as_text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if kind == "truth":
        return "on" if value else ""
    if kind == "maybe":
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, default=str) if kind == "json" else str(value)


def read_fields(form: Mapping[str, str], fields: Sequence[SettingField], problems: Problems, *, prefix: str) -> dict[str, Any]:
    """The settings that a form says; an empty field is left out, so that its default holds."""
    settings: dict[str, Any] = {}
    for each in fields:
        text = form.get(f"{prefix}{each.name}", "").strip()
        if each.kind == "truth":
            settings[each.name] = bool(text)
        elif text and each.kind == "json":
            try:
                settings[each.name] = json.loads(text)
            except (ValueError, RecursionError):
                problems.add(f"{prefix}{each.name}", "It is not JSON.", "Lists are written in brackets, objects in braces.")
        elif text:
            settings[each.name] = text
        elif each.required:
            problems.add(f"{prefix}{each.name}", "It is missing.", each.hint)
    return settings


def place_beside(problems: Problems, model: type[BaseModel], *, prefix: str) -> None:
    """What is said of the form as a whole, beside the setting that it speaks of."""
    error = problems.found.get(WHOLE)
    if error is None:
        return
    for name in model.model_fields:
        if f" {name}:" in error.what or error.what.startswith((f"{name} ", f"{name}:")):
            problems.found[f"{prefix}{name}"] = problems.found.pop(WHOLE)
            return
