"""Versions from evaluations: published when something changed, held when it looks wrong, released or discarded by people."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from engage_pipelines.computing.held import discard, release
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.lookup import find_audience
from engage_pipelines.snapshots.rows import Chain, VersionFile
from tests.delivery.world import World, make_world

MANY = {n: [f"user_id:u{n}"] for n in range(300)}
FEW = {1: ["user_id:u1"]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    made.audience()
    yield made
    made.registry.database.close()


def chain(world: World) -> Chain:
    rows = [row for row in world.rows(t.version) if row.state == "published"]
    return Chain(world.home / "snapshots" / "default" / "vips", tuple(VersionFile(row.n, bool(row.is_full)) for row in rows))


def addresses(world: World, n: int) -> set[str]:
    with duckdb.connect() as db:
        return {row[0] for row in db.execute(f"select address from ({chain(world).rows(n)}) where current").fetchall()}


def current(world: World) -> int | None:
    return world.rows(t.computation)[0].current_version


def test_the_same_members_make_no_new_version(world: World):
    assert world.publish(MANY) == "published"
    assert world.publish(MANY) == "unchanged"
    assert current(world) == 1


def test_small_changes_are_kept_as_changes_and_read_back_as_the_whole(world: World):
    world.publish(MANY)
    later = {n: MANY[n] for n in range(1, 300)} | {900: ["user_id:new"]}
    world.publish(later)
    assert [row.is_full for row in world.rows(t.version)] == [True, False]
    assert addresses(world, 2) == {a for every in later.values() for a in every}
    assert addresses(world, 1) == {a for every in MANY.values() for a in every}


def test_a_full_snapshot_comes_when_changes_outgrow_a_tenth(world: World):
    world.publish(MANY)
    world.publish({n: MANY[n] for n in range(200)})
    assert [row.is_full for row in world.rows(t.version)] == [True, True]


def test_counts_say_who_entered_and_who_left(world: World):
    world.publish(MANY)
    world.publish({n: MANY[n] for n in range(290)} | {n: [f"user_id:u{n}"] for n in range(400, 405)})
    row = world.rows(t.version)[1]
    assert (row.size, row.entered, row.exited) == (295, 5, 10)


def test_a_version_that_lost_most_members_is_held_until_released(world: World):
    world.publish(MANY)
    assert world.publish(FEW) == "held"
    assert current(world) == 1
    with world.registry.change() as change:
        assert release(change, find_audience(change.c, world.space.id, "vips")) == 2
    assert current(world) == 2
    assert addresses(world, 2) == {"user_id:u1"}


def test_a_newer_version_supersedes_a_held_one(world: World):
    world.publish(MANY)
    world.publish(FEW)
    world.publish({n: MANY[n] for n in range(250)})
    assert [row.state for row in world.rows(t.version)] == ["published", "superseded", "published"]
    assert len(addresses(world, 3)) == 250
    with world.registry.change() as change, pytest.raises(NotFoundError, match="no version that is held"):
        release(change, find_audience(change.c, world.space.id, "vips"))


def test_discarding_a_held_version_leaves_nothing_of_it(world: World):
    world.publish(MANY)
    world.publish(FEW)
    with world.registry.change() as change:
        discard(change, find_audience(change.c, world.space.id, "vips"), world.runtime.settings)
    assert world.rows(t.audit)[-1].object == "audience default/vips"
    assert current(world) == 1
    assert not (world.home / "snapshots" / "default" / "vips" / "2").exists()


def test_a_second_fall_is_measured_against_the_last_published_version(world: World):
    world.publish(MANY)
    world.publish({n: MANY[n] for n in range(100)})
    assert world.publish({n: MANY[n] for n in range(90)}) == "held"


def test_what_a_dead_writer_left_behind_is_swept(world: World):
    world.publish(MANY)
    folder = world.home / "snapshots" / "default" / "vips"
    (folder / ".writing-2").mkdir()
    (folder / "7").mkdir()
    world.publish({n: MANY[n] for n in range(299)})
    assert sorted(entry.name for entry in folder.iterdir()) == ["1", "2"]
