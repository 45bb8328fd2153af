"""What a destination was told after runs that went well, went badly, or died, and what the connection knows of it."""

import shutil
from dataclasses import replace

import orjson
import pytest
import sqlalchemy as sa

from engage_pipelines.delivery.send import NoAnswerError
from engage_pipelines.destinations.base import Accepted, Backoff
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.registry import connections, mappings
from engage_pipelines.registry import tables as t
from tests.delivery.world import FIVE, Killed, World


def test_a_backfill_tells_the_destination_every_member_once(world: World, connected: str):
    world.publish(FIVE)
    report = world.sync(connected)
    assert world.recorder.members() == {"u1", "u2", "u3", "u4", "u5"}
    assert report.counts == {"identify": {"entered": 5}}
    assert not report.more_owed
    assert world.owed() == []
    assert len(world.rows(t.base)) == 1


def test_later_syncs_send_only_changes_with_the_email_of_the_member(world: World, connected: str):
    world.publish(FIVE)
    world.sync(connected)
    world.recorder.batches.clear()
    world.publish({n: FIVE[n] for n in (2, 3, 4, 5)} | {6: ["user_id:u6", "email:new@x.test"]})
    world.sync(connected)
    assert [(r["userId"], r["traits"]) for r in world.recorder.records] == [
        ("u1", {"email": "u1@x.test", "vips": False}),
        ("u6", {"email": "new@x.test", "vips": True}),
    ]


def test_a_sync_of_nothing_new_sends_nothing(world: World, connected: str):
    world.publish(FIVE)
    world.sync(connected)
    world.recorder.batches.clear()
    assert world.publish(FIVE) == "unchanged"
    assert world.sync(connected).counts == {}
    assert world.recorder.batches == []


def test_members_without_an_identifier_are_counted_once_for_each_version(world: World, connected: str):
    world.publish({**FIVE, 6: ["phone:1"], 7: ["phone:2"]})
    assert world.sync(connected).skipped == 2
    # nothing of the version is looked at again, however large it is
    shutil.rmtree(world.runtime.settings.snapshots_dir)
    assert world.sync(connected, run_id="second").skipped == 2


def test_members_without_an_identifier_are_counted_anew_for_a_new_version_and_new_rules(world: World, connected: str):
    world.publish({**FIVE, 6: ["phone:1"]})
    assert world.sync(connected).skipped == 1
    world.publish({**FIVE, 6: ["phone:1"], 7: ["phone:2"]})
    assert world.sync(connected, run_id="second").skipped == 2
    with world.registry.change() as change, world.registry.database.read() as c:
        row, of, to = (c.execute(sa.select(table)).one() for table in (t.connection, t.computation, t.destination))
        connections.set_ids(change, world.space, row, (of, to), ["anonymous_id:last"])
    world.publish({**FIVE, 6: ["phone:1"], 7: ["phone:2"], 8: ["user_id:u8"]})
    assert world.sync(connected, run_id="third").skipped == 8


def test_message_ids_are_unique_and_short_and_carry_the_generation(world: World, connected: str):
    world.publish(FIVE)
    world.sync(connected)
    ids = [record["messageId"] for record in world.recorder.records]
    assert len(set(ids)) == 5
    assert all(id_.startswith("personas_") and len(id_) <= 100 for id_ in ids)


def test_an_entry_of_unknown_fate_is_never_overtaken_by_the_exit_of_who_left_meanwhile(world: World, connected: str):
    """The first batch arrives and its answer is lost, time and again; then one of its two people leaves."""
    world.publish(FIVE)
    tried: list[tuple[int, str, bool, bytes]] = []

    def script(batch: list[dict]) -> Accepted | Backoff:
        tried.extend((world.time.now_us, r["userId"], r["traits"]["vips"], orjson.dumps(r)) for r in batch)
        return Backoff("lost") if loses and batch[0]["userId"] == "u1" else Accepted()

    loses = True
    world.recorder.script = script
    with pytest.raises(NoAnswerError):
        world.sync(connected, run_id="first")
    world.publish({n: FIVE[n] for n in (2, 3, 4, 5)})
    loses = False
    for number in range(3):
        world.sync(connected, run_id=f"again-{number}")
    of_first = [one for one in tried if one[1] == "u1"]
    entries, exits = [one for one in of_first if one[2]], [one for one in of_first if not one[2]]
    assert len({body for *_, body in entries}) == 1, "tried again as it was, under its id"
    assert len(exits) == 1
    assert exits[0][0] - entries[-1][0] >= 30_000_000, "the entry can take no effect any more"
    of_second = {body for _, user, _, body in tried if user == "u2"}
    assert len(of_second) == 1, "who stayed is told under the old id"
    assert world.recorder.members() == {"u2", "u3", "u4", "u5"}
    assert world.rows(t.exception) == []


def test_an_entry_that_was_retried_under_its_old_id_is_not_overtaken_either(world: World, connected: str):
    """Kept as of unknown fate, tried again an hour later, and lost again: then the exit waits for the deadline of that try."""
    world.runtime = replace(world.runtime, max_changes=1_000)
    world.publish(FIVE)
    tried: list[tuple[int, str, bool, str]] = []

    def script(batch: list[dict]) -> Accepted | Backoff:
        tried.extend((world.time.now_us, r["userId"], r["traits"]["vips"], r["messageId"]) for r in batch)
        return Backoff("lost") if loses and any(r["userId"] == "u5" for r in batch) else Accepted()

    loses = True
    world.recorder.script = script
    world.sync(connected, run_id="first")
    assert [row.kind for row in world.rows(t.exception)] == ["retryable"]
    world.time.now_us += 3_600_000_000
    with pytest.raises(NoAnswerError):
        world.sync(connected, run_id="second")
    world.publish({n: FIVE[n] for n in (1, 2, 3, 4)})
    loses = False
    for number in range(3):
        world.sync(connected, run_id=f"again-{number}")
    entries = [one for one in tried if one[1] == "u5" and one[2]]
    exits = [one for one in tried if one[1] == "u5" and not one[2]]
    assert len({id_ for *_, id_ in entries}) == 1
    assert len(exits) == 1
    assert exits[0][0] - entries[-1][0] >= 30_000_000
    assert world.recorder.members() == {"u1", "u2", "u3", "u4"}


def test_a_run_that_dies_after_the_answer_resends_the_same_bytes_under_the_same_ids(world: World, connected: str):
    world.publish(FIVE)
    sent: list[bytes] = []

    def die_on_the_second_batch(batch):
        return Killed() if len(world.recorder.batches) == 1 else Accepted()

    world.recorder.script = die_on_the_second_batch
    with pytest.raises(Killed):
        world.sync(connected, run_id="first")
    sent.extend(world.recorder.bodies)
    world.recorder.script = lambda _batch: Accepted()
    world.sync_until_done(connected)
    assert world.recorder.members() == {"u1", "u2", "u3", "u4", "u5"}
    assert len({r["messageId"] for r in world.recorder.records}) == 5
    assert len(world.recorder.records) == 5
    assert world.recorder.bodies[: len(sent)] == sent


def test_records_that_were_accepted_but_never_answered_are_sent_again_byte_by_byte(world: World, connected: str):
    world.publish({1: FIVE[1], 2: FIVE[2]})
    answers = iter([Backoff("the answer was lost"), Accepted()])
    world.recorder.script = lambda _batch: next(answers)
    world.sync(connected)
    first, second = world.recorder.bodies[:2], world.recorder.bodies[2:]
    assert first == second


def test_a_paused_connection_sends_the_net_difference_on_resume(world: World, connected: str):
    world.publish(FIVE)
    world.sync(connected)
    world.recorder.batches.clear()
    with world.registry.change() as change:
        of, to = _both(world, change)
        connections.pause(change, world.space, of, to)
    world.publish({1: FIVE[1]})
    with pytest.raises(EngageError, match="paused"):
        world.sync(connected)
    world.publish(FIVE | {6: ["user_id:u6"]})
    world.connect()
    world.sync_until_done(connected)
    assert [r["userId"] for r in world.recorder.records] == ["u6"]


def test_an_account_audience_sends_one_group_per_account_then_one_identify_per_user(world: World):
    world.audience(level=Level.ACCOUNT)
    world.destination()
    connection_id = world.connect().connection.id
    world.publish({1: FIVE[1], 2: FIVE[2]}, {10: ["group_id:acme"], 11: ["group_id:globex"]})
    report = world.sync(connection_id)
    assert [(r["type"], r.get("groupId") or r["userId"]) for r in world.recorder.records] == [
        ("group", "acme"),
        ("group", "globex"),
        ("identify", "u1"),
        ("identify", "u2"),
    ]
    assert report.counts == {"group": {"entered": 2}, "identify": {"entered": 2}}


def test_identify_and_track_of_one_change_have_ids_of_their_own(world: World):
    world.audience()
    world.destination()
    connection_id = world.connect(calls=("identify", "track")).connection.id
    world.publish({1: FIVE[1]})
    world.sync(connection_id)
    assert sorted(r["type"] for r in world.recorder.records) == ["identify", "track"]
    assert len({r["messageId"] for r in world.recorder.records}) == 2
    track = next(r for r in world.recorder.records if r["type"] == "track")
    assert track["event"] == "Audience Entered"
    assert track["properties"] == {"audience_key": "vips", "vips": True}
    assert track["context"]["traits"] == {"email": "u1@x.test"}


def test_connecting_without_backfill_sends_only_what_changes_later(world: World):
    world.audience()
    world.destination()
    world.publish(FIVE)
    connection_id = world.connect(backfill=False).connection.id
    world.sync_until_done(connection_id)
    assert world.recorder.records == []
    world.publish({n: FIVE[n] for n in (2, 3, 4, 5)})
    world.sync_until_done(connection_id)
    assert world.recorder.holds() == {"u1": False}


def test_a_version_that_lost_most_of_its_members_is_held_and_not_sent(world: World, connected: str):
    world.runtime = replace(world.runtime, max_changes=1_000)
    world.publish({n: [f"user_id:u{n}"] for n in range(110)})
    world.sync_until_done(connected)
    world.recorder.batches.clear()
    assert world.publish({1: ["user_id:u1"]}) == "held"
    world.sync_until_done(connected)
    assert world.recorder.records == []


def test_everything_is_right_after_a_death_at_any_request(world: World, connected: str):
    """Kill at the n-th request, for every n, with a new version after each death: nothing lost, nothing doubled under a new id."""
    versions = [FIVE, {n: FIVE[n] for n in (1, 2)}, FIVE | {7: ["user_id:u7"]}]
    requests = 0
    for number, members in enumerate(versions * 3):
        world.publish(members)
        fatal = requests + number + 1

        def script(_batch, fatal=fatal):
            nonlocal requests
            requests += 1
            return Killed() if requests == fatal else Accepted()

        world.recorder.script = script
        try:
            world.sync(connected, run_id=f"kill-{number}")
        except Killed:
            world.sync_until_done(connected)
        world.sync_until_done(connected)
        assert world.recorder.members() == {a.removeprefix("user_id:") for every in members.values() for a in every if "user_id" in a}
    ids = [r["messageId"] for r in world.recorder.records]
    assert len(ids) == len(set(ids))
    assert len(world.rows(t.base)) == 1


def _both(world: World, change):
    from engage_pipelines.registry.destinations import find_destination
    from engage_pipelines.registry.lookup import find_audience

    return find_audience(change.c, world.space.id, "vips"), find_destination(change.c, world.space.id, "crm")


def test_a_mapping_enabled_while_a_run_is_under_way_sends_everyone_in_the_next(world: World):
    world.audience()
    world.destination()
    connection_id = world.connect(calls=("identify", "track")).connection.id
    row = next(row for row in world.rows(t.mapping) if row.name.startswith("track"))
    with world.registry.change() as change:
        to = _both(world, change)[1]
        row = mappings.disable_mapping(change, to, row) or row
    world.publish(FIVE)

    def enable_in_mid_run(_batch):
        world.recorder.script = lambda _batch: Accepted()
        with world.registry.change() as change:
            mappings.enable_mapping(change, to, mappings.find_mapping(change.c, to, row.name))
        return Accepted()

    world.recorder.script = enable_in_mid_run
    world.sync_until_done(connection_id)
    tracked = {record["userId"] for record in world.recorder.records if record["type"] == "track"}
    assert tracked == {"u1", "u2", "u3", "u4", "u5"}
