"""Attempts of a request: a run works on the one that it was launched for, and on no later one."""

import pytest

from engage_pipelines.delivery.sync import Sync
from engage_pipelines.domain.errors import BusyError
from engage_pipelines.registry.attempts import Ended, finish_attempt
from tests.delivery.world import World


@pytest.fixture
def request_id(world: World) -> str:
    world.audience()
    world.destination()
    made = world.connect()
    world.publish({1: ["user_id:u1"]})
    assert made.request_id is not None
    return made.request_id


def sync_of(world: World, request_id: str, attempt: int, run_id: str) -> Sync:
    (request,) = world.owed()
    return Sync(world.runtime, request.connection_id, request_id, run_id=run_id, log=world.log.append, attempt=attempt)


def lose_first(world: World, request_id: str) -> None:
    """The launcher takes the first run for dead."""
    with world.registry.database.write() as c:
        assert finish_attempt(c, request_id, attempt=1, ended=Ended("failed", "It died."), now=world.time.now_us)


def test_a_late_run_of_an_attempt_that_is_over_takes_no_later_attempt_before_its_time(world: World, request_id: str):
    lose_first(world, request_id)
    with pytest.raises(BusyError, match="is over"):
        sync_of(world, request_id, 1, "late").plan()
    (request,) = world.owed()
    assert (request.attempt, request.failures, request.started_at) == (2, 1, None)
    assert world.recorder.records == []
    assert sync_of(world, request_id, 2, "second").plan().owed == {"user": 1}


def test_a_run_that_begins_again_under_its_own_attempt_goes_on(world: World, request_id: str):
    sync_of(world, request_id, 1, "one").plan()
    assert sync_of(world, request_id, 1, "one").plan().owed == {"user": 1}


def test_a_run_by_hand_that_begins_twice_adopts_once(world: World, request_id: str):
    (request,) = world.owed()
    for _ in range(2):
        Sync(world.runtime, request.connection_id, None, run_id="by-hand", log=world.log.append).plan()
    assert [row.id for row in world.owed()] == [request_id]
