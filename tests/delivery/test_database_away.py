"""A database that is away or locked for a while inside a run: waited for, within bounds, and never hiding what the run ended with."""

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from engage_pipelines.delivery.lease import Lease, acquire
from engage_pipelines.delivery.ledger import acknowledge
from engage_pipelines.delivery.runtime import patient_runtime
from engage_pipelines.delivery.state import LedgerRow
from engage_pipelines.destinations.base import Accepted, Stop
from engage_pipelines.domain.errors import BusyError, LeaseLostError, SyncStoppedError
from engage_pipelines.registry import database as databases
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database, Patience
from engage_pipelines.registry.database_errors import DatabaseAwayError
from tests.delivery.world import World, make_world

FIVE = {n: [f"user_id:u{n}"] for n in range(1, 6)}


@contextmanager
def locked(file: Path) -> Generator[None]:
    """Another program writes to the SQLite file and does not come to an end."""
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def away(url: str) -> Generator[None]:
    """The PostgreSQL database breaks every connection off and takes no new ones."""
    name = sa.make_url(url).database
    server = sa.make_url(url).set(drivername="postgresql+psycopg2", database="postgres")
    engine = sa.create_engine(server, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as c:
        c.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        c.execute(sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name})
        try:
            yield
        finally:
            c.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def for_seconds(seconds: float, being: Callable[[], object]) -> threading.Thread:
    """The database is like this from now on for so long."""
    begun = threading.Event()

    def last() -> None:
        with being():
            begun.set()
            time.sleep(seconds)

    thread = threading.Thread(target=last)
    thread.start()
    assert begun.wait(10)
    return thread


@pytest.fixture
def file(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.05)
    return tmp_path / "engage.db"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def fragile(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, Callable[[], object]]]:
    """A world with a patient runtime, and how its database is made to fail."""
    monkeypatch.setattr(databases, "_BUSY_TIMEOUT_S", 0.05)
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    made = make_world(tmp_path, url)
    made.runtime = replace(patient_runtime(made.runtime.settings, made.registry), max_changes=1_000)
    made.audience()
    made.destination()
    yield made, (lambda: away(url)) if url else (lambda: locked(tmp_path / "engage.db"))
    made.registry.database.close()


def test_a_run_rides_out_a_database_that_is_away_for_a_moment_and_loses_and_doubles_nothing(fragile: tuple[World, Callable[[], object]]):
    world, being = fragile
    connection_id = world.connect().connection.id
    world.publish(FIVE)
    failing: list[threading.Thread] = []

    def script(_batch):
        if len(world.recorder.batches) == 1:
            failing.append(for_seconds(1.0, being))
        return Accepted()

    world.recorder.script = script
    report = world.sync(connection_id)
    failing[0].join()
    assert report.counts == {"identify": {"entered": 5}}
    assert len(world.recorder.records) == 5
    assert world.owed() == []


def test_what_the_run_ended_with_is_not_hidden_by_a_database_that_is_away(fragile: tuple[World, Callable[[], object]]):
    world, being = fragile
    connection_id = world.connect().connection.id
    world.publish(FIVE)
    failing: list[threading.Thread] = []

    def script(_batch):
        failing.append(for_seconds(1.5, being))
        return Stop("the write key is not valid", "Give the right one.")

    world.recorder.script = script
    world.runtime = replace(world.runtime, registry=replace(world.registry, database=world.registry.database.patient(None)))
    try:
        with pytest.raises((SyncStoppedError, DatabaseAwayError, BusyError)) as caught:
            world.sync(connection_id)
    finally:
        failing[0].join()
    assert isinstance(caught.value, SyncStoppedError), caught.value
    (request,) = world.owed()
    assert request.started_at is not None, "nobody could be told: whoever knows the run finishes the attempt"


def test_without_patience_a_locked_database_is_told_at_once(sqlite_url: str, file: Path):
    database = Database(sqlite_url)
    with locked(file), pytest.raises(BusyError, match="locked"), database.write():
        pass
    database.close()


def test_patience_ends(sqlite_url: str, file: Path):
    slept: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    database = Database(sqlite_url)
    with locked(file), pytest.raises(BusyError), database.patient(Patience(10.0, sleep, lambda: now[0])).write():
        pass
    database.close()
    assert 8 <= sum(slept) <= 10
    assert slept[:3] == [0.1, 0.2, 0.4]


def test_what_is_repeated_is_repeated_from_its_beginning(sqlite_url: str):
    database = Database(sqlite_url)
    tries: list[int] = []

    def body() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise DatabaseAwayError("The server closed the connection.")
        return "done"

    assert database.patient(Patience(5.0, lambda _s: None)).again(body) == "done"
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(DatabaseAwayError):
        database.again(body)
    database.close()


@pytest.fixture
def leased(world: World) -> Iterator[tuple[World, Lease]]:
    world.audience()
    world.destination()
    connection_id = world.connect().connection.id
    with acquire(world.registry.database, connection_id, "a", sleep=world.time.sleep) as lease:
        yield world, lease


def test_a_request_is_begun_only_under_a_lease_that_is_renewed_first(leased: tuple[World, Lease]):
    world, lease = leased
    world.time.now_us += 90_000_000
    lease.begin_request(30.0)
    (row,) = world.rows(t.connection)
    assert row.lease_until >= world.time.now_us + 30_000_000


def test_no_request_is_begun_when_another_took_the_lease_meanwhile(leased: tuple[World, Lease]):
    world, lease = leased
    world.time.now_us += 90_000_000
    with acquire(world.registry.database, lease.connection_id, "b", sleep=world.time.sleep), pytest.raises(LeaseLostError):
        lease.begin_request(30.0)


@pytest.mark.postgres
def test_answers_are_written_once_though_the_server_ends_in_the_middle_of_writing_them(tmp_path: Path, postgres_url: str):
    world = make_world(tmp_path, postgres_url)
    world.audience()
    world.destination()
    connection_id = world.connect().connection.id
    database = world.registry.database.patient(Patience(5.0))
    rows = [LedgerRow(0, 9, "delivered", None, 1), LedgerRow(10, 10, "rejected", "no", 1)]
    deaths: list[int] = []

    def die_after(_c, cursor, statement, *_rest):
        if "INSERT INTO ledger" in statement and not deaths:
            deaths.append(1)
            with pytest.raises(psycopg2.Error):
                cursor.connection.cursor().execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with acquire(database, connection_id, "a", sleep=time.sleep) as lease:
        sa.event.listen(database._engine, "after_cursor_execute", die_after)
        acknowledge(lease, 1, rows)
        sa.event.remove(database._engine, "after_cursor_execute", die_after)
        assert deaths
        # as when the commit went through and only its answer was lost
        acknowledge(lease, 1, rows)
    assert [(row.lo, row.hi) for row in world.rows(t.ledger)] == [(0, 9), (10, 10)]
    database.close()
