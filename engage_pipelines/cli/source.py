"""`engage source`: the owners of destination configurations that a space may import."""

import click

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import output_option, show
from engage_pipelines.registry.destinations import list_destinations
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.sources import create_source, list_sources
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.settings import read_settings


@click.group()
def source() -> None:
    """Sources, whose destination configurations a space may import."""


@source.command("list")
@output_option
def list_(*, output: str) -> None:
    """Every source and the destinations on it."""
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        rows = [
            {"key": row.key, "name": row.name, "destinations": [one.key for one in list_destinations(c, space.id, source_id=row.id)]}
            for row in list_sources(c, space.id)
        ]
    show(rows, output=output, empty="There is no source. Make one with: engage source create KEY")


@source.command()
@click.argument("key")
@click.option("--name", default="", help="What people read; the key unless said.")
def create(key: str, *, name: str) -> None:
    """Make the source KEY."""
    with open_registry().change() as change:
        create_source(change, ensure_space(change), key, name=name)
    click.echo(f"Source {key} is there.")
