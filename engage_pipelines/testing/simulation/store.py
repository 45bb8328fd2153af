"""The database of one simulated connection: what the product keeps in its tables, as plain values; each method is one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, TypeVar

from engage_pipelines.delivery.generation_file import FrozenRecord
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow, Settlement
from engage_pipelines.domain.ownership import SECOND_US, LeaseTimes, may_take
from engage_pipelines.domain.protocol import EMPTIED, BaseRow, ExceptionKind, ReplicaState, Settled, Step
from engage_pipelines.testing.simulation.rules import Rules

T = TypeVar("T")


class FencedError(Exception):
    """Somebody else owns the connection by now."""


class FullError(Exception):
    """The disk is full."""


Body = Callable[..., T]


def told(body: Body[T]) -> Body[T]:
    """A transaction that is made again when the answer to its commit is lost."""

    @wraps(body)
    def twice(store: "Store", *arguments: Any, **options: Any) -> T:
        if store.loses_answer:
            store.loses_answer = False
            body(store, *arguments, **options)
        return body(store, *arguments, **options)

    return twice


@dataclass
class Switch:
    """A mapping: which call it makes, of which values, and into what at the destination."""

    name: str
    level: str
    call: str
    channel: str
    sends: frozenset[bool]
    enabled: bool = True


@dataclass
class Replica:
    """The rows of one replica."""

    name: str
    level: str
    base: tuple[BaseRow, ...]
    resync_no: int = 0
    exceptions: dict[tuple[str, str], ExceptionRow] = field(default_factory=dict[tuple[str, str], ExceptionRow])

    def excepted(self, address: str) -> bool:
        return any(a == address for a, _ in self.exceptions)

    def retry_at(self) -> list[int]:
        rows = (row for row in self.exceptions.values() if row.kind is ExceptionKind.RETRYABLE)
        return [row.retry_at for row in rows if row.retry_at is not None]


@dataclass
class Generation:
    """One generation; `planned_under` is the version that was current for its planner."""

    id: int
    replica: str
    settled: Settled
    planned_under: int
    state: str = "planning"
    ledger: list[LedgerRow] = field(default_factory=list[LedgerRow])


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease that was taken: its token, whether there was a name on it, and when whose requests are over, if its clock is the owner's."""

    token: int
    is_marked: bool
    over_us: int | None


@dataclass(frozen=True, slots=True)
class View:
    """What a run reads together when it is opened."""

    current: int
    switches: tuple[Switch, ...]
    resync_numbers: dict[str, int]


@dataclass
class Store:
    """The connection; `wanted_at` is when a run of it may be launched, None when nothing is owed, and `is_for_refused` that this run would
    only look again at what was refused.

    `now` is the shared clock, which may be set; `steady` is time as it passes. While `is_away` nobody is answered, while `is_full` nothing
    can be written, and with `loses_answer` the next transaction is committed without its owner knowing, who makes it again.
    """

    rules: Rules
    times: LeaseTimes
    switches: list[Switch]
    replicas: dict[str, Replica]
    now: int = 0
    steady: int = 0
    token: int = 0
    lease_until: int = 0
    lease_owner: str | None = None
    lease_clock: str = ""
    lease_over: int = 0
    is_away: bool = False
    is_full: bool = False
    loses_answer: bool = False
    is_paused: bool = False
    leaves: bool = False
    paused_until: int = 0
    wanted_at: int | None = 0
    is_for_refused: bool = False
    failures: int = 0
    next_number: int = 1
    unsettled: dict[int, Generation] = field(default_factory=dict[int, Generation])
    files: dict[int, list[FrozenRecord]] = field(default_factory=dict[int, list[FrozenRecord]])

    @property
    def may_send(self) -> bool:
        return not self.is_paused and any(switch.enabled for switch in self.switches)

    def check(self, token: int) -> None:
        """Every write begins with this."""
        if self.is_full:
            raise FullError
        if not self.rules.may_write(token, self.token):
            raise FencedError

    def passes(self, seconds: float) -> None:
        """Time passes, and the clock goes with it."""
        self.now += round(seconds * SECOND_US)
        self.steady += round(seconds * SECOND_US)

    def take(self, name: str, watched_us: int, clock: str) -> Taken | None:
        """The lease, by an owner who goes by that clock; or nothing while another has it."""
        if self.is_full or not may_take(self.lease_until, self.now, watched_us=watched_us, times=self.times):
            return None
        taken = Taken(self.token + 1, self.lease_owner is not None, self.lease_over if clock == self.lease_clock else None)
        self.token += 1
        self.lease_clock, self.lease_over = clock, self.times.renewed_until(self.steady)
        self.lease_owner, self.lease_until = name, self.times.renewed_until(self.now)
        return taken

    def renew(self, token: int) -> None:
        self.check(token)
        self.lease_until, self.lease_over = self.times.renewed_until(self.now), self.times.renewed_until(self.steady)

    def let_go(self, token: int, *, given_back: bool) -> None:
        if self.rules.may_write(token, self.token) and not (self.is_full or self.is_away):
            self.lease_until = self.now
            if given_back:
                self.lease_owner = None

    def view(self, current: int) -> View:
        enabled = tuple(switch for switch in self.switches if switch.enabled)
        return View(self.aim(current), enabled, {name: replica.resync_no for name, replica in self.replicas.items()})

    def aim(self, current: int) -> int:
        """What the connection aims at: the current version, or once it leaves the empty one of its own."""
        return EMPTIED if self.leaves else current

    def states(self, view: View) -> list[ReplicaState]:
        """The replicas as a run that opened with `view` sees them."""
        return [self.state(view, name) for name in sorted(self.replicas)]

    def state(self, view: View, name: str) -> ReplicaState:
        row = self.replicas[name]
        sends = {value for switch in view.switches if switch.level == row.level for value in switch.sends}
        resync_no = view.resync_numbers[name] if self.rules.as_opened else row.resync_no
        due = any(at <= self.now for at in row.retry_at())
        return ReplicaState(name, row.level, row.base, resync_no, True in sends, False in sends, due)

    @told
    def reserve(self, token: int, step: Step, settled: Settled, planned_under: int) -> Generation:
        self.check(token)
        left = [one for one in self.unsettled.values() if one.state == "planning"]
        if self.rules.own_number:
            # one whose commit went through, but whose answer was lost
            for one in left:
                del self.unsettled[one.id]
        number = self.next_number if self.rules.own_number or not left else left[0].id
        self.next_number = max(self.next_number, number + 1)
        self.unsettled[number] = Generation(number, step.replica, settled, planned_under)
        return self.unsettled[number]

    @told
    def open(self, token: int, generation: Generation, unsent: Sequence[LedgerRow]) -> None:
        self.check(token)
        if self.unsettled.get(generation.id, generation).state == "planning":
            generation.state, generation.ledger = "open", sorted(unsent, key=lambda row: row.lo)

    @told
    def abandon(self, token: int, generation: Generation) -> None:
        self.check(token)
        self.unsettled.pop(generation.id, None)
        self.files.pop(generation.id, None)

    @told
    def acknowledge(self, token: int, generation: Generation, rows: Sequence[LedgerRow]) -> None:
        self.check(token)
        known = {row.lo for row in generation.ledger}
        generation.ledger = sorted([*generation.ledger, *(row for row in rows if row.lo not in known)], key=lambda row: row.lo)

    @told
    def move_base(
        self,
        token: int,
        replica: Replica,
        settled: Settled,
        *,
        stale: Sequence[tuple[str, str]],
        idle: Sequence[tuple[str, str]],
        retry_at_us: int,
    ) -> None:
        self.check(token)
        self.forget(replica, stale)
        for part in replica.exceptions.keys() & idle:
            replica.exceptions[part] = replace(replica.exceptions[part], retry_at=retry_at_us)
        replica.base = self.rules.move(replica.base, settled)

    @told
    def settle(self, token: int, generation: Generation, settled: Settled, outcome: Settlement) -> None:
        self.check(token)
        if generation.state == "settled":
            return
        generation.state = "settled"
        replica = self.replicas[generation.replica]
        self.forget(replica, outcome.clear)
        replica.exceptions |= {(row.address, row.part): row for row in outcome.keep}
        replica.base = self.rules.move(replica.base, settled)
        self.unsettled.pop(generation.id, None)
        kept = {row.generation for one in self.replicas.values() for row in one.exceptions.values()}
        self.files = {n: file for n, file in self.files.items() if n in kept or n in self.unsettled}

    def ask_again(self, replica: Replica) -> None:
        """A resync: everyone of the replica is sent again."""
        replica.resync_no += 1

    def want(self, at: int, *, for_refused: bool = False) -> None:
        """A run may be launched from then on, if not sooner."""
        if self.wanted_at is None or at < self.wanted_at:
            self.wanted_at, self.is_for_refused = at, for_refused

    def forget(self, replica: Replica, parts: Sequence[tuple[str, str]]) -> None:
        for part in parts:
            replica.exceptions.pop(part, None)


MakeStore = Callable[[Rules, LeaseTimes, list[Switch], dict[str, Replica]], Store]
"""How a history gets its store: `Store` itself, or one whose rows lie in a database."""
