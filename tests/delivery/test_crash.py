"""Real processes that are killed in mid-sync, and what the destination got wrong of it: nothing."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.registry import tables as t
from engage_pipelines.testing import crash_points
from engage_pipelines.testing.crash import UNRECORDED, Ground, Tally
from engage_pipelines.testing.crash_points import POINTS
from engage_pipelines.testing.faults import Rates

PEOPLE = [f"u{number:02}" for number in range(30)]
LOSES_ANSWERS = Rates(p_ghost=0.1, p_half=0.05, seed=3)
ENDS: list[dict[str, Any]] = [{"die_at": "after open"}, {"after_requests": 4}, {"die_at": "after acknowledge"}, {"die_at_commit": 9}]


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_killed_runs_lose_nothing_and_double_nothing_under_a_new_id(database: str, tmp_path: Path, request: pytest.FixtureRequest):
    url = request.getfixturevalue("postgres_url") if database == "postgres" else None
    with Ground(tmp_path, url, LOSES_ANSWERS) as ground:
        ends: list[Callable[[], int]] = [
            lambda: ground.run(die_at_commit=8).code,
            lambda: ground.run(after_requests=2).code,
            lambda: ground.run(die_at_commit=17).code,
        ]
        kills = 0
        for number, end in enumerate(ends if database == "sqlite" else ends[1:2]):
            ground.publish(PEOPLE[number * 5 :])
            kills += end() == -signal.SIGKILL
        ground.publish(PEOPLE[2::3])
        ground.run_until_done()
        tally = ground.tally()
    assert tally.broken == []
    assert kills == ground.kills > 0


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_killed_runs_deliver_the_last_value_of_a_trait_and_none_that_is_older_than_one_before(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
):
    url = request.getfixturevalue("postgres_url") if database == "postgres" else None
    with Ground(tmp_path, url, LOSES_ANSWERS, has_values=True) as ground:
        for number, how in enumerate(ENDS if database == "sqlite" else ENDS[1:3]):
            ground.publish(values_of(number))
            ground.run(**how)
        # back to what they were before the last: a value that comes back is told again
        ground.publish(values_of(1))
        ground.run_until_done()
        tally = ground.tally()
        told = {value for came in ground.witness.came.values() for value, _ in came}
    assert tally.broken == []
    assert ground.kills >= 2
    assert {None, 0, 2.5, "gold"} < told


def values_of(number: int) -> dict[str, Any]:
    """A value for most people, another one each time; who has none any more is told of with null."""
    kinds = (0, 2.5, "gold", 'a "quoted" ü', "")
    return {one: kinds[(n + number) % 5] for n, one in enumerate(PEOPLE) if (n + number) % 4}


def test_each_promise_that_is_broken_is_named():
    assert Tally(0, 0, 0, 5, 5, UNRECORDED).broken == []
    assert Tally(1, 2, 3, 6, 5, UNRECORDED + 1).broken == [
        "1 lost",
        "2 doubled under a new id",
        "3 older after a newer one",
        "6 sent again, of at most 5",
        f"{UNRECORDED + 1} records of one kill in no ledger, of at most {UNRECORDED}",
    ]


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_ends_at_a_batch_boundary_and_says_where_it_stands(tmp_path: Path):
    with Ground(tmp_path, rates=Rates(p_slow=1.0, slow_s=0.15)) as ground:
        ground.publish(PEOPLE)
        ended = ground.run(after_requests=3, signal_number=signal.SIGTERM)
        assert ended.code == -signal.SIGTERM
        assert "stopped sent=" in ended.said
        with ground.registry.database.read() as c:
            owed = c.execute(sa.select(t.sync_request.c.error, t.sync_request.c.started_at)).one()
            lease_until = c.execute(sa.select(t.connection.c.lease_until)).scalar_one()
            now = ground.registry.database.now_us(c)
        assert owed.error.startswith("The run was asked to stop: generation ")
        assert owed.started_at is None
        assert lease_until <= now
        ground.run_until_done()
        tally = ground.tally()
    assert (tally.lost, tally.doubled, tally.inversions, tally.resends) == (0, 0, 0, 0)


@pytest.mark.slow
def test_a_run_that_is_killed_at_a_named_point_is_gone_on_with(tmp_path: Path):
    points = ["after reserve", "before give up", "before open", "after open", "after request", "before adopt", "after settle"]
    with Ground(tmp_path) as ground:
        for number, point in enumerate(points):
            ground.publish(PEOPLE[number * 3 :])
            assert ground.run(die_at=point).code == -signal.SIGKILL, point
        ground.run_until_done()
        tally = ground.tally()
    assert tally.broken == []


def test_every_named_point_is_there():
    for point in POINTS:
        when, _, step = point.partition(" ")
        assert when in {"before", "after"}
        place, name = crash_points._STEPS[step]
        assert callable(getattr(place, name))
