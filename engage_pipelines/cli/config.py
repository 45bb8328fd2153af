"""`engage config`: the shape of configuration files."""

import click

from engage_pipelines.cli.output import show_json


@click.group()
def config() -> None:
    """The shape of configuration files."""


@config.command()
@click.option("--without-types", is_flag=True, help="Leave the destination types and their settings out.")
def schema(*, without_types: bool) -> None:
    """Print the JSON Schema of configuration files, with the destination types that are installed here, for editors."""
    from engage_pipelines.destinations.catalog import destination_types  # noqa: PLC0415 - --help needs none of them
    from engage_pipelines.registry.config_schema import config_schema  # noqa: PLC0415

    show_json(config_schema(None if without_types else destination_types()))
