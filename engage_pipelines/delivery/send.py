"""Sending a generation: batches to the type's limits, one verdict each, the ledger written only after the answer.

| verdict | what happens |
|---|---|
| Accepted | the range is acknowledged; refused records are acknowledged as rejected |
| Bisect | halves are sent until the poison records are alone; those are rejected |
| Backoff | the same bytes again with full jitter; after 8 tries the run ends and a later one goes on, unless other batches went through or
  the fourth run is at it: then bisect, and what fails alone is kept as retryable |
| Pause | the whole destination waits, for every process; not a try |
| Stop | SyncStoppedError: nothing is dead-lettered |

Several batches are under way at once where the type takes that, but only of one lane and one part: in these every address occurs once, so
no two requests under way are about the same address. Before anything else is begun, all of them have their fate.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from engage_pipelines.delivery.acknowledging import Acknowledger
from engage_pipelines.delivery.ahead import Ahead
from engage_pipelines.delivery.batches import Cutter, runs_of
from engage_pipelines.delivery.in_flight import InFlight
from engage_pipelines.delivery.lease import Lease
from engage_pipelines.delivery.ledger import acknowledge
from engage_pipelines.delivery.pacing import Pacing
from engage_pipelines.delivery.rows import Batch, Numbers, Rows
from engage_pipelines.delivery.state import LedgerRow
from engage_pipelines.delivery.stopping import StopFlag
from engage_pipelines.destinations.base import (
    Accepted,
    Backoff,
    Bisect,
    DestinationType,
    Limits,
    Pause,
    Settings,
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.domain.errors import EngageError, SyncStoppedError
from engage_pipelines.registry.database import Database

MAX_TRIES = 8
TRIES_OF_A_HALF = 2
RUN_THAT_BISECTS = 4
"""From this run of one request on (81 minutes and more after the first) a batch without an answer is taken apart."""

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
FAILED_SHARE_THAT_STOPS = 0.2
FAILED_SHARE_COUNTS_FROM = 1_000


class NoAnswerError(EngageError):
    """The destination gave no answer that can be acted on; a later run goes on where this one stopped."""


@dataclass(frozen=True, slots=True)
class Outside:
    """The place that records go to, with the secrets resolved."""

    type: DestinationType
    settings: Settings
    target: Target
    destination_id: str

    def limits_of(self, action: str) -> Limits:
        """What a request of the action may carry, how many may be under way, and how fast they may follow each other."""
        return self.type.limits_of(action, self.settings)

    @property
    def most_in_flight(self) -> int:
        """The most requests that some action may have under way."""
        return max((self.limits_of(action.key).max_in_flight for action in self.type.actions), default=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance as parameters, so that tests need neither."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[float], float] = field(default=lambda longest: random.uniform(0.0, longest))  # noqa: S311 - spreads retries, guards nothing


class Sender:
    """Sends the records of one generation and writes its ledger."""

    def __init__(
        self, database: Database, lease: Lease, outside: Outside, *, generation: int, attempt: int, clock: Clock, stop: StopFlag
    ) -> None:
        self._database = database
        self._lease = lease
        self._outside = outside
        self._generation = generation
        self._attempt = attempt
        self._clock = clock
        self._stop = stop
        self._sent = 0
        self._failed_alone = 0
        self._in_flight = InFlight(outside.most_in_flight)
        self._gate = threading.Lock()
        self._pacing = Pacing(
            database,
            lease,
            outside.destination_id,
            monotonic=clock.monotonic,
            sleep=self._wait_at_gate,
        )

    def send(self, rows: Iterable[Rows], on_progress: Callable[[int], None]) -> None:
        """Send rows not yet acknowledged. Raises PausedError, StoppedError, SyncStoppedError or LeaseLostError, the ledger true."""

        def done(batch: Batch) -> None:
            self._sent += len(batch)
            ahead.join_with(batch.joined_with)
            on_progress(len(batch))

        limits_of = self._outside.limits_of
        cutter = Cutter(limits_of, self._refuse_oversize)
        acknowledger = Acknowledger(partial(acknowledge, self._lease, self._generation))
        with acknowledger as self._ledger, Ahead(cutter.batches(rows)) as ahead, self._in_flight:
            for batch in ahead.batches():
                self._in_flight.run(self._settle_batch, batch, done, most=limits_of(batch.action).max_in_flight)
            self._in_flight.wait_for_all()

    def _settle_batch(self, batch: Batch, tries_allowed: int = MAX_TRIES) -> None:
        """One batch until its fate is in the ledger, by halves where it must be."""
        verdict, tries = self._try(batch, tries_allowed)
        if isinstance(verdict, Accepted):
            self._ledger.add(accepted(batch.seqs, verdict, tries))
        elif isinstance(verdict, Bisect) and len(batch) == 1:
            self._ledger.add([_alone(batch, "rejected", verdict.reason, tries)])
        elif isinstance(verdict, Backoff) and not self._sent and self._attempt < RUN_THAT_BISECTS:
            raise NoAnswerError(f"The destination gave no usable answer in {tries} tries: {verdict.reason}", "It is tried again by itself.")
        elif len(batch) == 1:
            assert isinstance(verdict, Backoff)
            self._keep_for_later(batch, verdict, tries)
        else:
            middle = len(batch) // 2
            allowed = MAX_TRIES if isinstance(verdict, Bisect) else TRIES_OF_A_HALF
            self._settle_batch(batch.cut(0, middle), allowed)
            self._settle_batch(batch.cut(middle, len(batch)), allowed)

    def _try(self, batch: Batch, tries_allowed: int) -> tuple[Accepted | Bisect | Backoff, int]:
        """The same bytes until there is an answer or the tries are used up."""
        tries = 0
        while True:
            verdict = self._request(batch)
            if isinstance(verdict, Pause):
                self._pause(verdict, batch.action)
                continue
            if isinstance(verdict, Stop):
                raise SyncStoppedError(verdict.reason, verdict.remedy)
            tries += 1
            if not isinstance(verdict, Backoff) or tries >= tries_allowed:
                return verdict, tries
            longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (tries - 1))
            self._wait(verdict.after_s if verdict.after_s is not None else self._clock.jitter(longest))

    def _request(self, batch: Batch) -> Verdict:
        self._wait_until_allowed(batch.action)
        deadline_s = self._lease.times.request_deadline_s
        deadline = self._lease.begin_request(deadline_s)
        verdict = self._outside.type.send(
            batch,
            action=batch.action,
            settings=self._outside.settings,
            target=self._outside.target,
            deadline_s=deadline_s,
        )
        if isinstance(verdict, Backoff):
            self._lease.lost(deadline)
        else:
            self._lease.answered(deadline)
        with self._gate:
            self._pacing.heard(verdict)
        return verdict

    def _wait_until_allowed(self, action: str) -> None:
        self._in_flight.check()
        self._stop.check()
        with self._gate:
            self._pacing.wait_until_allowed(self._outside.limits_of(action).requests_per_s)

    def _pause(self, verdict: Pause, action: str) -> None:
        with self._gate:
            self._pacing.pause(verdict.after_s, self._outside.limits_of(action).requests_per_s)

    def _wait_at_gate(self, seconds: float) -> None:
        """Wait with the gate open, so that other requests under way can tell what they heard; who waits looks again afterwards."""
        self._gate.release()
        try:
            self._wait(seconds)
        finally:
            self._gate.acquire()

    def _wait(self, seconds: float) -> None:
        self._stop.sleep(seconds, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self._in_flight.check()
        self._clock.sleep(seconds)

    def _keep_for_later(self, batch: Batch, verdict: Backoff, tries: int) -> None:
        with self._gate:
            self._failed_alone += 1
            failed, tried = self._failed_alone, self._sent + self._failed_alone
        if tried >= FAILED_SHARE_COUNTS_FROM and failed > FAILED_SHARE_THAT_STOPS * tried:
            raise SyncStoppedError(
                f"{failed} of {tried} records got no answer that can be acted on: {verdict.reason}",
                "See whether the destination is up, then sync again.",
            )
        self._ledger.add([_alone(batch, "retryable", verdict.reason, tries)])

    def _refuse_oversize(self, seq: int, size: int, limit: int) -> None:
        reason = f"The record has {size} bytes; the destination takes at most {limit}."
        self._ledger.add([LedgerRow(seq, seq, "rejected", reason, 0)])


def _alone(batch: Batch, answer: str, reason: str, tries: int) -> LedgerRow:
    """The ledger row of a batch of one."""
    seq = int(batch.seqs[0])
    return LedgerRow(seq, seq, answer, reason, tries)


def accepted(seqs: Numbers, verdict: Accepted, tries: int) -> list[LedgerRow]:
    """Ledger rows of an answered batch, in order: runs of delivered records, and each refused one by itself."""
    refused = {int(seqs[index]): reason for index, reason in verdict.rejected.items()}
    taken = seqs if not refused else seqs[[index for index in range(len(seqs)) if index not in verdict.rejected]]
    rows = [LedgerRow(lo, hi, "delivered", None, tries) for lo, hi in runs_of(taken)]
    rows += [LedgerRow(seq, seq, "rejected", reason, tries) for seq, reason in refused.items()]
    return sorted(rows, key=lambda row: row.lo)
