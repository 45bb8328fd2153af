"""The work that assets and ops ask for, as one Dagster resource: everything that is not Dagster is behind it.

Ops stay thin and hand each other nothing: each finds its connection by the asset it belongs to and the partition of the run, and what is
under way by the database.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import dagster as dg
import sqlalchemy as sa

from engage_pipelines.domain.errors import EngageError, NotFoundError
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import read_settings

RESOURCE = "work"


class Log(Protocol):
    """What the engine reports its progress to; `context.log` of Dagster is one."""

    def info(self, msg: str, /) -> None: ...

    def warning(self, msg: str, /) -> None: ...


class Computed(Protocol):
    """The outcome of one audience; `state` is published, unchanged, held or failed."""

    key: str
    state: str
    n: int | None
    size: int | None
    users: int | None
    entered: int | None
    exited: int | None
    evaluated_at_us: int
    error: EngageError | None
    warnings: Sequence[str]


class Plan(Protocol):
    owed: Mapping[str, int]


class LevelReport(Protocol):
    counts: Mapping[str, Mapping[str, int]]
    generations: int


class SyncReport(Protocol):
    counts: Mapping[str, Mapping[str, int]]
    dead_letters: int
    more_owed: bool


class Sync(Protocol):
    """One run's work on a connection, under its lease."""

    def plan(self) -> Plan: ...

    def send(self, level: str) -> LevelReport: ...

    def settle(self) -> SyncReport: ...


class Work(Protocol):
    """What the resource offers; tests put a fake in its place."""

    def compute(self, space: str, keys: Sequence[str], *, request_id: str | None, run_id: str, log: Log) -> Sequence[Computed]:
        """Evaluate the audiences in one shared scan and publish their versions; settles the request, when there is one."""
        ...

    def sync(self, connection_id: str, *, request_id: str | None, run_id: str, log: Log) -> Sync: ...

    def connection_id(self, space: str, audience: str, destination: str) -> str:
        """The live connection. Raises NotFoundError."""
        ...


def find_connection(connection: sa.Connection, space: str, audience: str, destination: str) -> str:
    """The id of the live connection of an audience with a destination. Raises NotFoundError."""
    con, com, dst, spa = t.connection.c, t.computation.c, t.destination.c, t.space.c
    query = (
        sa.select(con.id)
        .join(t.computation, con.computation_id == com.id)
        .join(t.destination, con.destination_id == dst.id)
        .join(t.space, com.space_id == spa.id)
        .where(spa.key == space, com.key == audience, dst.key == destination, con.removed_at.is_(None))
    )
    found = connection.execute(query).scalars().first()
    if found is None:
        raise NotFoundError(
            f"Audience {audience!r} is not connected to destination {destination!r} any more.", "Connect it again to send it there."
        )
    return found


@contextmanager
def told_in_words() -> Iterator[None]:
    """Run the body; what people can mend becomes a failure with its words alone, and Dagster does not try again by itself."""
    try:
        yield
    except EngageError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
