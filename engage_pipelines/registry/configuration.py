"""Configuration files: what may stand in them (see docs/configuration.md), read and checked before anything is changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConfigurationError, InputError
from engage_pipelines.domain.query.instants import instant_us
from engage_pipelines.registry.cadence import DEFAULT_CADENCE
from engage_pipelines.registry.yaml_marks import Marked, Place, read_yaml

_LEVELS = {"user": Level.USER, "USERS": Level.USER, "account": Level.ACCOUNT, "ACCOUNTS": Level.ACCOUNT}


def read_instant(text: str) -> int:
    """UTC microseconds since 1970. Raises ConfigurationError for a text that is no instant."""
    at_us = instant_us(text)
    if at_us is None:
        raise ConfigurationError(f"{text!r} is not an instant.", "Write it like 2008-01-01T00:00:00Z.")
    return at_us


def read_level(text: str) -> Level:
    """The level that `user`, `account`, `USERS` or `ACCOUNTS` stands for. Raises ConfigurationError for other words."""
    if text not in _LEVELS:
        raise ConfigurationError(f"{text!r} is no level.", "Write user or account.")
    return _LEVELS[text]


def _instant(value: object) -> int | None:
    if value is None:
        return None
    at_us = instant_us(value) if isinstance(value, str) else None
    if at_us is None:
        raise ValueError("it is not an instant; write it like 2008-01-01T00:00:00Z")
    return at_us


def _level(value: object) -> Level:
    if value not in _LEVELS:
        raise ValueError("it is no level; write user or account")
    return _LEVELS[str(value)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class SpaceEntry(_Entry):
    key: str
    name: str = ""
    evaluate_at: Annotated[int | None, BeforeValidator(_instant)] = None
    one_configuration_per_type: Literal["space", "audience"] = "space"


class SourceDestinationEntry(_Entry):
    key: str
    type: str
    name: str = ""
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class SourceEntry(_Entry):
    key: str
    name: str = ""
    destinations: list[SourceDestinationEntry] = Field(default_factory=list[SourceDestinationEntry])


class DestinationEntry(_Entry):
    key: str
    type: str | None = None
    import_from: str | None = None
    name: str = ""
    settings: dict[str, JsonValue] | None = None
    enabled: bool = True


class AudienceEntry(_Entry):
    key: str
    level: Annotated[Level, BeforeValidator(_level)] = Level.USER
    definition: str
    name: str = ""
    description: str = ""
    cadence: str = DEFAULT_CADENCE
    options: dict[str, JsonValue] = Field(default_factory=dict)
    enabled: bool = True


class MappingEntry(_Entry):
    destination: str
    name: str
    trigger: str
    action: str
    fields: dict[str, JsonValue] | None = None
    enabled: bool = False


class ConnectionEntry(_Entry):
    audience: str
    destination: str
    calls: list[Literal["group", "identify", "track"]] = Field(default_factory=list[Literal["group", "identify", "track"]])
    backfill: bool | None = None
    ids: list[str] | None = None
    paused: bool | None = None


class Document(_Entry):
    """One file."""

    space: SpaceEntry | str | None = None
    sources: list[SourceEntry] = Field(default_factory=list[SourceEntry])
    destinations: list[DestinationEntry] = Field(default_factory=list[DestinationEntry])
    audiences: list[AudienceEntry] = Field(default_factory=list[AudienceEntry])
    mappings: list[MappingEntry] = Field(default_factory=list[MappingEntry])
    connections: list[ConnectionEntry] = Field(default_factory=list[ConnectionEntry])


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A file that was read and fits the model; the rules that need the registry are checked when it is applied."""

    document: Document
    marked: Marked

    @property
    def owner(self) -> str:
        """What `managed_by` says of the things in it."""
        return f"config:{self.marked.file}"


def read_folder(folder: Path) -> list[ConfigurationFile]:
    """Every `*.yaml` and `*.yml` of the folder, by name, or the one file.

    Raises InputError, or ConfigurationError naming file, line and value.
    """
    folder = folder.expanduser().resolve()
    if folder.is_file():
        return [_read(folder)]
    if not folder.is_dir():
        raise InputError(f"{folder} is neither a folder nor a file.", "Name the folder that holds the YAML files.")
    files = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file())
    if not files:
        raise InputError(f"{folder} holds no *.yaml or *.yml file.", "Name the folder that holds the configuration.")
    return [_read(file) for file in files]


def _read(file: Path) -> ConfigurationFile:
    marked = read_yaml(file)
    data = {} if marked.data is None else marked.data
    try:
        return ConfigurationFile(Document.model_validate(data), marked)
    except ValidationError as error:
        problems = list(_problems(error, marked))
        more = f" ({len(problems) - 1} more below)" if len(problems) > 1 else ""
        raise ConfigurationError("\n".join([f"{problems[0]}{more}", *problems[1:]]), "See docs/configuration.md.") from None


def _problems(error: ValidationError, marked: Marked) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False):
        # the branches of `space: key` and `space: {...}` are the model's, not the writer's
        place: Place = tuple(part for part in problem["loc"] if part not in {"SpaceEntry", "str"})
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        yield f"{marked.where(place)}: {message}{_shown(problem['input'], place)}"


def _shown(value: object, place: Place) -> str:
    # settings may hold a secret, and a whole entry is no help
    if "settings" in place or isinstance(value, dict | list):
        return ""
    return f" (it is {value!r})" if len(repr(value)) <= 80 else f" (it begins {repr(value)[:60]}...)"


def settings_of(entry: DestinationEntry | SourceDestinationEntry) -> dict[str, Any]:
    return dict(entry.settings or {})
