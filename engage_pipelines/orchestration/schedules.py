"""The schedules: one per space and cadence, computing what has that cadence."""

from collections.abc import Iterator

import dagster as dg

from engage_pipelines.orchestration import translator
from engage_pipelines.orchestration.catalog import Catalog
from engage_pipelines.registry.cadence import UNSCHEDULED


def schedules(catalog: Catalog) -> Iterator[dg.ScheduleDefinition]:
    """Running from the first start on; disabled computations and those computed on request alone have none."""
    due: dict[tuple[str, str], list[dg.AssetKey]] = {}
    for entry in catalog.entries:
        if entry.enabled and entry.cadence not in UNSCHEDULED and dg_accepts(entry.cadence):
            due.setdefault((entry.space, entry.cadence), []).append(
                translator.computation_key(entry.space, entry.kind, entry.key, catalog.prefix)
            )
    for (space, cadence), keys in sorted(due.items()):
        yield dg.ScheduleDefinition(
            name=translator.schedule_name(space, cadence),
            target=dg.AssetSelection.assets(*keys),
            cron_schedule=cadence,
            execution_timezone="UTC",
            tags={translator.COMPUTES_TAG: space},
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Computes {len(keys)} of {space}: {translator.cadence_words(cadence)}.",
        )


def dg_accepts(cadence: str) -> bool:
    """Whether Dagster can read the cron line: one that it cannot must not keep all the others from loading."""
    from dagster._utils.schedules import is_valid_cron_schedule  # noqa: PLC0415

    return is_valid_cron_schedule(cadence)
