"""`engage status`: how the connections are."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from engage_pipelines.cli.opening import open_database
from engage_pipelines.cli.output import instant_text, note, output_option, show
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import find_audience, find_space, list_spaces
from engage_pipelines.registry.status import StatusRow, list_status
from engage_pipelines.settings import read_settings

_WATCH_S = 2


@click.command()
@click.argument("audience", required=False)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@output_option
def status(audience: str | None, *, watch: bool, output: str) -> None:
    """How every connection is, or those of one AUDIENCE."""
    settings = read_settings()
    database = open_database(settings)
    while True:
        rows = _rows(database, settings.space, audience)
        if watch and output == "table":
            click.clear()
        show([_shown(row) for row in rows], output=output, empty="Nothing is connected. Connect with: engage connect AUDIENCE DESTINATION")
        _say_errors(rows, output)
        if not watch:
            return
        time.sleep(_WATCH_S)


def _rows(database: Database, space_key: str | None, audience: str | None) -> Sequence[StatusRow]:
    with database.read() as c:
        if audience is None and not list_spaces(c):
            return []
        space = find_space(c, space_key)
        if audience is not None:
            find_audience(c, space.id, audience)
        return list_status(c, space.id, audience=audience)


def _shown(row: StatusRow) -> dict[str, Any]:
    values = asdict(row)
    del values["error"], values["remedy"]
    return {**values, "last_sync_at": instant_text(row.last_sync_at)}


def _say_errors(rows: Sequence[StatusRow], output: str) -> None:
    if output == "table":
        for row in rows:
            if row.error:
                note(f"{row.audience} -> {row.destination}: {row.error} {row.remedy or ''}".rstrip())
