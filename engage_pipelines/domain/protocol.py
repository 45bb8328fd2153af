"""The sync protocol as pure rules: what a connection owes, in which steps it is sent, and what is known outside once a step has settled.

Words. An *address* is what a destination matches someone by. A *replica* is what a connection keeps outside (one trait, one list); an
account audience has two, its accounts and their users. The *base* says, by address range, which version the replica is known to hold; an
*exception* is an address of which that is not true. A *generation* is one bounded step of one replica: an address range and a target
version.

Rules, each needed by some history: `python -m engage_pipelines.testing.simulate --off NAME --seeds 0:2000` finds one. Those of the lease
are in `ownership`.

    by_address     The base is kept per address, so that moved, merged and shared identifiers need no rule of their own.
    by_value       Another value of a trait is another state of its address, and told like an entry.
    exits_version  A range remembers up to which version exits were sent: they are owed to every address since then that the target lacks.
    keeps_base     A resync raises the replica's number and keeps the base, so exits are still owed while everyone is sent again.
    as_opened      A run works with the mappings, resync numbers and current version read together, under its lease.
    as_planned     Settling records what was planned (mappings, resync number, target) and nothing newer.
    refused_waits  A refused record opens no generation by itself; only a new value, a mended mapping or a replay does.
    same_id        Retried in the same state a record keeps its message id and bytes.
    leader_first   The follower (users, unless the type wants them first) aims at the lowest version that all of the leader has reached.
    superseded     An entry that the current version no longer has is left out when the step aims lower.
    overtaken      An owner that goes on with an open generation does not enter who has left since it was planned.
    told_perhaps   Who was skipped but may have been told of before is kept as retryable, so that the exit is owed.
    catch_up_first Catch-up comes before backfill and resync.
    oldest_first   Of several ranges the oldest is caught up first.
    rounds         While a newer version waits, a run stops after one step of a backfill or resync, so that neither starves the other.
    own_number     A generation's number is planned once; one that is found before it was opened is given up.

The state of an address is that it is in, or not; of a trait also which value it has. Versions of traits give their addresses as a mapping
to the text of the value, those of audiences as a mere collection, and `said` is that text, None of audiences and of who is not in.
Another value is another state: everything that holds of entering and leaving holds of it.

Everything here is over plain values: `owed` and `superseded` are the reference that the SQL of delivery.plan is held to.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

FIRST_ADDRESS = ""
EMPTIED = 2**31 - 1
"""The version that a connection which leaves aims at: nobody is in it, and it comes after every other."""


def version_word(n: int) -> str:
    """A version as people read it: the empty one of a connection that leaves has no number that means anything to them."""
    return "leaving" if n == EMPTIED else str(n)


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
    """What was last tried for one part of an address and did not become known; `retry_at_us` only for retryable ones."""

    kind: ExceptionKind
    value: bool
    retry_at_us: int | None = None
    said: str | None = None


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
    said: str | None = None


def said_in(ids: Collection[str], address: str) -> str | None:
    """The value that an address has in a version of a trait; None in those of audiences, and where the address is not in."""
    return cast("Mapping[str, str]", ids).get(address) if isinstance(ids, Mapping) else None


def _is_in(ids: Collection[str], address: str, said: str | None) -> bool:
    """Whether the address is in with that value."""
    return address in ids and said_in(ids, address) == said


def floor(leader: ReplicaState | None, current: int) -> int:
    """The version a follower may aim at: the lowest that every range of its leader has reached (rejects count as reached)."""
    return current if leader is None else min(row.version for row in leader.base)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a run works towards: the version that was current when it was opened; the leader's level goes there first."""

    current: int
    leader: str

    def target(self, replica: ReplicaState, replicas: Iterable[ReplicaState]) -> int:
        """The version that a step of the replica aims at (rule `leader_first`)."""
        if replica.level == self.leader:
            return self.current
        return floor(next((other for other in replicas if other.level == self.leader), None), self.current)


def next_step(level: str, replicas: Sequence[ReplicaState], aim: Aim, offered: Collection[Step]) -> tuple[ReplicaState, Step] | None:
    """The next step of a run on a level: the first that it was not offered before, so that what cannot move does not hold the run."""
    todo = (
        (replica, step)
        for replica in replicas
        if replica.level == level
        for step in steps(replica, aim.target(replica, replicas))
        if step not in offered
    )
    return next(todo, None)


def is_owed(replicas: Iterable[ReplicaState], current: int) -> bool:
    """Whether there is more to do towards the current version; records that wait for their time are no part of it."""
    return any(steps(replace(replica, retry_due=False), current) for replica in replicas)


def may_go(replicas: Iterable[ReplicaState], *, kept: int) -> bool:
    """Whether a connection that leaves is gone: everyone's exit was sent in every range, and nothing of them is kept to be sent again."""
    ranges = (row for replica in replicas for row in replica.base)
    return not kept and all(row.version == row.exits_version == EMPTIED for row in ranges)


def yields(step: Step, *, aimed_at: int, newest: int) -> bool:
    """True when a run stops after the step, for a newer version that goes first in the next run (rule `rounds`)."""
    return step.kind is not StepKind.CATCH_UP and newest > aimed_at


def steps(replica: ReplicaState, target: int) -> list[Step]:
    """Every range of the replica that may owe something towards `target`, in the order it is to be worked off."""
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
    """What a step looks at: `ids(n)` are the addresses of version n (0 and EMPTIED are empty), `newest` is the last that was published.

    `exceptions` are those of the replica, by address, one per part.
    """

    ids: Callable[[int], Collection[str]]
    exceptions: Mapping[str, Collection[ExceptionState]] = field(default_factory=dict[str, Collection[ExceptionState]])
    now_us: int = 0
    newest: int = EMPTIED


def owed(replica: ReplicaState, step: Step, known: Known) -> list[Change]:
    """The changes that the step owes, by address: the reference meaning, over whole sets."""
    never = {a for a, parts in known.exceptions.items() if any(e.kind is ExceptionKind.LEFT_OUT for e in parts)}
    want, held = known.ids(step.target), known.ids(step.base.version)
    past = (
        frozenset(held)
        .difference(never)
        .union(*(known.ids(v) for v in range(step.base.exits_version, min(step.base.version, known.newest + 1))))
    )
    everyone = resends(replica, step)
    changes: list[Change] = []
    for address in sorted(past.union(want, known.exceptions)):
        if address not in step.range:
            continue
        value, said = address in want, said_in(want, address)
        due = address not in never and any(is_due(e, value, known.now_us, said) for e in known.exceptions.get(address, ()))
        had = address not in never and (_is_in(held, address, said) if value else address in held)
        again = address in past and not had
        if value and replica.sends_entries and (not had or everyone or due):
            changes.append(Change(address, True, everyone or again, said))
        elif not value and replica.sends_exits and (address in past or due):
            changes.append(Change(address, False, again))
    return changes


def is_due(exception: ExceptionState, value: bool, now_us: int, said: str | None = None) -> bool:
    """Rule `refused_waits`: a refused record waits for a new value; one of unknown fate is also tried again at its time."""
    if exception.value != value or exception.said != said:
        return True
    return exception.kind is ExceptionKind.RETRYABLE and exception.retry_at_us is not None and exception.retry_at_us <= now_us


def cut(addresses: Sequence[str], span: Range, limit: int) -> Range:
    """The part of the range that holds at most `limit` of the sorted addresses; it always holds at least one."""
    if len(addresses) <= limit:
        return span
    return Range(span.lo, addresses[limit])


def keeps_message_id(change: Change, exception: ExceptionState | None) -> bool:
    """Rule `same_id`: what nobody knows the fate of is tried in the same state under the same id, unless everyone is sent again."""
    return (
        exception is not None
        and exception.kind is ExceptionKind.RETRYABLE
        and exception.value == change.value
        and exception.said == change.said
        and not change.again
    )  # fmt: skip


class Unsent(StrEnum):
    """Why a record of a generation is frozen but not sent."""

    LEFT_OUT = "left_out"
    """Its address is surely not told of, and has left already."""
    OVERTAKEN = "overtaken"
    """Its address has left, and may have been told of before."""


def is_behind(version: int, current: int) -> bool:
    """Whether somebody may have left between a version and the current one: only then is it looked for who has."""
    return version < current


def superseded(changes: Iterable[Change], target: int, current: int, ids: Callable[[int], Collection[str]]) -> dict[str, Unsent]:
    """The entries of a step that are not sent, since the current version no longer has them (rules `superseded`, `told_perhaps`)."""
    if not is_behind(target, current):
        return {}
    present = ids(current)
    gone = (change for change in changes if change.value and not _is_in(present, change.address, change.said))
    return {change.address: Unsent.OVERTAKEN if change.again else Unsent.LEFT_OUT for change in gone}


def overtaken(entries: Collection[str], planned_under: int, current: int, ids: Callable[[int], Collection[str]]) -> set[str]:
    """Of the entries of an open generation that have no answer yet, those not to be sent any more (rule `overtaken`)."""
    if not is_behind(planned_under, current):
        return set()
    present = ids(current)
    return {address for address in entries if not _is_in(present, address, said_in(entries, address))}


@dataclass(frozen=True, slots=True)
class Settled:
    """What a generation was planned under, and so what its range holds once it has settled (rule `as_planned`)."""

    range: Range
    target: int
    sends_exits: bool
    resync_no: int


def settled_by(replica: ReplicaState, step: Step, span: Range) -> Settled:
    """What the step will have settled of `span`; catching up is no resync, so one that is owed stays owed."""
    resync_no = step.base.resync_no if step.kind is StepKind.CATCH_UP else replica.resync_no
    return Settled(span, step.target, replica.sends_exits, resync_no)


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
