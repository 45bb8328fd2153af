"""Connections: calls, replicas, samples, and the words for how they are."""

import pytest

from engage_pipelines.domain.computation import ComputationRef, Level
from engage_pipelines.domain.connection import (
    CALLS,
    RequestKind,
    State,
    SyncFacts,
    choose_calls,
    replicas_of,
    retry_delay_s,
    sample_records,
    status_word,
    sync_status_word,
)
from engage_pipelines.domain.errors import UsageError


@pytest.mark.parametrize(
    ("level", "chosen", "supported", "calls"),
    [
        pytest.param(Level.USER, (), CALLS, ("identify",), id="users: identify"),
        pytest.param(Level.ACCOUNT, (), CALLS, ("group", "identify"), id="accounts: group and identify"),
        pytest.param(Level.ACCOUNT, (), ("track",), ("track",), id="what the type takes, when it takes nothing usual"),
        pytest.param(Level.ACCOUNT, ("track", "group"), CALLS, ("group", "track"), id="those chosen, groups first"),
    ],
)
def test_calls_of_a_connection(level: Level, chosen: tuple[str, ...], supported: tuple[str, ...], calls: tuple[str, ...]) -> None:
    assert choose_calls(level=level, chosen=chosen, supported=supported, destination="crm") == calls


@pytest.mark.parametrize(
    ("level", "chosen", "supported"),
    [
        pytest.param(Level.USER, ("group",), CALLS, id="groups of users"),
        pytest.param(Level.USER, ("page",), CALLS, id="no call"),
        pytest.param(Level.USER, ("track",), ("identify",), id="what the type does not take"),
        pytest.param(Level.USER, (), ("group",), id="nothing in common"),
    ],
)
def test_calls_that_do_not_fit_are_refused(level: Level, chosen: tuple[str, ...], supported: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        choose_calls(level=level, chosen=chosen, supported=supported, destination="crm")


def test_identify_and_track_are_one_replica_and_groups_another() -> None:
    assert [(plan.name, plan.level) for plan in replicas_of(CALLS)] == [("accounts", Level.ACCOUNT), ("users", Level.USER)]


def test_samples_are_an_entry_and_an_exit_of_each_call() -> None:
    reference = ComputationRef(id="aud_1", key="vips", space_id="spa_1")
    samples = list(sample_records(reference, calls=("identify", "track"), destination_name="CRM"))
    assert [(one.call, one.entered) for one in samples] == [("identify", True), ("identify", False), ("track", True), ("track", False)]
    assert [one.record.get("event") for one in samples] == [None, None, "Audience Entered", "Audience Exited"]
    assert samples[1].record["traits"]["vips"] is False


def test_waiting_time_grows_to_an_hour() -> None:
    assert [retry_delay_s(failures) for failures in (0, 1, 2, 3, 4, 50)] == [60, 60, 300, 900, 3600, 3600]


def _facts(**changed: object) -> SyncFacts:
    usual = {"state": State.ACTIVE, "has_version": True, "owed": False, "failures": 0, "working": None, "held": False}
    return SyncFacts(**{**usual, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "Up to date"),
        ({"has_version": False}, "Waiting"),
        ({"owed": True}, "Waiting"),
        ({"owed": True, "failures": 2}, "Retrying"),
        ({"owed": True, "working": RequestKind.BACKFILL}, "Backfilling"),
        ({"owed": True, "failures": 1, "working": RequestKind.SYNC}, "Syncing"),
        ({"owed": True, "working": RequestKind.RESYNC}, "Syncing"),
        ({"held": True}, "Held"),
        ({"state": State.STOPPED, "owed": True, "failures": 3}, "Stopped"),
    ],
)
def test_sync_status_is_the_most_pressing_word(changed: dict[str, object], word: str) -> None:
    assert sync_status_word(_facts(**changed)) == word


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("active", "Connected"),
        ("stopped", "Connected"),
        ("paused", "Disconnected"),
        ("awaiting_mapping", "Awaiting mapping"),
        ("leaving", "Disconnecting"),
        ("gone", "Disconnected"),
    ],
)
def test_status_word(state: str, word: str) -> None:
    assert status_word(state, destination_enabled=True, computation_enabled=True) == word
    assert status_word(state, destination_enabled=False, computation_enabled=True) == "Disabled"


def test_a_connection_that_leaves_is_disconnecting_also_when_it_was_stopped_or_its_audience_is_disabled() -> None:
    assert status_word("stopped", destination_enabled=True, computation_enabled=True, leaves=True) == "Disconnecting"
    assert status_word("leaving", destination_enabled=True, computation_enabled=False) == "Disconnecting"
    assert status_word("leaving", destination_enabled=False, computation_enabled=True) == "Disabled"
