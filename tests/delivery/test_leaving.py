"""A connection that leaves sends everyone's exit by the ordinary way, through crashes, refusals and replays, and then is gone."""

import pytest
import sqlalchemy as sa

from engage_pipelines.delivery import dead_letters
from engage_pipelines.delivery.rehearsal import rehearse_act
from engage_pipelines.delivery.replay import replay
from engage_pipelines.destinations.base import Accepted, Backoff, Stop
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConflictError, SyncStoppedError
from engage_pipelines.domain.protocol import EMPTIED
from engage_pipelines.registry import audiences, connections, mappings
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import owed_sync_requests
from engage_pipelines.registry.mending import mend_connections
from engage_pipelines.registry.status import list_status
from tests.delivery.world import Killed, World

FIVE = {n: [f"user_id:u{n}"] for n in range(1, 6)}


@pytest.fixture
def told(world: World) -> str:
    """A connection that was told of five people."""
    world.audience()
    world.destination()
    id_ = world.connect(calls=("identify", "track")).connection.id
    world.publish(FIVE)
    world.sync_until_done(id_)
    return id_


def leave(world: World) -> None:
    with world.registry.change() as change:
        connections.leave(change, world.space, *both(change))


def both(change):
    return change.c.execute(sa.select(t.computation)).one(), change.c.execute(sa.select(t.destination)).one()


def connection(world: World) -> sa.Row:
    return world.rows(t.connection)[0]


def test_everyone_leaves_and_then_the_connection_is_gone(world: World, told: str):
    leave(world)
    assert connection(world).state == "leaving"
    with world.registry.database.read() as c:
        assert [request.connection_id for request in owed_sync_requests(c, world.time.now_us)] == [told]
    world.sync_until_done(told)
    assert world.recorder.members() == set()
    assert (connection(world).state, connection(world).removed_at is not None) == ("gone", True)
    assert {row.removed_at is None for row in world.rows(t.mapping)} == {False}
    assert world.owed() == []
    world.recorder.batches.clear()
    again = world.connect(calls=("identify",)).connection.id
    world.sync_until_done(again)
    assert world.recorder.members() == {f"u{n}" for n in range(1, 6)}


def test_while_it_leaves_status_and_log_say_so_in_words(world: World, told: str):
    leave(world)
    with world.registry.database.read() as c:
        (row,) = list_status(c, world.space.id, now_us=world.time.now_us)
    assert (row.status, row.sync_status) == ("Disconnecting", "Waiting")
    world.log.clear()
    reports = [world.sync_until_done(told)]
    assert [report.version for report in reports] == [None]
    assert world.log[0] == "version=leaving users_owed=5"
    assert "version=leaving records=" in " ".join(world.log)
    assert str(EMPTIED) not in " ".join(world.log)


def test_accounts_leave_before_their_users_and_who_entered_since_is_told_nothing(world: World):
    world.audience(level=Level.ACCOUNT)
    world.destination()
    id_ = world.connect().connection.id
    world.publish(FIVE, {100: ["group_id:acme"]})
    world.sync_until_done(id_)
    world.recorder.batches.clear()
    leave(world)
    world.publish({**FIVE, 6: ["user_id:u6"]}, {100: ["group_id:acme"], 101: ["group_id:new"]})
    world.sync_until_done(id_)
    assert [record["type"] for record in world.recorder.records] == ["group", *["identify"] * 5]
    assert world.recorder.members() == set()
    assert "u6" not in world.recorder.holds()
    assert connection(world).state == "gone"


def test_what_was_under_way_is_finished_without_entering_anyone(world: World):
    world.audience()
    world.destination()
    id_ = world.connect().connection.id
    world.publish(FIVE)
    world.recorder.script = lambda _batch: Killed() if len(world.recorder.batches) == 1 else Accepted()
    with pytest.raises(Killed):
        world.sync(id_, run_id="dies")
    world.recorder.script = lambda _batch: Accepted()
    leave(world)
    before = len(world.recorder.batches)
    world.sync_until_done(id_)
    assert not [r for batch in world.recorder.batches[before:] for r in batch if r["traits"]["vips"]]
    assert world.recorder.members() == set()
    assert connection(world).state == "gone"


def test_a_death_on_the_way_out_is_gone_on_from(world: World, told: str):
    leave(world)
    world.recorder.batches.clear()
    world.recorder.script = lambda _batch: Killed() if len(world.recorder.batches) == 2 else Accepted()
    with pytest.raises(Killed):
        world.sync(told, run_id="dies")
    world.recorder.script = lambda _batch: Accepted()
    world.sync_until_done(told)
    ids = [record["messageId"] for record in world.recorder.records]
    assert len(ids) == len(set(ids)) == 10
    assert connection(world).state == "gone"


def test_refused_exits_keep_the_connection_until_they_are_replayed(world: World, told: str):
    leave(world)
    world.recorder.script = lambda batch: Accepted({at: "no" for at, r in enumerate(batch) if r["userId"] == "u2"})
    world.sync_until_done(told)
    assert connection(world).state == "leaving"
    world.recorder.script = lambda _batch: Accepted()
    with world.registry.change() as change:
        ids = {letter.id for letter in dead_letters.list_dead_letters(change.c, world.space.id)}
        assert len(ids) == 2
        replay(change, world.space.id, ids, world.runtime.settings.generations_dir)
    world.sync_until_done(told)
    assert world.recorder.members() == set()
    assert connection(world).state == "gone"


def test_a_fatal_answer_on_the_way_out_is_mended_into_leaving(world: World, told: str):
    leave(world)
    world.recorder.script = lambda _batch: Stop("no key", "Set one.")
    with pytest.raises(SyncStoppedError):
        world.sync(told)
    assert connection(world).state == "stopped"
    world.recorder.script = lambda _batch: Accepted()
    with world.registry.change() as change:
        mend_connections(change)
    assert connection(world).state == "leaving"
    world.sync_until_done(told)
    assert connection(world).state == "gone"


def test_an_exit_of_unknown_fate_is_waited_for(world: World, told: str):
    leave(world)
    world.recorder.script = lambda batch: Backoff("timeout") if any(r["userId"] == "u3" for r in batch) else Accepted()
    world.sync(told)
    assert connection(world).state == "leaving"
    world.recorder.script = lambda _batch: Accepted()
    world.time.now_us += 3_600_000_000
    world.sync_until_done(told)
    assert world.recorder.members() == set()
    assert connection(world).state == "gone"


def test_the_exits_are_counted_before_and_nothing_is_written(world: World, told: str):
    with world.registry.database.read() as c:
        row = c.execute(sa.select(t.connection)).one()
    found = rehearse_act(world.runtime, lambda change: connections.leave(change, world.space, *both(change)))
    assert dict(found.exited) == {"identify": 5, "track": 5}
    assert dict(found.entered) == {}
    assert connection(world) == row


def test_a_connection_that_was_told_to_leaves_when_it_is_removed_and_ends_when_removed_again(world: World, told: str):
    world.connect(on_disconnect="exit_all")
    with world.registry.change() as change:
        assert not connections.remove(change, world.space, *both(change))
    assert connection(world).state == "leaving"
    with world.registry.change() as change:
        assert connections.remove(change, world.space, *both(change))
    assert connection(world).state == "gone"


def test_a_disabled_audience_still_lets_its_connections_leave(world: World, told: str):
    world.connect(on_disconnect="exit_all")
    with world.registry.change() as change:
        row = audiences.update_audience(change, world.space, "vips", enabled=False)
        assert connections.leave_where_said(change, world.space, row) == ["crm"]
    with world.registry.database.read() as c:
        assert len(owed_sync_requests(c, world.time.now_us)) == 1
    world.sync_until_done(told)
    assert world.recorder.members() == set()
    assert connection(world).state == "gone"


def test_a_connection_that_told_nobody_is_gone_at_once(world: World):
    world.audience()
    world.destination()
    world.connect()
    leave(world)
    assert connection(world).state == "gone"


def test_what_leaves_cannot_be_paused_or_connected_again(world: World, told: str):
    leave(world)
    with world.registry.change() as change:
        of, to = both(change)
        with pytest.raises(ConflictError, match="its exits are being sent"):
            connections.pause(change, world.space, of, to)
    with pytest.raises(ConflictError, match="its exits are being sent"):
        world.connect()


def test_without_a_mapping_for_exits_it_does_not_leave(world: World, told: str):
    with world.registry.change() as change:
        to = both(change)[1]
        for row in change.c.execute(sa.select(t.mapping)).all():
            mappings.disable_mapping(change, to, row)
    with pytest.raises(ConflictError, match="No enabled mapping of the connection sends exits"):
        leave(world)
