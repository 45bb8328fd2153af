"""Sending a generation: batches to the type's limits, one verdict each, the ledger written only after the answer.

| verdict | what happens |
|---|---|
| Accepted | the range is acknowledged; refused records are acknowledged as rejected |
| Bisect | halves are sent until the poison records are alone; those are rejected |
| Backoff | the same bytes again with full jitter; after 8 tries the run ends and a later one goes on, unless other batches went through or
  the fourth run is at it: then bisect, and what fails alone is kept as retryable |
| Pause | the whole destination waits, for every process; not a try |
| Stop | SyncStoppedError: nothing is dead-lettered |
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engage_pipelines.delivery.generation_file import FrozenRecord
from engage_pipelines.delivery.lease import Lease
from engage_pipelines.delivery.pacing import Pacing
from engage_pipelines.delivery.state import LedgerRow, acknowledge
from engage_pipelines.delivery.stopping import StopFlag
from engage_pipelines.destinations.base import (
    Accepted,
    Backoff,
    Bisect,
    DestinationType,
    Pause,
    Record,
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
        declared = outside.type.limits_with(outside.settings).requests_per_s
        self._pacing = Pacing(database, lease, outside.destination_id, usual_rate=declared, monotonic=clock.monotonic, sleep=self._wait)

    def send(self, records: Iterable[FrozenRecord], on_progress: Callable[[int], None]) -> None:
        """Send the records not yet acknowledged. Raises PausedError, StoppedError, SyncStoppedError or LeaseLostError, the ledger true."""
        for batch in self._batches(records):
            self._settle_batch(batch)
            self._sent += len(batch)
            on_progress(len(batch))

    def _batches(self, records: Iterable[FrozenRecord]) -> Iterator[list[FrozenRecord]]:
        limits = self._outside.type.limits_with(self._outside.settings)
        batch: list[FrozenRecord] = []
        size = 0
        for record in records:
            if limits.max_record_bytes is not None and len(record.body) > limits.max_record_bytes:
                reason = f"The record has {len(record.body)} bytes; the destination takes at most {limits.max_record_bytes}."
                self._acknowledge([LedgerRow(record.seq, record.seq, "rejected", reason, 0)])
                continue
            full = len(batch) >= limits.max_batch_records or size + len(record.body) + 1 > limits.max_batch_bytes
            if batch and (full or record.lane != batch[0].lane):
                yield batch
                batch, size = [], 0
            batch.append(record)
            size += len(record.body) + 1
        if batch:
            yield batch

    def _settle_batch(self, batch: Sequence[FrozenRecord], tries_allowed: int = MAX_TRIES) -> None:
        """One batch until its fate is in the ledger, by halves where it must be."""
        verdict, tries = self._try(batch, tries_allowed)
        if isinstance(verdict, Accepted):
            self._acknowledge(accepted(batch, verdict, tries))
        elif isinstance(verdict, Bisect) and len(batch) == 1:
            self._acknowledge([LedgerRow(batch[0].seq, batch[0].seq, "rejected", verdict.reason, tries)])
        elif isinstance(verdict, Backoff) and not self._sent and self._attempt < RUN_THAT_BISECTS:
            raise NoAnswerError(f"The destination gave no usable answer in {tries} tries: {verdict.reason}", "It is tried again by itself.")
        elif len(batch) == 1:
            assert isinstance(verdict, Backoff)
            self._keep_for_later(batch[0], verdict, tries)
        else:
            middle = len(batch) // 2
            allowed = MAX_TRIES if isinstance(verdict, Bisect) else TRIES_OF_A_HALF
            self._settle_batch(batch[:middle], allowed)
            self._settle_batch(batch[middle:], allowed)

    def _try(self, batch: Sequence[FrozenRecord], tries_allowed: int) -> tuple[Accepted | Bisect | Backoff, int]:
        """The same bytes until there is an answer or the tries are used up."""
        tries = 0
        while True:
            verdict = self._request(batch)
            if isinstance(verdict, Pause):
                self._pause(verdict)
                continue
            if isinstance(verdict, Stop):
                raise SyncStoppedError(verdict.reason, verdict.remedy)
            tries += 1
            if not isinstance(verdict, Backoff) or tries >= tries_allowed:
                return verdict, tries
            longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (tries - 1))
            self._wait(verdict.after_s if verdict.after_s is not None else self._clock.jitter(longest))

    def _request(self, batch: Sequence[FrozenRecord]) -> Verdict:
        self._wait_until_allowed()
        deadline_s = self._lease.times.request_deadline_s
        self._lease.begin_request(deadline_s)
        records = [Record(r.message_id, r.address, r.entered, r.body) for r in batch]
        verdict = self._outside.type.send(
            records,
            action=batch[0].action,
            settings=self._outside.settings,
            target=self._outside.target,
            deadline_s=deadline_s,
        )
        if not isinstance(verdict, Backoff):
            self._lease.answered()
        self._pacing.heard(verdict)
        return verdict

    def _wait_until_allowed(self) -> None:
        self._stop.check()
        self._pacing.wait_until_allowed()

    def _pause(self, verdict: Pause) -> None:
        self._pacing.pause(verdict.after_s)

    def _wait(self, seconds: float) -> None:
        self._stop.sleep(seconds, self._clock.sleep)

    def _keep_for_later(self, record: FrozenRecord, verdict: Backoff, tries: int) -> None:
        self._failed_alone += 1
        tried = self._sent + self._failed_alone
        if tried >= FAILED_SHARE_COUNTS_FROM and self._failed_alone > FAILED_SHARE_THAT_STOPS * tried:
            raise SyncStoppedError(
                f"{self._failed_alone} of {tried} records got no answer that can be acted on: {verdict.reason}",
                "See whether the destination is up, then sync again.",
            )
        self._acknowledge([LedgerRow(record.seq, record.seq, "retryable", verdict.reason, tries)])

    def _acknowledge(self, rows: Sequence[LedgerRow]) -> None:
        acknowledge(self._lease, self._generation, rows)


def accepted(batch: Sequence[FrozenRecord], verdict: Accepted, tries: int) -> list[LedgerRow]:
    """Ledger rows of an answered batch: runs of delivered records, and each refused one by itself."""
    rows: list[LedgerRow] = []
    for index, record in enumerate(batch):
        reason = verdict.rejected.get(index)
        if reason is not None:
            rows.append(LedgerRow(record.seq, record.seq, "rejected", reason, tries))
        elif rows and rows[-1].answer == "delivered" and rows[-1].hi == record.seq - 1:
            rows[-1] = LedgerRow(rows[-1].lo, record.seq, "delivered", None, tries)
        else:
            rows.append(LedgerRow(record.seq, record.seq, "delivered", None, tries))
    return rows


def pending(records: Iterable[FrozenRecord], ledger: Sequence[LedgerRow]) -> Iterator[FrozenRecord]:
    """The records whose seq is in no row of the ledger; both are in order of seq."""
    ranges = iter(ledger)
    row = next(ranges, None)
    for record in records:
        while row is not None and row.hi < record.seq:
            row = next(ranges, None)
        if row is None or record.seq < row.lo:
            yield record
