"""The assets of a space's computations: one step that evaluates the chosen ones in one scan of the facts, and what their pages show.

All computations of a space are one subsettable step, whatever their cadence: a schedule, a request or a person in the UI chooses some of
them. An audience that fails keeps its last version and fails its check; the others are published, and then the run says what failed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from engage_pipelines.orchestration import translator, work
from engage_pipelines.orchestration.catalog import Catalog, Entry

_TITLES = {"published": "members changed", "unchanged": "nobody entered or left"}


def facts_spec(space: str, *, prefix: translator.Prefix = (), upstream: Sequence[dg.AssetKey] = ()) -> dg.AssetSpec:
    """The customer data that is ingested outside Dagster, or made by the assets upstream."""
    return dg.AssetSpec(
        translator.facts_key(space, prefix),
        deps=upstream,
        group_name=translator.group_name(space),
        description="Customer data of the space: the calls that `engage ingest` has read.",
        owners=translator.owners(space),
        kinds={"parquet"},
    )


def computations_asset(catalog: Catalog, space: str) -> dg.AssetsDefinition:
    """The computations of the space as one multi-asset."""
    entries = {translator.computation_key(space, entry.kind, entry.key, catalog.prefix): entry for entry in catalog.of_space(space)}

    @dg.multi_asset(
        name=translator.compute_step_name(space),
        specs=[_spec(catalog, entry) for entry in entries.values()],
        check_specs=[_check_spec(key) for key in entries],
        can_subset=True,
        required_resource_keys={work.RESOURCE},
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        """Decides who is in the chosen audiences, as of one instant, and publishes a new version of each one that changed."""
        chosen = {entries[key].key: key for key in context.selected_asset_keys if key in entries}
        with work.told_in_words():
            results = context.resources.work.compute(space, sorted(chosen), translator.run_of(context.run, context.log.info))
        for result in results:
            if result.state != work.WAITING:
                yield _outcome(chosen[result.key], result)
        _say_what_failed(results)

    return compute


def _spec(catalog: Catalog, entry: Entry) -> dg.AssetSpec:
    kinds = {other.key: other.kind for other in catalog.of_space(entry.space)}
    others = catalog.references.get((entry.space, entry.key), ())
    upstream = [translator.computation_key(entry.space, kinds[key], key, catalog.prefix) for key in others]
    return dg.AssetSpec(
        translator.computation_key(entry.space, entry.kind, entry.key, catalog.prefix),
        deps=[translator.facts_key(entry.space, catalog.prefix), *upstream],
        group_name=translator.group_name(entry.space),
        description=entry.description or f"{entry.name}: {entry.level} {entry.kind}.",
        metadata={**translator.computation_metadata(entry), **translator.console_metadata(catalog.console_url, entry)},
        tags=translator.computation_tags(entry),
        owners=translator.owners(entry.space),
        kinds={entry.kind, "duckdb"},
        skippable=True,
    )


def _check_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        translator.PUBLISHED_CHECK, asset=key, description="The last evaluation worked, and its result was let through to the destinations."
    )


def _outcome(key: dg.AssetKey, result: work.Computed) -> dg.MaterializeResult[Any] | dg.AssetCheckResult:
    if result.state in _TITLES:
        passed = dg.AssetCheckResult(passed=True, check_name=translator.PUBLISHED_CHECK, asset_key=key)
        return dg.MaterializeResult(
            asset_key=key, metadata=computed_metadata(result), data_version=dg.DataVersion(str(result.n)), check_results=[passed]
        )
    return dg.AssetCheckResult(
        passed=False,
        check_name=translator.PUBLISHED_CHECK,
        asset_key=key,
        description=str(result.error or result.state),
        metadata=computed_metadata(result),
    )


def computed_metadata(result: work.Computed) -> Mapping[str, Any]:
    """What the page of an audience or a trait shows of one evaluation; a number that is not known is not shown."""
    numbers = {
        "Members": result.size,
        "Users": result.users,
        "Entered": result.entered,
        "Updated": result.updated,
        "Exited": result.exited,
        "Version": result.n,
    }
    return {
        **{title: number for title, number in numbers.items() if number is not None},
        "As of": translator.instant(result.evaluated_at_us),
        "Result": _TITLES.get(result.state, result.state),
        **translator.warnings_metadata(result.warnings),
    }


def _say_what_failed(results: Sequence[work.Computed]) -> None:
    failed = [f"{result.key}: {result.error}" for result in results if result.state == "failed"]
    if failed:
        raise dg.Failure(f"{len(failed)} of {len(results)} could not be computed. " + " ".join(failed), allow_retries=False)
