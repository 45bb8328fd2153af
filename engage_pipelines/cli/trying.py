"""Trying a destination's credentials or place, and the words for what comes back."""

import click

from engage_pipelines.destinations.base import Accepted, Pause, Stop
from engage_pipelines.domain.errors import EngageError, SyncStoppedError
from engage_pipelines.registry.access_tokens import settings_for_sending
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.types import find_type


def try_destination(registry: Registry, row: Row, key: str) -> None:
    """Say that the destination of that row, which people call `key`, works. Raises SyncStoppedError or EngageError with the reason."""
    type_ = find_type(registry.types, row.type)
    verdict = type_.test(settings_for_sending(registry, type_, row))
    match verdict:
        case Accepted():
            click.echo(f"Destination {key} works.")
        case Stop():
            raise SyncStoppedError(f"Destination {key!r} refuses: {verdict.reason}", verdict.remedy)
        case Pause():
            raise EngageError(f"Destination {key!r} asks to wait {verdict.after_s:g} s.", "Try again then.")
        case _:
            raise EngageError(f"Destination {key!r} does not work: {verdict.reason}", "Check its settings, and try again.")
