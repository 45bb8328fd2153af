"""Settings of a destination: checked against its type's model, stored with secrets kept, resolved for a run, masked for people.

A secret is any text that the model wants as `pydantic.SecretStr`, also inside lists, maps and nested models.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.registry.secrets import BULLETS, Vault, is_reference, masked

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import DestinationType

_PLACES = frozenset({"endpoint", "url", "host", "domain", "server"})
"""Last words of the names of settings that say where requests go."""

_OnSecret = Callable[[str, str], Any]
"""From the secret's text and its field's name to what takes its place."""


@dataclass(frozen=True, slots=True)
class SettingsDesk:
    """What settings are checked and resolved with: the vault, and the operator's folder for file destinations."""

    vault: Vault
    files_dir: Path

    def keep(self, info: "DestinationType", given: Mapping[str, Any], *, old: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What to store for the settings that someone gave; bullets keep the old secret.

        Raises ConfigurationError with every problem, and for a secret that would be kept unseen and be sent elsewhere from now on.
        """
        before = _secrets_in(info, old or {})
        unseen: list[str] = []

        def keep_one(text: str, field: str) -> str:
            if before.get(field) == text and not is_reference(text):
                unseen.append(field)
            if "•" not in text:
                kept = before.get(field)
                return kept if kept is not None and self.vault.holds(kept, text) else self.vault.keep(text, field=field)
            if field not in before:
                raise ConfigurationError(f"{field} is masked and there is no old value.", "Give a reference: env:NAME or file:/path.")
            if not is_reference(before[field]):
                unseen.append(field)
            return before[field]

        stored = replace_secrets(info, given, keep_one)
        self.describe(info, stored)
        if unseen and old is not None:
            _check_same_place(info, old, stored, unseen)
        return stored

    def describe(self, info: "DestinationType", stored: Mapping[str, Any]) -> Any:
        """The settings object with references in place of the secrets: enough to say what a connection would own outside."""
        return info.configure(stored, files_dir=self.files_dir)

    def resolve(self, info: "DestinationType", stored: Mapping[str, Any]) -> Any:
        """The type's settings object with every secret in it; for the process that is about to send, and for nothing else.

        Raises StateError when a secret is not there, ConfigurationError when the settings no longer fit the type.
        """
        resolved = replace_secrets(info, stored, lambda text, field: self.vault.resolve(text, field=field))
        return info.configure(resolved, files_dir=self.files_dir)


def _check_same_place(info: "DestinationType", old: Mapping[str, Any], new: Mapping[str, Any], unseen: Sequence[str]) -> None:
    """Whoever may change an address need not know the secrets, and must not have them sent to an address of theirs."""
    secret = secret_fields(info)
    names = [name for name in info.settings_model.model_fields if name not in secret and (_leads(name, old.get(name), new.get(name)))]
    moved = [name for name in names if _place(old.get(name)) != _place(new.get(name))]
    if moved:
        raise ConfigurationError(
            f"{', '.join(moved)} leads elsewhere now, and {', '.join(unseen)} would be sent there without being given again.",
            f"Give {', '.join(unseen)} again, or a reference: env:NAME or file:/path.",
        )


def _leads(name: str, *values: Any) -> bool:
    """Whether a setting says where requests go."""
    return name.rpartition("_")[2] in _PLACES or any(isinstance(value, str) and "://" in value for value in values)


def _place(value: Any) -> Any:
    """Of an address who is reached there; another path at the same host is the same place."""
    if not isinstance(value, str):
        return value
    parts = urlsplit(value.strip().lower())
    return (parts.scheme, parts.netloc) if parts.netloc else value.strip().lower()


def masked_settings(info: "DestinationType", stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as people, audit rows and lists may see them."""
    return replace_secrets(info, stored, lambda text, _field: masked(text))


def secret_fields(info: "DestinationType") -> frozenset[str]:
    """The top-level settings that hold a secret."""
    return frozenset(name for name, field in info.settings_model.model_fields.items() if _holds_secret(field.annotation))


def replace_secrets(info: "DestinationType", settings: Mapping[str, Any], on_secret: _OnSecret) -> dict[str, Any]:
    """The settings with what `on_secret` gives in place of each secret; it is told the text and the field, like `headers.x`."""
    fields = info.settings_model.model_fields
    return {name: _walk(fields[name].annotation, value, name, on_secret) if name in fields else value for name, value in settings.items()}


def _secrets_in(info: "DestinationType", stored: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}

    def note(text: str, field: str) -> str:
        found[field] = text
        return BULLETS

    replace_secrets(info, stored, note)
    return found


def _walk(annotation: Any, value: Any, field: str, on_secret: _OnSecret) -> Any:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _walk(arguments[0], value, field, on_secret)
    if isinstance(value, str):
        return on_secret(value, field) if _is_secret(annotation) else value
    if origin in {Union, types.UnionType}:
        for argument in arguments:
            if _holds_secret(argument):
                return _walk(argument, value, field, on_secret)
        return value
    if isinstance(value, Mapping):
        inner = _annotations_inside(annotation)
        return {key: _walk(inner(key), item, f"{field}.{key}", on_secret) for key, item in value.items()}
    if isinstance(value, list | tuple) and arguments:
        return [_walk(arguments[0], item, f"{field}.{index}", on_secret) for index, item in enumerate(value)]
    return value


def _annotations_inside(annotation: Any) -> Callable[[str], Any]:
    arguments = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return lambda key: fields[key].annotation if key in fields else None
    return lambda _key: arguments[1] if len(arguments) == 2 else None


def _is_secret(annotation: Any) -> bool:
    if annotation is SecretStr:
        return True
    return get_origin(annotation) in {Union, types.UnionType, Annotated} and any(_is_secret(one) for one in get_args(annotation))


def _holds_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_holds_secret(field.annotation) for field in annotation.model_fields.values())
    return annotation is SecretStr or any(_holds_secret(one) for one in get_args(annotation))
