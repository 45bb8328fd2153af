"""The promise over random histories of the real thing: versions that come and go, answers that fail or get lost, runs that die."""

from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.destinations.base import Accepted, Backoff, Verdict
from engage_pipelines.registry.attempts import Ended, finish_attempt, started_attempts
from tests.delivery.world import Killed, World, make_world

PEOPLE = {n: [f"user_id:u{n}", f"email:u{n}@x.test"] for n in range(6)}

versions = st.lists(st.sets(st.sampled_from(sorted(PEOPLE))), min_size=1, max_size=3)
answers = st.lists(st.sampled_from(["ok", "ok", "lost", "ill", "dead before", "dead after"]), max_size=8)


class Faults:
    """Answers in the order drawn, then good ones; remembers every body that ever left, answered or not."""

    def __init__(self, world: World, drawn: list[str]) -> None:
        self.world = world
        self.left = iter(drawn)
        self.bodies: dict[str, set[bytes]] = {}
        self.told: dict[str, list[bool]] = {}

    def __call__(self, batch: list[dict]) -> Verdict | BaseException:
        answer = next(self.left, "ok")
        if answer == "dead before":
            return Killed()
        for record in batch:
            self.bodies.setdefault(record["messageId"], set()).add(orjson.dumps(record))
        if answer != "ill":
            for record in batch:
                self.told.setdefault(record["userId"], []).append(record["traits"]["vips"])
        if answer == "dead after":
            return Killed()
        return Accepted() if answer == "ok" else Backoff("no answer")

    def holds(self) -> set[str]:
        return {user for user, values in self.told.items() if values[-1]}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions, answers)
def test_ids_are_unique_bytes_never_change_and_the_end_is_right(tmp_path_factory: pytest.TempPathFactory, drawn_versions, drawn_answers):
    world = make_world(tmp_path_factory.mktemp("world"))
    try:
        world.audience()
        world.destination()
        connection = world.connect().connection.id
        faults = Faults(world, drawn_answers)
        world.recorder.script = faults
        for number, members in enumerate(drawn_versions):
            world.publish({n: PEOPLE[n] for n in members})
            _work(world, connection, f"run-{number}")
        for number in range(20):
            if not world.owed():
                break
            _work(world, connection, f"last-{number}")
        assert world.owed() == []
        assert all(len(bodies) == 1 for bodies in faults.bodies.values())
        assert faults.holds() == {f"u{n}" for n in drawn_versions[-1]}
        changes = {
            (user, i)
            for user, values in faults.told.items()
            for i, (a, b) in enumerate(zip([None, *values], values, strict=False))
            if a is not b
        }
        assert len(faults.bodies) == len(changes)
    finally:
        world.registry.database.close()


def _work(world: World, connection: str, run: str) -> None:
    """Runs until the request is settled; a death is followed by another run, once the dead owner's lease is over."""
    for attempt in range(20):
        try:
            if not world.sync(connection, run_id=f"{run}-{attempt}").more_owed:
                return
        except Killed:
            _notice_the_dead(world)
    raise AssertionError("does not come to rest")


def _notice_the_dead(world: World) -> None:
    """What the launcher does for a run that ended without a word."""
    with world.registry.database.write() as c:
        for one in started_attempts(c):
            finish_attempt(c, one.id, attempt=one.attempt, ended=Ended("failed", "it died"), now=world.registry.database.now_us(c))


def test_paths_of_generations_are_gone_when_all_is_delivered(tmp_path: Path):
    world = make_world(tmp_path)
    world.audience()
    world.destination()
    connection = world.connect().connection.id
    world.publish(PEOPLE)
    world.sync_until_done(connection)
    world.registry.database.close()
    assert list((tmp_path / "generations").glob("*.parquet")) == []
