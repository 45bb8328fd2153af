"""What the registry has to know of a destination type; every type of the catalogue fits, and the registry need not import any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.nearest import did_you_mean


class ActionInfo(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def calls(self) -> frozenset[str]: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...
    @property
    def direction(self) -> Literal["both", "entered", "exited"]: ...


class PresetInfo(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def call(self) -> str: ...
    @property
    def trigger(self) -> str: ...
    @property
    def action(self) -> str: ...


class TypeInfo(Protocol):
    """A destination type, as far as configuring and connecting goes."""

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def settings_model(self) -> type[BaseModel]: ...
    @property
    def actions(self) -> Sequence[ActionInfo]: ...
    @property
    def presets(self) -> Sequence[PresetInfo]: ...

    def configure(self, values: Mapping[str, Any], *, files_dir: Path) -> Any: ...

    def external_target(self, settings: Any, target: Any) -> str | None: ...


@dataclass(frozen=True, slots=True)
class TargetOfConnection:
    """What a type is told of the computation when it says which external list would be the connection's."""

    space: str
    computation: str
    level: Literal["user", "account"]
    generation: int = 0


def supported_calls(info: TypeInfo) -> frozenset[str]:
    """Every call that some action of the type takes."""
    return frozenset(call for action in info.actions for call in action.calls)


def find_type(types: Mapping[str, TypeInfo], key: str) -> TypeInfo:
    """The type called `key`. Raises NotFoundError with the nearest name."""
    if key not in types:
        raise NotFoundError(
            f"There is no destination type {key!r}.", did_you_mean(key, types, otherwise="See `engage destination catalog`.")
        )
    return types[key]


def find_action(info: TypeInfo, key: str) -> ActionInfo:
    """The action of the type called `key`. Raises NotFoundError with the nearest name."""
    actions = {action.key: action for action in info.actions}
    if key not in actions:
        known = f"It has {', '.join(sorted(actions))}."
        raise NotFoundError(f"Destination type {info.key!r} has no action {key!r}.", did_you_mean(key, actions, otherwise=known))
    return actions[key]
