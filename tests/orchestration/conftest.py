"""A registry with one Segment destination type, a Dagster instance beside it, a stand-in for the engine, and one for Dagster's daemon."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef

from engage_pipelines.destinations.catalog import destination_type
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import DefinitionError, EngageError, StateError
from engage_pipelines.orchestration import launcher
from engage_pipelines.orchestration.build import build_definitions
from engage_pipelines.orchestration.work import Counts, Place, Run
from engage_pipelines.registry import audiences, connections, destinations, lookup, traits
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import Ended, finish_attempt, start_attempt
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.settings import Settings, read_settings


@dataclass(frozen=True)
class Outcome:
    """What computing one audience, planning, sending or settling came to."""

    key: str = ""
    state: str = "published"
    evaluated_at_us: int = 1_700_000_000_000_000
    n: int | None = 1
    size: int | None = 3
    users: int | None = 3
    entered: int | None = 3
    exited: int | None = 0
    error: EngageError | None = None
    warnings: Sequence[str] = ()
    updated: int | None = None
    version: int = 1
    owed: dict[str, int] = field(default_factory=lambda: {"user": 3})
    counts: Counts = field(default_factory=lambda: {"identify": {"entered": 3}})
    dead_letters: int = 0
    waiting: int = 0
    skipped: int = 0
    more_owed: bool = False


@dataclass
class FakeWork:
    """Remembers what it was asked for; an audience whose key begins with `bad` fails, with `held` is held."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    refused: int = 0
    fails_with: EngageError | None = None

    def compute(self, space: str, keys: Sequence[str], run: Run) -> list[Outcome]:
        self.asked.append(("compute", space, tuple(keys), run.attempt))
        return [self._computed(key) for key in keys]

    def plan(self, place: Place, run: Run) -> Outcome:
        self.asked.append(("plan", place, run.attempt))
        if self.fails_with is not None:
            raise self.fails_with
        return Outcome()

    def send(self, place: Place, level: str, run: Run) -> Outcome:
        self.asked.append(("send", place, level))
        return Outcome(counts={"identify": {"entered": 3}} if level == "user" else {})

    def settle(self, place: Place, run: Run) -> Outcome:
        self.asked.append(("settle", place))
        return Outcome(dead_letters=self.refused)

    def _computed(self, key: str) -> Outcome:
        if key.startswith("bad"):
            return Outcome(key, "failed", n=None, size=None, users=None, error=DefinitionError("no such event", "Mend the definition."))
        if key.startswith("held"):
            return Outcome(key, "held", n=2, error=StateError("It fell by more than half.", "Release or discard it."))
        return Outcome(key)


@dataclass
class World:
    """The registry, and short words for what these tests do a lot."""

    settings: Settings
    registry: Registry
    instance: dg.DagsterInstance
    work: FakeWork = field(default_factory=FakeWork)

    def audience(self, key: str, *, definition: str = "event('Signed In').count() >= 1", version: int | None = 1, **fields: Any) -> None:
        with self.registry.change() as change:
            new = audiences.NewAudience(key=key, level=fields.pop("level", Level.USER), definition=definition, **fields)
            audiences.create_audience(change, self._space(change.c), new)
        if version is not None:
            self.write(sa.update(t.computation).where(t.computation.c.key == key).values(current_version=version))

    def trait(self, key: str, *, definition: str = "event('Signed In').count()", version: int | None = None, **fields: Any) -> None:
        with self.registry.change() as change:
            traits.create_trait(change, self._space(change.c), traits.NewTrait(key, Level.USER, definition, **fields))
        self.write(sa.update(t.computation).where(t.computation.c.key == key).values(current_version=version))

    def destination(self, key: str) -> None:
        new = destinations.NewDestination(key=key, type="segment", settings={"write_key": "env:SEGMENT_KEY"})
        with self.registry.change() as change:
            destinations.create_destination(change, self._space(change.c), new)

    def connect(self, audience: str, destination: str) -> str:
        with self.registry.change() as change:
            made = connections.connect(change, self._space(change.c), connections.NewConnection(audience, destination))
        assert made.request_id is not None
        return made.request_id

    def disconnect(self, audience: str, destination: str) -> None:
        with self.registry.change() as change:
            space = self._space(change.c)
            of = lookup.find_audience(change.c, space.id, audience)
            connections.remove(change, space, of, destinations.find_destination(change.c, space.id, destination))

    def delete_audience(self, key: str) -> None:
        with self.registry.change() as change:
            audiences.delete_audience(change, self._space(change.c), key)

    def request(self, request_id: str) -> Any:
        table = t.sync_request if request_id.startswith("req_") else t.compute_request
        with self.registry.database.read() as c:
            return c.execute(sa.select(table).where(table.c.id == request_id)).one()

    def start(self, request_id: str, *, run_id: str, attempt: int = 1) -> None:
        with self.registry.database.write() as c:
            assert start_attempt(c, request_id, attempt=attempt, run_id=run_id, now=self.registry.database.now_us(c))

    def finish(self, request_id: str, ended: Ended, *, attempt: int = 1) -> None:
        with self.registry.database.write() as c:
            assert finish_attempt(c, request_id, attempt=attempt, ended=ended, now=self.registry.database.now_us(c))

    def write(self, statement: sa.Executable) -> None:
        with self.registry.database.write() as c:
            c.execute(statement)

    def ids(self, table: sa.Table) -> list[str]:
        with self.registry.database.read() as c:
            return list(c.execute(sa.select(table.c.id)).scalars())

    def make_due(self, request_id: str) -> None:
        self.write(sa.update(t.sync_request).where(t.sync_request.c.id == request_id).values(not_before=0))

    def nothing_to_compute(self) -> None:
        """Take away the compute requests that new audiences bring."""
        self.write(sa.update(t.compute_request).values(state="done"))

    def definitions(self) -> dg.Definitions:
        resource = dg.ResourceDefinition.hardcoded_resource(self.work)
        return build_definitions(self.settings, self.registry.database, resource)

    def _space(self, c: sa.Connection) -> Any:
        return c.execute(sa.select(t.space).where(t.space.c.key == "b2b")).one()


class KilledError(Exception):
    """The daemon was killed here."""


@dataclass
class Daemon:
    """Does with a tick's result what Dagster's sensor daemon does, one step after the other, and may be killed before any of them."""

    world: World
    definitions: dg.Definitions
    cursor: str | None = None
    steps: int = 0
    killed_before: int | None = None

    def tick(self) -> Any:
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def("launch_what_is_owed")
        with self._context(repository, sensor) as context:
            data = sensor.evaluate_tick(context)
        for request in data.dynamic_partitions_requests or []:
            self._step()
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.world.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.world.instance.delete_dynamic_partition(request.partitions_def_name, key)
        for request in data.run_requests or []:
            self._submit(request)
        self._step()
        self.cursor = data.cursor
        return data

    def _context(self, repository: Any, sensor: Any) -> dg.SensorEvaluationContext:
        # both: the reference makes the context look up partitions, the instance spares it from being opened at each tick
        return dg.SensorEvaluationContext(
            instance_ref=InstanceRef.from_dir(str(self.world.settings.home)),
            instance=self.world.instance,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=self.cursor,
            log_key=None,
            repository_name=repository.name,
            repository_def=repository,
            sensor_name=sensor.name,
        )

    def _submit(self, request: dg.RunRequest) -> None:
        self._step()
        known = self.world.instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)}))
        if known and known[0].status is not dg.DagsterRunStatus.NOT_STARTED:
            return
        if not known:
            self.add_run(dg.DagsterRunStatus.NOT_STARTED, {**request.tags, "dagster/run_key": str(request.run_key)})
        self._step()
        self.set_status(str(request.run_key), dg.DagsterRunStatus.STARTING)

    def add_run(self, status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
        run = dg.DagsterRun(job_name="__ASSET_JOB", run_id=str(uuid.uuid4()), tags=tags, status=status)
        return self.world.instance.run_storage.add_run(run).run_id

    def set_status(self, run_key: str, status: dg.DagsterRunStatus) -> None:
        (run,) = self.world.instance.get_runs(filters=dg.RunsFilter(tags={"dagster/run_key": run_key}))
        self.world.instance.delete_run(run.run_id)
        self.world.instance.run_storage.add_run(run.with_status(status))

    def run_keys(self) -> list[str]:
        return sorted(run.tags["dagster/run_key"] for run in self.world.instance.get_runs())

    def partitions(self, audience: str) -> list[str]:
        return sorted(self.world.instance.get_dynamic_partitions(f"b2b/{audience}"))

    def _step(self) -> None:
        if self.steps == self.killed_before:
            raise KilledError
        self.steps += 1


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = read_settings({"ENGAGE_HOME": str(tmp_path), "ENGAGE_DAGSTER_URL": "http://127.0.0.1:9"})
    registry = open_registry(settings, types={"segment": destination_type("segment")})
    with registry.change() as change:
        create_space(change, NewSpace(key="b2b", name="B2B"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(settings, registry, instance)
    registry.database.close()


@dataclass(frozen=True)
class Daemons:
    """Makes daemons for the world as it is now, each with freshly loaded definitions."""

    world: World
    Killed: type[KilledError] = KilledError

    def start(self, *, cursor: str | None = None, killed_before: int | None = None) -> Daemon:
        return Daemon(self.world, self.world.definitions(), cursor, killed_before=killed_before)


@pytest.fixture
def daemons(world: World, monkeypatch: pytest.MonkeyPatch) -> Daemons:
    monkeypatch.setattr(launcher, "HOLD_S", 0.0)
    return Daemons(world)
