"""`engage space`: the partitions of profiles."""

from typing import Any

import click

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import instant_text, output_option, show
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.registry.lookup import Row, list_spaces
from engage_pipelines.registry.spaces import NewSpace, SpaceFields, create_space, find_space, update_space

_SCOPES = click.Choice(["space", "audience"])


@click.group()
def space() -> None:
    """Spaces, the partitions of profiles."""


@space.command("list")
@output_option
def list_(*, output: str) -> None:
    """Every space."""
    with open_database().read() as c:
        rows = [_shown(row) for row in list_spaces(c)]
    show(rows, output=output, empty="There is no space yet. Make one with: engage space create KEY")


@space.command()
@click.argument("key")
@click.option("--name", default="", help="What people read; the key unless said.")
@click.option("--evaluate-at", metavar="INSTANT", help="Evaluate as of this instant instead of now, such as 2008-01-01T00:00:00Z.")
def create(key: str, *, name: str, evaluate_at: str | None) -> None:
    """Make the space KEY."""
    at_us = None if evaluate_at is None else read_instant(evaluate_at)
    with open_registry().change() as change:
        create_space(change, NewSpace(key=key, name=name, evaluate_at=at_us))
    click.echo(f"Space {key} is there.")


@space.command("set")
@click.argument("key", required=False)
@click.option("--name", help="What people read.")
@click.option("--evaluate-at", metavar="INSTANT|now", help="Evaluate as of this instant, or as of now again.")
@click.option("--one-configuration-per-type", type=_SCOPES, help="Whether a destination type may be there once per space or per audience.")
def set_(key: str | None, *, name: str | None, evaluate_at: str | None, one_configuration_per_type: str | None) -> None:
    """Change the space KEY, or the only one there is."""
    fields: SpaceFields = {}
    if name is not None:
        fields["name"] = name
    if evaluate_at is not None:
        fields["evaluate_at"] = None if evaluate_at == "now" else read_instant(evaluate_at)
    if one_configuration_per_type is not None:
        fields["one_configuration_per_type"] = one_configuration_per_type
    registry = open_registry()
    with registry.change() as change:
        before = find_space(change.c, key or registry.space)
        after = update_space(change, before.key, **fields)
    click.echo(f"Space {after.key} {'is unchanged' if after == before else 'is changed'}.")


def _shown(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "name": row.name,
        "evaluate_at": instant_text(row.evaluate_at) or "now",
        "one_configuration_per_type": row.one_configuration_per_type,
    }
