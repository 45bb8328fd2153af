"""A run of one connection: plan, send the accounts, send the users, settle; each a bounded call under the connection's lease.

The calls hand each other nothing but ids: whatever one leaves behind lies in the database and in the generation's file, so a run that
dies between any two of them, or inside one, is gone on with by the next. A run aims at the version that is current when a level is begun;
a newer one is the next run's. When a backfill or resync is long and a newer version waits, the run yields after a generation, so that
changes do not wait for the backfill and the backfill does not starve.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import sqlalchemy as sa

from engage_pipelines.delivery import generation as generations
from engage_pipelines.delivery import lists, state
from engage_pipelines.delivery.attempt import Attempt, Left
from engage_pipelines.delivery.generation import Hands
from engage_pipelines.delivery.lease import acquire
from engage_pipelines.delivery.mending import make_mended_due
from engage_pipelines.delivery.pacing import gives_way
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.state import Failures, GenerationRow, Skipped
from engage_pipelines.delivery.stopping import PausedError
from engage_pipelines.delivery.work import Work, open_work
from engage_pipelines.domain.errors import EngageError, SyncStoppedError
from engage_pipelines.domain.protocol import ReplicaState, Step, is_owed, may_go, next_step, steps, version_word, yields
from engage_pipelines.registry.leaving import end
from engage_pipelines.registry.tables import connection as connections

_FEW = "The list has"
Log = Callable[[str], None]
Level = Literal["account", "user"]
Counts = Mapping[str, Mapping[str, int]]
"""Records by call and fate: `{"identify": {"entered": 3, "rejected": 1}}`."""


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a run found to do: members whose state the destination does not know, by level; no version where the connection leaves."""

    version: int | None
    owed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LevelReport:
    """What one level was sent in a run: records by call and fate."""

    generations: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How a connection stands after a run; `counts` are the records of the generations that the run settled.

    There is no version where the connection leaves: it aims at one of its own, in which nobody is.
    """

    version: int | None
    counts: Counts
    dead_letters: int
    waiting: int
    skipped: int
    more_owed: bool


@dataclass(frozen=True, slots=True)
class _Stands:
    """How a connection stands, read together."""

    replicas: list[ReplicaState]
    counts: Counts
    failures: Failures
    size: int
    is_unsettled: bool


class Sync:
    """The work of one run on one connection. Each method may be called by a new object, in a new process.

    `request_id` and `attempt` are what the run was launched for; None for a run that people started by hand, which adopts what is owed.
    """

    def __init__(
        self, runtime: Runtime, connection_id: str, request_id: str | None, *, run_id: str, log: Log, attempt: int | None = None
    ) -> None:
        self._runtime = runtime
        self._connection_id = connection_id
        self._attempt = Attempt(runtime.registry, connection_id, request_id, run_id, attempt)
        self._run_id = run_id
        self._log = log

    def plan(self) -> SyncPlan:
        """Look at what is owed, sending nothing. Raises EngageError when the connection may not send."""
        with self._attempt.told():
            self._attempt.begin()
            work = open_work(self._runtime, self._connection_id)
            _check(work)
            self._check_rest(work)
            replicas = self._runtime.database.ask(work.replicas)
            owed = {replica.level: self._owed(work, replica) for replica in replicas}
        self._log(f"version={version_word(work.connection.current)} " + " ".join(f"{level}s_owed={count}" for level, count in owed.items()))
        return SyncPlan(_version(work), owed)

    def send(self, level: Level) -> LevelReport:
        """Bring one level up to date, as far as this run goes. Raises EngageError; what was acknowledged until then is known."""
        runtime = self._runtime
        with runtime.stop.on_signals(), self._attempt.told():
            _check(open_work(runtime, self._connection_id))
            take = partial(acquire, sleep=runtime.sleep, times=runtime.lease_times, monotonic=runtime.clock.monotonic)
            with take(runtime.database, self._connection_id, f"run {self._run_id}") as lease:
                # read only now: while the lease was waited for its owner moved the base, and people changed mappings
                work = open_work(runtime, self._connection_id)
                _check(work)
                with gives_way(runtime.database, self._connection_id, work.connection.destination_id):
                    hands = Hands(work, lease, self._log, self._attempt.failures() + 1)
                    with _list_made_again(hands):
                        done = self._work_off(hands, level)
        return LevelReport(len(done), _sum(done))

    def _work_off(self, hands: Hands, level: Level) -> list[Counts]:
        """What an earlier owner left, then step by step what the level owes."""
        if hands.work.type.creates_lists and self._owes(hands, level):
            hands = lists.with_its_list(hands)
        done = self._finish_open(hands)
        make_mended_due(hands)
        for replica, step in self._steps(hands, level):
            self._runtime.stop.check()
            generation = generations.start(hands, replica, step)
            if generation is None:
                continue
            done.append(self._finish(hands, generation, level))
            if yields(step, aimed_at=hands.work.connection.current, newest=self._newest_version()):
                self._log("yielding: a newer version waits, it goes first in the next run")
                break
        return done

    def settle(self) -> SyncReport:
        """How the connection stands; the request is done, or owed again when there is more."""
        with self._attempt.told():
            work = open_work(self._runtime, self._connection_id)
            stands = self._runtime.database.ask(lambda c: self._stands(c, work))
            counts, failures = stands.counts, stands.failures
            more = stands.is_unsettled or is_owed(stands.replicas, work.connection.current)
            skipped = self._skipped(work, stands.replicas)
            left = _left(work, counts, skipped=skipped, size=stands.size)
            self._attempt.end(more_owed=more, retry_at_us=failures.retry_at_us, left=left)
            if work.connection.leaves and not stands.is_unsettled and may_go(stands.replicas, kept=failures.dead + failures.waiting):
                self._runtime.database.again(lambda: self._go(work))
                self._log("gone: every exit was sent, the connection is removed")
        return SyncReport(_version(work), counts, failures.dead, failures.waiting, skipped.members, more)

    def _stands(self, c: sa.Connection, work: Work) -> _Stands:
        return _Stands(
            work.replicas(c),
            _sum(state.settled_counts(c, self._connection_id, since_us=self._attempt.began_at_us(c))),
            state.failures(c, self._connection_id),
            state.version_size(c, work.connection),
            is_unsettled=state.unsettled_generation(c, self._connection_id) is not None,
        )

    def _go(self, work: Work) -> None:
        """Everyone has left: the connection ends."""
        of = work.connection
        with self._runtime.registry.change() as change:
            row = change.lock(connections, of.id)
            if row.removed_at is None:
                end(change, row, f"connection {of.space_key}/{of.computation_key} -> {of.destination_key}")

    def _check_rest(self, work: Work) -> None:
        """Raises PausedError while the type that was told last is not to be told again."""
        until = work.connection.rest_until
        if until > self._runtime.now_us():
            raise PausedError(
                f"{work.connection.destination_key} takes changes once in {work.type.min_interval_s:,} s.",
                "What came meanwhile is sent then.",
                until_us=until,
            )

    def _owed(self, work: Work, replica: ReplicaState) -> int:
        """How many changes the steps towards the current version hold."""
        todo = steps(replica, work.connection.current)
        if not todo:
            return 0
        database = self._runtime.database
        exceptions, now = database.ask(lambda c: (state.load_exceptions(c, self._connection_id, replica.name), database.now_us(c)))
        with generations.planner_of(work, replica.level) as planner:
            return sum(planner.count(replica, step, exceptions, now_us=now) for step in todo)

    def _steps(self, hands: Hands, level: Level) -> Iterator[tuple[ReplicaState, Step]]:
        """The steps of the level, looked up anew after each one, each offered once."""
        offered: set[Step] = set()
        while True:
            replicas = self._runtime.database.ask(hands.work.replicas)
            found = next_step(level, replicas, hands.work.aim, offered)
            if found is None:
                return
            offered.add(found[1])
            yield found

    def _owes(self, hands: Hands, level: Level) -> bool:
        """Whether the run may send something on this level."""
        replicas, left = self._runtime.database.ask(lambda c: (hands.work.replicas(c), state.unsettled_generation(c, self._connection_id)))
        return left is not None or next_step(level, replicas, hands.work.aim, ()) is not None

    def _finish_open(self, hands: Hands) -> list[Counts]:
        """Go on with what an earlier owner left: an open generation is finished, one that was never opened is given up."""
        left, replicas = self._runtime.database.ask(lambda c: (state.unsettled_generation(c, self._connection_id), hands.work.replicas(c)))
        levels = {replica.name: replica.level for replica in replicas}
        if left is None:
            return []
        if left.state == "planning":
            generations.give_up(hands, left)
            self._log(f"generation={left.id} abandoned: it was never opened, nothing of it was sent")
            return []
        self._log(f"generation={left.id} resumed")
        generations.adopt(hands, left, levels[left.replica])
        return [self._finish(hands, left, levels[left.replica])]

    def _finish(self, hands: Hands, generation: GenerationRow, level: str) -> Counts:
        generations.deliver(hands, generation, level)
        counts = generations.settle(hands, generation, level)
        self._log(f"generation={generation.id} settled {_in_words(counts)}")
        return counts

    def _newest_version(self) -> int:
        return self._runtime.database.ask(lambda c: state.load_connection(c, self._connection_id).current)

    def _skipped(self, work: Work, replicas: list[ReplicaState]) -> Skipped:
        """Counted over the whole version, so once for each version and set of rules."""
        levels = [replica.level for replica in replicas]
        of = work.members_as(levels)
        if work.connection.skipped is not None and work.connection.skipped.of == of:
            return work.connection.skipped
        members = 0
        for level in levels if work.connection.current else ():
            with generations.planner_of(work, level) as planner:
                members += planner.skipped(work.connection.current)
        return Skipped(members, of)


@contextmanager
def _list_made_again(hands: Hands) -> Generator[None]:
    """What stops a sync may be that its list is gone: it is made again (once until something goes through) for the next run."""
    try:
        yield
    except SyncStoppedError:
        if not hands.work.type.creates_lists or hands.attempt > 1:
            raise
        opened = replace(hands, work=open_work(hands.work.runtime, hands.work.connection.id))
        if not lists.is_gone(opened):
            raise
        after = lists.made_again(opened).work.connection.external_id
        raise EngageError(
            f"The list {opened.work.connection.external_id} is gone at the destination; it was made again as {after}.",
            "Nothing is to be done: everyone is sent to it in a minute.",
        ) from None


def _version(work: Work) -> int | None:
    return None if work.connection.leaves else work.connection.current


def _check(work: Work) -> None:
    """Raises EngageError with the reason when the connection may not send now."""
    connection = work.connection
    if connection.state not in {"active", "leaving"}:
        raise EngageError(
            f"The connection of {connection.computation_key} to {connection.destination_key} is {connection.state.replace('_', ' ')}.",
            "Enable a mapping that matches it." if connection.state == "awaiting_mapping" else "Mend or resume it, then sync again.",
        )
    if not connection.destination_enabled:
        raise EngageError(f"Destination {connection.destination_key} is disabled.", "Enable it, then sync again.")
    if not connection.current:
        raise EngageError(f"{connection.computation_key} has no published version yet.", "Compute it first; the sync follows by itself.")


def _left(work: Work, counts: Counts, *, skipped: Skipped, size: int) -> Left:
    """How long to leave the type alone, and whether the list is too small to be of use there."""
    note = "" if (work.connection.note or "").startswith(_FEW) else None
    if work.type.minimum_list_size > size > 0:
        note = f"{_FEW} {size:,} members; {work.type.name} uses it from {work.type.minimum_list_size:,} on."
    return Left(skipped, work.type.min_interval_s if counts else 0, note)


def _in_words(counts: Counts) -> str:
    return " ".join(f"{call}_{fate}={count}" for call, fates in counts.items() for fate, count in fates.items()) or "records=0"


def _sum(parts: Iterable[Counts]) -> Counts:
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for call, fates in part.items():
            total.setdefault(call, Counter()).update(fates)
    return {call: dict(fates) for call, fates in total.items()}
