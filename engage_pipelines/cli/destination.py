"""`engage destination`: the destinations of the space, and the types there are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import instant_text, output_option, show, show_one
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.domain.pacing import Pace, effective_rate, pace_words
from engage_pipelines.registry.destinations import (
    DestinationFields,
    NewDestination,
    create_destination,
    find_destination,
    find_on_source,
    import_configuration,
    list_destinations,
    remove_destination,
    update_destination,
)
from engage_pipelines.registry.lookup import Row, find_space
from engage_pipelines.registry.paces import read_paces
from engage_pipelines.registry.secrets import is_reference
from engage_pipelines.registry.sources import find_source
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.registry.type_settings import masked_settings, secret_fields
from engage_pipelines.registry.types import find_type
from engage_pipelines.settings import read_settings

_set = click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A setting; a secret as env:NAME or file:/path.")
_ask = click.option("--ask", multiple=True, metavar="NAME", help="Ask for this secret without showing it; needs ENGAGE_KEYS.")
_max_rate = click.option(
    "--max-requests-per-s",
    "max_rate",
    type=float,
    metavar="N",
    help="Send no faster than this, all its connections together; 0 leaves it at the type's own limit.",
)

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import DestinationType


@click.group()
def destination() -> None:
    """Destinations and their types."""


@destination.command("list")
@output_option
def list_(*, output: str) -> None:
    """The destinations of the space."""
    settings = read_settings()
    with open_database(settings).read() as c:
        rows = [_row(row) for row in list_destinations(c, find_space(c, settings.space).id)]
    show(rows, output=output, empty="There is no destination. Make one with: engage destination create KEY --type TYPE")


@destination.command("show")
@click.argument("key")
@output_option
def show_(key: str, *, output: str) -> None:
    """One destination, KEY or SOURCE/KEY, with its settings; secrets are masked."""
    registry = open_registry()
    with registry.database.read() as c:
        row = _find(c, find_space(c, registry.space).id, key)
        found, now = read_paces(c, [row.id]).get(row.id, Pace()), registry.database.now_us(c)
    info = find_type(registry.types, row.type)
    pace = {
        "requests_per_s": effective_rate(info.limits.requests_per_s, row.max_requests_per_s, found.slowed_to),
        "max_requests_per_s": row.max_requests_per_s,
        "now": "; ".join(pace_words(found, paused_until_us=row.paused_until, now_us=now)) or "as usual",
    }
    settings = masked_settings(info, row.settings)
    rest = {"managed_by": row.managed_by, "created_at": instant_text(row.created_at)}
    show_one({**_row(row), "settings": settings, **pace, **rest}, output=output)


@destination.command()
@output_option
def catalog(*, output: str) -> None:
    """Every destination type: how it is logged in to, how it takes membership, what a repeat does, what it needs to be told."""
    rows = [
        {
            "type": one.key,
            "name": one.name,
            "login": _login(one),
            "takes": str(one.membership_as),
            "repeats": _repeats(one),
            "calls": sorted({call for action in one.actions for call in action.calls}),
            "own_list": one.creates_lists,
            "settings": [name for name in one.settings_model.model_fields if name != "files_dir"],
            "description": one.description,
        }
        for one in destination_types().values()
    ]
    show(rows, output=output)


@destination.command()
@click.argument("key")
@click.option("--type", "type_key", required=True, help="See `engage destination catalog`.")
@click.option("--name", default="", help="What people read; the key unless said.")
@click.option("--source", "source_key", help="Keep it on this source, for spaces to import, instead of in the space.")
@_max_rate
@_set
@_ask
def create(
    key: str, *, type_key: str, name: str, source_key: str | None, max_rate: float | None, given: Sequence[str], ask: Sequence[str]
) -> None:
    """Make the destination KEY."""
    registry = open_registry()
    settings = _settings(find_type(registry.types, type_key), given, ask)
    with registry.change() as change:
        space = ensure_space(change)
        on = None if source_key is None else find_source(change.c, space.id, source_key)
        create_destination(change, space, NewDestination(key, type_key, settings, name, max_requests_per_s=max_rate or None), on=on)
    click.echo(f"Destination {f'{source_key}/' if source_key else ''}{key} is there.")


@destination.command("import")
@click.argument("path", metavar="SOURCE/DESTINATION")
@click.option("--key", default="", help="Key in the space; the same unless said.")
@click.option("--name", default="", help="What people read; the same unless said.")
def import_(path: str, *, key: str, name: str) -> None:
    """Copy a configuration from a source into the space: settings, secrets by reference, mappings switched off."""
    with open_registry().change() as change:
        row = import_configuration(change, ensure_space(change), path, key=key, name=name)
    click.echo(f"Destination {row.key} is there, imported from {path}.")


@destination.command()
@click.argument("key")
@click.option("--name", help="What people read.")
@click.option("--enable/--disable", "enabled", default=None, help="Disabled: nothing is sent, what is owed stays owed.")
@_max_rate
@_set
@_ask
def update(key: str, *, name: str | None, enabled: bool | None, max_rate: float | None, given: Sequence[str], ask: Sequence[str]) -> None:
    """Change the destination KEY; settings that are not named stay."""
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        row = find_destination(change.c, space.id, key)
        fields: DestinationFields = {}
        if name is not None:
            fields["name"] = name
        if enabled is not None:
            fields["enabled"] = enabled
        if max_rate is not None:
            fields["max_requests_per_s"] = max_rate or None
        if given or ask:
            fields["settings"] = {**row.settings, **_settings(change.type_of(row.type), given, ask)}
        after = update_destination(change, space, row, **fields)
    click.echo(f"Destination {key} {'is unchanged' if after == row else 'is changed'}.")


@destination.command()
@click.argument("key")
def remove(key: str) -> None:
    """Remove the destination KEY; its audiences must be disconnected first."""
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        remove_destination(change, space, find_destination(change.c, space.id, key))
    click.echo(f"Destination {key} is removed.")


@destination.command()
@click.argument("key")
def test(key: str) -> None:
    """Try the credentials or the place of the destination KEY, or SOURCE/KEY, without sending anyone."""
    from engage_pipelines.cli.trying import try_destination  # noqa: PLC0415 - brings what sending needs

    registry = open_registry()
    with registry.database.read() as c:
        row = _find(c, find_space(c, registry.space).id, key)
    try_destination(registry, row, key)


@destination.command()
@click.argument("name")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where to; the current folder unless said."
)
def new(name: str, folder: Path) -> None:
    """Write the skeleton of a destination type called NAME: the type, a fake vendor, and tests that pass."""
    from engage_pipelines.cli.skeleton import write_skeleton  # noqa: PLC0415 (no other command needs its texts)

    for path in write_skeleton(name, folder):
        click.echo(f"Wrote {path}")
    click.echo(f"docs/writing-a-destination.md tells how to go on. Its tests pass as they are: pytest {folder / f'test_{name}.py'}")


def _login(one: "DestinationType") -> str:
    if one.authentication is not None:
        return one.authentication.words
    return "keys of its own" if one.settings_model.secret_fields() else ""


def _repeats(one: "DestinationType") -> str:
    """What a repeat does: the type's effect, and the actions that differ."""
    differing = [f"{action.key}: {action.effect}" for action in one.actions if action.effect not in {None, one.effect}]
    return ", ".join([str(one.effect), *differing])


def _find(c: Any, space_id: str, key: str) -> Row:
    return find_on_source(c, space_id, key) if "/" in key else find_destination(c, space_id, key)


def _row(row: Row) -> dict[str, Any]:
    return {"key": row.key, "name": row.name, "type": row.type, "enabled": row.enabled}


def _settings(info: "DestinationType", given: Sequence[str], ask: Sequence[str]) -> Mapping[str, Any]:
    """The settings named on the command line; a secret in the clear is never taken from there, others could read it."""
    secret = secret_fields(info)
    settings: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"{name[:40]!r} is not a setting.", "Write --set NAME=VALUE.")
        if name in secret and not is_reference(value) and not value.startswith(("{", "[")):
            raise UsageError(f"{name} is a secret; on the command line others can read it.", f"Use --set {name}=env:NAME, or --ask {name}.")
        settings[name] = _value(info, name, value)
    for name in ask:
        settings[name] = click.prompt(name, hide_input=True, err=True)
    return settings


def _value(info: "DestinationType", name: str, text: str) -> Any:
    field = info.settings_model.model_fields.get(name)
    # a path such as {audience}.csv begins with a brace and is no JSON
    if not text.startswith(("{", "[")) or (field is not None and field.annotation is str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not JSON.", "Lists and maps are written as JSON.") from None
