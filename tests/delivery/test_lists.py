"""Lists that a connection keeps outside: found or made, remembered, owned by one connection, and made again when they vanish."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import orjson
import pytest
import sqlalchemy as sa

from engage_pipelines.delivery import lists as lists_module
from engage_pipelines.delivery.generation import Hands
from engage_pipelines.delivery.send import NoAnswerError
from engage_pipelines.destinations.base import (
    Accepted,
    Backoff,
    ListId,
    MembershipAs,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.domain.errors import ConfigurationError, EngageError, SyncStoppedError, UsageError
from engage_pipelines.registry import destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import owed_sync_requests
from engage_pipelines.registry.spaces import NewSpace, create_space
from tests.delivery.world import Recorder, World

THREE = {n: [f"user_id:u{n}"] for n in range(1, 4)}


class ListSettings(Settings):
    audience_name: str | None = None
    days: int = 30


class Lists(Recorder):
    """Keeps lists by id; a request about one that is not there is answered as vendors do."""

    key: ClassVar[str] = "lists"
    membership_as: ClassVar[MembershipAs] = MembershipAs.USER_LIST
    creates_lists: ClassVar[bool] = True
    list_settings_model: ClassVar[type[Settings] | None] = ListSettings
    minimum_list_size: ClassVar[int] = 0
    list_ids_are_unique: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.asked = 0

    def find_list(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict | None:
        self.asked += 1
        if target.external_id:
            return ListId(target.external_id) if target.external_id in self.names else None
        return next((ListId(id_) for id_, name in self.names.items() if name == self._name(target)), None)

    def create_list(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict:
        made = str(77 + len(self.members))
        self.names[made], self.members[made] = self._name(target), set()
        return ListId(made)

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        verdict = super().send(records, action=action, settings=settings, target=target, deadline_s=deadline_s)
        if target.external_id not in self.names:
            return Stop(f"there is no list {target.external_id}", "Look for it.") if len(records) > 1 else Accepted({0: "no such list"})
        if isinstance(verdict, Accepted):
            for record in records:
                body = orjson.loads(record.body)
                assert body["context"]["personas"]["external_audience_id"] == target.external_id
                change = self.members[target.external_id].add if record.entered else self.members[target.external_id].discard
                change(body["userId"])
        return verdict

    def vanish(self) -> None:
        self.names.clear()

    def _name(self, target: Target) -> str:
        return target.list_name(target.list_settings.get("audience_name"))


@pytest.fixture
def lists(world: World) -> Lists:
    made = Lists()
    world.recorder = made
    world.registry = replace(world.registry, types={made.key: made})
    world.runtime = replace(world.runtime, registry=world.registry)
    world.audience()
    add_destination(world)
    return made


def add_destination(world: World, key: str = "crm") -> None:
    with world.registry.change() as change:
        destinations.create_destination(change, world.space, destinations.NewDestination(key=key, type="lists", name=key))


def connection(world: World) -> sa.Row:
    return world.rows(t.connection)[0]


def later(world: World) -> None:
    """So much later that a list is looked for again."""
    world.time.now_us += 3_600_000_000


def test_the_list_is_made_before_the_first_batch_and_remembered(world: World, lists: Lists):
    id_ = world.connect().connection.id
    world.publish(THREE)
    world.sync_until_done(id_)
    assert lists.members == {"77": {"u1", "u2", "u3"}}
    assert connection(world).external_id == "77"
    later(world)
    world.publish({1: THREE[1]})
    world.sync_until_done(id_)
    assert lists.members == {"77": {"u1"}}


def test_a_list_of_the_same_name_that_nobody_has_is_taken(world: World, lists: Lists):
    lists.names, lists.members = {"5": "vips"}, {"5": set()}
    id_ = world.connect().connection.id
    world.publish(THREE)
    world.sync_until_done(id_)
    assert lists.members == {"5": {"u1", "u2", "u3"}}


def test_a_run_that_owes_nothing_does_not_look_for_the_list(world: World, lists: Lists):
    id_ = world.connect().connection.id
    world.publish(THREE)
    world.sync_until_done(id_)
    later(world)
    asked = lists.asked
    world.sync_until_done(id_)
    assert lists.asked == asked


def test_a_list_that_vanished_between_syncs_is_made_again_and_everyone_is_sent(world: World, lists: Lists):
    id_ = world.connect().connection.id
    world.publish(THREE)
    world.sync_until_done(id_)
    lists.vanish()
    later(world)
    world.publish({n: THREE[n] for n in (1, 2)} | {4: ["user_id:u4"]})
    world.sync_until_done(id_)
    assert lists.members["78"] == {"u1", "u2", "u4"}
    assert connection(world).external_id == "78"
    assert "Its list 77 was gone" in connection(world).note
    assert any("Its list 77 was gone" in line for line in world.log)
    ids = [record["messageId"] for record in lists.records]
    assert len(ids) == len(set(ids))


def test_a_list_that_vanishes_in_mid_sync_has_the_rest_and_all_before_sent_to_the_new_one(world: World, lists: Lists):
    id_ = world.connect().connection.id
    world.publish({n: [f"user_id:u{n}"] for n in range(1, 8)})

    def vanish_after_the_first(_batch: object) -> Verdict:
        if len(lists.batches) == 1:
            lists.vanish()
        return Accepted()

    lists.script = vanish_after_the_first
    with pytest.raises(EngageError, match="The list 77 is gone at the destination; it was made again as 78"):
        world.sync(id_)
    lists.script = lambda _batch: Accepted()
    (request,) = world.owed()
    assert request.failures == 1
    world.sync_until_done(id_)
    assert lists.members["78"] == {f"u{n}" for n in range(1, 8)}
    assert world.rows(t.exception) == []
    assert len(world.rows(t.base)) == 1


def test_what_stops_a_sync_though_the_list_is_there_stops_it(world: World, lists: Lists):
    id_ = world.connect().connection.id
    world.publish(THREE)
    lists.script = lambda _batch: Stop("the key is no good", "Set another.")
    with pytest.raises(SyncStoppedError, match="the key is no good"):
        world.sync(id_)
    assert connection(world).state == "stopped"
    assert list(lists.names) == ["77"]


def test_a_vendor_that_forgets_every_list_is_not_given_one_after_the_other(world: World, lists: Lists):
    id_ = world.connect().connection.id
    world.publish(THREE)
    lists.script = lambda _batch: lists.vanish() or Accepted()
    with pytest.raises(EngageError, match="was made again"):
        world.sync(id_)
    with pytest.raises(SyncStoppedError, match="there is no list"):
        world.sync(id_, run_id="second")
    assert len(lists.members) == 2


def test_one_list_belongs_to_one_connection(world: World, lists: Lists):
    first = world.connect().connection.id
    world.publish(THREE)
    world.sync_until_done(first)
    world.audience("others")
    second = world.connect("others", list_settings={"audience_name": "vips"}).connection.id
    world.publish(THREE, key="others")
    with pytest.raises(SyncStoppedError, match="The list 77 belongs to the connection of audience 'vips' to destination 'crm'"):
        world.sync(second)


def in_another_space(world: World, lists: Lists, key: str = "north") -> World:
    """The same installation, and the same vendor, seen from another space that has an audience and a destination of the same names."""
    with world.registry.change() as change:
        space = create_space(change, NewSpace(key))
    other = replace(world, space=space)
    other.audience()
    add_destination(other)
    return other


def test_audiences_of_the_same_name_in_two_spaces_get_a_list_each(world: World, lists: Lists):
    north = in_another_space(world, lists)
    first, second = world.connect().connection.id, north.connect().connection.id
    world.publish(THREE)
    north.publish({9: ["user_id:u9"]})
    world.sync_until_done(first)
    north.sync_until_done(second)
    later(world)
    north.publish({8: ["user_id:u8"]})
    north.sync_until_done(second)
    assert lists.names == {"77": "vips", "78": "vips (north)"}
    assert lists.members == {"77": {"u1", "u2", "u3"}, "78": {"u8"}}


def test_two_connections_that_look_for_a_list_at_once_do_not_take_the_same(world: World, lists: Lists, monkeypatch: pytest.MonkeyPatch):
    lists.names, lists.members = {"5": "vips"}, {"5": set()}
    north = in_another_space(world, lists)
    first, second = world.connect().connection.id, north.connect().connection.id
    world.publish(THREE)
    north.publish({9: ["user_id:u9"]})
    remember = lists_module._remember

    def after_the_other(hands: Hands, there: lists_module.There) -> None:
        with world.registry.database.write() as c:
            c.execute(sa.update(t.connection).where(t.connection.c.id == first).values(external_id=there.id))
        remember(hands, there)

    monkeypatch.setattr(lists_module, "_remember", after_the_other)
    with pytest.raises(NoAnswerError, match="Another connection has just taken the list 5"):
        north.sync(second)
    monkeypatch.undo()
    north.sync_until_done(second)
    world.sync_until_done(first)
    assert lists.members == {"5": {"u1", "u2", "u3"}, "78": {"u9"}}


def test_settings_of_a_list_are_checked_kept_and_told(world: World, lists: Lists):
    with pytest.raises(ConfigurationError, match="days"):
        world.connect(list_settings={"days": "many"})
    with pytest.raises(ConfigurationError, match="dayz"):
        world.connect(list_settings={"dayz": "3"})
    made = world.connect(list_settings={"audience_name": "The best", "days": "7"})
    assert made.connection.options["list_settings"] == {"audience_name": "The best", "days": 7}
    world.publish(THREE)
    world.sync_until_done(made.connection.id)
    assert list(lists.names.values()) == ["The best"]
    assert lists.records[0]["context"]["personas"]["audience_settings"] == {"audience_name": "The best", "days": 7}


def test_a_type_without_settings_of_lists_takes_none(world: World):
    world.audience()
    world.destination()
    with pytest.raises(UsageError, match="has no settings"):
        world.connect(list_settings={"days": "7"})


def test_a_list_that_cannot_be_looked_for_is_tried_again_later(world: World, lists: Lists, monkeypatch: pytest.MonkeyPatch):
    id_ = world.connect().connection.id
    world.publish(THREE)
    monkeypatch.setattr(Lists, "find_list", lambda *_args, **_kwargs: Backoff("503"))
    with pytest.raises(EngageError, match="503"):
        world.sync(id_)
    monkeypatch.undo()
    world.sync_until_done(id_)
    assert lists.members == {"77": {"u1", "u2", "u3"}}


def test_a_small_list_is_sent_and_said_to_be_small(world: World, lists: Lists, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Lists, "minimum_list_size", 3)
    id_ = world.connect().connection.id
    world.publish({1: THREE[1]})
    world.sync_until_done(id_)
    assert connection(world).note == "The list has 1 members; Recorder uses it from 3 on."
    later(world)
    world.publish(THREE)
    world.sync_until_done(id_)
    assert connection(world).note is None


def test_a_type_that_takes_changes_now_and_then_gets_the_net_change_of_the_time_between(
    world: World, lists: Lists, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Lists, "min_interval_s", 3600)
    id_ = world.connect().connection.id
    world.publish(THREE)
    world.sync_until_done(id_)
    lists.batches.clear()
    world.publish({n: THREE[n] for n in (1, 2)} | {4: ["user_id:u4"]})
    with world.registry.database.read() as c:
        assert owed_sync_requests(c, world.time.now_us) == []
    with pytest.raises(EngageError, match="takes changes once in 3,600 s"):
        world.sync(id_)
    world.publish(THREE)
    later(world)
    with world.registry.database.read() as c:
        assert len(owed_sync_requests(c, world.time.now_us)) == 1
    world.sync_until_done(id_)
    assert lists.records == []
    assert lists.members == {"77": {"u1", "u2", "u3"}}
