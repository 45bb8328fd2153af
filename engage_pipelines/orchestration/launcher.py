"""The launcher: the one sensor that starts runs for what the registry says is owed, and keeps the partitions as the connections are.

A tick asks for the present state and never for what changed: killed between any two steps it does the same again, and Dagster lets a run
key through once. An idle tick is one query. The cursor names the connections that the partitions were last made equal to; Dagster writes it
after the partitions, so that a tick that was cut off repeats them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterInstance

from engage_pipelines.orchestration import translator
from engage_pipelines.orchestration.catalog import Catalog, read_catalog
from engage_pipelines.orchestration.reload import Reloader
from engage_pipelines.orchestration.signs import Signs, read_connected, read_signs
from engage_pipelines.orchestration.syncs import partitions
from engage_pipelines.registry.attempts import (
    Ended,
    OwedCompute,
    OwedSync,
    Started,
    finish_attempt,
    owed_compute_requests,
    owed_sync_requests,
    started_attempts,
)
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.paces import destinations_unwell

INTERVAL_S = 1
MAX_RUNS_A_TICK = 50
HOLD_S = 4.0
"""How long a tick goes on looking while runs are under way; Dagster begins the next one 5 s after this one began, whatever the interval."""
LOOK_EVERY_S = 0.25

_RUN_KEY_TAG = "dagster/run_key"
_DIED = Ended("failed", "The run that worked on it ended without a word.", "It is tried again by itself.")

Owed = OwedSync | OwedCompute
PartitionRequest = dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest


@dataclass(slots=True)
class Launcher:
    """What one loaded code location knows: the definitions it was loaded with."""

    database: Database
    loaded: Catalog
    reloader: Reloader
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _fingerprint: str = field(init=False)
    _known_as: str = field(init=False, default="")
    _kinds: dict[tuple[str, str], str] = field(init=False)

    def __post_init__(self) -> None:
        self._fingerprint = self.loaded.fingerprint
        self._kinds = {(entry.space, entry.key): entry.kind for entry in self.loaded.entries}

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """One look, or while runs are under way several: a run that ends may leave something owed, as a new version its syncs."""
        until = self.monotonic() + HOLD_S
        while True:
            result, under_way = self._look(context)
            if not under_way or result.run_requests or result.dynamic_partitions_requests or self.monotonic() >= until:
                return result
            self.sleep(LOOK_EVERY_S)

    def _look(self, context: dg.SensorEvaluationContext) -> tuple[dg.SensorResult, bool]:
        """What follows from the present state, and whether runs are under way."""
        with self.database.read() as c:
            signs = read_signs(c, self.database.now_us(c))
        stale = self._is_stale(signs)
        if stale and context.code_location_origin is not None:
            self.reloader.ask(context.code_location_origin.location_name)
        changed = signs.connections != context.cursor
        partition_requests = list(self._partition_requests(context.instance)) if changed else []
        runs, under_way = self._run_requests(context.instance) if signs.due else ([], False)
        partition_requests.extend(_missing_partitions(context.instance, runs, partition_requests))
        result = dg.SensorResult(
            run_requests=runs or None,
            skip_reason=None if runs else self._why_nothing(signs, stale=stale),
            cursor=signs.connections,
            dynamic_partitions_requests=partition_requests,
        )
        # the process of stale definitions is about to be replaced: it must not be waited for
        return result, under_way and not stale

    def _why_nothing(self, signs: Signs, *, stale: bool) -> str:
        if stale:
            return "Audiences were added, changed or deleted: the definitions are being loaded again."
        if not signs.due:
            return "Nothing is owed."
        with self.database.read() as c:
            unwell = destinations_unwell(c, self.database.now_us(c))
        return " ".join(["What is owed is under way, or waits.", *(f"{key}: {'; '.join(words)}." for key, words in sorted(unwell.items()))])

    def _is_stale(self, signs: Signs) -> bool:
        """Whether the definitions differ from the registry's; they are read again only when something was written there."""
        if signs.computations == self._known_as:
            return False
        with self.database.read() as c:
            same = read_catalog(c).fingerprint == self._fingerprint
        if same:
            self._known_as = signs.computations
        return not same

    def _partition_requests(self, instance: DagsterInstance) -> Iterator[PartitionRequest]:
        with self.database.read() as c:
            connected = read_connected(c)
        for (space, audience), destinations in sorted(connected.items()):
            definition = partitions(space, audience)
            present = frozenset(instance.get_dynamic_partitions(translator.partitions_name(space, audience)))
            if missing := sorted(destinations - present):
                yield definition.build_add_request(missing)
            if gone := sorted(present - destinations):
                yield definition.build_delete_request(gone)

    def _run_requests(self, instance: DagsterInstance) -> tuple[list[dg.RunRequest], bool]:
        with self.database.read() as c:
            now_us = self.database.now_us(c)
            owed: list[Owed] = [*owed_sync_requests(c, now_us), *owed_compute_requests(c, now_us)]
            started = started_attempts(c)
        self._finish_dead(instance, started)
        loaded = [one for one in owed if self._is_loaded(one)][:MAX_RUNS_A_TICK]
        asked_for = _runs_by_key(instance, loaded)
        runs: list[dg.RunRequest] = []
        under_way = bool(started)
        for one in loaded:
            run = asked_for.get(translator.run_key(one))
            if isinstance(one, OwedCompute) and not one.keys:
                self._finish(one.id, one.attempt, Ended("done"))
            elif run is None or run.status is dg.DagsterRunStatus.NOT_STARTED:
                # a run that was made but never queued is asked for again under its key: Dagster then goes on with it
                runs.append(self._run_request(one))
            elif run.is_finished:
                self._finish(one.id, one.attempt, _DIED)
            else:
                under_way = True
        return runs, under_way

    def _finish_dead(self, instance: DagsterInstance, started: list[Started]) -> None:
        """Attempts whose run is over, or is not known any more, and said nothing."""
        if not started:
            return
        runs = instance.get_runs(filters=dg.RunsFilter(run_ids=[one.run_id for one in started]))
        alive = {run.run_id for run in runs if not run.is_finished}
        for one in started:
            if one.run_id not in alive:
                self._finish(one.id, one.attempt, _DIED)

    def _finish(self, request_id: str, attempt: int, ended: Ended) -> None:
        with self.database.write() as c:
            finish_attempt(c, request_id, attempt=attempt, ended=ended, now=self.database.now_us(c))

    def _is_loaded(self, one: Owed) -> bool:
        keys = one.keys if isinstance(one, OwedCompute) else (one.audience,)
        return all((one.space, key) in self._kinds for key in keys)

    def _run_request(self, one: Owed) -> dg.RunRequest:
        key = translator.run_key(one)
        if isinstance(one, OwedSync):
            return dg.RunRequest(
                run_key=key,
                asset_selection=[translator.sync_key(one.space, one.audience, self.loaded.prefix)],
                partition_key=one.destination,
                tags=translator.sync_tags(one),
            )
        prefix = self.loaded.prefix
        keys = [translator.computation_key(one.space, self._kinds[one.space, audience], audience, prefix) for audience in one.keys]
        return dg.RunRequest(run_key=key, asset_selection=keys, tags=translator.compute_tags(one))


def _runs_by_key(instance: DagsterInstance, owed: Iterable[Owed]) -> dict[str, dg.DagsterRun]:
    keys = [translator.run_key(one) for one in owed]
    if not keys:
        return {}
    return {run.tags[_RUN_KEY_TAG]: run for run in instance.get_runs(filters=dg.RunsFilter(tags={_RUN_KEY_TAG: keys}))}


def _missing_partitions(
    instance: DagsterInstance, runs: Iterable[dg.RunRequest], requested: Iterable[PartitionRequest]
) -> Iterator[PartitionRequest]:
    """Partitions that a run needs and somebody has taken away in the UI."""
    coming = {(request.partitions_def_name, key) for request in requested for key in request.partition_keys}
    for run in runs:
        if run.partition_key is None or not run.asset_selection:
            continue
        space, audience = translator.space_and_audience(run.asset_selection[0])
        wanted = (translator.partitions_name(space, audience), run.partition_key)
        if wanted not in coming and not instance.has_dynamic_partition(*wanted):
            coming.add(wanted)
            yield partitions(space, audience).build_add_request([run.partition_key])


def launcher_sensor(launcher: Launcher, assets: dg.AssetSelection | None = None) -> dg.SensorDefinition:
    """The sensor, running from the first start on; `assets` are those it may launch, all of the code location unless said."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return launcher.tick(context)

    return dg.SensorDefinition(
        name=translator.LAUNCHER,
        asset_selection=assets or dg.AssetSelection.all(),
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        evaluation_fn=evaluate,
        description="Starts a run for everything that is owed to a destination or asked to be computed; the only one that does.",
    )
