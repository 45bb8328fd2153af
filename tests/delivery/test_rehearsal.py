"""Rehearsing a connection: what it says agrees with what connecting then does, and nothing is written."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.delivery import rehearsal
from engage_pipelines.delivery.rehearsal import Rehearsal, rehearse
from engage_pipelines.destinations.base import Action, Limits
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.registry import connections
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.connections import NewConnection
from engage_pipelines.registry.indexes import metadata
from tests.delivery.world import Recorder, World

FIVE = {n: [f"user_id:u{n}"] for n in range(1, 6)}


def ask(world: World, **options: Any) -> Rehearsal:
    return rehearse(world.runtime, NewConnection("vips", "crm", **options))


def everything(world: World) -> dict[str, list[Any]]:
    with world.registry.database.read() as c:
        return {table.name: list(c.execute(sa.select(table))) for table in metadata.sorted_tables}


@pytest.fixture
def prepared(world: World) -> World:
    world.audience()
    world.destination()
    world.publish(FIVE | {6: ["email:only@x.test"]})
    return world


def test_calls_and_requests_are_those_that_the_backfill_then_makes(prepared: World):
    said = ask(prepared, calls=("identify", "track"))
    assert (dict(said.entered), dict(said.exited), said.is_exact) == ({"identify": 5, "track": 5}, {}, True)
    assert said.skipped == {"user": 1}
    connection_id = prepared.connect(calls=("identify", "track")).connection.id
    prepared.sync_until_done(connection_id)
    assert len(prepared.recorder.records) == 10
    assert said.requests == len(prepared.recorder.batches)


def test_requests_are_counted_by_the_limits_of_each_action(prepared: World, monkeypatch: pytest.MonkeyPatch):
    one = Action("one", "One", frozenset({"track"}), {"@path": "$."}, limits=Limits(max_batch_records=1))
    monkeypatch.setattr(Recorder, "actions", (*Recorder.actions, one))
    monkeypatch.setattr(Recorder, "presets", tuple(replace(p, action="one") if p.call == "track" else p for p in Recorder.presets))
    said = ask(prepared, calls=("identify", "track"))
    connection_id = prepared.connect(calls=("identify", "track")).connection.id
    prepared.runtime = replace(prepared.runtime, max_changes=1_000)
    prepared.sync_until_done(connection_id)
    assert said.requests == len(prepared.recorder.batches) == 3 + 5
    assert said.limits.max_batch_records == 1


def test_nothing_is_written(prepared: World):
    before = everything(prepared)
    ask(prepared)
    assert everything(prepared) == before
    assert not prepared.runtime.settings.generations_dir.exists()


def test_presets_are_shown_with_their_triggers(prepared: World):
    (preset,) = ask(prepared).presets
    assert (preset.name, preset.trigger) == ("identify: vips", 'type = "identify" and context.personas.computation_key = "vips"')


def test_accounts_and_users_of_an_account_audience_are_counted_apart(world: World):
    world.audience(level=Level.ACCOUNT)
    world.destination()
    world.publish(FIVE, {10: ["group_id:acme"], 11: ["group_id:globex"]})
    said = ask(world)
    assert dict(said.entered) == {"group": 2, "identify": 5}
    assert said.requests == 1 + 3


def test_without_a_backfill_nothing_is_owed(prepared: World):
    said = ask(prepared, backfill=False)
    assert (said.entered, said.exited, said.requests) == ({}, {}, 0)


def test_resuming_sends_the_net_difference(prepared: World):
    connection_id = prepared.connect().connection.id
    prepared.sync_until_done(connection_id)
    with prepared.registry.change() as change:
        of, to = change.c.execute(sa.select(t.computation)).one(), change.c.execute(sa.select(t.destination)).one()
        connections.pause(change, prepared.space, of, to)
    prepared.publish({n: FIVE[n] for n in (2, 3, 4)} | {7: ["user_id:u7"]})
    said = ask(prepared)
    assert (said.resumed, dict(said.entered), dict(said.exited)) == (True, {"identify": 1}, {"identify": 2})


def test_large_backfills_are_told_in_proportion_to_a_sample(prepared: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rehearsal, "SAMPLE", 2)
    said = ask(prepared)
    assert (dict(said.entered), said.requests, said.is_exact) == ({"identify": 5}, 3, False)


def test_an_audience_that_was_never_computed_is_rehearsed_without_counts(world: World):
    world.audience()
    world.destination()
    assert (ask(world).version, len(ask(world).presets)) == (0, 1)


def test_what_connecting_would_refuse_is_refused(prepared: World):
    prepared.connect()
    with pytest.raises(ConflictError, match="connected to 'crm' already"):
        ask(prepared)
    with pytest.raises(NotFoundError, match="vip"):
        rehearse(prepared.runtime, NewConnection("vip", "crm"))
