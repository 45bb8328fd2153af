"""What a new owner waits for, whose predecessor died over a request: no longer than it must, by the clock that both go by."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from engage_pipelines.delivery.lease import Lease, acquire
from engage_pipelines.delivery.own_clock import own_clock
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.registry import tables as t
from tests.delivery.world import World

Take = Callable[[str], Lease]


@pytest.fixture
def connection_id(world: World) -> str:
    world.audience()
    world.destination()
    return world.connect().connection.id


@pytest.fixture
def take(world: World, connection_id: str) -> Take:
    """Takes the lease by the world's clock, which all owners go by; nobody's heart beats."""
    clock = lambda: world.time.now_us / SECOND_US  # noqa: E731
    return lambda name: acquire(world.registry.database, connection_id, name, sleep=world.time.sleep, monotonic=clock)


def test_after_the_lease_of_a_dead_owner_of_this_machine_its_requests_are_over(world: World, take: Take):
    assert own_clock(), "this machine's clock has no name"
    take("a").begin_request(30.0)
    world.time.now_us += 61 * SECOND_US
    assert take("b").quiet_in_us == 0


def test_the_requests_of_a_dead_owner_of_another_machine_are_waited_for_in_full(world: World, take: Take):
    take("a").begin_request(30.0)
    with world.registry.database.write() as c:
        c.execute(sa.update(t.connection).values(lease_clock="elsewhere"))
    world.time.now_us += 61 * SECOND_US
    assert take("b").quiet_in_us == 31 * SECOND_US


def test_a_lease_that_was_let_go_over_an_unanswered_request_is_waited_for_as_long_as_a_request_takes(world: World, take: Take):
    first = take("a")
    first.begin_request(30.0)
    first.let_go(world.registry.database, given_back=False)
    assert take("b").quiet_in_us == 31 * SECOND_US


def test_a_request_late_in_the_lease_is_begun_only_after_it_was_renewed_by_the_owners_own_clock(world: World, connection_id: str):
    own = [100.0]
    lease = acquire(world.registry.database, connection_id, "a", sleep=world.time.sleep, monotonic=lambda: own[0])
    own[0] += 45.0
    deadline = lease.begin_request(30.0)
    (row,) = world.rows(t.connection)
    assert deadline == 175 * SECOND_US <= row.lease_over
