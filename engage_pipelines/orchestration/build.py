"""Dagster's definitions, built from what the registry holds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import dagster as dg

from engage_pipelines.orchestration import work
from engage_pipelines.orchestration.arrivals import Arrivals, arrivals_sensor
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
        catalog = replace(read_catalog(connection), console_url=settings.console_url)
    launcher = Launcher(database, catalog, Reloader(settings.dagster_url))
    return dg.Definitions(
        assets=list(_assets(catalog, Mount())),
        schedules=list(schedules(catalog)),
        sensors=[launcher_sensor(launcher), arrivals_sensor(Arrivals(settings, database))],
        resources={work.RESOURCE: resource},
        executor=dg.in_process_executor,
    )


@dataclass(frozen=True, slots=True)
class Mount:
    """How the assets stand in a code location that holds others too: below `prefix`, the facts of each space after `upstream` of it."""

    prefix: tuple[str, ...] = ()
    upstream: Callable[[str], Sequence[dg.AssetKey]] = lambda _space: ()


def build_mounted(settings: Settings, database: Database, resource: dg.ResourceDefinition, mount: Mount) -> dg.Definitions:
    """The same beside other assets: nothing is said of them, neither which are launched nor how they are run."""
    with database.read() as connection:
        catalog = replace(read_catalog(connection), prefix=mount.prefix, console_url=settings.console_url)
    assets = list(_assets(catalog, mount))
    keys = [key for one in assets for key in ([one.key] if isinstance(one, dg.AssetSpec) else one.keys)]
    launcher = Launcher(database, catalog, Reloader(settings.dagster_url))
    return dg.Definitions(
        assets=assets,
        schedules=list(schedules(catalog)),
        sensors=[launcher_sensor(launcher, dg.AssetSelection.assets(*keys)), arrivals_sensor(Arrivals(settings, database))],
        resources={work.RESOURCE: resource},
    )


def _assets(catalog: Catalog, mount: Mount) -> Iterator[dg.AssetSpec | dg.AssetsDefinition]:
    for space in catalog.spaces:
        yield facts_spec(space, prefix=mount.prefix, upstream=mount.upstream(space))
        if catalog.of_space(space):
            yield computations_asset(catalog, space)
    for entry in catalog.entries:
        yield sync_asset(entry, prefix=mount.prefix, console_url=catalog.console_url)
