"""Dead letters: how they are found, what a replay sends and under which id, and what is left when they are given up."""

from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from engage_pipelines.delivery import dead_letters, payloads
from engage_pipelines.delivery.dead_letters import DeadLetter, Wanted
from engage_pipelines.delivery.replay import Replayed, replay
from engage_pipelines.destinations.base import Accepted, Backoff
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry import connections, mappings
from engage_pipelines.registry import tables as t
from tests.delivery.world import FIVE, World


@pytest.fixture
def connected(world: World) -> str:
    world.audience()
    world.destination()
    return world.connect().connection.id


@pytest.fixture
def refused(world: World, connected: str) -> str:
    """The connection after a backfill of which u2 and u4 were refused; from now on everything is taken."""
    refuse(world, u2="no such user", u4="Too OLD")
    world.publish(FIVE)
    world.sync(connected)
    world.recorder.script = lambda _batch: Accepted()
    return connected


def refuse(world: World, **reasons: str) -> None:
    world.recorder.script = lambda batch: Accepted({i: reasons[r["userId"]] for i, r in enumerate(batch) if r["userId"] in reasons})


def letters(world: World, **wanted: Any) -> list[DeadLetter]:
    with world.registry.database.read() as c:
        return dead_letters.list_dead_letters(c, world.space.id, Wanted(**wanted))


def replay_all(world: World) -> Replayed:
    ids = {letter.id for letter in letters(world)}
    with world.registry.change() as change:
        return replay(change, world.space.id, ids, world.runtime.settings.generations_dir)


def sent_since(world: World, connection_id: str) -> list[tuple[str, bool, str]]:
    """What one more sync delivers: who, the membership, the message id."""
    world.recorder.batches.clear()
    world.sync_until_done(connection_id)
    return [(r["userId"], r["traits"]["vips"], r["messageId"]) for r in world.recorder.records]


def test_a_list_tells_what_failed_and_not_who_it_was_about(world: World, refused: str):
    found = letters(world)
    assert [(x.audience, x.destination, x.kind, x.call, x.entered, x.reason, x.attempts) for x in found] == [
        ("vips", "crm", "rejected", "identify", True, "no such user", 1),
        ("vips", "crm", "rejected", "identify", True, "Too OLD", 1),
    ]
    assert "u2" not in repr(found[0])


@pytest.mark.parametrize(
    ("wanted", "reasons"),
    [
        pytest.param({"reason": "too old"}, ["Too OLD"], id="a part of the reason, in any case"),
        pytest.param({"reason": "%"}, [], id="no pattern signs"),
        pytest.param({"audience_id": "aud_other"}, [], id="another audience"),
        pytest.param({"destination_id": "dst_other"}, [], id="another destination"),
        pytest.param({"after_us": 1_900_000_000_000_000}, [], id="failed later than that"),
        pytest.param({"before_us": 1_900_000_000_000_000}, ["no such user", "Too OLD"], id="failed before that"),
    ],
)
def test_filters_narrow_the_list(world: World, refused: str, wanted: dict[str, Any], reasons: list[str]):
    assert [letter.reason for letter in letters(world, **wanted)] == reasons


def test_the_id_stays_the_same_while_a_record_fails(world: World, refused: str):
    before = {letter.id for letter in letters(world)}
    refuse(world, u2="still no such user", u4="Too OLD")
    replay_all(world)
    world.sync_until_done(refused)
    after = letters(world)
    assert {letter.id for letter in after} == before
    assert [(letter.kind, letter.attempts) for letter in after] == [("rejected", 2), ("rejected", 2)]


def test_an_id_that_is_none_is_named(world: World, refused: str):
    with world.registry.database.read() as c, pytest.raises(NotFoundError, match="dl_0000"):
        dead_letters.find_dead_letters(c, world.space.id, ["dl_0000"])


def test_the_exact_payload_can_be_looked_at(world: World, refused: str):
    (letter, _) = letters(world)
    record = payloads.frozen_record(letter, world.runtime.settings.generations_dir)
    assert record is not None
    assert (record.message_id, orjson.loads(record.body)["traits"]) == (letter.message_id, {"email": "u2@x.test", "vips": True})


def test_a_replay_in_the_same_state_sends_the_same_bytes_under_the_same_id(world: World, refused: str):
    kept = {letter.message_id: payloads.frozen_record(letter, world.runtime.settings.generations_dir) for letter in letters(world)}
    assert world.owed() == []
    assert replay_all(world) == Replayed(as_it_was=2, anew=0, mapping_off=0, not_sending=[])
    assert [(request.kind, request.not_before) for request in world.owed()] == [("sync", 0)]
    world.recorder.bodies.clear()
    assert {id_ for _, _, id_ in sent_since(world, refused)} == set(kept)
    assert sorted(world.recorder.bodies) == sorted(record.body for record in kept.values() if record is not None)
    assert letters(world) == []
    assert world.owed() == []


def test_a_replay_that_a_newer_state_has_overtaken_sends_the_newer_state_once(world: World, refused: str):
    old = {letter.message_id for letter in letters(world)}
    world.publish({n: FIVE[n] for n in (1, 3, 4, 5)})
    replay_all(world)
    sent = sent_since(world, refused)
    assert sorted((who, value) for who, value, _ in sent) == [("u2", False), ("u4", True)]
    assert {who: id_ in old for who, _, id_ in sent} == {"u2": False, "u4": True}
    assert letters(world) == []


def test_a_replay_after_its_mapping_was_changed_is_rendered_anew_under_a_new_id(world: World, refused: str):
    old = {letter.message_id for letter in letters(world)}
    with world.registry.change() as change:
        (row,) = change.c.execute(sa.select(t.mapping)).all()
        to = change.c.execute(sa.select(t.destination)).one()
        fields = {"userId": {"@path": "$.userId"}, "traits": {"@path": "$.traits"}, "messageId": {"@path": "$.messageId"}, "by": "new"}
        mappings.update_mapping(change, to, row, fields=fields)
    assert replay_all(world) == Replayed(as_it_was=0, anew=2, mapping_off=0, not_sending=[])
    # asking twice before the sync changes nothing, and the old payload can still be looked at
    assert replay_all(world).anew == 2
    assert payloads.frozen_record(letters(world)[0], world.runtime.settings.generations_dir) is not None
    sent = sent_since(world, refused)
    assert [who for who, _, _ in sent] == ["u2", "u4"]
    assert not {id_ for _, _, id_ in sent} & old
    assert {record["by"] for record in world.recorder.records} == {"new"}
    assert letters(world) == []


def test_a_replay_whose_payload_is_gone_is_rendered_anew(world: World, refused: str):
    for file in world.runtime.settings.generations_dir.glob("*.parquet"):
        file.unlink()
    assert replay_all(world).anew == 2
    assert [who for who, _, _ in sent_since(world, refused)] == ["u2", "u4"]


def test_what_no_enabled_mapping_sends_is_not_replayed(world: World, refused: str):
    with world.registry.change() as change:
        (row,) = change.c.execute(sa.select(t.mapping)).all()
        mappings.disable_mapping(change, change.c.execute(sa.select(t.destination)).one(), row)
    assert replay_all(world) == Replayed(as_it_was=0, anew=0, mapping_off=2, not_sending=[])
    assert {letter.kind for letter in letters(world)} == {"rejected"}
    assert world.owed() == []


def test_a_replay_on_a_paused_connection_waits_for_the_resume(world: World, refused: str):
    with world.registry.change() as change:
        of, to = change.c.execute(sa.select(t.computation)).one(), change.c.execute(sa.select(t.destination)).one()
        connections.pause(change, world.space, of, to)
    assert replay_all(world).not_sending == ["vips -> crm is paused"]
    assert world.owed() == []
    world.connect()
    assert [who for who, _, _ in sent_since(world, refused)] == ["u2", "u4"]


def test_a_record_of_unknown_fate_is_replayed_before_its_time(world: World, connected: str):
    world.publish({1: FIVE[1], 2: FIVE[2], 3: FIVE[3]})
    world.recorder.script = lambda batch: Backoff("connection reset") if any(r["userId"] == "u3" for r in batch) else Accepted()
    world.sync(connected)
    (letter,) = letters(world)
    assert letter.kind == "retryable"
    (request,) = world.owed()
    assert request.not_before > world.time.now_us
    world.recorder.script = lambda _batch: Accepted()
    assert replay_all(world).as_it_was == 1
    assert [(request.id, request.not_before) for request in world.owed()] == [(request.id, 0)]
    assert sent_since(world, connected) == [("u3", True, letter.message_id)]


def test_only_the_part_that_failed_is_replayed(world: World):
    world.audience()
    world.destination()
    connection_id = world.connect(calls=("identify", "track")).connection.id
    world.recorder.script = lambda batch: Accepted({i: "no" for i, r in enumerate(batch) if r["type"] == "track"})
    world.publish({1: FIVE[1]})
    world.sync(connection_id)
    world.recorder.script = lambda _batch: Accepted()
    replay_all(world)
    world.recorder.batches.clear()
    world.sync_until_done(connection_id)
    assert [r["type"] for r in world.recorder.records] == ["track"]


def test_what_is_discarded_is_not_sent_until_its_membership_changes_and_its_payload_goes(world: World, refused: str):
    folder = world.runtime.settings.generations_dir
    assert payloads.unused_files(world.registry.database, folder) == []
    with world.registry.change() as change:
        given_up = dead_letters.discard(change, world.space.id, {letter.id for letter in letters(world)})
    assert len(given_up) == 2
    assert payloads.sweep(world.registry.database, folder) > 0
    assert list(folder.glob("*.parquet")) == []
    assert world.owed() == []
    world.publish(FIVE | {6: ["user_id:u6"]})
    assert [who for who, _, _ in sent_since(world, refused)] == ["u6"]
    world.publish({n: FIVE[n] for n in (1, 3, 5)})
    assert [(who, value) for who, value, _ in sent_since(world, refused)] == [("u2", False), ("u4", False), ("u6", False)]


def test_replay_and_discard_are_audited_without_addresses(world: World, refused: str):
    ids = [letter.id for letter in letters(world)]
    replay_all(world)
    with world.registry.change() as change:
        dead_letters.discard(change, world.space.id, ids)
    rows = [(row.verb, row.object, row.before, row.after) for row in world.rows(t.audit)][-2:]
    assert rows == [
        ("replay", "dead letters vips -> crm", None, {"as_it_was": 2, "ids": ids}),
        ("discard", "dead letters vips -> crm", {"retryable": 2, "ids": ids}, None),
    ]


def test_files_that_a_connection_still_needs_are_never_swept(world: World, refused: str):
    folder = world.runtime.settings.generations_dir
    assert payloads.sweep(world.registry.database, folder) == 0
    assert len(list(folder.glob("*.parquet"))) == len({letter.generation for letter in letters(world)})


def test_a_removed_connection_has_no_dead_letters_and_sweeping_takes_its_payloads(world: World, refused: str):
    with world.registry.change() as change:
        of, to = change.c.execute(sa.select(t.computation)).one(), change.c.execute(sa.select(t.destination)).one()
        connections.remove(change, world.space, of, to)
    assert letters(world) == []
    assert payloads.sweep(world.registry.database, world.runtime.settings.generations_dir) > 0
    assert world.rows(t.exception) == []
