"""`engage db`: the database of the registry."""

import click

from engage_pipelines.registry.database import Database
from engage_pipelines.settings import read_settings


@click.group()
def db() -> None:
    """The database of the registry."""


@db.command()
def upgrade() -> None:
    """Bring the tables to what this version needs; back the database up before."""
    database = Database(read_settings().database_url, check_schema=False)
    changed = database.upgrade()
    click.echo(f"{database.name} {'is upgraded' if changed else 'is up to date'}.")
