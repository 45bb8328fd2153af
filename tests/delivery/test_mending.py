"""Refused records are sent again by the next sync once what made or took them was mended, and by nothing else."""

from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.destinations.base import Accepted
from engage_pipelines.registry import destinations, mappings
from engage_pipelines.registry import tables as t
from tests.delivery.world import World

THREE = {n: [f"user_id:u{n}"] for n in range(1, 4)}
FIELDS = {name: {"@path": f"$.{name}"} for name in ("type", "userId", "traits", "event", "properties")}


@pytest.fixture
def refused(world: World) -> str:
    """A connection of which u2 was refused."""
    world.audience()
    world.destination()
    connection_id = world.connect(calls=("identify", "track")).connection.id
    world.publish(THREE)
    world.recorder.script = lambda batch: Accepted({at: "no" for at, r in enumerate(batch) if r["userId"] == "u2"})
    world.sync_until_done(connection_id)
    world.recorder.script = lambda _batch: Accepted()
    world.recorder.batches.clear()
    assert len(world.rows(t.exception)) == 2
    assert world.owed() == []
    return connection_id


def change_mapping(world: World, preset: str, /, **fields: Any) -> None:
    with world.registry.change() as change:
        to = change.c.execute(sa.select(t.destination)).one()
        row = next(row for row in change.c.execute(sa.select(t.mapping)) if row.name.startswith(preset))
        mappings.update_mapping(change, to, row, **fields)


def sent(world: World) -> list[tuple[str, str]]:
    return sorted((record["userId"], record["type"]) for record in world.recorder.records)


def test_a_mended_mapping_has_its_refused_records_sent_by_the_sync_that_it_asks_for(world: World, refused: str):
    change_mapping(world, "track", fields=FIELDS)
    assert [request.kind for request in world.owed()] == ["sync"]
    world.sync_until_done(refused)
    assert sent(world) == [("u2", "track")]
    assert [row.part[0] for row in world.rows(t.exception)] == ["i"]


def test_a_record_that_is_refused_again_waits_again(world: World, refused: str):
    world.recorder.script = lambda _batch: Accepted({0: "still no"})
    change_mapping(world, "track", fields=FIELDS)
    world.sync_until_done(refused)
    assert [row.kind for row in world.rows(t.exception)] == ["rejected", "rejected"]
    assert world.owed() == []
    world.recorder.script = lambda _batch: Accepted()
    world.sync_until_done(refused)
    assert sent(world) == []


def test_another_name_of_a_mapping_mends_nothing(world: World, refused: str):
    change_mapping(world, "track", name="track, but called otherwise")
    world.sync_until_done(refused)
    assert sent(world) == []


def test_a_mapping_that_sends_no_entries_any_more_has_none_sent_again(world: World, refused: str):
    change_mapping(world, "track", trigger='event = "Audience Exited"')
    world.sync_until_done(refused)
    assert sent(world) == []
    assert {row.kind for row in world.rows(t.exception)} == {"rejected"}


def test_other_settings_of_the_destination_have_every_refused_record_sent(world: World, refused: str):
    with world.registry.change() as change:
        destinations.update_destination(change, world.space, change.c.execute(sa.select(t.destination)).one(), settings={"place": "other"})
    assert [request.kind for request in world.owed()] == ["sync"]
    world.sync_until_done(refused)
    assert sent(world) == [("u2", "identify"), ("u2", "track")]
    assert world.rows(t.exception) == []


def test_a_mapping_removed_in_between_does_not_give_its_parts_to_another(world: World):
    world.audience()
    to = world.destination()
    with world.registry.change() as change:
        first, second = (
            mappings.add_mapping(change, to, mappings.NewMapping(name, 'type = "identify"', "send", {**FIELDS, "by": name}, enabled=True))
            for name in ("first", "second")
        )
    connection_id = world.connect().connection.id
    with world.registry.change() as change:
        (preset,) = (row for row in change.c.execute(sa.select(t.mapping)) if row.connection_id)
        mappings.disable_mapping(change, to, preset)
    world.publish({1: THREE[1]})
    world.recorder.script = lambda batch: Accepted({at: "no" for at, record in enumerate(batch) if record["by"] == "second"})
    world.sync_until_done(connection_id)
    with world.registry.change() as change:
        mappings.remove_mapping(change, to, mappings.find_mapping(change.c, to, first.id))
        third = mappings.add_mapping(change, to, mappings.NewMapping("third", 'type = "track"', "send", enabled=True))
    (row,) = world.rows(t.exception)
    assert row.part == f"i{second.number}"
    assert third.number not in {first.number, second.number, preset.number}
    world.recorder.script = lambda _batch: Accepted()
    with world.registry.change() as change:
        mappings.update_mapping(change, to, mappings.find_mapping(change.c, to, "second"), fields={**FIELDS, "by": "mended"})
    world.recorder.batches.clear()
    world.sync_until_done(connection_id)
    assert [record["by"] for record in world.recorder.records] == ["mended"]
    assert world.rows(t.exception) == []
