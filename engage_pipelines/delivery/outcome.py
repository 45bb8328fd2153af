"""What a finished generation leaves behind: which addresses are exceptions now, which are no more, and counts that people read."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from engage_pipelines.delivery.batches import answered
from engage_pipelines.delivery.rows import Flags, Rows
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow, Settlement
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.domain.protocol import ExceptionKind, Range

RETRY_AFTER_S = (60, 300, 900, 3600)
"""When a record of unknown fate is tried again: after its first, second, third and every later failure."""

KIND_OF_ANSWER = {
    "rejected": ExceptionKind.REJECTED,
    "retryable": ExceptionKind.RETRYABLE,
    "overtaken": ExceptionKind.RETRYABLE,
    "left_out": ExceptionKind.LEFT_OUT,
}


class Told(Protocol):
    """What of a record its fate is told by."""

    @property
    def seq(self) -> int: ...
    @property
    def address(self) -> str: ...
    @property
    def entered(self) -> bool: ...
    @property
    def part(self) -> str: ...
    @property
    def call(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def digest(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Record:
    """A record of a file without its payload."""

    seq: int
    address: str
    entered: bool
    part: str
    call: str
    message_id: str
    digest: str | None


@dataclass(slots=True)
class _Address:
    """What the generation did for one address that failed or was an exception before."""

    before: dict[str, ExceptionRow] = field(default_factory=dict[str, ExceptionRow])
    acknowledged: set[str] = field(default_factory=set[str])
    failed: dict[str, ExceptionRow] = field(default_factory=dict[str, ExceptionRow])
    is_new_state: bool = False

    def ended(self) -> set[str]:
        """The parts that are no exception any more: those acknowledged, and where a new state was tried all that did not fail in it."""
        tried = self.acknowledged or any(row.kind is not ExceptionKind.LEFT_OUT for row in self.failed.values())
        if self.is_new_state and tried:
            return set(self.before) - set(self.failed)
        return self.acknowledged & set(self.before)

    def kept(self) -> list[ExceptionRow]:
        """What to keep; an entry that was surely not told does not replace what is known from before."""
        return [row for row in self.failed.values() if row.kind is not ExceptionKind.LEFT_OUT or not self.before]


def outcome(
    records: Iterable[Told], ledger: Sequence[LedgerRow], exceptions: Sequence[ExceptionRow], *, generation: int, now_us: int
) -> Settlement:
    """Fold the records of a generation with their answers into what settling writes."""
    addresses: dict[str, _Address] = {}
    for exception in exceptions:
        addresses.setdefault(exception.address, _Address()).before[exception.part] = exception
    counts: dict[str, Counter[str]] = {}
    for record, row in _answered(records, ledger):
        counts.setdefault(record.call, Counter())[_fate(record, row)] += 1
        if row.answer == "delivered" and record.address not in addresses:
            continue
        address = addresses.setdefault(record.address, _Address())
        old = address.before.get(record.part)
        # one that was to be rendered anew has another id in the same state, and the other parts were not tried
        anew = old is not None and old.seq < 0 and (old.value, old.digest) == (record.entered, record.digest)
        address.is_new_state |= not anew and (old is None or old.message_id != record.message_id)
        if row.answer == "delivered":
            address.acknowledged.add(record.part)
        else:
            address.failed[record.part] = _exception(record, row, old, generation=generation, now_us=now_us)
    delivered = sum(count for fates in counts.values() for fate, count in fates.items() if fate in ("entered", "exited"))
    return Settlement(
        keep=[row for address in addresses.values() for row in address.kept()],
        clear=[(name, part) for name, address in addresses.items() for part in sorted(address.ended())],
        delivered=delivered,
        counts={call: dict(fates) for call, fates in counts.items()},
    )


def outcome_of_rows(
    stretches: Iterable[Rows], ledger: Sequence[LedgerRow], exceptions: Sequence[ExceptionRow], *, generation: int, now_us: int
) -> Settlement:
    """The same over columns: records that were delivered to addresses without an exception are merely counted.

    Where all were delivered and there is no exception the rows need no more than the columns `COUNTED`.
    """
    delivered = [row for row in ledger if row.answer == "delivered"]
    known = {row.address for row in exceptions}
    counts: Counter[tuple[str, bool]] = Counter()

    def remarkable() -> Iterator[Told]:
        for rows in stretches:
            assert answered(rows.seqs, ledger).all(), "a record was never answered"
            plain = answered(rows.seqs, delivered) & ~rows.is_in("address", known)
            _count(counts, rows, plain)
            if not plain.all():
                yield from _records(rows.where(~plain))

    found = outcome(remarkable(), ledger, exceptions, generation=generation, now_us=now_us)
    total = {call: Counter(fates) for call, fates in found.counts.items()}
    for (call, entered), number in counts.items():
        total.setdefault(call, Counter())["entered" if entered else "exited"] += number
    return replace(found, delivered=found.delivered + counts.total(), counts={call: dict(fates) for call, fates in total.items()})


def _count(counts: Counter[tuple[str, bool]], rows: Rows, plain: Flags) -> None:
    codes, calls = rows.codes("call")
    numbers = np.bincount((codes * 2 + rows.entered)[plain], minlength=2 * len(calls)).tolist()
    counts.update({(calls[at // 2], bool(at % 2)): number for at, number in enumerate(numbers) if number})


def _records(rows: Rows) -> Iterator[Told]:
    columns = [rows.batch.column(name).to_pylist() for name in ("address", "entered", "part", "call")]
    return map(_Record, rows.seqs.tolist(), *columns, rows.message_ids(), rows.digests())


def _answered(records: Iterable[Told], ledger: Sequence[LedgerRow]) -> Iterator[tuple[Told, LedgerRow]]:
    """Each record with its row of the ledger; both are in order of seq, and the ledger has no gap when a generation settles."""
    rows = iter(ledger)
    row = next(rows, None)
    for record in records:
        while row is not None and row.hi < record.seq:
            row = next(rows, None)
        assert row is not None
        assert row.lo <= record.seq, f"record {record.seq} was never answered"
        yield record, row


def _fate(record: Told, row: LedgerRow) -> str:
    if row.answer == "delivered":
        return "entered" if record.entered else "exited"
    return row.answer


def _exception(record: Told, row: LedgerRow, old: ExceptionRow | None, *, generation: int, now_us: int) -> ExceptionRow:
    kind = KIND_OF_ANSWER[row.answer]
    same = old is not None and old.message_id == record.message_id
    attempts = row.attempts + (old.attempts if same and old else 0)
    retry_at = None
    if row.answer == "retryable":
        failures = 1 if not same or old is None else min(old.attempts, len(RETRY_AFTER_S))
        retry_at = now_us + RETRY_AFTER_S[min(failures, len(RETRY_AFTER_S)) - 1] * SECOND_US
    elif row.answer == "overtaken":
        retry_at = now_us
    reason = row.reason or "It left before it was sent."
    return ExceptionRow(
        record.address, record.part, kind, record.entered, record.message_id, generation, record.seq, reason, attempts, retry_at,
        record.digest,
    )  # fmt: skip


def idle(exceptions: Iterable[ExceptionRow], span: Range, now_us: int) -> list[tuple[str, str]]:
    """The exceptions of a range that are due: when the step there owes nothing, no enabled mapping would send them, and they wait."""
    return [(e.address, e.part) for e in exceptions if e.retry_at is not None and e.retry_at <= now_us and e.address in span]
