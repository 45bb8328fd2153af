"""`engage mapping`: when and what a destination is sent."""

import json
from pathlib import Path
from typing import Any

import click

from engage_pipelines.cli.late import LateGroup, Lazy
from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import output_option, show, show_one
from engage_pipelines.domain.errors import InputError, UsageError
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.lookup import Row, find_space
from engage_pipelines.registry.mappings import NewMapping, add_mapping, disable_mapping, enable_mapping, find_mapping, list_mappings
from engage_pipelines.settings import read_settings

_LATE = {
    "test": Lazy(
        "mapping_trial",
        "test",
        "Show what the mapping NAME (or id) of DESTINATION makes of an entry and an exit, and the exact request, secrets masked.",
    ),
}
"""Those that read facts or versions bring DuckDB with them."""


@click.group(cls=LateGroup, late=_LATE)
def mapping() -> None:
    """Mappings: when and what a destination is sent."""


@mapping.command("list")
@click.argument("destination")
@output_option
def list_(destination: str, *, output: str) -> None:
    """The mappings of DESTINATION, presets and those made by hand."""
    settings = read_settings()
    with open_database(settings).read() as c:
        to = find_destination(c, find_space(c, settings.space).id, destination)
        rows = [_row(row) for row in list_mappings(c, to.id)]
    show(rows, output=output, empty=f"{destination} has no mapping. Connecting an audience makes presets.")


@mapping.command("show")
@click.argument("destination")
@click.argument("name")
@output_option
def show_(destination: str, name: str, *, output: str) -> None:
    """The mapping NAME (or id) of DESTINATION, with its fields in the mapping kit's language."""
    settings = read_settings()
    with open_database(settings).read() as c:
        row = find_mapping(c, find_destination(c, find_space(c, settings.space).id, destination), name)
    fields = row.fields if output == "json" else json.dumps(row.fields, indent=2, ensure_ascii=False)
    show_one({**_row(row), "fields": fields}, output=output)


@mapping.command()
@click.argument("destination")
@click.option("--name", required=True, help="What people read; once per destination.")
@click.option("--trigger", required=True, help='When, in FQL, such as: type = "identify" and traits.vip = true')
@click.option("--action", required=True, help="What the destination does with it; see `engage destination catalog`.")
@click.option("--fields", metavar="JSON|@FILE", help="What is sent, in the mapping kit's language; the action's own unless said.")
@click.option("--enable", is_flag=True, help="Switch it on at once.")
def add(destination: str, *, name: str, trigger: str, action: str, fields: str | None, enable: bool) -> None:
    """Add a mapping to DESTINATION; it is switched off unless --enable is said."""
    registry = open_registry()
    new = NewMapping(name, trigger, action, None if fields is None else _fields(fields), enable)
    with registry.change() as change:
        add_mapping(change, find_destination(change.c, find_space(change.c, registry.space).id, destination), new)
    hint = "" if enable else f" It is off; switch it on with: engage mapping enable {destination} '{name}'"
    click.echo(f"Mapping {name} is there.{hint}")


@mapping.command()
@click.argument("destination")
@click.argument("name")
@click.option("--no-backfill", is_flag=True, help="Send later changes only, not every member again.")
def enable(destination: str, name: str, *, no_backfill: bool) -> None:
    """Switch on the mapping NAME (or id) of DESTINATION."""
    registry = open_registry()
    with registry.change() as change:
        to = find_destination(change.c, find_space(change.c, registry.space).id, destination)
        enable_mapping(change, to, find_mapping(change.c, to, name), backfill=not no_backfill)
    click.echo(f"Mapping {name} is on.")


@mapping.command()
@click.argument("destination")
@click.argument("name")
def disable(destination: str, name: str) -> None:
    """Switch off the mapping NAME (or id) of DESTINATION."""
    registry = open_registry()
    with registry.change() as change:
        to = find_destination(change.c, find_space(change.c, registry.space).id, destination)
        disable_mapping(change, to, find_mapping(change.c, to, name))
    click.echo(f"Mapping {name} is off.")


@mapping.command()
@click.argument("destination")
@click.argument("name")
@click.option("--name", "new_name", help="What the copy is called; `NAME (copy)` unless said.")
def duplicate(destination: str, name: str, *, new_name: str | None) -> None:
    """Copy the mapping NAME (or id) of DESTINATION; the copy is switched off, and a preset's is like one made by hand."""
    registry = open_registry()
    with registry.change() as change:
        to = find_destination(change.c, find_space(change.c, registry.space).id, destination)
        row = find_mapping(change.c, to, name)
        made = add_mapping(change, to, NewMapping(new_name or f"{row.name} (copy)", row.trigger, row.action, row.fields))
    click.echo(f"Mapping {made.name} is there. It is off; switch it on with: engage mapping enable {destination} '{made.name}'")


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "enabled": row.enabled,
        "preset": row.connection_id is not None,
        "action": row.action,
        "trigger": row.trigger,
        "revision": row.revision,
        "id": row.id,
    }


def _fields(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise InputError(f"{text[1:]} cannot be read: {why}.", "Check the path.") from None
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--fields is not JSON: {error}.", "Write a JSON object, or @FILE.") from None
    except RecursionError:
        raise UsageError("--fields nests too deep.", "A mapping has 100 levels at most.") from None
    if not isinstance(fields, dict):
        raise UsageError("--fields is not a JSON object.", 'Write it like {"user_id": {"@path": "$.userId"}}.')
    return fields
