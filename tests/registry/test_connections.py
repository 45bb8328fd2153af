"""Connecting, pausing, resuming and removing."""

import threading
from typing import Any

import pytest

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.connection import RequestKind
from engage_pipelines.domain.errors import ConflictError, NotFoundError, UsageError
from engage_pipelines.registry.attempts import owed_sync_requests
from engage_pipelines.registry.connections import NewConnection, connect, pause, remove, request_sync
from engage_pipelines.registry.destinations import update_destination
from engage_pipelines.registry.mappings import find_mapping
from engage_pipelines.registry.spaces import update_space

SOON = 2**62


def _connect(world: Any, audience: str, destination: str, **fields: Any) -> Any:
    return world.do(connect, world.space, NewConnection(audience=audience, destination=destination, **fields))


@pytest.mark.parametrize(
    ("level", "chosen", "calls", "replicas"),
    [
        pytest.param(Level.USER, (), ["identify"], {"users": "user"}, id="user audience: identify unless said otherwise"),
        pytest.param(Level.USER, ("track",), ["track"], {"users": "user"}, id="track alone"),
        pytest.param(Level.ACCOUNT, (), ["group", "identify"], {"accounts": "account", "users": "user"}, id="account audience"),
        pytest.param(Level.ACCOUNT, ("group",), ["group"], {"accounts": "account"}, id="accounts alone"),
    ],
)
def test_connecting_makes_replicas_presets_and_owes_a_backfill(world: Any, level: Level, chosen: Any, calls: Any, replicas: Any) -> None:
    world.audience("vips", level=level)
    world.destination("crm")
    made = _connect(world, "vips", "crm", calls=chosen)
    assert made.connection.state == "active"
    assert made.connection.calls == calls
    assert {row.name: row.level for row in world.rows("replica")} == replicas
    assert [(row.lo, row.version, row.exits_version, row.resync_no) for row in world.rows("base")] == [("", 0, 0, 0)] * len(replicas)
    assert [row.trigger for row in made.mappings] == [f"type = '{call}' and context.personas.computation_key = 'vips'" for call in calls]
    assert all(row.enabled for row in made.mappings)
    assert [(row.kind, row.state) for row in world.rows("sync_request")] == [("backfill", "owed")]
    assert len(world.rows("mapping_revision")) == len(calls)


def test_group_is_refused_for_a_user_audience(world: Any) -> None:
    world.audience("vips")
    world.destination("crm")
    with pytest.raises(UsageError, match="no accounts"):
        _connect(world, "vips", "crm", calls=("group",))
    assert world.rows("connection") == []


def test_call_that_the_type_does_not_take_is_refused(world: Any) -> None:
    world.audience("vips")
    world.destination("people", "list")
    with pytest.raises(UsageError, match="does not take identify"):
        _connect(world, "vips", "people", calls=("identify",))


def test_list_type_takes_the_call_of_its_preset(world: Any) -> None:
    world.audience("accounts", level=Level.ACCOUNT)
    world.destination("people", "list")
    made = _connect(world, "accounts", "people")
    assert made.connection.calls == ["track"]
    assert [row.name for row in world.rows("replica")] == ["users"]
    assert made.connection.external_target == "lists/people/b2b"


def test_external_list_belongs_to_one_connection(world: Any) -> None:
    world.audience("first")
    world.audience("second")
    world.destination("people", "list")
    _connect(world, "first", "people")
    with pytest.raises(ConflictError, match="belongs to the connection of audience 'first' to destination 'people'"):
        _connect(world, "second", "people")


def test_changed_settings_move_the_external_target(world: Any) -> None:
    world.audience("first")
    destination = world.destination("people", "list")
    _connect(world, "first", "people")
    world.do(update_destination, world.space, destination, settings={"path": "elsewhere"})
    assert world.rows("connection")[0].external_target == "elsewhere/b2b"


def test_type_without_presets_awaits_a_mapping_and_owes_its_backfill(world: Any) -> None:
    audience = world.audience("vips")
    world.publish(audience, 1)
    world.destination("bare", "bare")
    made = _connect(world, "vips", "bare")
    assert made.connection.state == "awaiting_mapping"
    assert [row.state for row in world.rows("sync_request")] == ["owed"]
    assert world.look(owed_sync_requests, SOON) == []


def test_no_backfill_starts_at_the_current_version(world: Any) -> None:
    audience = world.audience("vips")
    world.publish(audience, 7)
    world.destination("crm")
    made = _connect(world, "vips", "crm", backfill=False)
    assert made.request_id is None
    assert [(row.version, row.exits_version) for row in world.rows("base")] == [(7, 7)]


def test_audience_without_history_is_not_backfilled_by_default(world: Any) -> None:
    world.audience("vips", options={"include_historical_data": False})
    world.destination("crm")
    assert _connect(world, "vips", "crm").request_id is None


def test_connecting_an_audience_without_a_version_has_it_computed_once(world: Any) -> None:
    world.audience("vips")
    world.destination("crm")
    _connect(world, "vips", "crm")
    assert len(world.rows("compute_request")) == 1


def test_connecting_twice_is_refused(world: Any) -> None:
    world.audience("vips")
    world.destination("crm")
    _connect(world, "vips", "crm")
    with pytest.raises(ConflictError, match="engage resync vips crm"):
        _connect(world, "vips", "crm")


def test_unknown_names_are_answered_with_the_nearest(world: Any) -> None:
    world.audience("vips")
    world.destination("crm")
    with pytest.raises(NotFoundError, match="Did you mean 'vips'"):
        _connect(world, "vip", "crm")
    with pytest.raises(NotFoundError, match="Did you mean 'crm'"):
        _connect(world, "vips", "crmm")


def test_paused_connection_launches_nothing_and_resumes_by_connecting(world: Any) -> None:
    audience = world.audience("vips")
    world.publish(audience, 1)
    destination = world.destination("crm")
    first = _connect(world, "vips", "crm")
    world.do(pause, world.space, audience, destination)
    assert world.look(owed_sync_requests, SOON) == []
    with pytest.raises(ConflictError, match="paused"):
        world.do(request_sync, world.space, audience, destination, kind=RequestKind.SYNC)
    again = _connect(world, "vips", "crm")
    assert again.resumed
    assert again.connection.id == first.connection.id
    assert [one.connection_id for one in world.look(owed_sync_requests, SOON)] == [first.connection.id]


def test_removed_connection_takes_presets_and_requests_with_it_and_the_next_is_another(world: Any) -> None:
    audience = world.audience("vips")
    destination = world.destination("crm")
    first = _connect(world, "vips", "crm")
    world.do(remove, world.space, audience, destination)
    assert [row.state for row in world.rows("sync_request")] == ["cancelled"]
    with pytest.raises(NotFoundError):
        world.look(find_mapping, destination, "Identify: vips")
    second = _connect(world, "vips", "crm")
    assert second.connection.id != first.connection.id
    assert [row.state for row in world.rows("sync_request", connection_id=second.connection.id)] == ["owed"]


def test_one_configuration_per_audience_when_the_space_says_so(world: Any) -> None:
    world.audience("vips")
    world.do(update_space, "b2b", one_configuration_per_type="audience")
    world.destination("crm")
    world.destination("crm2")
    _connect(world, "vips", "crm")
    with pytest.raises(ConflictError, match="connected to 'crm', which is of type 'crm' too"):
        _connect(world, "vips", "crm2")
    with pytest.raises(ConflictError, match="several destinations of type 'crm': crm, crm2"):
        world.do(update_space, "b2b", one_configuration_per_type="space")


@pytest.mark.parametrize("kind", [RequestKind.RESYNC, RequestKind.BACKFILL])
def test_asking_for_everyone_raises_the_resync_number_of_what_was_told(world: Any, kind: RequestKind) -> None:
    audience = world.audience("vips")
    world.publish(audience, 1)
    destination = world.destination("crm")
    _connect(world, "vips", "crm", backfill=False)
    world.do(request_sync, world.space, audience, destination, kind=kind)
    assert [row.resync_no for row in world.rows("replica")] == [1]
    assert [row.kind for row in world.rows("sync_request")] == [str(kind)]


def test_asking_twice_owes_once(world: Any) -> None:
    audience = world.audience("vips")
    destination = world.destination("crm")
    backfill = _connect(world, "vips", "crm").request_id
    assert world.do(request_sync, world.space, audience, destination, kind=RequestKind.SYNC) == backfill


def test_two_that_connect_the_same_at_once_make_one_connection(world: Any) -> None:
    world.audience("vips")
    world.destination("crm")
    outcomes: list[str] = []

    def try_it() -> None:
        try:
            outcomes.append(_connect(world, "vips", "crm").connection.state)
        except ConflictError:
            outcomes.append("refused")

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["active", "refused", "refused", "refused"]
    assert len(world.rows("connection")) == len(world.rows("sync_request")) == 1
