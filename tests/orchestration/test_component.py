"""The product as a component of somebody's own Dagster project, beside their models."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from engage_pipelines.cli.app import run
from engage_pipelines.orchestration import translator
from engage_pipelines.orchestration.component import EngageComponent
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.status import list_status

DEFS = """
type: engage_pipelines.orchestration.component.EngageComponent
attributes:
  registry_url: "{{ env.SHOP_REGISTRY }}"
  home: HOME
  key_prefix: [marketing]
  upstream: [dbt/orders]
  upstream_of: {default: [dbt/visits]}
"""
MODELS = """
import dagster as dg

@dg.multi_asset(specs=[dg.AssetSpec(["dbt", "orders"]), dg.AssetSpec(["dbt", "visits"])])
def models(): ...
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of the starter project, its one connection owed a backfill."""
    folder = tmp_path_factory.mktemp("starter")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("ENGAGE_HOME", str(folder / ".engage"))
        assert run(["init", str(folder)]) == 0
        assert run(["ingest", str(folder / "calls.jsonl")]) == 0
        assert run(["apply", str(folder / "engage")]) == 0
    return folder / ".engage"


@pytest.fixture
def component(home: Path, monkeypatch: pytest.MonkeyPatch) -> EngageComponent:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR", "ENGAGE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return EngageComponent(home=str(home), key_prefix=["marketing"], upstream=["dbt/orders"], upstream_of={"default": ["dbt/visits"]})


@pytest.fixture
def defs(component: EngageComponent) -> dg.Definitions:
    @dg.asset(key_prefix="dbt")
    def orders() -> None: ...

    return dg.Definitions.merge(component.build_defs(None), dg.Definitions(assets=[orders], executor=dg.in_process_executor))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made


def _tick(defs: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def(translator.LAUNCHER)
    names = {"repository_name": repository.name, "repository_def": repository, "sensor_name": sensor.name}
    nothing = {"last_tick_completion_time": None, "last_run_key": None, "cursor": None, "log_key": None}
    with dg.SensorEvaluationContext(instance_ref=instance.get_ref(), instance=instance, **nothing, **names) as context:
        return sensor.evaluate_tick(context)


def test_lineage_runs_from_their_models_to_the_destinations(defs: dg.Definitions):
    graph = defs.resolve_asset_graph()
    facts, regulars = translator.facts_key("default", ["marketing"]), translator.sync_key("default", "regulars", ["marketing"])
    assert graph.get(facts).parent_keys == {dg.AssetKey(["dbt", "orders"]), dg.AssetKey(["dbt", "visits"])}
    assert dg.AssetKey(["dbt", "orders"]) in graph.get_ancestor_asset_keys(regulars)
    ours = {key for key in graph.get_all_asset_keys() if key.path[0] != "dbt"}
    assert {key.path[0] for key in ours} == {"marketing"}
    assert len(ours) == 7


def test_sensor_launches_ours_alone_and_what_it_asks_for_runs(defs: dg.Definitions, home: Path, instance: dg.DagsterInstance):
    sensor = defs.resolve_sensor_def(translator.LAUNCHER)
    job = defs.resolve_implicit_global_asset_job_def()
    assert dg.AssetKey(["dbt", "orders"]) not in sensor.asset_selection.resolve(defs.resolve_asset_graph())
    database = Database(f"sqlite:///{home / 'engage.db'}")
    for _ in range(4):
        tick = _tick(defs, instance)
        for request in tick.dynamic_partitions_requests or ():
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
        for asked in tick.run_requests or ():
            job.execute_in_process(
                instance=instance, asset_selection=list(asked.asset_selection), partition_key=asked.partition_key, tags=dict(asked.tags)
            )
    with database.read() as c:
        [row] = list_status(c, c.exec_driver_sql("select id from space").scalar_one())
    database.close()
    assert (row.audience, row.sent, row.sync_status) == ("regulars", 6, "Up to date")
    assert len((home / "files" / "regulars.csv").read_text().splitlines()) == 7


def test_dg_checks_a_project_that_mounts_it(home: Path, tmp_path: Path):
    code = tmp_path / "shop_dagster"
    (code / "defs" / "audiences").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop_dagster"\nversion = "0.1.0"\n[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\n'
        'root_module = "shop_dagster"\nregistry_modules = ["engage_pipelines.orchestration.component"]\n'
    )
    (code / "__init__.py").touch()
    (code / "definitions.py").write_text(
        "from pathlib import Path\nimport dagster as dg\n\n\n@dg.definitions\ndef defs():\n"
        "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    (code / "defs" / "models.py").write_text(MODELS)
    (code / "defs" / "audiences" / "defs.yaml").write_text(DEFS.replace("HOME", str(home)))
    environment = {
        "PATH": str(Path(sys.executable).parent),
        "PYTHONPATH": str(tmp_path),
        "HOME": str(tmp_path),
        "SHOP_REGISTRY": f"sqlite:///{home / 'engage.db'}",
    }
    checked = subprocess.run(["dg", "check", "defs"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "All definitions loaded successfully." in checked.stdout + checked.stderr


def test_package_tells_dg_where_the_component_is():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["dagster_dg_cli.registry_modules"] == {
        "engage_pipelines": "engage_pipelines.orchestration.component"
    }
