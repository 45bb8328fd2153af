"""The sync protocol as pure rules: what a connection owes, in which steps it is sent, and what is known outside once a step has settled.

Words. An *address* is what a destination matches someone by. A *replica* is what a connection keeps outside (one trait, one list); an
account audience has two, its accounts and their users. The *base* says, by address range, which version the replica is known to hold; an
*exception* is an address of which that is not true. A *generation* is one bounded step of one replica: an address range and a target
version.

Rules, each needed by some history (docs/delivery.md tells them):
1. The base is kept per address, so that moved, merged and shared identifiers need no rule of their own.
2. A range remembers `exits_version`: exits are owed to every address of the versions since then that the target lacks.
3. A resync raises the replica's number and keeps the base, so exits are still owed while everyone is sent again.
4. Settling records what was planned (mappings, resync number, target) and nothing newer.
5. A rejected record opens no generation by itself; only a new value, a mended mapping or a replay does.
6. Retried in the same state a record keeps its message id and bytes.
7. The follower (users, unless the type wants them first) aims at the lowest version that every range of the leader has reached.
8. An entry that the current version no longer has is left out when the step aims lower.
9. Catch-up comes before backfill and resync, oldest range first, and each round sends at least one step of either kind that is owed.

Everything here is over plain values: `owed` is the reference that the SQL of delivery.plan is held to.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

FIRST_ADDRESS = ""


class StepKind(StrEnum):
    """Why a range is worked on."""

    CATCH_UP = "sync"
    BACKFILL = "backfill"
    RESYNC = "resync"


class ExceptionKind(StrEnum):
    """What is known of an address that is not as the base says."""

    REJECTED = "rejected"
    RETRYABLE = "retryable"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True, order=True)
class BaseRow:
    """One range, from `lo` to the next row's `lo`: it holds `version`, exits were sent up to `exits_version`, resyncs up to `resync_no`."""

    lo: str
    version: int = 0
    exits_version: int = 0
    resync_no: int = 0


@dataclass(frozen=True, slots=True)
class ExceptionState:
    """What was last tried for an address and did not become known; `retry_at_us` only for retryable ones."""

    kind: ExceptionKind
    value: bool
    retry_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One replica as the database has it; `base` is sorted and its first row begins at FIRST_ADDRESS."""

    name: str
    level: str
    base: tuple[BaseRow, ...] = (BaseRow(FIRST_ADDRESS),)
    resync_no: int = 0
    sends_entries: bool = True
    sends_exits: bool = True
    retry_due: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of addresses, `hi` excluded; None is the end of all addresses."""

    lo: str
    hi: str | None

    def __contains__(self, address: str) -> bool:
        return self.lo <= address and (self.hi is None or address < self.hi)


@dataclass(frozen=True, slots=True)
class Step:
    """What to plan next: bring the range of a replica from its base to `target`."""

    replica: str
    kind: StepKind
    range: Range
    base: BaseRow
    target: int


@dataclass(frozen=True, slots=True)
class Change:
    """One address's new value; `again` asks for a new message id even where the value was tried before."""

    address: str
    value: bool
    again: bool


def floor(leader: ReplicaState | None, current: int) -> int:
    """The version a follower may aim at: the lowest that every range of its leader has reached (rejects count as reached)."""
    return current if leader is None else min(row.version for row in leader.base)


def steps(replica: ReplicaState, target: int) -> list[Step]:
    """Every range of the replica that may owe something towards `target`, in the order it is to be worked off (rule 9)."""
    found: list[Step] = []
    for row, hi in zip(replica.base, [*[r.lo for r in replica.base[1:]], None], strict=True):
        if target <= 0 or target < row.version:
            continue
        kind = _kind(replica, row, target)
        if kind is not None:
            found.append(Step(replica.name, kind, Range(row.lo, hi), row, target))
    return sorted(found, key=lambda step: (step.kind is not StepKind.CATCH_UP, step.base.version, step.range.lo))


def _kind(replica: ReplicaState, row: BaseRow, target: int) -> StepKind | None:
    if row.version == 0:
        return StepKind.BACKFILL
    if row.resync_no < replica.resync_no and row.version == target:
        return StepKind.RESYNC
    owes_exits = replica.sends_exits and row.exits_version < row.version
    if row.version < target or owes_exits or replica.retry_due:
        return StepKind.CATCH_UP
    return None


def resends(replica: ReplicaState, step: Step) -> bool:
    """True when the step sends every address of its target, known or not."""
    return step.kind is StepKind.RESYNC and step.base.resync_no < replica.resync_no


@dataclass(frozen=True, slots=True)
class Known:
    """The address sets of the versions a step looks at: `ids(n)` for version n (0 is empty), and the exceptions of the replica."""

    ids: Callable[[int], Collection[str]]
    exceptions: Mapping[str, ExceptionState] = field(default_factory=dict[str, ExceptionState])
    now_us: int = 0


def owed(replica: ReplicaState, step: Step, known: Known) -> list[Change]:
    """The changes that the step owes, by address: the reference meaning, over whole sets."""
    never = {a for a, e in known.exceptions.items() if e.kind is ExceptionKind.LEFT_OUT}
    want = frozenset(known.ids(step.target))
    had = frozenset(known.ids(step.base.version)) - never
    past = had.union(*(known.ids(v) for v in range(step.base.exits_version, step.base.version)))
    everyone = resends(replica, step)
    changes: list[Change] = []
    for address in sorted(past | want | set(known.exceptions)):
        if address not in step.range:
            continue
        value = address in want
        due = address not in never and _due(known.exceptions.get(address), value, known.now_us)
        if value and replica.sends_entries and (address not in had or everyone or due):
            changes.append(Change(address, True, everyone or address in past - had))
        elif not value and replica.sends_exits and (address in past or due):
            changes.append(Change(address, False, address not in had))
    return changes


def _due(exception: ExceptionState | None, value: bool, now_us: int) -> bool:
    """Rule 5: a refused record waits for a new value; one of unknown fate also for its time."""
    if exception is None:
        return False
    if exception.value != value:
        return True
    return exception.kind is ExceptionKind.RETRYABLE and exception.retry_at_us is not None and exception.retry_at_us <= now_us


def cut(addresses: Sequence[str], span: Range, limit: int) -> Range:
    """The part of the range that holds at most `limit` of the sorted addresses; it always holds at least one."""
    if len(addresses) <= limit:
        return span
    return Range(span.lo, addresses[limit])


def keeps_message_id(change: Change, exception: ExceptionState | None) -> bool:
    """Rule 6: the same state is tried under the same id, unless everyone is sent again."""
    return exception is not None and exception.value == change.value and not change.again


@dataclass(frozen=True, slots=True)
class Settled:
    """What a generation was planned under, and so what its range holds once it has settled (rule 4)."""

    range: Range
    target: int
    sends_exits: bool
    resync_no: int


def move(base: Sequence[BaseRow], settled: Settled) -> tuple[BaseRow, ...]:
    """The base after a step: its range is at the target, neighbours that say the same are one row."""
    cut_rows: list[BaseRow] = []
    span = settled.range
    for row, hi in zip(base, [*[r.lo for r in base[1:]], None], strict=True):
        if (hi is not None and hi <= span.lo) or (span.hi is not None and span.hi <= row.lo):
            cut_rows.append(row)
            continue
        if row.lo < span.lo:
            cut_rows.append(row)
        exits = settled.target if settled.sends_exits else (row.exits_version or settled.target)
        cut_rows.append(BaseRow(max(row.lo, span.lo), settled.target, exits, settled.resync_no))
        if span.hi is not None and (hi is None or span.hi < hi):
            cut_rows.append(replace(row, lo=span.hi))
    return _joined(sorted(cut_rows))


def _joined(rows: Sequence[BaseRow]) -> tuple[BaseRow, ...]:
    joined: list[BaseRow] = []
    for row in rows:
        if joined and replace(joined[-1], lo=row.lo) == row:
            continue
        joined.append(row)
    return tuple(joined)
