"""Computing while the database goes away and comes back: what breaks off is made again, and nothing is published twice."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.computing.compute import compute_audiences
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import BusyError
from engage_pipelines.orchestration.engine import Engine
from engage_pipelines.orchestration.work import Run
from engage_pipelines.registry import audiences
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database, Patience
from engage_pipelines.registry.database_errors import DatabaseAwayError
from engage_pipelines.registry.requests import Stamp, owe_compute
from engage_pipelines.testing.plain_calls import SPACE, instant, take_in
from tests.delivery.world import World, make_world
from tests.own_postgres import own_server

NOW_US = 1_700_000_000_000_000
AWAY = "It is gone."


@dataclass
class Breaks:
    """Which transaction breaks off, counted from now, and when; 0 is none."""

    reading: int = 0
    before_commit: int = 0
    after_commit: int = 0
    struck: int = 0

    def strikes(self, name: str) -> bool:
        left = getattr(self, name)
        setattr(self, name, max(left - 1, 0))
        self.struck += left == 1
        return left == 1


class Brittle(Database):
    """A real database of which one transaction breaks off."""

    breaks: Breaks

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        with super().read() as c:
            yield c
            if self.breaks.strikes("reading"):
                raise DatabaseAwayError(AWAY)

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        with super().write() as c:
            yield c
            if self.breaks.strikes("before_commit"):
                raise DatabaseAwayError(AWAY)
        if self.breaks.strikes("after_commit"):
            raise DatabaseAwayError(AWAY)


@dataclass
class Computing:
    """An audience that everybody is in who did E, over a database that breaks."""

    world: World
    breaks: Breaks = field(default_factory=Breaks)
    people: int = 0

    def compute(self, breaks: Callable[[Breaks], None]) -> list[str]:
        """One person more, a request for it, and the run that it is computed by; gives the states it came to."""
        self.people += 1
        call = {"type": "track", "event": "E", "userId": f"u{self.people}", "messageId": f"m{self.people}", "timestamp": instant(NOW_US)}
        take_in(self.world.runtime.settings.facts_dir, [call])
        with self.world.registry.database.write() as c:
            audience = c.execute(sa.select(t.computation)).one()
            request_id = owe_compute(c, audience.space_id, {audience.id}, Stamp(NOW_US, "test"))
            attempt = c.execute(sa.select(t.compute_request.c.attempt).where(t.compute_request.c.id == request_id)).scalar_one()
        breaks(self.breaks)
        run = Run(f"run-{self.people}", self.world.log.append, (request_id, attempt))
        return [one.state for one in Engine(self.world.runtime).compute(SPACE, ["a"], run)]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def computing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Computing]:
    url = request.getfixturevalue(f"{request.param}_url")
    world = make_world(tmp_path, url)
    with world.registry.change() as change:
        new = audiences.NewAudience("a", Level.USER, "event('E').count() >= 1", options={"compute_without_destinations": True})
        audiences.create_audience(change, world.space, new)
    world.destination()
    world.connect("a")
    made = Computing(world)
    database = Brittle(url, check_schema=False)
    database.breaks = made.breaks
    world.registry.database.close()
    world.registry = replace(world.registry, database=database.patient(Patience(5.0, lambda _s: None)))
    world.runtime = replace(world.runtime, registry=world.registry)
    yield made
    database.close()


@pytest.mark.parametrize("when", ["reading", "before_commit", "after_commit"])
def test_whichever_transaction_breaks_off_one_version_is_published_and_the_request_is_done(computing: Computing, when: str):
    broken = 0
    for number in range(1, 20):
        computing.breaks.struck = 0
        states = computing.compute(lambda breaks, n=number: setattr(breaks, when, n))
        assert states == ["published"]
        broken += computing.breaks.struck
        setattr(computing.breaks, when, 0)
        if not computing.breaks.struck:
            break
    assert broken >= 4
    world = computing.world
    versions = world.rows(t.version)
    assert [(row.n, row.state, row.size) for row in versions] == [(n, "published", n) for n in range(1, computing.people + 1)]
    assert world.rows(t.computation)[0].current_version == computing.people
    assert {row.state for row in world.rows(t.compute_request) if row.run_id} == {"done"}
    assert len(world.owed()) == 1


def test_a_version_that_somebody_published_meanwhile_is_told_at_once_and_nothing_is_overwritten(computing: Computing):
    assert computing.compute(lambda _breaks: None) == ["published"]
    world = computing.world
    rival = world.registry.database.patient(None)

    def somebody_publishes(c, _cursor, statement, *_rest):
        if statement.startswith("INSERT INTO version"):
            c.exec_driver_sql("UPDATE computation SET current_version = 77")

    sa.event.listen(rival._engine, "after_cursor_execute", somebody_publishes)
    waited: list[float] = []
    world.registry = replace(world.registry, database=rival.patient(Patience(60.0, waited.append)))
    world.runtime = replace(world.runtime, registry=world.registry)
    assert computing.compute(lambda _breaks: None) == ["failed"]
    assert waited == []
    assert [row.state for row in world.rows(t.version)] == ["published", "reserved"]


@pytest.mark.postgres
@pytest.mark.slow
def test_a_server_that_is_restarted_in_the_midst_of_publishing_is_waited_for(tmp_path: Path):
    with own_server() as server:
        made = Database(server.url, check_schema=False)
        made.upgrade()
        made.close()
        world = make_world(tmp_path, server.url)
        keys = [f"a{n}" for n in range(4)]
        with world.registry.change() as change:
            for key in keys:
                new = audiences.NewAudience(key, Level.USER, "event('E').count() >= 1", options={"compute_without_destinations": True})
                audiences.create_audience(change, world.space, new)
        facts = world.runtime.settings.facts_dir
        take_in(facts, [{"type": "track", "event": "E", "userId": "u", "messageId": "m", "timestamp": instant(NOW_US)}])
        patient = replace(world.registry, database=world.registry.database.patient(Patience(60.0)))
        restarting = threading.Thread(target=server.restart)

        def log(_line: str) -> None:
            if restarting.ident is None:
                restarting.start()

        try:
            computed = compute_audiences(world.runtime.settings, patient, SPACE, keys, log=log)
        finally:
            # before the server is ended, which would fail the restart and hide what failed first
            restarting.join()
        assert [(one.key, one.state, one.error) for one in computed] == [(key, "published", None) for key in keys]
        assert [(row.n, row.state) for row in world.rows(t.version)] == [(1, "published")] * 4
        world.registry.database.close()


def test_a_database_that_stays_away_ends_the_run_in_its_own_words(computing: Computing):
    def forever(breaks: Breaks) -> None:
        breaks.strikes = lambda name: name == "before_commit"  # type: ignore[method-assign]

    world = computing.world
    world.registry = replace(world.registry, database=world.registry.database.patient(Patience(0.0)))
    world.runtime = replace(world.runtime, registry=world.registry)
    with pytest.raises((DatabaseAwayError, BusyError), match=AWAY):
        computing.compute(forever)
