"""Records that a destination refuses or never answers: what is kept of them, and when they go again."""

import pytest
import sqlalchemy as sa

from engage_pipelines.delivery.send import NoAnswerError
from engage_pipelines.delivery.stopping import PausedError
from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, Pause, Stop
from engage_pipelines.domain.errors import SyncStoppedError
from engage_pipelines.registry import tables as t
from tests.delivery.world import FIVE, World


def test_a_poison_record_is_isolated_and_kept_while_the_others_are_delivered(world: World, connected: str):
    world.publish(FIVE)
    world.recorder.script = lambda batch: (
        Accepted() if all(r["userId"] != "u2" for r in batch) else (Bisect("bad") if len(batch) > 1 else Accepted({0: "no such user"}))
    )
    report = world.sync(connected)
    assert world.recorder.members() == {"u1", "u3", "u4", "u5"}
    assert report.dead_letters == 1
    assert [(row.address, row.kind, row.reason) for row in world.rows(t.exception)] == [("user_id:u2", "rejected", "no such user")]


def test_a_refused_record_is_not_sent_again_until_its_value_changes(world: World, connected: str):
    refuse = True
    world.recorder.script = lambda batch: Accepted({i: "no" for i, r in enumerate(batch) if refuse and r["userId"] == "u2"})
    world.publish(FIVE)
    world.sync(connected)
    world.recorder.batches.clear()
    refuse = False
    world.publish(FIVE | {6: ["user_id:u6"]})
    world.sync(connected)
    assert [r["userId"] for r in world.recorder.records] == ["u6"]
    world.publish({n: FIVE[n] for n in (1, 3, 4, 5)} | {6: ["user_id:u6"]})
    world.sync(connected)
    assert world.recorder.records[-1]["traits"]["vips"] is False
    assert world.rows(t.exception) == []


def test_a_record_too_large_for_the_destination_is_kept_with_its_size(world: World, connected: str):
    world.publish({1: FIVE[1], 2: ["user_id:u2", f"email:{'x' * 3000}@x.test"]})
    assert world.sync(connected).dead_letters == 1
    assert "at most 2000" in world.rows(t.exception)[0].reason
    assert world.recorder.members() == {"u1"}


def test_a_destination_that_asks_for_a_pause_is_left_alone_for_that_long(world: World, connected: str):
    world.publish({1: FIVE[1]})
    answers = iter([Pause(7.0), Accepted()])
    world.recorder.script = lambda _batch: next(answers, Accepted())
    world.sync(connected)
    assert world.recorder.members() == {"u1"}
    assert sum(world.time.slept) == pytest.approx(7.0, abs=0.01)


def test_a_long_pause_ends_the_run_and_the_request_waits_as_long(world: World, connected: str):
    world.publish({1: FIVE[1]})
    world.recorder.script = lambda _batch: Pause(1800.0)
    with pytest.raises(PausedError, match="1800 s"):
        world.sync(connected)
    (request,) = world.owed()
    assert request.not_before - world.time.now_us == pytest.approx(1800e6, rel=0.01)


def test_a_refusing_destination_stops_the_connection_and_nothing_is_dead_lettered(world: World, connected: str):
    world.publish(FIVE)
    world.recorder.script = lambda _batch: Stop("the write key is not valid", "Give the right one.")
    with pytest.raises(SyncStoppedError, match="write key"):
        world.sync(connected)
    row = world.rows(t.connection)[0]
    assert (row.state, row.error, row.remedy) == ("stopped", "the write key is not valid", "Give the right one.")
    assert world.rows(t.exception) == []


def test_a_destination_that_never_answers_ends_the_run_and_the_request_stays_owed(world: World, connected: str):
    world.publish(FIVE)
    world.recorder.script = lambda _batch: Backoff("connection refused")
    with pytest.raises(NoAnswerError, match="8 tries"):
        world.sync(connected)
    (request,) = world.owed()
    assert request.failures == 1
    assert request.not_before > 0
    world.recorder.script = lambda _batch: Accepted()
    world.sync_until_done(connected)
    assert world.recorder.members() == {"u1", "u2", "u3", "u4", "u5"}


def test_a_record_that_its_mapping_fails_on_is_kept_and_the_others_go(world: World, connected: str):
    with world.registry.change() as change:
        no_path = {"@if": {"exists": {"@path": "$.traits.email"}, "then": {"@literal": 5}, "else": "$.userId"}}
        fields = {"userId": {"@path": "$.userId"}, "traits": {"@path": "$.traits"}, "note": {"@path": no_path}}
        row = change.c.execute(sa.select(t.mapping)).one()
        change.c.execute(sa.update(t.mapping).where(t.mapping.c.id == row.id).values(fields=fields))
    world.publish({1: FIVE[1], 2: ["user_id:u2"]})
    report = world.sync(connected)
    assert world.recorder.members() == {"u2"}
    assert report.dead_letters == 1
    assert "cannot make a payload" in world.rows(t.exception)[0].reason


def test_a_new_version_does_not_wait_for_the_time_of_a_retry(world: World, connected: str):
    world.publish(FIVE)
    world.recorder.script = lambda batch: Backoff("no answer") if any(r["userId"] == "u3" for r in batch) else Accepted()
    world.sync_until_done(connected)
    (waiting,) = world.owed()
    assert waiting.not_before > world.time.now_us
    world.publish(FIVE | {6: ["user_id:u6"]})
    assert all(row.not_before <= world.time.now_us for row in world.owed())


def test_files_stay_only_for_records_that_are_kept(world: World, connected: str):
    world.recorder.script = lambda batch: Accepted({i: "no" for i, r in enumerate(batch) if r["userId"] == "u2"})
    world.publish(FIVE)
    world.sync_until_done(connected)
    (kept,) = world.rows(t.exception)
    assert [path.stem for path in world.runtime.settings.generations_dir.glob("*.parquet")] == [str(kept.generation)]
    world.recorder.script = lambda _batch: Accepted()
    world.publish({n: FIVE[n] for n in (1, 3, 4, 5)})
    world.sync_until_done(connected)
    assert list(world.runtime.settings.generations_dir.glob("*.parquet")) == []


def test_a_replay_after_mending_the_mapping_sends_only_the_part_that_failed(world: World):
    world.audience()
    world.destination()
    connection = world.connect(calls=("identify", "track")).connection
    world.recorder.script = lambda batch: Accepted({i: "no" for i, r in enumerate(batch) if r["type"] == "identify"})
    world.publish({1: FIVE[1]})
    assert world.sync(connection.id).dead_letters == 1
    world.recorder.script = lambda _batch: Accepted()
    with world.registry.database.write() as c:
        c.execute(sa.update(t.exception).values(kind="retryable", retry_at=0, seq=-1))
    world.recorder.batches.clear()
    world.sync_until_done(connection.id)
    assert [r["type"] for r in world.recorder.records] == ["identify"]
    assert world.rows(t.exception) == []
