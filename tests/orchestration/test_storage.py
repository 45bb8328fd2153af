"""Where Dagster keeps its state, and that the files at the top of the project are ones it accepts."""

from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator

from engage_pipelines.orchestration.run_launcher import EngageRunLauncher
from engage_pipelines.orchestration.storage import open_storage
from engage_pipelines.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def instance_ref(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    """What Dagster makes of dagster.yaml without DAGSTER_HOME: a temporary folder, and the file of the working directory."""
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ENGAGE_DATABASE_URL", raising=False)
    (tmp_path / "temporary").mkdir()
    return InstanceRef.from_dir(str(tmp_path / "temporary"), config_dir=str(ROOT))


def test_everything_lies_below_engage_home_also_without_dagster_home(instance_ref: InstanceRef, tmp_path: Path) -> None:
    with dg.DagsterInstance.from_ref(instance_ref) as instance:
        instance.add_dynamic_partitions("b2b/power_users", ["crm"])
        with instance.compute_log_manager.capture_logs(["run", "step"]):
            print("said by a run")
    assert not list((tmp_path / "temporary").iterdir())
    assert (tmp_path / "home" / "dagster" / "history").is_dir()
    assert any((tmp_path / "home" / "dagster" / "logs").rglob("*.out"))


def test_partitions_and_runs_are_there_again_after_a_restart(instance_ref: InstanceRef) -> None:
    with dg.DagsterInstance.from_ref(instance_ref) as instance:
        instance.add_dynamic_partitions("b2b/power_users", ["crm"])
        instance.run_storage.add_run(dg.DagsterRun(job_name="__ASSET_JOB", run_id="1" * 32))
    with dg.DagsterInstance.from_ref(instance_ref) as instance:
        assert list(instance.get_dynamic_partitions("b2b/power_users")) == ["crm"]
        assert [run.run_id for run in instance.get_runs()] == ["1" * 32]


def test_one_run_at_a_time_works_on_a_connection_and_no_destination_takes_all_places(instance_ref: InstanceRef) -> None:
    with dg.DagsterInstance.from_ref(instance_ref) as instance:
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert isinstance(instance.run_launcher, EngageRunLauncher)
        assert instance.telemetry_enabled is False
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert {limit["key"]: (limit["limit"], limit.get("value")) for limit in queue.tag_concurrency_limits} == {
            "engage/connection": (1, {"applyLimitPerUniqueValue": True}),
            "engage/place": (4, {"applyLimitPerUniqueValue": True}),
            "engage/doubtful": (3, None),
            "engage/computes": (1, {"applyLimitPerUniqueValue": True}),
        }


def test_however_dagster_is_started_the_code_location_has_one_name() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert location["python_module"]["location_name"] == project["code_location_name"]
    assert location["python_module"]["module_name"] == project["code_location_target_module"]


@pytest.mark.postgres
def test_on_postgresql_dagster_has_a_schema_of_its_own(postgres_server: str, tmp_path: Path) -> None:
    settings = read_settings({"ENGAGE_HOME": str(tmp_path), "ENGAGE_DATABASE_URL": postgres_server})
    for _ in range(2):
        storage = open_storage(settings)
        assert storage.run_storage.get_runs() == []
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            part.dispose()
    engine = sa.create_engine(postgres_server.replace("postgresql://", "postgresql+psycopg2://", 1))
    with engine.connect() as connection:
        where = connection.exec_driver_sql("SELECT table_schema FROM information_schema.tables WHERE table_name = 'runs'").scalars().all()
    engine.dispose()
    assert where == ["dagster"]
