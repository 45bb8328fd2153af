"""What an action would come to, without doing it: the mappings that would be made, the calls that would be sent, in how many requests.

The action is done in a transaction that is rolled back, and what follows is planned by the planner that plans the real thing. Payloads
are rendered for the first `SAMPLE` changes of a kind; where there are more, calls and requests are in proportion to those.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from engage_pipelines.delivery import state
from engage_pipelines.delivery.enrich import riding_of
from engage_pipelines.delivery.plan import Planner, connect
from engage_pipelines.delivery.render import CompiledMapping, Renderer, compile_mappings
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.state import ExceptionRow
from engage_pipelines.delivery.work import Work, chain_of
from engage_pipelines.destinations.base import Limits
from engage_pipelines.domain.protocol import ReplicaState, steps
from engage_pipelines.registry import connections
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.connections import Connected, NewConnection
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.versions import published_versions

SAMPLE = 2_000


@dataclass(frozen=True, slots=True)
class Preset:
    """A mapping that would be made and switched on."""

    name: str
    trigger: str


@dataclass(slots=True)
class Rehearsal:
    """What would be: `entered` and `exited` count calls by type; `skipped` members by level that have no identifier to be matched by."""

    calls: tuple[str, ...]
    state: str
    resumed: bool
    presets: tuple[Preset, ...]
    version: int
    limits: Limits
    whole_list: bool
    entered: Counter[str] = field(default_factory=Counter[str])
    exited: Counter[str] = field(default_factory=Counter[str])
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    requests: int = 0
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """A connection as a transaction has it that is rolled back afterwards."""

    work: Work
    replicas: Sequence[ReplicaState]
    exceptions: Mapping[str, Sequence[ExceptionRow]]


class _RolledBackError(Exception):
    """Ends the transaction of a rehearsal, and carries what was seen in it."""

    def __init__(self, look: Look, made: Connected) -> None:
        super().__init__()
        self.look = look
        self.made = made


def rehearse(runtime: Runtime, new: NewConnection) -> Rehearsal:
    """What `connections.connect` would come to in the registry's space; nothing is written. Raises what connecting would raise."""
    return rehearse_act(runtime, lambda change: connections.connect(change, find_space(change.c, runtime.registry.space), new))


def rehearse_act(runtime: Runtime, act: Callable[[Change], Connected]) -> Rehearsal:
    """What the connection that `act` gives would send once that was done; nothing is written. Raises what the action would raise."""
    look, made = _look(runtime, act)
    rehearsal = count(look)
    rehearsal.resumed = made.resumed
    rehearsal.presets = tuple(Preset(row.name, row.trigger) for row in made.mappings)
    return rehearsal


def count(look: Look) -> Rehearsal:
    """What a connection would send as it was looked at."""
    work = look.work
    rehearsal = Rehearsal(
        calls=work.connection.calls,
        state=work.connection.state,
        resumed=False,
        presets=(),
        version=work.connection.current,
        limits=_tightest(work),
        whole_list=work.type.writes_whole_list(work.settings),
    )
    if work.connection.current:
        with tempfile.TemporaryDirectory() as scratch:
            for replica in look.replicas:
                _add_replica(rehearsal, look, replica, Path(scratch))
    return rehearsal


def _tightest(work: Work) -> Limits:
    """Of the actions that would be done, what every request keeps to."""
    usual = work.type.limits_with(work.settings)
    each = [work.type.limits_of(mapping.row.action, work.settings) for mapping in work.mappings] or [usual]
    return replace(
        usual,
        max_batch_records=min(one.max_batch_records for one in each),
        max_batch_bytes=min(one.max_batch_bytes for one in each),
    )


def _look(runtime: Runtime, act: Callable[[Change], Connected]) -> tuple[Look, Connected]:
    try:
        with runtime.registry.change() as change:
            made = act(change)
            raise _RolledBackError(look_at(runtime, change, made.connection.id), made)
    except _RolledBackError as end:
        return end.look, end.made


def look_at(runtime: Runtime, change: Change, connection_id: str) -> Look:
    """The connection as the open change has it; secrets stay what they are in the registry: nothing is sent."""
    c = change.c
    row = state.load_connection(c, connection_id)
    type_ = runtime.type_of(row.destination_type)
    work = Work(
        runtime,
        row,
        type_,
        runtime.registry.desk.describe(type_, row.settings),
        compile_mappings(state.load_mappings(c, row), {action.key: (action.calls, action.batch_keys) for action in type_.actions}),
        chain_of(runtime, row, published_versions(c, row.computation_id)),
        state.load_resync_numbers(c, row.id),
        riding_of(c, runtime.settings, row),
    )
    replicas = work.replicas(c)
    return Look(work, replicas, {replica.name: state.load_exceptions(c, row.id, replica.name) for replica in replicas})


def _add_replica(rehearsal: Rehearsal, look: Look, replica: ReplicaState, scratch: Path) -> None:
    work = look.work
    now = work.runtime.now_us()
    with connect(scratch) as db:
        planner = Planner(db, work.chain, work.counted(replica.level))
        rehearsal.skipped[replica.level] = planner.skipped(work.connection.current)
        for step in steps(replica, work.connection.current):
            planned = planner.plan(replica, step, look.exceptions[replica.name], now_us=now, limit=None)
            if not planned.changes:
                continue
            requests = sum(
                _add_calls(rehearsal, db, _Sends(work, mapping, _renderer(work, replica)), entered=entered)
                for mapping in work.mappings
                for entered in (False, True)
            )
            rehearsal.requests += min(requests, 1) if rehearsal.whole_list else requests


def _renderer(work: Work, replica: ReplicaState) -> Renderer:
    return Renderer(
        generation=0,
        level=replica.level,
        calls=work.connection.calls,
        envelope=work.envelope(evaluated_at_us=0, planned_at_us=0),
        mappings=work.mappings,
        group_needs_a_user=work.type.group_needs_a_user,
    )


@dataclass(frozen=True, slots=True)
class _Sends:
    """A mapping, and what renders its records."""

    work: Work
    mapping: CompiledMapping
    renderer: Renderer

    def limits(self) -> Limits:
        return self.work.type.limits_of(self.mapping.row.action, self.work.settings)


def _add_calls(rehearsal: Rehearsal, db: duckdb.DuckDBPyConnection, sends: _Sends, *, entered: bool) -> int:
    """Count what one mapping would send of the planned changes in one direction; the requests that takes."""
    total = int(db.execute("select count(*) from owed where value = ?", [entered]).fetchall()[0][0])
    query = f"select {sends.renderer.columns} from owed where value = ? order by address limit {SAMPLE}"
    sample = db.execute(query, [entered]).fetchall()
    records = [record for record, problem in sends.renderer.records(sends.mapping, iter(sample), 0) if not problem]
    if not records:
        return 0
    rehearsal.is_exact &= total == len(sample)
    scale = total / len(sample)
    counts = rehearsal.entered if entered else rehearsal.exited
    counts.update({call: round(count * scale) for call, count in Counter(record.call for record in records).items()})
    weight = sum(len(record.body) + 1 for record in records) / len(records)
    limits = sends.limits()
    room = max(1, min(limits.max_batch_records, int(limits.max_batch_bytes / weight)))
    lanes = Counter(record.lane for record in records)
    return sum(math.ceil(count * scale / room) for count in lanes.values())
