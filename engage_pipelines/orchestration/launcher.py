"""The launcher: the one sensor that starts runs for what the registry says is owed, and keeps the partitions as the connections are.

A tick asks for the present state and never for what changed: killed between any two steps it does the same again, and Dagster lets a run key
through once. An idle tick is one query. The cursor names the connections that the partitions were last made equal to; it is written by
Dagster after the partitions, so that a tick that was cut off repeats them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from engage_pipelines.orchestration import owed, translator
from engage_pipelines.orchestration.attempts import give_up_attempt
from engage_pipelines.orchestration.catalog import Catalog, read_catalog
from engage_pipelines.orchestration.reload import Reloader
from engage_pipelines.orchestration.syncs import partitions
from engage_pipelines.registry.database import Database

INTERVAL_S = 1
MAX_RUNS_A_TICK = 50

_RUN_KEY_TAG = "dagster/run_key"
# a run that was made but never handed to the queue is asked for again under its key: Dagster then finishes launching it
_LIVE = [status for status in NOT_FINISHED_STATUSES if status is not dg.DagsterRunStatus.NOT_STARTED]

PartitionRequest = dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest


@dataclass(slots=True)
class Launcher:
    """What one loaded code location knows: the definitions it was loaded with."""

    database: Database
    loaded: Catalog
    reloader: Reloader
    _fingerprint: str = field(init=False)
    _known_as: str = field(init=False, default="")
    _assets: frozenset[dg.AssetKey] = field(init=False)

    def __post_init__(self) -> None:
        self._fingerprint = self.loaded.fingerprint
        self._assets = frozenset(
            key
            for entry in self.loaded.entries
            for key in (translator.computation_key(entry.space, entry.kind, entry.key), translator.sync_key(entry.space, entry.key))
        )

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """One look, and what follows from it."""
        with self.database.read() as connection:
            now_us = self.database.now_us(connection)
            signs = owed.read_signs(connection, now_us)
        stale = self._is_stale(signs)
        if stale and context.code_location_origin is not None:
            self.reloader.ask(context.code_location_origin.location_name)
        if not signs.due and signs.connections == context.cursor:
            return dg.SensorResult(skip_reason="Audiences changed: asked for a reload." if stale else "Nothing is owed.", cursor=context.cursor)
        requests: list[PartitionRequest] = []
        if signs.connections != context.cursor:
            requests.extend(self._partition_requests(context.instance))
        runs = list(self._run_requests(context.instance, now_us)) if signs.due else []
        requests.extend(_missing_partitions(context.instance, runs, requests))
        if not runs:
            return dg.SensorResult(
                skip_reason="What is owed is under way, or waits.", cursor=signs.connections, dynamic_partitions_requests=requests
            )
        return dg.SensorResult(run_requests=runs, cursor=signs.connections, dynamic_partitions_requests=requests)

    def _is_stale(self, signs: owed.Signs) -> bool:
        """Whether the definitions differ from the registry's; it is read again only when something was written there."""
        if signs.computations == self._known_as:
            return False
        with self.database.read() as connection:
            same = read_catalog(connection).fingerprint == self._fingerprint
        if same:
            self._known_as = signs.computations
        return not same

    def _partition_requests(self, instance: DagsterInstance) -> Iterator[PartitionRequest]:
        with self.database.read() as connection:
            connected = owed.read_connected(connection)
        for (space, audience), destinations in sorted(connected.items()):
            definition = partitions(space, audience)
            present = frozenset(instance.get_dynamic_partitions(translator.partitions_name(space, audience)))
            if missing := sorted(destinations - present):
                yield definition.build_add_request(missing)
            if gone := sorted(present - destinations):
                yield definition.build_delete_request(gone)

    def _run_requests(self, instance: DagsterInstance, now_us: int) -> Iterator[dg.RunRequest]:
        with self.database.read() as connection:
            syncs = owed.read_owed_syncs(connection, now_us, MAX_RUNS_A_TICK)
            computes = owed.read_owed_computes(connection, now_us, MAX_RUNS_A_TICK)
        due = [*(sync for sync in syncs if self._is_loaded([_sync_key(sync)])), *(c for c in computes if self._is_loaded(_compute_keys(c)))]
        known = _known_runs(instance, due)
        for request in due:
            state = known.get(request.id)
            if state == "live":
                continue
            if state == "ended":
                give_up_attempt(self.database, request)
            else:
                yield _run_request(request)

    def _is_loaded(self, keys: Iterable[dg.AssetKey]) -> bool:
        return self._assets.issuperset(keys)


def _sync_key(sync: owed.OwedSync) -> dg.AssetKey:
    return translator.sync_key(sync.space, sync.audience)


def _compute_keys(compute: owed.OwedCompute) -> list[dg.AssetKey]:
    return [translator.computation_key(compute.space, kind, key) for kind, key in compute.computations]


def _run_request(request: owed.OwedSync | owed.OwedCompute) -> dg.RunRequest:
    if isinstance(request, owed.OwedCompute):
        tags = {translator.REQUEST_TAG: request.id, translator.COMPUTES_TAG: request.space}
        return dg.RunRequest(run_key=request.run_key, asset_selection=_compute_keys(request), tags=tags)
    tags = translator.sync_tags(
        request=request.id, connection=request.connection_id, audience=request.audience, destination=request.destination
    )
    return dg.RunRequest(run_key=request.run_key, asset_selection=[_sync_key(request)], partition_key=request.destination, tags=tags)


def _known_runs(instance: DagsterInstance, due: list[owed.OwedSync | owed.OwedCompute]) -> Mapping[str, str]:
    """Request id -> `live` while a run works on it or its connection, `ended` when the run of this attempt has ended and left it owed."""
    if not due:
        return {}
    live = instance.get_runs(filters=dg.RunsFilter(statuses=_LIVE))
    at_work = {run.run_id for run in live}
    for tag in (translator.REQUEST_TAG, translator.CONNECTION_TAG):
        at_work |= {run.tags[tag] for run in live if tag in run.tags}
    keys = [request.run_key for request in due]
    ended = {
        run.tags[_RUN_KEY_TAG]
        for run in instance.get_runs(filters=dg.RunsFilter(tags={_RUN_KEY_TAG: keys}))
        if run.is_finished
    }
    found: dict[str, str] = {}
    for request in due:
        if not at_work.isdisjoint({request.id, request.run_id, getattr(request, "connection_id", None)}):
            found[request.id] = "live"
        elif request.run_key in ended:
            found[request.id] = "ended"
    return found


def _missing_partitions(
    instance: DagsterInstance, runs: Iterable[dg.RunRequest], requested: Iterable[PartitionRequest]
) -> Iterator[PartitionRequest]:
    """Partitions that a run needs and somebody has taken away in the UI."""
    coming = {(request.partitions_def_name, key) for request in requested for key in request.partition_keys}
    for run in runs:
        if run.partition_key is None or not run.asset_selection:
            continue
        space, _, audience = run.asset_selection[0].path
        wanted = (translator.partitions_name(space, audience), run.partition_key)
        if wanted not in coming and not instance.has_dynamic_partition(*wanted):
            coming.add(wanted)
            yield partitions(space, audience).build_add_request([run.partition_key])


def launcher_sensor(launcher: Launcher) -> dg.SensorDefinition:
    """The sensor, running from the first start on."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return launcher.tick(context)

    return dg.SensorDefinition(
        name=translator.LAUNCHER,
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        evaluation_fn=evaluate,
        description="Starts a run for everything that is owed to a destination or asked to be computed; the only one that does.",
    )
