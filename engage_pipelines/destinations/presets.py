"""Presets in the words that every type uses: what a new connection sends, by the calls that people chose for it."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.destinations.base import Preset

_OF_THIS = 'context.personas.computation_key = "{key}"'


def membership(action: str, fields: Mapping[str, Any] | None = None) -> Preset:
    """Every Identify: a membership that changed, or a trait that got a new value."""
    return Preset("Membership and traits of people", "identify", f'type = "identify" and {_OF_THIS}', action, fields)


def entered_and_exited(action: str, fields: Mapping[str, Any] | None = None) -> Preset:
    """Both events, to one action."""
    return Preset("Audience Entered and Audience Exited", "track", f'type = "track" and {_OF_THIS}', action, fields)


def entered(action: str, call: str, fields: Mapping[str, Any] | None = None) -> Preset:
    """Those who come in, by Identify or by event, to an action of that direction."""
    return _directed("Entered", action, call, is_in=True, fields=fields)


def exited(action: str, call: str, fields: Mapping[str, Any] | None = None) -> Preset:
    """Those who go, by Identify or by event, to an action of that direction."""
    return _directed("Exited", action, call, is_in=False, fields=fields)


def accounts(action: str, fields: Mapping[str, Any] | None = None) -> Preset:
    """Every Group: the membership or a trait of an account."""
    return Preset("Membership and traits of accounts", "group", f'type = "group" and {_OF_THIS}', action, fields)


def list_pairs(add: str, remove: str) -> tuple[Preset, ...]:
    """The four presets of a type with one action that adds to a list and one that removes from it."""
    return tuple(made(action, call) for call in ("identify", "track") for made, action in ((entered, add), (exited, remove)))


def _directed(word: str, action: str, call: str, *, is_in: bool, fields: Mapping[str, Any] | None) -> Preset:
    place = {"identify": "traits", "track": "properties"}[call]
    value = "true" if is_in else "false"
    return Preset(f"{word} ({call})", call, f'type = "{call}" and {_OF_THIS} and {place}.{{key}} = {value}', action, fields)
