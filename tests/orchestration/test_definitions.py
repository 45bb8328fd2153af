"""What Dagster shows for a registry: every key, schedule and sensor by name, so that none of them changes by accident."""

import time
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from engage_pipelines.domain.computation import TraitType
from engage_pipelines.orchestration import translator
from engage_pipelines.orchestration.catalog import without_loops
from engage_pipelines.registry import tables as t


@pytest.fixture
def furnished(world: Any) -> Any:
    world.audience("power_users", name="Power users")
    world.audience("lapsed", cadence="daily")
    world.audience("both", definition="trait('power_users') = true AND trait('lapsed') = true", cadence="manual")
    world.audience("quiet", cadence="daily", enabled=False)
    return world


def test_the_graph_of_a_space(furnished: Any) -> None:
    graph = furnished.definitions().resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys) for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "b2b/facts": [],
        "b2b/audience/power_users": ["b2b/facts"],
        "b2b/audience/lapsed": ["b2b/facts"],
        "b2b/audience/quiet": ["b2b/facts"],
        "b2b/audience/both": ["b2b/audience/lapsed", "b2b/audience/power_users", "b2b/facts"],
        "b2b/sync/power_users": ["b2b/audience/power_users"],
        "b2b/sync/lapsed": ["b2b/audience/lapsed"],
        "b2b/sync/quiet": ["b2b/audience/quiet"],
        "b2b/sync/both": ["b2b/audience/both"],
    }


def test_traits_are_assets_that_are_computed_and_sent(world: Any) -> None:
    world.trait("spend")
    world.trait("scores", definition="SELECT 1", type=TraitType.SQL)
    world.audience("big", definition="trait('spend') > 5 AND trait('scores.orders') > 1")
    world.trait("large", definition="event('A').where(trait('big') = true).count()")
    graph = world.definitions().resolve_asset_graph()
    parents = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys) for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "b2b/facts": [],
        "b2b/trait/spend": ["b2b/facts"],
        "b2b/trait/scores": ["b2b/facts"],
        "b2b/audience/big": ["b2b/facts", "b2b/trait/scores", "b2b/trait/spend"],
        "b2b/trait/large": ["b2b/audience/big", "b2b/facts"],
        "b2b/sync/big": ["b2b/audience/big"],
        "b2b/sync/spend": ["b2b/trait/spend"],
        "b2b/sync/scores": ["b2b/trait/scores"],
        "b2b/sync/large": ["b2b/trait/large"],
    }
    assert graph.get(dg.AssetKey(["b2b", "trait", "spend"])).kinds == {"trait", "duckdb"}


def test_groups_owners_kinds_and_checks(furnished: Any) -> None:
    graph = furnished.definitions().resolve_asset_graph()
    audience = graph.get(dg.AssetKey(["b2b", "audience", "power_users"]))
    assert (audience.group_name, audience.owners, audience.kinds) == ("b2b", ["team:b2b"], {"audience", "duckdb"})
    assert audience.metadata["Name"] == "Power users"
    sync = graph.get(dg.AssetKey(["b2b", "sync", "power_users"]))
    assert (sync.group_name, sync.owners, sync.kinds) == ("b2b", ["team:b2b"], {"sync"})
    assert isinstance(sync.partitions_def, dg.DynamicPartitionsDefinition)
    assert sync.partitions_def.name == "b2b/power_users"
    checks = sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys)
    assert checks == [
        *(f"b2b/audience/{key}:published" for key in ("both", "lapsed", "power_users", "quiet")),
        *(f"b2b/sync/{key}:all_records_accepted" for key in ("both", "lapsed", "power_users", "quiet")),
    ]


def test_one_schedule_per_cadence_and_two_sensors_all_running_from_the_start(furnished: Any) -> None:
    repository = furnished.definitions().get_repository_def()
    assert {(s.cron_schedule, s.execution_timezone, s.default_status.value) for s in repository.schedule_defs} == {
        ("0 * * * *", "UTC", "RUNNING"),
        ("0 4 * * *", "UTC", "RUNNING"),
    }
    assert [(s.name, s.minimum_interval_seconds, s.default_status.value) for s in repository.sensor_defs] == [
        ("ask_for_what_is_live", 1, "RUNNING"),
        ("launch_what_is_owed", 1, "RUNNING"),
    ]
    assert [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")] == []


def test_a_schedule_computes_what_has_its_cadence_and_is_enabled(furnished: Any) -> None:
    repository = furnished.definitions().get_repository_def()
    daily = next(s for s in repository.schedule_defs if s.cron_schedule == "0 4 * * *")
    job = repository.get_job(daily.job_name)
    assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == {"b2b/audience/lapsed"}


def test_an_empty_registry_loads_with_the_sensors_alone(world: Any) -> None:
    world.write(sa.delete(t.space))
    repository = world.definitions().get_repository_def()
    assert [sensor.name for sensor in repository.sensor_defs] == ["ask_for_what_is_live", "launch_what_is_owed"]
    assert not repository.schedule_defs


def test_twenty_audiences_load(world: Any) -> None:
    for number in range(20):
        world.audience(f"audience_{number}")
    graph = world.definitions().resolve_asset_graph()
    assert len(graph.get_all_asset_keys()) == 41


def test_five_hundred_audiences_with_their_snapshot_take_at_most_five_seconds(world: Any) -> None:
    from dagster._core.remote_representation.external_data import RepositorySnap

    template = {
        "space_id": "",
        "kind": "audience",
        "level": "user",
        "definition": "event('A').count() >= 1",
        "options": {},
        "cadence": "0 * * * *",
    }
    with world.registry.database.write() as c:
        space_id = c.execute(sa.select(t.space.c.id)).scalar_one()
        rows = [
            {**template, "space_id": space_id, "id": f"aud_{n}", "key": f"a{n}", "name": f"A {n}", "created_at": 0, "updated_at": 0}
            for n in range(500)
        ]
        c.execute(sa.insert(t.computation), rows)
    began = time.process_time()
    RepositorySnap.from_def(world.definitions().get_repository_def())
    assert time.process_time() - began < 5.0


def test_a_definition_that_cannot_be_read_does_not_keep_the_others_from_loading(world: Any) -> None:
    world.audience("good")
    world.audience("broken")
    world.write(sa.update(t.computation).where(t.computation.c.key == "broken").values(definition="event('good", cadence="every tuesday"))
    graph = world.definitions().resolve_asset_graph()
    assert dg.AssetKey(["b2b", "sync", "good"]) in graph.get_all_asset_keys()


def test_references_that_close_a_loop_are_left_out_of_the_graph() -> None:
    assert without_loops({"a": ("b",), "b": ("c",), "c": ("a",)}) == {"a": ("b",), "b": ("c",), "c": ()}
    assert without_loops({"a": ("b", "c"), "b": ("c",), "c": ()}) == {"a": ("b", "c"), "b": ("c",), "c": ()}
    assert without_loops({"a": ("a",)}) == {"a": ()}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(("a__b", "c"), ("a", "b__c"), id="the separator inside a key"),
        pytest.param(("x" * 200,), ("x" * 201,), id="longer than a name may be"),
        pytest.param(("a", "b"), ("a_", "b"), id="an underscore at the edge"),
    ],
)
def test_different_parts_never_share_a_name(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert translator.name(*left) != translator.name(*right)
    assert len(translator.name(*left)) < 120
