"""One run at the connection as delivery.sync, generation and send make it: every `yield` is a place to die or to be overtaken.

It decides nothing: what comes next, what is owed, what is left out and what is kept is asked of the rules.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engage_pipelines.delivery.acknowledging import joined
from engage_pipelines.delivery.batches import answered
from engage_pipelines.delivery.outcome import RETRY_AFTER_S, idle
from engage_pipelines.delivery.rows import FrozenRecord
from engage_pipelines.delivery.send import NoAnswerError, accepted
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow
from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, Pause
from engage_pipelines.domain.ownership import SECOND_US, Unanswered
from engage_pipelines.domain.protocol import (
    Change,
    ExceptionKind,
    ExceptionState,
    Known,
    ReplicaState,
    Settled,
    Step,
    Unsent,
    cut,
    is_owed,
    settled_by,
)
from engage_pipelines.testing.simulation.checks import Checks
from engage_pipelines.testing.simulation.outside import Outside
from engage_pipelines.testing.simulation.people import ACCOUNT, USER, People
from engage_pipelines.testing.simulation.rules import Rules
from engage_pipelines.testing.simulation.store import FencedError, FullError, Generation, Replica, Store, View

MAX_CHANGES = 2
BATCH = 2
IN_FLIGHT = 2
GATHERED = 2
TRIES, TRIES_OF_A_HALF, RUN_THAT_BISECTS = 2, 1, 2

Turns = Generator[None, None, None]


class StopsError(Exception):
    """The run ends at a batch boundary."""


@dataclass
class Lease:
    """What the owner believes of its lease."""

    token: int
    unanswered: Unanswered
    over_us: int


@dataclass
class Owner:
    """One run of the connection."""

    name: str
    rules: Rules
    store: Store
    people: People
    outside: Outside
    checks: Checks
    say: Callable[[str], None]
    max_changes: int = MAX_CHANGES
    lease: Lease | None = None
    heart_beats: bool = True
    is_asked_to_stop: bool = False
    waits_since: int | None = None
    is_frozen: bool = False
    clock: str = "here"
    settled: int = field(default=0)
    _sent: int = field(default=0, init=False)
    _answers: list[LedgerRow] = field(default_factory=list[LedgerRow], init=False)

    def run(self) -> Turns:
        """The ops of a run; at its end the request is settled, or owed again."""
        store = self.store
        store.wanted_at = None
        yield
        try:
            for level in (ACCOUNT, USER):
                yield from self._send(level)
        except (NoAnswerError, StopsError, FullError) as reason:
            store.failures += 1
            store.want(store.now + 60 * SECOND_US)
            self.say(f"{self.name} ends: {reason!r}")
            return
        yield
        view = store.view(self.people.current)
        store.failures = 0
        retries = [at for replica in store.replicas.values() for at in replica.retry_at()]
        if store.unsettled or is_owed(store.states(view), view.current):
            store.want(store.now)
        elif retries:
            store.want(max(min(retries), store.now), for_refused=True)

    def beat(self) -> None:
        """The heartbeat's thread."""
        if self.lease is not None and self.heart_beats:
            self._renew(self.lease)

    def _renew(self, lease: Lease) -> None:
        self.store.renew(lease.token)
        lease.over_us = self.store.times.renewed_until(self.store.steady)

    def _send(self, level: str) -> Turns:
        lease = yield from self._acquire()
        try:
            yield
            yield from self._work_off(lease, self._opened(), level)
        except (NoAnswerError, StopsError, FullError):
            self._let_go(lease)
            raise
        self._let_go(lease)

    def _acquire(self) -> Generator[None, None, Lease]:
        self._opened()
        seen, since = (self.store.token, self.store.lease_until), self.store.steady
        while (taken := self.store.take(self.name, self.store.steady - since, self.clock)) is None:
            if (self.store.token, self.store.lease_until) != seen:
                raise StopsError("another run is at work")
            yield
        now, times = self.store.steady, self.store.times
        unanswered = self.rules.inherited(now, times, is_marked=taken.is_marked, over_us=taken.over_us)
        self.lease = Lease(taken.token, unanswered, times.renewed_until(now))
        self.say(f"{self.name} takes the lease, token {taken.token}{', which somebody left' if taken.is_marked else ''}")
        return self.lease

    def _let_go(self, lease: Lease) -> None:
        self.store.let_go(lease.token, given_back=self.rules.is_given_back(lease.unanswered, self.store.steady))
        self.lease = None

    def _opened(self) -> View:
        if not self.store.may_send:
            raise StopsError("paused")
        return self.store.view(self.people.current)

    def _work_off(self, lease: Lease, view: View, level: str) -> Turns:
        yield from self._finish_open(lease, view)
        offered: set[Step] = set()
        while True:
            yield
            found = self.rules.next_step(level, self.store.states(view), self.rules.aim(view.current, ACCOUNT), offered)
            if found is None:
                return
            replica, step = found
            offered.add(step)
            generation = yield from self._start(lease, view, replica, step)
            if generation is None:
                continue
            yield from self._finish(lease, view, generation)
            if self.rules.yields(step, aimed_at=view.current, newest=self.store.aim(self.people.current)):
                return

    def _finish_open(self, lease: Lease, view: View) -> Turns:
        left = next((one for _, one in sorted(self.store.unsettled.items())), None)
        if left is None:
            return
        if left.state == "planning":
            if self.rules.own_number:
                self.store.abandon(lease.token, left)
            return
        yield
        level = self.store.replicas[left.replica].level
        waiting = [r for r in self._waiting(left) if r.entered]
        entries = {r.address: r.digest for r in waiting} if self.people.values is not None else {r.address for r in waiting}
        gone = self.rules.overtaken(entries, left.planned_under, view.current, lambda n: self.people.ids(level, n))
        rows = [LedgerRow(r.seq, r.seq, "overtaken", None, 0) for r in waiting if r.address in gone]
        if rows:
            self.say(f"g{left.id}: {sorted(gone)} overtaken")
            self.store.acknowledge(lease.token, left, rows)
        yield from self._finish(lease, view, left)

    def _start(self, lease: Lease, view: View, replica: ReplicaState, step: Step) -> Generator[None, None, Generation | None]:
        while self.rules.quiet_in_us(lease.unanswered, self.store.steady):
            yield
            self._check_stop()
        row, now = self.store.replicas[replica.name], self.store.now
        exceptions = list(row.exceptions.values())
        yield
        changes = self.rules.owed(replica, step, self._known(row.level, exceptions, now), lambda n: self._members(row.level, n))
        span = cut([change.address for change in changes], step.range, self.max_changes)
        changes = [change for change in changes if change.address in span]
        settled = settled_by(replica, step, span)
        if not changes:
            self._nothing_owed(lease, view, row, settled, idle(exceptions, span, now))
            return None
        unsent = self.rules.superseded(changes, step.target, view.current, lambda n: self.people.ids(row.level, n))
        generation = self.store.reserve(lease.token, step, settled, view.current)
        self.checks.only_one_open()
        yield
        if self.store.is_full:
            raise FullError
        records = list(self._frozen(view, generation, changes, unsent, exceptions))
        self.store.files[generation.id] = records
        self.say(
            f"{self.name} freezes g{generation.id} {step.kind} {replica.name} [{span.lo},{span.hi})->v{step.target} " + _words(records)
        )
        yield
        answers = [LedgerRow(r.seq, r.seq, str(unsent[r.address]), None, 0) for r in records if r.address in unsent]
        self.store.open(lease.token, generation, answers)
        return generation

    def _nothing_owed(self, lease: Lease, view: View, row: Replica, settled: Settled, waiting: list[tuple[str, str]]) -> None:
        again = self.store.now + RETRY_AFTER_S[-1] * SECOND_US
        self.store.move_base(lease.token, row, settled, stale=self._stale(row, settled), idle=waiting, retry_at_us=again)
        self.checks.base_moved(row, settled, view.switches)

    def _known(self, level: str, exceptions: Sequence[ExceptionRow], now: int) -> Known:
        states: dict[str, list[ExceptionState]] = {}
        for row in exceptions:
            states.setdefault(row.address, []).append(_state(row))
        return Known(lambda n: self.people.ids(level, n), states, now, newest=len(self.people.versions) - 1)

    def _members(self, level: str, n: int) -> dict[int, frozenset[str]]:
        return {m: frozenset(addresses) for m, addresses in self.people.members(level, n).items()}

    def _frozen(
        self,
        view: View,
        generation: Generation,
        changes: Sequence[Change],
        unsent: Mapping[str, Unsent],
        exceptions: Sequence[ExceptionRow],
    ) -> Iterator[FrozenRecord]:
        """The records of a generation: exits before entries, and first those that are tried again as they were."""
        copies = list(self._copies([change for change in changes if change.address not in unsent], exceptions))
        copied = {record.address for record in copies}
        level, seq = self.store.replicas[generation.replica].level, 0
        for value in (False, True):
            for record in (copy for copy in copies if copy.entered is value):
                yield _numbered(record, seq)
                seq += 1
            for switch in view.switches:
                # a mapping keeps its number for ever, so a part stays who it is when others are disabled
                ordinal = [each.name for each in self.store.switches].index(switch.name)
                if switch.level != level or value not in switch.sends:
                    continue
                for change in (one for one in changes if one.value is value and one.address not in copied):
                    part, message_id = f"{switch.call[0]}{ordinal}", f"personas_{generation.id}:{seq}:{switch.call[0]}{ordinal}"
                    body = f"{message_id} {change.address} {change.said or value}".encode()
                    lane = f"{switch.name}{'+' if value else '-'}"
                    yield FrozenRecord(seq, change.address, value, part, switch.call, lane, switch.channel, message_id, body, change.said)
                    seq += 1

    def _copies(self, changes: Sequence[Change], exceptions: Sequence[ExceptionRow]) -> Iterator[FrozenRecord]:
        of = {change.address: change for change in changes}
        for row in sorted(exceptions, key=lambda row: (row.generation, row.seq)):
            if row.address in of and self.rules.keeps_message_id(of[row.address], _state(row)):
                yield from (record for record in self.store.files.get(row.generation, ()) if record.seq == row.seq)

    def _finish(self, lease: Lease, view: View, generation: Generation) -> Turns:
        yield from self._deliver(lease, view, generation)
        yield
        row, now = self.store.replicas[generation.replica], self.store.now
        exceptions, ledger = list(row.exceptions.values()), list(generation.ledger)
        records = self._file(generation)
        yield
        settled = generation.settled
        if not self.rules.as_planned:
            state = self.store.state(self.store.view(self.people.current), row.name)
            settled = Settled(settled.range, settled.target, state.sends_exits, row.resync_no)
        result = self.rules.outcome(records, ledger, exceptions, generation=generation.id, now_us=now)
        result = replace(result, clear=[*result.clear, *self._stale(row, settled)])
        self.store.settle(lease.token, generation, settled, result)
        self.settled += 1
        self.say(
            f"{self.name} settles g{generation.id}: "
            + " ".join(f"{b.lo or '-'}@{b.version}/{b.exits_version}/{b.resync_no}" for b in row.base)
        )
        self.checks.base_moved(row, settled, view.switches)

    def _file(self, generation: Generation) -> list[FrozenRecord]:
        """The records; a file that is gone ends the run in words, as where another owner has settled its generation."""
        if generation.id not in self.store.files:
            raise StopsError("the file is gone")
        return self.store.files[generation.id]

    def _waiting(self, generation: Generation) -> list[FrozenRecord]:
        """The records that the ledger has no answer for."""
        records = self._file(generation)
        there = answered([record.seq for record in records], sorted(generation.ledger, key=lambda row: row.lo))
        return [record for record, known in zip(records, there.tolist(), strict=True) if not known]

    def _stale(self, row: Replica, settled: Settled) -> list[tuple[str, str]]:
        want = self.people.ids(row.level, settled.target)
        left_out = (e for e in row.exceptions.values() if e.kind is ExceptionKind.LEFT_OUT)
        return [(e.address, e.part) for e in left_out if e.address in settled.range and e.address not in want]

    def _deliver(self, lease: Lease, view: View, generation: Generation) -> Turns:
        """Batches of one lane and part, in which no address occurs twice, are under way together; each step of any of them is a turn."""
        waiting = self._waiting(generation)
        under_way: list[tuple[Turns, int]] = []
        kind: tuple[str, str] | None = None
        self._sent, self._answers = 0, []
        try:
            while waiting or under_way:
                while waiting and len(under_way) < IN_FLIGHT and (not under_way or kind == _kind(waiting[0])):
                    size = next((n for n in range(1, len(waiting)) if _kind(waiting[n]) != _kind(waiting[0]) or n == BATCH), len(waiting))
                    batch, waiting, kind = waiting[:size], waiting[size:], _kind(waiting[0])
                    under_way.append((self._settle_batch(lease, view, generation, batch, tries=TRIES), size))
                turns, size = under_way.pop(0)
                if _goes_on(turns):
                    under_way.append((turns, size))
                else:
                    self._sent += size
                yield
                if len(self._answers) >= GATHERED:
                    self._write(lease, generation)
        except (NoAnswerError, StopsError, FullError):
            self._write(lease, generation)
            raise
        self._write(lease, generation)

    def _write(self, lease: Lease, generation: Generation) -> None:
        """Write the answers that came, several together."""
        if self._answers:
            rows, self._answers = joined(self._answers), []
            self.store.acknowledge(lease.token, generation, rows)

    def _settle_batch(self, lease: Lease, view: View, generation: Generation, batch: list[FrozenRecord], *, tries: int) -> Turns:
        verdict = yield from self._try(lease, view, generation, batch, tries)
        if isinstance(verdict, Accepted):
            self._answers += accepted(np.array([record.seq for record in batch]), verdict, 1)
        elif isinstance(verdict, Bisect) and len(batch) == 1:
            self._answers.append(LedgerRow(batch[0].seq, batch[0].seq, "rejected", "refused", 1))
        elif isinstance(verdict, Backoff) and not self._sent and self.store.failures + 1 < RUN_THAT_BISECTS:
            raise NoAnswerError("no answer")
        elif len(batch) == 1:
            self._answers.append(LedgerRow(batch[0].seq, batch[0].seq, "retryable", "no answer", 1))
        else:
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                yield from self._settle_batch(lease, view, generation, half, tries=TRIES_OF_A_HALF)

    def _try(
        self, lease: Lease, view: View, generation: Generation, batch: list[FrozenRecord], tries: int
    ) -> Generator[None, None, Accepted | Bisect | Backoff]:
        while True:
            yield from self._wait_until_allowed()
            deadline = self.store.steady + round(self.store.times.request_deadline_s * SECOND_US)
            if not self.rules.bounded(lease.over_us, deadline):
                self._renew(lease)
            if not self.rules.may_send(lease.token, self.store.token):
                raise FencedError
            lease.unanswered = lease.unanswered.begun(deadline)
            fate, verdict = self.outside.request(view, generation, batch)
            self.say(f"{self.name} sends g{generation.id} {_words(batch)}: {fate}")
            yield
            told = lease.unanswered
            lease.unanswered = told.lost(deadline) if isinstance(verdict, Backoff) else told.answered(deadline)
            if isinstance(verdict, Pause):
                self.store.check(lease.token)
                self.store.paused_until = max(self.store.paused_until, self.store.now + round(verdict.after_s * SECOND_US))
                continue
            tries -= 1
            assert isinstance(verdict, Accepted | Bisect | Backoff)
            if not isinstance(verdict, Backoff) or tries <= 0:
                return verdict

    def _wait_until_allowed(self) -> Turns:
        while True:
            yield
            self._check_stop()
            if not self.store.may_send:
                raise StopsError("paused")
            if self.store.paused_until <= self.store.now:
                return
            if self.store.paused_until - self.store.now > 60 * SECOND_US:
                raise StopsError("the destination asks for a pause")

    def _check_stop(self) -> None:
        if self.is_asked_to_stop:
            raise StopsError("asked to stop")


def _kind(record: FrozenRecord) -> tuple[str, str]:
    return record.lane, record.part


def _goes_on(turns: Turns) -> bool:
    return next(turns, turns) is not turns


def _state(row: ExceptionRow) -> ExceptionState:
    return ExceptionState(row.kind, row.value, row.retry_at, row.digest)


def _numbered(record: FrozenRecord, seq: int) -> FrozenRecord:
    return replace(record, seq=seq)


def _words(records: Sequence[FrozenRecord]) -> str:
    return " ".join(f"{r.address}{r.digest or ('+' if r.entered else '-')}{r.part}" for r in records)
