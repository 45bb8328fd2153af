"""What a destination is told of the values of traits: each one first, then what changed, and null of whom none is left."""

import contextlib
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from engage_pipelines.delivery.dead_letters import list_dead_letters
from engage_pipelines.delivery.rehearsal import rehearse
from engage_pipelines.delivery.replay import replay
from engage_pipelines.destinations.base import Accepted, Backoff, MembershipAs
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.connection import RequestKind
from engage_pipelines.domain.errors import ConflictError, UsageError
from engage_pipelines.registry import connections, mappings
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.connections import NewConnection
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.lookup import find_computation
from engage_pipelines.registry.matching import matches_of
from engage_pipelines.registry.traits import delete_trait
from tests.delivery.world import Killed, Members, World

PEOPLE: Members = {n: [f"user_id:u{n}"] for n in range(1, 6)}
THREE: Members = {n: [f"user_id:u{n}", f"email:u{n}@x.test"] for n in (1, 2, 3)}


@pytest.fixture
def connected(world: World) -> str:
    world.trait()
    world.destination()
    return world.connect("spend").connection.id


def publish(world: World, values: Mapping[int, Any], people: Members = THREE, key: str = "spend") -> str:
    return world.publish({n: people[n] for n in values}, key=key, values=values)


def told(world: World) -> list[tuple[str, object]]:
    """What arrived since it was last asked."""
    found = [(r["userId"], r["traits"]["spend"]) for r in world.recorder.records]
    world.recorder.batches.clear()
    return found


def test_the_first_sync_sends_every_value_and_later_ones_those_that_changed(world: World, connected: str):
    publish(world, {1: 10, 2: 20.5, 3: "much"})
    assert world.sync_until_done(connected).counts == {"identify": {"entered": 3}}
    assert [(r["traits"], r["context"]["personas"]["computation_class"]) for r in world.recorder.records[:1]] == [
        ({"email": "u1@x.test", "spend": 10}, "trait")
    ]
    assert told(world) == [("u1", 10), ("u2", 20.5), ("u3", "much")]
    publish(world, {1: 11, 2: 20.5, 3: ["a", "b"]})
    world.sync_until_done(connected)
    assert told(world) == [("u1", 11), ("u3", ["a", "b"])]


def test_whoever_has_no_value_any_more_is_told_of_with_null(world: World, connected: str):
    publish(world, {1: 10, 2: 20, 3: 30})
    world.sync_until_done(connected)
    told(world)
    publish(world, {1: 10, 2: 20})
    assert world.sync_until_done(connected).counts == {"identify": {"exited": 1}}
    assert told(world) == [("u3", None)]
    assert world.rows(t.exception) == []


def test_a_track_says_that_the_trait_was_computed(world: World):
    world.trait()
    world.destination()
    connected = world.connect("spend", calls=["track"])
    assert [mapping.name for mapping in connected.mappings] == ["Trait Computed: spend"]
    publish(world, {1: 10})
    world.sync_until_done(connected.connection.id)
    publish(world, {2: 7})
    world.sync_until_done(connected.connection.id)
    assert [(r["event"], r["properties"]) for r in world.recorder.records] == [
        ("Trait Computed", {"trait_key": "spend", "spend": 10}),
        ("Trait Computed", {"trait_key": "spend", "spend": None}),
        ("Trait Computed", {"trait_key": "spend", "spend": 7}),
    ]


def test_a_select_sends_its_columns_and_nulls_for_a_row_that_vanished(world: World):
    world.trait("scores", sql=True)
    world.destination()
    connected = world.connect("scores").connection.id
    publish(world, {1: {"orders": 3, "tier": "gold"}, 2: {"orders": 1, "tier": None}}, key="scores")
    world.sync_until_done(connected)
    publish(world, {2: {"orders": 2, "tier": None}}, key="scores")
    world.sync_until_done(connected)
    assert [(r["userId"], r["traits"]) for r in world.recorder.records] == [
        ("u1", {"email": "u1@x.test", "orders": 3, "tier": "gold"}),
        ("u2", {"email": "u2@x.test", "orders": 1, "tier": None}),
        ("u1", {"email": "u1@x.test", "orders": None, "tier": None}),
        ("u2", {"email": "u2@x.test", "orders": 2, "tier": None}),
    ]


def test_the_value_of_an_account_goes_into_a_group(world: World):
    world.trait("arr", Level.ACCOUNT)
    world.destination()
    connected = world.connect("arr", calls=["group"]).connection.id
    world.publish({}, {1: ["group_id:acme"], 2: ["group_id:lumen"]}, key="arr", values={1: 5000, 2: 10})
    world.sync_until_done(connected)
    world.publish({}, {1: ["group_id:acme"]}, key="arr", values={1: 6000})
    world.sync_until_done(connected)
    assert [(r["type"], r["groupId"], r["traits"]) for r in world.recorder.records] == [
        ("group", "acme", {"arr": 5000}),
        ("group", "lumen", {"arr": 10}),
        ("group", "lumen", {"arr": None}),
        ("group", "acme", {"arr": 6000}),
    ]


def test_a_value_of_accounts_reaches_their_users_after_the_accounts(world: World):
    world.trait("arr", Level.ACCOUNT)
    world.destination()
    connected = world.connect("arr")
    assert connected.connection.calls == ["group", "identify"]
    users: Members = {1: ["user_id:ann"], 2: ["user_id:silent", "email:s@x.test"]}
    world.publish(users, {9: ["group_id:acme"]}, key="arr", values={9: 50, 1: 50, 2: 50})
    world.sync_until_done(connected.connection.id)
    world.publish({2: users[2]}, {9: ["group_id:acme"]}, key="arr", values={9: 50, 2: 70})
    world.sync_until_done(connected.connection.id)
    assert [(r.get("groupId") or r["userId"], r["traits"]) for r in world.recorder.records] == [
        ("acme", {"arr": 50}),
        ("ann", {"arr": 50}),
        ("silent", {"email": "s@x.test", "arr": 50}),
        ("ann", {"arr": None}),
        ("silent", {"email": "s@x.test", "arr": 70}),
    ]


def test_of_a_value_that_was_refused_the_newest_is_sent_and_no_older_one(world: World, connected: str):
    world.recorder.script = lambda batch: Accepted({i: "no" for i, r in enumerate(batch) if r["traits"]["spend"] == "A"})
    publish(world, {1: "A", 2: 1})
    assert world.sync_until_done(connected).dead_letters == 1
    publish(world, {1: "A", 2: 2})
    world.sync_until_done(connected)
    assert told(world) == [("u2", 1), ("u2", 2)]
    publish(world, {1: "B", 2: 2})
    world.sync_until_done(connected)
    assert told(world) == [("u1", "B")]
    assert world.rows(t.exception) == []


def test_a_replay_that_a_newer_value_overtook_sends_the_newer_one(world: World, connected: str):
    world.recorder.script = lambda _batch: Accepted({0: "no"})
    publish(world, {1: "A"})
    world.sync_until_done(connected)
    world.recorder.script = lambda _batch: Accepted()
    publish(world, {1: "B"})
    with world.registry.change() as change:
        letters = list_dead_letters(change.c, world.space.id)
        replay(change, world.space.id, [letter.id for letter in letters], world.runtime.settings.generations_dir)
    world.sync_until_done(connected)
    assert told(world) == [("u1", "B")]
    assert world.rows(t.exception) == []


def test_a_replay_of_the_same_value_is_the_same_bytes(world: World, connected: str):
    world.recorder.script = lambda _batch: Accepted({0: "no"})
    publish(world, {1: "A"})
    world.sync_until_done(connected)
    world.recorder.script = lambda _batch: Accepted()
    with world.registry.change() as change:
        letters = list_dead_letters(change.c, world.space.id)
        replay(change, world.space.id, [letter.id for letter in letters], world.runtime.settings.generations_dir)
    world.sync_until_done(connected)
    assert len(world.recorder.bodies) == 2
    assert len(set(world.recorder.bodies)) == 1


def test_an_unanswered_value_is_sent_again_byte_by_byte_and_never_after_a_newer_one(world: World, connected: str):
    publish(world, {1: "A", 2: "C"})
    world.recorder.script = lambda _batch: Killed()
    with pytest.raises(Killed):
        world.sync(connected)
    # nothing of the first answer is known: the value that is current by then is sent, under another id
    publish(world, {1: "B", 2: "C"})
    sent: list[bytes] = []
    answers = iter([Backoff("the answer was lost"), Accepted(), Accepted()])
    world.recorder.script = lambda _batch: next(answers)
    world.sync_until_done(connected)
    sent += world.recorder.bodies
    assert sent[0] == sent[1]
    assert world.recorder.holds("spend") == {"u1": "B", "u2": "C"}
    assert "A" not in [value for _, value in told(world)]


def test_after_a_death_at_any_request_every_value_arrives_and_none_twice_under_two_bodies(world: World, connected: str):
    """Before the death the request was taken; the values change again before the next run, and some are gone by then."""
    for death in range(4):
        taken = 0

        def dies(batch: list[dict[str, Any]], death: int = death) -> Accepted | Killed:
            nonlocal taken
            taken += 1
            if taken <= death:
                return Accepted()
            world.recorder.batches.append(batch)
            return Killed()

        publish(world, dict.fromkeys(PEOPLE, f"first {death}"), PEOPLE)
        world.recorder.script = dies
        with contextlib.suppress(Killed):
            world.sync(connected)
        world.recorder.script = lambda _batch: Accepted()
        now = {n: f"then {death}" if n % 2 else f"first {death}" for n in PEOPLE if n != death + 1}
        publish(world, now, PEOPLE)
        world.sync_until_done(connected)
        holds = world.recorder.holds("spend")
        assert {user: value for user, value in holds.items() if value is not None} == {f"u{n}": value for n, value in now.items()}
    bodies: dict[str, set[bytes]] = {}
    for record in world.recorder.records:
        bodies.setdefault(record["messageId"], set()).add(orjson.dumps(record))
    assert {len(each) for each in bodies.values()} == {1}
    assert world.rows(t.exception) == []


def test_paused_and_resumed_it_sends_the_net_difference_of_the_values(world: World, connected: str):
    publish(world, {1: 1, 2: 2, 3: 3})
    world.sync_until_done(connected)
    told(world)
    with world.registry.change() as change:
        of, to = find_computation(change.c, world.space.id, "spend"), find_destination(change.c, world.space.id, "crm")
        connections.pause(change, world.space, of, to)
    publish(world, {1: 9, 2: 8})
    publish(world, {1: 1, 2: 7})
    world.connect("spend")
    world.sync_until_done(connected)
    assert told(world) == [("u3", None), ("u2", 7)]


def test_a_resync_sends_every_value_again_under_new_ids(world: World, connected: str):
    publish(world, {1: 1, 2: 2})
    world.sync_until_done(connected)
    before = {record["messageId"] for record in world.recorder.records}
    told(world)
    with world.registry.change() as change:
        of, to = find_computation(change.c, world.space.id, "spend"), find_destination(change.c, world.space.id, "crm")
        connections.request_sync(change, world.space, of, to, kind=RequestKind.RESYNC)
    world.sync_until_done(connected)
    assert not before & {record["messageId"] for record in world.recorder.records}
    assert told(world) == [("u1", 1), ("u2", 2)]


def test_a_version_that_is_held_sends_nothing(world: World, connected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engage_pipelines.computing.publish.HELD_WHEN_FEWER_BY", 2)
    publish(world, {1: 1, 2: 2, 3: 3})
    world.sync_until_done(connected)
    told(world)
    assert publish(world, {1: 2}) == "held"
    assert world.sync_until_done(connected).counts == {}
    assert told(world) == []


def test_connected_without_backfill_only_later_values_are_sent(world: World):
    world.trait()
    world.destination()
    publish(world, {1: 1, 2: 2})
    connected = world.connect("spend", backfill=False).connection.id
    publish(world, {1: 1, 2: 3})
    world.sync_until_done(connected)
    assert told(world) == [("u2", 3)]


def test_a_mapping_may_ask_for_the_value(world: World, connected: str):
    with world.registry.change() as change:
        to = find_destination(change.c, world.space.id, "crm")
        for one in mappings.list_mappings(change.c, to.id):
            mappings.disable_mapping(change, to, one)
        row = mappings.add_mapping(change, to, mappings.NewMapping("big", 'type = "identify" and traits.spend > 700', "send", enabled=True))
        connection = change.row(t.connection, connected)
        assert connection.state == "active"
        assert row.id in {match.mapping.id for match in matches_of(change.c, connection)}
    publish(world, {1: 500, 2: 900})
    world.sync_until_done(connected)
    assert told(world) == [("u2", 900)]


def test_two_members_of_one_address_have_the_value_of_the_first(world: World, connected: str):
    people: Members = {1: ["anonymous_id:both"], 2: ["anonymous_id:both"]}
    publish(world, {1: 1, 2: 2}, people)
    world.sync_until_done(connected)
    publish(world, {2: 2}, people)
    world.sync_until_done(connected)
    assert [(r["anonymousId"], r["traits"]["spend"]) for r in world.recorder.records] == [("both", 1), ("both", 2)]


def test_a_rehearsal_counts_the_values_that_would_be_sent_and_writes_nothing(world: World):
    world.trait()
    world.destination()
    publish(world, {1: 1, 2: 2})
    found = rehearse(world.runtime, NewConnection("spend", "crm", ("identify", "track")))
    assert (found.entered, dict(found.skipped), found.requests) == ({"identify": 2, "track": 2}, {"user": 0}, 2)
    assert world.rows(t.connection) == []


def test_types_that_keep_lists_refuse_traits_and_say_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(world.recorder), "membership_as", MembershipAs.USER_LIST)
    world.trait()
    world.destination()
    with pytest.raises(UsageError, match="takes who is in and who is not") as refused:
        world.connect("spend")
    assert "trait('spend')" in refused.value.remedy


def test_a_connected_trait_is_not_deleted(world: World, connected: str):
    with pytest.raises(ConflictError, match="connected to crm"), world.registry.change() as change:
        delete_trait(change, world.space, "spend")


def test_leaving_sends_null_of_everyone(world: World, connected: str):
    publish(world, {1: 1, 2: 2})
    world.sync_until_done(connected)
    told(world)
    with world.registry.change() as change:
        of, to = find_computation(change.c, world.space.id, "spend"), find_destination(change.c, world.space.id, "crm")
        connections.leave(change, world.space, of, to)
    world.sync_until_done(connected)
    assert told(world) == [("u1", None), ("u2", None)]
    assert [row.state for row in world.rows(t.connection)] == ["gone"]
