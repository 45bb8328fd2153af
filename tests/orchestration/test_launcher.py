"""The launcher sensor: what it starts, what it leaves alone, and that being killed anywhere changes nothing."""

import threading
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import Ended

MINUTE_US = 60_000_000


@pytest.fixture
def connected(world: Any) -> str:
    """One audience with a version, connected to one destination; the request of its backfill."""
    world.audience("power_users")
    world.destination("crm")
    world.nothing_to_compute()
    return world.connect("power_users", "crm")


def test_a_new_connection_gets_its_partition_and_its_run_in_one_tick(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    data = daemon.tick()
    assert daemon.partitions("power_users") == ["crm"]
    (run,) = data.run_requests
    assert run.run_key == f"{connected}:1"
    assert run.partition_key == "crm"
    assert run.asset_selection == [dg.AssetKey(["b2b", "sync", "power_users"])]
    assert run.tags["engage/request"] == connected
    assert run.tags["engage/attempt"] == "1"
    assert run.tags["engage/audience"] == "power_users"
    assert run.tags["engage/destination"] == "crm"
    assert run.tags["engage/connection"] == world.request(connected).connection_id


def test_a_connected_trait_is_sent_like_an_audience(world: Any, daemons: Any) -> None:
    world.trait("spend", version=1)
    world.destination("crm")
    world.nothing_to_compute()
    owed = world.connect("spend", "crm")
    daemon = daemons.start()
    (run,) = daemon.tick().run_requests
    assert daemon.partitions("spend") == ["crm"]
    assert (run.run_key, run.asset_selection) == (f"{owed}:1", [dg.AssetKey(["b2b", "sync", "spend"])])
    job = world.definitions().resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=world.instance, asset_selection=run.asset_selection, partition_key="crm", tags=run.tags, raise_on_error=False
    )
    assert result.success
    assert [what[0] for what in world.work.asked] == ["plan", "send", "send", "settle"]


def test_a_run_that_is_under_way_is_not_asked_for_again(daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    again = daemon.tick()
    assert not again.run_requests
    assert again.skip_message == "What is owed is under way, or waits."


def test_nothing_owed_is_one_query_and_no_run(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    world.start(connected, run_id="r1")
    world.finish(connected, Ended("done"))
    daemon.tick()
    statements: list[str] = []
    sa.event.listen(world.registry.database._engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    data = daemon.tick()
    assert data.skip_message == "Nothing is owed."
    assert len([s for s in statements if s.lstrip().upper().startswith("SELECT")]) == 1


@pytest.mark.parametrize("step", range(8))
def test_a_daemon_killed_between_any_two_steps_starts_the_backfill_exactly_once(
    world: Any, daemons: Any, connected: str, step: int
) -> None:
    first = daemons.start(killed_before=step)
    try:
        for _ in range(3):
            first.tick()
    except daemons.Killed:
        pass
    second = daemons.start(cursor=first.cursor)
    for _ in range(3):
        second.tick()
    assert second.run_keys() == [f"{connected}:1"]
    assert second.partitions("power_users") == ["crm"]
    assert {run.status for run in world.instance.get_runs()} == {dg.DagsterRunStatus.STARTING}


def test_a_removed_connection_takes_its_partition_along_and_a_new_one_backfills_again(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    world.start(connected, run_id="r1")
    world.finish(connected, Ended("done"))
    world.disconnect("power_users", "crm")
    daemon.tick()
    assert daemon.partitions("power_users") == []
    second = world.connect("power_users", "crm")
    daemon.tick()
    assert daemon.partitions("power_users") == ["crm"]
    assert daemon.run_keys() == sorted([f"{connected}:1", f"{second}:1"])


def test_a_partition_that_somebody_took_away_comes_back_with_the_next_run(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    world.start(connected, run_id="r1")
    world.finish(connected, Ended("yielded"))
    world.instance.delete_dynamic_partition("b2b/power_users", "crm")
    daemon.tick()
    assert daemon.partitions("power_users") == ["crm"]
    assert daemon.run_keys() == [f"{connected}:1", f"{connected}:2"]


def test_a_run_that_said_it_failed_is_started_again_when_its_time_has_come(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    world.start(connected, run_id="r1")
    world.finish(connected, Ended("failed", "no answer"))
    assert not daemon.tick().run_requests
    world.make_due(connected)
    assert [run.run_key for run in daemon.tick().run_requests] == [f"{connected}:2"]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(dg.DagsterRunStatus.FAILURE, id="failed"),
        pytest.param(dg.DagsterRunStatus.CANCELED, id="cancelled in the UI"),
        pytest.param(dg.DagsterRunStatus.SUCCESS, id="ended well but left it owed"),
    ],
)
def test_a_run_that_died_before_it_said_anything_is_tried_again_a_minute_later(
    world: Any, daemons: Any, connected: str, status: dg.DagsterRunStatus
) -> None:
    daemon = daemons.start()
    daemon.tick()
    daemon.set_status(f"{connected}:1", status)
    assert not daemon.tick().run_requests
    request = world.request(connected)
    assert (request.attempt, request.failures) == (2, 1)
    assert 50 * 1_000_000 < request.not_before - world.registry.database.now_us(None) <= MINUTE_US
    world.make_due(connected)
    assert [run.run_key for run in daemon.tick().run_requests] == [f"{connected}:2"]


def test_a_run_that_died_at_work_is_noticed(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    run_id = daemon.add_run(dg.DagsterRunStatus.STARTED, {})
    world.start(connected, run_id=run_id)
    daemon.tick()
    assert world.request(connected).attempt == 1
    world.instance.report_run_failed(world.instance.get_run_by_id(run_id))
    daemon.tick()
    assert world.request(connected).attempt == 2
    assert "ended without a word" in world.request(connected).error


def test_an_audience_that_is_not_loaded_yet_is_not_asked_for(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    world.audience("lapsed")
    world.connect("lapsed", "crm")
    data = daemon.tick()
    assert not data.run_requests
    assert data.skip_message.startswith("Audiences were added")
    reloaded = daemons.start(cursor=daemon.cursor)
    assert {run.tags["engage/audience"] for run in reloaded.tick().run_requests if "engage/audience" in run.tags} == {"lapsed"}


def test_a_connection_waits_for_the_first_version_of_its_audience(world: Any, daemons: Any) -> None:
    world.audience("fresh", version=None)
    world.destination("crm")
    world.connect("fresh", "crm")
    world.nothing_to_compute()
    daemon = daemons.start()
    assert not daemon.tick().run_requests
    assert daemon.partitions("fresh") == ["crm"]
    world.write(sa.update(t.computation).values(current_version=1))
    assert len(daemon.tick().run_requests) == 1


def test_a_new_audience_is_computed_without_being_asked(world: Any, daemons: Any) -> None:
    world.audience("power_users", version=None)
    daemon = daemons.start()
    (run,) = daemon.tick().run_requests
    assert run.asset_selection == [dg.AssetKey(["b2b", "audience", "power_users"])]
    assert run.tags["engage/computes"] == "b2b"
    assert not daemon.tick().run_requests


def test_a_request_to_compute_what_was_deleted_since_is_done_without_a_run(world: Any, daemons: Any) -> None:
    world.audience("power_users")
    with world.registry.database.read() as c:
        request_id = c.execute(sa.select(t.compute_request.c.id)).scalar_one()
    world.write(sa.update(t.computation).values(enabled=False))
    daemon = daemons.start()
    assert not daemon.tick().run_requests
    assert world.request(request_id).state == "done"


def test_a_deleted_audience_takes_its_partitions_along(world: Any, daemons: Any, connected: str) -> None:
    daemon = daemons.start()
    daemon.tick()
    world.disconnect("power_users", "crm")
    world.delete_audience("power_users")
    daemon.tick()
    assert daemon.partitions("power_users") == []


def test_a_tick_waits_for_what_a_run_under_way_leaves_owed(
    world: Any, daemons: Any, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = daemons.start()
    daemon.tick()
    monkeypatch.setattr("engage_pipelines.orchestration.launcher.HOLD_S", 30.0)
    ending = threading.Timer(0.4, lambda: (world.start(connected, run_id="r1"), world.finish(connected, Ended("yielded"))))
    ending.start()
    assert [run.run_key for run in daemon.tick().run_requests] == [f"{connected}:2"]
    ending.join()


@pytest.fixture
def left_alone(world: Any, connected: str) -> str:
    """The destination gave no usable answer and rests; the request of another audience that is connected to it."""
    world.audience("lapsed")
    world.nothing_to_compute()
    second = world.connect("lapsed", "crm")
    destination_id = world.ids(t.destination)[0]
    world.write(sa.insert(t.pace).values(destination_id=destination_id, failures=8, rest_until=2**52))
    return second


def test_a_destination_that_is_left_alone_gets_no_run_and_the_tick_says_why(daemons: Any, left_alone: str) -> None:
    data = daemons.start().tick()
    assert not data.run_requests
    assert "crm: no usable answer to 8 requests in a row: the next try is at" in data.skip_message


def test_when_it_is_time_one_run_tries_as_a_doubtful_one(world: Any, daemons: Any, connected: str, left_alone: str) -> None:
    world.write(sa.update(t.pace).values(rest_until=0))
    (run,) = daemons.start().tick().run_requests
    assert run.run_key == f"{connected}:1"
    assert (run.tags["engage/doubtful"], run.tags["dagster/priority"]) == ("yes", "-1")


def test_runs_of_one_destination_share_a_tag_and_are_not_doubtful_at_first(world: Any, daemons: Any, connected: str) -> None:
    (run,) = daemons.start().tick().run_requests
    assert run.tags["engage/place"] == world.ids(t.destination)[0]
    assert "engage/doubtful" not in run.tags
