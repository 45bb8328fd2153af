"""Waiting for a request to be settled, with progress when a person looks."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import click
import sqlalchemy as sa

from engage_pipelines.cli.output import ProgressLine, instant_text, note
from engage_pipelines.domain.connection import State
from engage_pipelines.domain.errors import ConflictError, EngageError, StateError, SyncStoppedError
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import computation, compute_request, connection, destination, generation, ledger, sync_request

_POLL_S = 0.3
_PATIENCE_S = 30
_NOBODY = "Nobody has begun for 30 s. Is the Dagster daemon running? Start it with `make dev`; waiting goes on."


@dataclass(frozen=True, slots=True)
class _View:
    """How the request is now: settled, or begun, and a line for people."""

    settled: bool
    begun: bool
    line: str


def wait_for_sync(database: Database, request_id: str) -> None:
    """Return when the request is done. Raises an EngageError when its attempt failed, it was cancelled, or nothing can come of it."""
    first_failures: list[int] = []

    def look(c: sa.Connection) -> _View:
        request = c.execute(sa.select(sync_request).where(sync_request.c.id == request_id)).one()
        row = c.execute(sa.select(connection).where(connection.c.id == request.connection_id)).one()
        first_failures.append(request.failures)
        _check_sync(c, request, row, new_failures=request.failures > first_failures[0])
        begun = request.started_at is not None or request.attempt > 1 or _computing(c, row.computation_id)
        return _View(request.state == "done", begun, _progress(c, row))

    _wait(database, look)
    with database.read() as c:
        request = c.execute(sa.select(sync_request.c.connection_id).where(sync_request.c.id == request_id)).one()
        row = c.execute(sa.select(connection).where(connection.c.id == request.connection_id)).one()
        click.echo(f"Settled {_named(c, row)}: {row.sent:,} records sent so far.")


def wait_for_compute(database: Database, request_id: str) -> None:
    """Return when the request is done. Raises an EngageError when it failed."""
    first_failures: list[int] = []

    def look(c: sa.Connection) -> _View:
        request = c.execute(sa.select(compute_request).where(compute_request.c.id == request_id)).one()
        first_failures.append(request.failures)
        if request.state in {"failed", "cancelled"} or request.failures > first_failures[0]:
            raise StateError(f"Computing {request.state if request.state != 'owed' else 'failed'}: {request.error or 'no reason given'}.")
        return _View(request.state == "done", request.started_at is not None or request.attempt > 1, "computing")

    _wait(database, look)


def _wait(database: Database, look: Callable[[sa.Connection], _View]) -> None:
    started, told = time.monotonic(), False
    with ProgressLine() as progress:
        while True:
            with database.read() as c:
                view = look(c)
            if view.settled:
                return
            progress.say(view.line if view.begun else "waiting to be picked up")
            if not told and not view.begun and time.monotonic() - started > _PATIENCE_S:
                note(_NOBODY)
                told = True
            time.sleep(_POLL_S)


def _check_sync(c: sa.Connection, request: Row, row: Row, *, new_failures: bool) -> None:
    name = _named(c, row)
    if request.state == "cancelled":
        raise ConflictError(f"The request was cancelled: {name} was removed.")
    if request.state == "failed":
        raise EngageError(f"{name} failed: {request.error or 'no reason given'}.")
    if row.state == State.STOPPED:
        raise SyncStoppedError(f"{name} is stopped: {row.error or 'no reason given'}", row.remedy or "")
    if new_failures:
        again = instant_text(request.not_before)
        raise EngageError(f"{name} failed: {request.error or 'no reason given'}", f"It is tried again by itself at {again}.")
    if row.state == State.AWAITING_MAPPING:
        raise ConflictError(f"{name} awaits a mapping: nothing is delivered.", "Enable one with: engage mapping enable DESTINATION NAME")
    if row.state == State.PAUSED:
        raise ConflictError(f"{name} is paused.", "Connect again to resume it.")
    of = c.execute(sa.select(computation).where(computation.c.id == row.computation_id)).one()
    if of.current_version is None and of.last_error is not None:
        raise StateError(
            f"{of.kind.capitalize()} {of.key!r} cannot be computed: {of.last_error}",
            f"Mend it: engage {of.kind} update {of.key} --query QUERY",
        )


def _computing(c: sa.Connection, computation_id: str) -> bool:
    """True when some run has begun to compute the audience, or computed it."""
    if c.execute(sa.select(computation.c.current_version).where(computation.c.id == computation_id)).scalar_one() is not None:
        return False
    begun = sa.and_(compute_request.c.state == "owed", compute_request.c.started_at.is_not(None))
    return any(computation_id in ids for ids in c.execute(sa.select(compute_request.c.computation_ids).where(begun)).scalars())


def _progress(c: sa.Connection, row: Row) -> str:
    is_open = sa.and_(generation.c.connection_id == row.id, generation.c.state == "open")
    current = c.execute(sa.select(generation.c.id, generation.c.records).where(is_open)).first()
    if current is None:
        return f"{row.sent:,} records sent"
    told = sa.select(sa.func.coalesce(sa.func.sum(ledger.c.hi - ledger.c.lo + 1), 0)).where(ledger.c.generation == current.id)
    return f"{c.execute(told).scalar_one():,} of {current.records or 0:,} records of this step answered"


def _named(c: sa.Connection, row: Row) -> str:
    audience = c.execute(sa.select(computation.c.key).where(computation.c.id == row.computation_id)).scalar_one()
    return f"{audience} -> {c.execute(sa.select(destination.c.key).where(destination.c.id == row.destination_id)).scalar_one()}"
