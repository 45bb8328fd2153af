"""A database that goes away at every step of a run: each transaction is broken off once, and nothing is lost or doubled."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from engage_pipelines.delivery.lease import acquire
from engage_pipelines.destinations.base import Accepted, Bisect, Pause
from engage_pipelines.registry import database as databases
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database, Patience
from tests.delivery.world import World, make_world

PEOPLE = {n: [f"user_id:u{n}"] for n in range(1, 8)}
Break = Callable[[sa.Engine], Callable[[], None]]
"""Breaks every second transaction off; gives what ends that."""


def _end_session(connection: Any) -> None:
    """As a restart, a failover or an administrator does it: the server ends the session."""
    with pytest.raises(psycopg2.Error):
        connection.cursor().execute("SELECT pg_terminate_backend(pg_backend_pid())")


def at_statement(number: int) -> Break:
    """Every second transaction dies at the statement of that number, if it has so many."""

    def breaks(engine: sa.Engine) -> Callable[[], None]:
        begun, seen = 0, 0

        def on_begin(_connection: sa.Connection) -> None:
            nonlocal begun, seen
            begun, seen = begun + 1, 0

        def on_execute(connection: sa.Connection, cursor: Any, *_rest: object) -> None:
            nonlocal seen
            seen += 1
            if begun % 2 and seen == number:
                _end_session(cursor.connection)

        return _listening(engine, {"begin": on_begin, "before_cursor_execute": on_execute})

    return breaks


def at_commit(*, done: bool) -> Break:
    """Every second transaction that writes dies as it is committed; `done` says whether the commit went through and its answer was lost."""

    def breaks(engine: sa.Engine) -> Callable[[], None]:
        commits = 0

        def on_commit(connection: sa.Connection) -> None:
            nonlocal commits
            if not connection.get_execution_options().get("engage_write"):
                return
            commits += 1
            if commits % 2:
                raw: Any = connection.connection.dbapi_connection
                if done:
                    raw.commit()
                _end_session(raw)

        return _listening(engine, {"commit": on_commit})

    return breaks


def _listening(engine: sa.Engine, listeners: dict[str, Callable[..., None]]) -> Callable[[], None]:
    for name, listener in listeners.items():
        sa.event.listen(engine, name, listener)

    def end() -> None:
        for name, listener in listeners.items():
            sa.event.remove(engine, name, listener)

    return end


def live(world: World, breaks: Break) -> None:
    """A connection's life with entries, exits, a refused record and several generations, while transactions break off.

    On SQLite, where time is made up, the destination also asks for a pause.
    """
    world.runtime = replace(
        world.runtime, registry=replace(world.registry, database=world.registry.database.patient(Patience(60, _no_wait)))
    )
    world.audience()
    world.destination()
    connection_id = world.connect(calls=("identify", "track")).connection.id
    pauses = iter([Pause(0.01)] if world.registry.database.is_sqlite else [])

    def script(batch: list[dict[str, Any]]):
        if any(record["userId"] == "u4" for record in batch):
            return Bisect("no such person")
        return next(pauses, Accepted())

    world.recorder.script = script
    for people in (PEOPLE, {n: PEOPLE[n] for n in (3, 4, 5, 6)} | {8: ["user_id:u8"]}):
        world.publish(people)
        end = breaks(world.registry.database._engine)
        world.sync_until_done(connection_id)
        end()


def _no_wait(_seconds: float) -> None:
    pass


def check(world: World) -> None:
    assert world.recorder.members() == {"u3", "u5", "u6", "u8"}
    sent = [record["messageId"] for record in world.recorder.records]
    assert len(sent) == len(set(sent)) == 2 * (6 + 4), "nothing is sent again though only the database was away"
    assert {row.state for row in world.rows(t.generation)} <= {"settled", "abandoned"}
    assert world.rows(t.ledger) == []
    assert [(row.version, row.exits_version) for row in world.rows(t.base)] == [(2, 2)]
    assert {(row.address, row.kind) for row in world.rows(t.exception)} == {("user_id:u4", "rejected")}
    (row,) = world.rows(t.connection)
    assert row.sent == 20, "each record is counted once"
    assert world.owed() == []


@pytest.mark.postgres
@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(at_statement(1), id="at the first statement"),
        pytest.param(at_statement(2), id="at the second statement"),
        pytest.param(at_commit(done=False), id="before the commit"),
        pytest.param(at_commit(done=True), id="after the commit, whose answer is lost"),
    ],
)
def test_a_run_rides_out_a_server_that_ends_every_second_transaction(tmp_path: Path, postgres_url: str, breaks: Break):
    world = make_world(tmp_path, postgres_url)
    live(world, breaks)
    check(world)
    world.registry.database.close()


def test_a_run_rides_out_another_program_that_locks_the_file_every_second_time(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.001)
    world = make_world(tmp_path)
    other = sqlite3.connect(tmp_path / "engage.db", isolation_level=None, check_same_thread=False, timeout=0)
    locked: list[int] = []

    def breaks(engine: sa.Engine) -> Callable[[], None]:
        def on_checkout(*_: object) -> None:
            if other.in_transaction:
                other.execute("ROLLBACK")
                return
            with suppress(sqlite3.OperationalError):  # a thread of the run was quicker
                other.execute("BEGIN IMMEDIATE")
                locked.append(1)

        def end() -> None:
            sa.event.remove(engine, "checkout", on_checkout)
            if other.in_transaction:
                other.execute("ROLLBACK")

        sa.event.listen(engine, "checkout", on_checkout)
        return end

    live(world, breaks)
    assert len(locked) > 20
    check(world)
    other.close()
    world.registry.database.close()


@pytest.fixture
def leased(tmp_path: Path, postgres_url: str) -> Iterator[tuple[World, Database, str]]:
    world = make_world(tmp_path, postgres_url)
    world.audience()
    world.destination()
    connection_id = world.connect().connection.id
    yield world, world.registry.database.patient(Patience(60, _no_wait)), connection_id
    world.registry.database.close()


@pytest.mark.postgres
def test_who_took_a_lease_and_did_not_hear_of_it_has_it(leased: tuple[World, Database, str]):
    world, database, connection_id = leased
    slept: list[float] = []
    end = at_commit(done=True)(database._engine)
    with acquire(database, connection_id, "a", sleep=slept.append) as lease:
        end()
        assert slept == [], "its own lease is not waited for"
        (row,) = world.rows(t.connection)
        assert (row.token, row.lease_owner) == (lease.token, "a") == (1, "a")
