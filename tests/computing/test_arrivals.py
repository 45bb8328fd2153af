"""Live computations: asked for when facts come that they have not seen, once per arrival, and when their time has come."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.computing.arrivals import AT_LEAST_EVERY_US, Seen, ask_for_arrivals, is_due
from engage_pipelines.computing.compute import compute_audiences
from engage_pipelines.domain.computation import Level, TraitType
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.registry import audiences, lookup, traits
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import Ended, finish_attempt, start_attempt
from engage_pipelines.testing.plain_calls import instant, take_in
from tests.delivery.world import World, make_world

NOW_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


def _row(**changes: Any) -> Any:
    usual = {"id": "aud_1", "space_key": "s", "inputs_digest": "m1:x", "next_change_at": 2**62, "checked_at": NOW_US, "last_error": None}
    return SimpleNamespace(**{**usual, "evaluate_at": None, **changes})


def _seen(facts: str | None = "m1", **changes: Any) -> Seen:
    return Seen(**{"now_us": NOW_US + 2 * HOUR_US, "facts": {"s": facts}, **changes})


ONE = frozenset({"aud_1"})


@pytest.mark.parametrize(
    ("row", "seen", "before", "due"),
    [
        pytest.param(_row(), _seen(), None, False, id="nothing moved since it was evaluated"),
        pytest.param(_row(), _seen("m2"), "m1", True, id="facts came"),
        pytest.param(_row(), _seen("m2"), "m2", False, id="it was asked for these facts before"),
        pytest.param(_row(), _seen("m2", waiting=ONE, under_way=ONE), "m1", False, id="a request waits that will read them"),
        pytest.param(_row(), _seen("m2", under_way=ONE), "m1", True, id="a run may have read the facts before these"),
        pytest.param(_row(inputs_digest=None, checked_at=None), _seen(), None, True, id="never evaluated"),
        pytest.param(_row(last_error="no"), _seen("m2"), "m1", True, id="it failed on facts before these"),
        pytest.param(_row(next_change_at=NOW_US + 1), _seen(), "m1", True, id="a row of a later instant is to be seen"),
        pytest.param(_row(next_change_at=NOW_US + 3 * HOUR_US), _seen(), "m1", False, id="its time has not come"),
        pytest.param(_row(next_change_at=NOW_US + 1), _seen(under_way=ONE), "m1", False, id="its time has come and a run is at it"),
        pytest.param(_row(next_change_at=NOW_US + 1, last_error="no"), _seen(), "m1", False, id="its time has come and it fails"),
        pytest.param(_row(next_change_at=NOW_US + 1, evaluate_at=NOW_US), _seen(), "m1", False, id="the space's time stands still"),
        pytest.param(_row(next_change_at=None), _seen(), "m1", True, id="nobody knows its time, an hour ago"),
        pytest.param(_row(next_change_at=None, checked_at=NOW_US + HOUR_US + 1), _seen(), "m1", False, id="nor just now"),
        pytest.param(_row(), _seen(None), None, True, id="facts that moved into a warehouse, an hour ago"),
    ],
)
def test_when_a_live_computation_is_asked_for(row: Any, seen: Seen, before: str | None, due: bool) -> None:
    assert AT_LEAST_EVERY_US == HOUR_US
    assert is_due(row, seen, before) is due


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.registry.database.close()


def _audience(world: World, key: str, definition: str = "event('E').count() >= 1", cadence: str = "live", **fields: Any) -> None:
    with world.registry.change() as change:
        new = audiences.NewAudience(key, fields.pop("level", Level.USER), definition, cadence=cadence, **fields)
        audiences.create_audience(change, world.space, new)


def _track(world: World, number: int) -> None:
    call = {"type": "track", "event": "E", "userId": f"u{number}", "messageId": f"m{number}", "timestamp": instant(NOW_US)}
    take_in(world.runtime.settings.facts_dir, [call])


def _owed(world: World) -> list[list[str]]:
    with world.registry.database.read() as c:
        requests = c.execute(sa.select(t.compute_request).where(t.compute_request.c.state == "owed")).all()
        keys = {row.id: row.key for row in c.execute(sa.select(t.computation.c.id, t.computation.c.key))}
    return [sorted(keys[each] for each in row.computation_ids) for row in requests]


def _work(world: World) -> None:
    """What a run does for everything that is owed."""
    database = world.registry.database
    with database.read() as c:
        requests = c.execute(sa.select(t.compute_request).where(t.compute_request.c.state == "owed")).all()
        keys = {row.id: row.key for row in c.execute(sa.select(t.computation.c.id, t.computation.c.key))}
    for row in requests:
        with database.write() as c:
            assert start_attempt(c, row.id, attempt=row.attempt, run_id=row.id, now=database.now_us(c))
        wanted = [keys[each] for each in row.computation_ids]
        compute_audiences(world.runtime.settings, world.registry, "default", wanted, log=lambda _: None)
        with database.write() as c:
            finish_attempt(c, row.id, attempt=row.attempt, ended=Ended("done"), now=database.now_us(c))


def test_each_arrival_is_asked_for_once_and_only_for_what_is_live(world: World) -> None:
    _audience(world, "live_one")
    _audience(world, "hourly_one", cadence="hourly")
    _audience(world, "unconnected", options={"compute_without_destinations": False})
    _track(world, 1)
    _work(world)

    def ask(before: dict[str, str]) -> dict[str, str]:
        return dict(ask_for_arrivals(world.runtime.settings, world.registry.database, before).facts)

    seen = ask({})
    assert _owed(world) == []
    _track(world, 2)
    _track(world, 3)
    seen = ask(seen)
    assert ask(seen) == seen
    assert _owed(world) == [["live_one"]]
    _work(world)
    assert ask(seen) == seen
    assert ask({}) == seen
    assert _owed(world) == []
    with world.registry.database.read() as c:
        assert lookup.find_audience(c, world.space.id, "live_one").current_version == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"definition": "event('E').within(7 days).count() >= 1"}, "'new' cannot be live", id="a window"),
        pytest.param({"level": Level.ACCOUNT, "definition": "trait('tier') = 'gold'"}, "about accounts", id="accounts"),
        pytest.param({"definition": "trait('signup').within_last(7 days)"}, "a date told from now", id="a date told from now"),
        pytest.param({"definition": "trait('recent') = true"}, "which refers to 'recent', cannot be live", id="by reference"),
        pytest.param({"definition": "trait('scores.a') = 1"}, "a SELECT may look at anything", id="a SELECT by reference"),
    ],
)
def test_what_time_changes_cannot_be_live(world: World, fields: dict[str, Any], words: str) -> None:
    _audience(world, "recent", "event('E').within(1 day).count() >= 1", "hourly")
    with world.registry.change() as change:
        traits.create_trait(change, world.space, traits.NewTrait("scores", Level.USER, "SELECT 1", type=TraitType.SQL))
    with pytest.raises(ConfigurationError, match=words):
        _audience(world, "new", **fields)
    _audience(world, "new")
    if "level" not in fields:
        with pytest.raises(ConfigurationError, match=words), world.registry.change() as change:
            audiences.update_audience(change, world.space, "new", definition=fields["definition"])
