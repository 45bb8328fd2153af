"""Mappings: revisions, and what switching them does to the connections."""

from typing import Any

import pytest

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, NotFoundError
from engage_pipelines.registry.connections import NewConnection, connect
from engage_pipelines.registry.mappings import (
    MAX_PER_DESTINATION,
    NewMapping,
    add_mapping,
    disable_mapping,
    enable_mapping,
    find_mapping,
    update_mapping,
)
from engage_pipelines.registry.matching import matches_of

IDENTIFY = "type = 'identify'"


@pytest.fixture
def connected(world: Any) -> Any:
    """An audience at version 3, connected to a type without presets: its connection awaits a mapping and holds nothing."""
    audience = world.audience("vips")
    world.publish(audience, 3)
    world.to = world.destination("bare", "bare")
    made = world.do(connect, world.space, NewConnection("vips", "bare"))
    return made.connection


def _state(world: Any) -> str:
    return world.rows("connection")[0].state


def _add(world: Any, trigger: str = IDENTIFY, **fields: Any) -> Any:
    return world.do(add_mapping, world.to, NewMapping(name=fields.pop("name", "Mine"), trigger=trigger, action="send", **fields))


def test_mapping_made_by_hand_is_off_until_it_is_enabled(world: Any, connected: Any) -> None:
    row = _add(world)
    assert not row.enabled
    assert _state(world) == "awaiting_mapping"
    world.do(enable_mapping, world.to, row)
    assert _state(world) == "active"
    world.do(disable_mapping, world.to, world.look(find_mapping, world.to, "Mine"))
    assert _state(world) == "awaiting_mapping"


def test_first_mapping_starts_the_backfill_that_was_owed(world: Any, connected: Any) -> None:
    _add(world, enabled=True)
    assert [(row.kind, row.state) for row in world.rows("sync_request")] == [("backfill", "owed")]
    assert [row.resync_no for row in world.rows("replica")] == [0]


@pytest.mark.parametrize(
    "trigger",
    [
        pytest.param("type = 'identify'", id="by call"),
        pytest.param("context.personas.computation_key = 'vips'", id="by computation key"),
        pytest.param("traits.vips = false", id="exits alone"),
        pytest.param("type = 'identify' and traits.vips = true", id="entries alone"),
    ],
)
def test_trigger_that_some_record_matches_wakes_the_connection(world: Any, connected: Any, trigger: str) -> None:
    _add(world, trigger, enabled=True)
    assert _state(world) == "active"


@pytest.mark.parametrize(
    "trigger", [pytest.param("type = 'track'", id="a call not chosen"), pytest.param("traits.others = true", id="another audience")]
)
def test_trigger_that_no_record_matches_leaves_the_connection_waiting(world: Any, connected: Any, trigger: str) -> None:
    _add(world, trigger, enabled=True)
    assert _state(world) == "awaiting_mapping"


@pytest.mark.parametrize(
    ("trigger", "backfill", "resync_no", "kind"),
    [
        pytest.param("type = 'identify'", True, 1, "resync", id="entries: everyone again"),
        pytest.param("type = 'identify'", False, 0, "sync", id="entries without backfill: later changes"),
        pytest.param("traits.vips = false", True, 0, "sync", id="exits alone: the exits owed"),
    ],
)
def test_mapping_enabled_later_joins_what_was_told(world: Any, trigger: str, backfill: bool, resync_no: int, kind: str) -> None:
    audience = world.audience("vips")
    world.publish(audience, 3)
    world.to = world.destination("crm")
    world.do(connect, world.space, NewConnection("vips", "crm", backfill=False))
    row = _add(world, trigger)
    world.do(enable_mapping, world.to, row, backfill=backfill)
    assert [row.resync_no for row in world.rows("replica")] == [resync_no]
    assert [row.kind for row in world.rows("sync_request")] == [kind]


def test_group_mapping_resyncs_the_accounts_alone(world: Any) -> None:
    audience = world.audience("accounts", level=Level.ACCOUNT)
    world.publish(audience, 3)
    world.to = world.destination("crm")
    world.do(connect, world.space, NewConnection("accounts", "crm", backfill=False))
    _add(world, "type = 'group'", enabled=True)
    assert {row.name: row.resync_no for row in world.rows("replica")} == {"accounts": 1, "users": 0}


def test_changed_mapping_is_a_new_revision_and_the_old_one_is_kept(world: Any, connected: Any) -> None:
    row = _add(world, enabled=True)
    after = world.do(update_mapping, world.to, row, fields={"id": {"@path": "$.userId"}})
    assert after.revision == 2
    kept = {one.revision: one.fields for one in world.rows("mapping_revision", mapping_id=row.id)}
    assert kept == {1: {"whole": {"@path": "$."}}, 2: {"id": {"@path": "$.userId"}}}
    assert world.do(update_mapping, world.to, after, fields={"id": {"@path": "$.userId"}}).revision == 2


def test_presets_concern_their_own_connection_alone(world: Any) -> None:
    for key in ("first", "second"):
        world.audience(key)
    world.destination("crm")
    first = world.do(connect, world.space, NewConnection("first", "crm")).connection
    world.do(connect, world.space, NewConnection("second", "crm"))
    assert [match.mapping.name for match in world.look(matches_of, first)] == ["Identify: first"]


def test_words_that_do_not_fit_are_refused(world: Any, connected: Any) -> None:
    with pytest.raises(DefinitionError):
        _add(world, "type = ")
    with pytest.raises(NotFoundError, match="Did you mean 'send'"):
        world.do(add_mapping, world.to, NewMapping("Mine", IDENTIFY, "sendd"))
    with pytest.raises(ConfigurationError, match="fields of mapping"):
        _add(world, fields={"id": {"@path": "$.userId", "@template": "x"}})
    _add(world)
    with pytest.raises(ConflictError, match="has a mapping 'Mine' already"):
        _add(world)
    assert len(world.rows("mapping")) == 1


def test_destination_holds_so_many_mappings_made_by_hand(world: Any, connected: Any) -> None:
    with world.registry.change() as change:
        for n in range(MAX_PER_DESTINATION):
            add_mapping(change, world.to, NewMapping(f"Mapping {n}", IDENTIFY, "send"))
    with pytest.raises(ConflictError, match=f"has {MAX_PER_DESTINATION} mappings"):
        _add(world, name="One more")


def test_a_mapping_cannot_be_renamed_to_a_name_that_is_taken(world: Any, connected: Any) -> None:
    mine, _other = _add(world), _add(world, name="Other")

    with pytest.raises(ConflictError, match="'Other' already"):
        world.do(update_mapping, world.to, mine, name="Other")

    assert world.do(update_mapping, world.to, mine, name="Renamed").name == "Renamed"
