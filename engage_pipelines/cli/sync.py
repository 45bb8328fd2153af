"""`engage sync`, `backfill` and `resync`: asking for what is owed, or for everyone, by hand."""

import click
import sqlalchemy as sa

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.waiting import wait_for_sync
from engage_pipelines.domain.connection import RequestKind
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.connections import request_sync
from engage_pipelines.registry.destinations import find_destination, list_destinations
from engage_pipelines.registry.lookup import Row, find_computation, find_space
from engage_pipelines.registry.matching import live_connections
from engage_pipelines.registry.tables import connection

_ARGUMENTS = (
    click.argument("audience"),
    click.argument("destination", required=False),
    click.option("--wait", is_flag=True, help="End when it is settled; exit code 1 when it failed."),
)


def _command(kind: RequestKind, text: str) -> click.Command:
    def run(audience: str, destination: str | None, *, wait: bool) -> None:
        _ask(kind, audience, destination, wait=wait)

    for argument in reversed(_ARGUMENTS):
        run = argument(run)
    return click.command(str(kind), help=text)(run)


sync = _command(RequestKind.SYNC, "Send what AUDIENCE owes, to one DESTINATION or to all that are not paused.")
backfill = _command(RequestKind.BACKFILL, "Send every member of AUDIENCE, as on the first day.")
resync = _command(RequestKind.RESYNC, "Send every member of AUDIENCE again, and the exits owed.")


def _ask(kind: RequestKind, audience: str, destination: str | None, *, wait: bool) -> None:
    registry = open_registry()
    with registry.change() as change:
        space = find_space(change.c, registry.space)
        of = find_computation(change.c, space.id, audience)
        asked = {to.key: request_sync(change, space, of, to, kind=kind) for to in _destinations(change, space, of, destination)}
    for key in asked:
        click.echo(f"Asked for a {kind} of {audience} -> {key}.")
    if wait:
        for request_id in asked.values():
            wait_for_sync(registry.database, request_id)


def _destinations(change: Change, space: Row, of: Row, key: str | None) -> list[Row]:
    if key is not None:
        return [find_destination(change.c, space.id, key)]
    sending = sa.and_(connection.c.computation_id == of.id, connection.c.state != "paused")
    ids = {row.destination_id for row in live_connections(change.c, sending)}
    if not ids:
        raise NotFoundError(f"Audience {of.key!r} has no connection that sends.", f"Connect it: engage connect {of.key} DESTINATION")
    return [row for row in list_destinations(change.c, space.id) if row.id in ids]
