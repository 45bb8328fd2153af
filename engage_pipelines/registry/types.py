"""Destination types as the registry looks at them: found by name, with their actions and calls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.nearest import did_you_mean

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import Action, DestinationType


def supported_calls(type_: "DestinationType") -> frozenset[str]:
    """Every call that some action of the type takes."""
    return frozenset(call for action in type_.actions for call in action.calls)


def find_type(types: Mapping[str, "DestinationType"], key: str) -> "DestinationType":
    """The type called `key`. Raises NotFoundError with the nearest name."""
    if key not in types:
        raise NotFoundError(
            f"There is no destination type {key!r}.", did_you_mean(key, types, otherwise="See `engage destination catalog`.")
        )
    return types[key]


def find_action(type_: "DestinationType", key: str) -> "Action":
    """The action of the type called `key`. Raises NotFoundError with the nearest name."""
    actions = {action.key: action for action in type_.actions}
    if key not in actions:
        known = f"It has {', '.join(sorted(actions))}."
        raise NotFoundError(f"Destination type {type_.key!r} has no action {key!r}.", did_you_mean(key, actions, otherwise=known))
    return actions[key]
