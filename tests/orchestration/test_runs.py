"""Runs of the assets, with a stand-in for the engine: what is asked of it, and what Dagster shows afterwards."""

from typing import Any

import dagster as dg

from engage_pipelines.domain.errors import HeldVersionError
from engage_pipelines.orchestration import translator
from engage_pipelines.orchestration.work import Place

SYNC = dg.AssetKey(["b2b", "sync", "power_users"])


def _audience(key: str) -> dg.AssetKey:
    return dg.AssetKey(["b2b", "audience", key])


def _compute(world: Any, *keys: str, tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
    job = world.definitions().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=world.instance, asset_selection=[_audience(key) for key in keys], tags=tags, raise_on_error=False
    )


def _send(world: Any, tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
    world.instance.add_dynamic_partitions("b2b/power_users", ["crm"])
    job = world.definitions().resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=world.instance, asset_selection=[SYNC], partition_key="crm", tags=tags, raise_on_error=False)


def _numbers(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    for event in result.get_asset_materialization_events():
        if event.asset_key == key:
            return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
    raise AssertionError(f"{key} was not materialized")


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.asset_key.path[-1]: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_chosen_audiences_are_computed_in_one_call(world: Any) -> None:
    for key in ("power_users", "lapsed", "other"):
        world.audience(key)
    result = _compute(world, "power_users", "lapsed")
    assert result.success
    assert world.work.asked == [("compute", "b2b", ("lapsed", "power_users"), None)]
    shown = _numbers(result, _audience("power_users"))
    assert {name: shown[name] for name in ("Members", "Users", "Entered", "Exited", "Version", "Result")} == {
        "Members": 3, "Users": 3, "Entered": 3, "Exited": 0, "Version": 1, "Result": "members changed",
    }  # fmt: skip
    assert shown["As of"] == 1_700_000_000.0
    assert _checks(result) == {"power_users": True, "lapsed": True}


def test_a_failing_audience_lets_the_others_be_published_and_the_run_says_so(world: Any) -> None:
    world.audience("bad_one")
    world.audience("power_users")
    result = _compute(world, "bad_one", "power_users")
    assert not result.success
    assert [event.asset_key for event in result.get_asset_materialization_events()] == [_audience("power_users")]
    assert _checks(result) == {"bad_one": False, "power_users": True}
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "1 of 2 could not be computed. bad_one: line 1, column 1: no such event" in str(failure.step_failure_data.user_failure_data)


def test_a_held_version_fails_its_check_and_not_the_run(world: Any) -> None:
    world.audience("held_one")
    result = _compute(world, "held_one")
    assert result.success
    assert not result.get_asset_materialization_events()
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.description) == (False, "It fell by more than half. Release or discard it.")


def test_the_attempt_reaches_the_engine(world: Any) -> None:
    world.audience("power_users")
    _compute(world, "power_users", tags={"engage/request": "cmp_1", "engage/attempt": "2"})
    assert world.work.asked == [("compute", "b2b", ("power_users",), ("cmp_1", 2))]


def test_a_sync_plans_sends_accounts_then_users_and_settles(world: Any) -> None:
    world.audience("power_users")
    result = _send(world, tags={"engage/request": "req_1", "engage/attempt": "1"})
    assert result.success
    place = Place("b2b", "power_users", "crm")
    assert world.work.asked == [
        ("plan", place, ("req_1", 1)),
        ("send", place, "account"),
        ("send", place, "user"),
        ("settle", place),
    ]
    assert _numbers(result, SYNC) == {
        "Version": 1, "Records sent": 3, "Identify records sent": 3, "Records refused": 0, "Records to retry": 0,
        "Members without an identifier": 0, "More is owed": False,
    }  # fmt: skip
    assert _checks(result) == {"power_users": True}


def test_refused_records_fail_a_check_of_that_destination_alone(world: Any) -> None:
    world.audience("power_users")
    world.work.refused = 2
    result = _send(world)
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity, evaluation.partition) == (False, dg.AssetCheckSeverity.WARN, "crm")
    assert _numbers(result, SYNC)["Records refused"] == 2


def test_what_people_can_mend_is_told_in_words_and_stops_the_run(world: Any) -> None:
    world.audience("power_users")
    world.work.fails_with = HeldVersionError("Version 4 is held.", "Release or discard it.")
    result = _send(world)
    assert not result.success
    assert [entry[0] for entry in world.work.asked] == ["plan"]
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description == "Version 4 is held. Release or discard it."
    assert not result.get_asset_materialization_events()


def test_a_run_that_people_execute_again_counts_as_started_by_hand(world: Any) -> None:
    world.audience("power_users")
    tags = {"engage/request": "req_1", "engage/attempt": "1"}
    again = dg.DagsterRun("job", tags=tags, parent_run_id="a", root_run_id="a")
    assert [translator.run_of(run, print).attempt for run in (dg.DagsterRun("job", tags=tags), again)] == [("req_1", 1), None]
