"""Dagster's definitions, built from what the registry holds."""

from collections.abc import Iterator

import dagster as dg

from engage_pipelines.orchestration import work
from engage_pipelines.orchestration.catalog import Catalog, read_catalog
from engage_pipelines.orchestration.computations import computations_asset, facts_spec
from engage_pipelines.orchestration.launcher import Launcher, launcher_sensor
from engage_pipelines.orchestration.reload import Reloader
from engage_pipelines.orchestration.schedules import schedules
from engage_pipelines.orchestration.syncs import sync_asset
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings


def build_definitions(settings: Settings, database: Database, resource: dg.ResourceDefinition) -> dg.Definitions:
    """Everything that Dagster shows and runs; `resource` is the work behind the assets."""
    with database.read() as connection:
        catalog = read_catalog(connection)
    launcher = Launcher(database, catalog, Reloader(settings.dagster_url))
    return dg.Definitions(
        assets=list(_assets(catalog)),
        schedules=list(schedules(catalog)),
        sensors=[launcher_sensor(launcher)],
        resources={work.RESOURCE: resource},
        executor=dg.in_process_executor,
    )


def _assets(catalog: Catalog) -> Iterator[dg.AssetSpec | dg.AssetsDefinition]:
    for space in catalog.spaces:
        yield facts_spec(space)
        if catalog.of_space(space):
            yield computations_asset(catalog, space)
    for entry in catalog.entries:
        yield sync_asset(entry)
