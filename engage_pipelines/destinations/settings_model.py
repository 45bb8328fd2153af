"""The settings of a destination: a pydantic model whose secrets are known by their type, and the store of its access token."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr

from engage_pipelines.destinations.authentication import MemoryTokens, TokenStore


class Settings(BaseModel):
    """Base of every type's settings; a secret is a field of type `pydantic.SecretStr`, `SecretStr | None` when it may be missing.

    A field named `files_dir` is the operator's: the engine fills it in, whoever writes the settings may not (`DestinationType.configure`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)

    _tokens: TokenStore = PrivateAttr(default_factory=MemoryTokens)

    @property
    def tokens(self) -> TokenStore:
        """Where the access token lives, for types with OAuth 2: in memory unless the engine says otherwise."""
        return self._tokens

    def keep_tokens_in(self, store: TokenStore) -> None:
        """From now on the access token lives there; the engine's store outlives the process and is shared by its workers."""
        self._tokens = store

    @classmethod
    def secret_fields(cls) -> frozenset[str]:
        """Names of the fields that hold secrets."""
        return frozenset(name for name, field_ in cls.model_fields.items() if _mentions_secret(field_.annotation))

    def secret_values(self) -> tuple[str, ...]:
        """Every secret there is, for taking them out of texts that people see."""
        return tuple(secret for name in sorted(self.secret_fields()) for secret in _secrets_in(getattr(self, name)) if secret)


def _mentions_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_mentions_secret(inner) for inner in getattr(annotation, "__args__", ()))


def _secrets_in(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        yield from _secrets_in(list(cast(Mapping[Any, Any], value).values()))
    elif isinstance(value, list | tuple):
        for inner in cast(Sequence[Any], value):
            yield from _secrets_in(inner)


def form_schema(model: type[Settings]) -> dict[str, Any]:
    """The settings as JSON Schema, for forms: secrets are `writeOnly`, what the operator fills in is left out."""
    schema = model.model_json_schema()
    schema.get("properties", {}).pop("files_dir", None)
    required = [name for name in schema.get("required", []) if name != "files_dir"]
    return {**schema, "required": required}
