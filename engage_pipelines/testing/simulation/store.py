"""The database of one simulated connection: what the product keeps in its tables, as plain values; each method is one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engage_pipelines.delivery.generation_file import FrozenRecord
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow, Settlement
from engage_pipelines.domain.ownership import LeaseTimes, may_take
from engage_pipelines.domain.protocol import EMPTIED, BaseRow, ExceptionKind, ReplicaState, Settled
from engage_pipelines.testing.simulation.rules import Rules


class FencedError(Exception):
    """Somebody else owns the connection by now."""


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
class View:
    """What a run reads together when it is opened."""

    current: int
    switches: tuple[Switch, ...]
    resync_numbers: dict[str, int]


@dataclass
class Store:
    """The connection; `wanted_at` is when a run of it may be launched, None when nothing is owed."""

    rules: Rules
    times: LeaseTimes
    switches: list[Switch]
    replicas: dict[str, Replica]
    now: int = 0
    token: int = 0
    lease_until: int = 0
    is_paused: bool = False
    leaves: bool = False
    paused_until: int = 0
    wanted_at: int | None = 0
    failures: int = 0
    next_number: int = 1
    unsettled: dict[int, Generation] = field(default_factory=dict[int, Generation])
    files: dict[int, list[FrozenRecord]] = field(default_factory=dict[int, list[FrozenRecord]])

    @property
    def may_send(self) -> bool:
        return not self.is_paused and any(switch.enabled for switch in self.switches)

    def check(self, token: int) -> None:
        """Every write begins with this."""
        if not self.rules.may_write(token, self.token):
            raise FencedError

    def take(self) -> int | None:
        """A new token, or nothing while another has the lease."""
        if not may_take(self.lease_until, self.now):
            return None
        self.token += 1
        self.lease_until = self.times.renewed_until(self.now)
        return self.token

    def renew(self, token: int) -> int:
        self.check(token)
        self.lease_until = self.times.renewed_until(self.now)
        return self.lease_until

    def let_go(self, token: int, until: int) -> None:
        if self.rules.may_write(token, self.token):
            self.lease_until = until

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

    def reserve(self, token: int, replica: str, settled: Settled, planned_under: int) -> Generation:
        self.check(token)
        left = [one for one in self.unsettled.values() if one.state == "planning"]
        number = self.next_number if self.rules.own_number or not left else left[0].id
        self.next_number = max(self.next_number, number + 1)
        self.unsettled[number] = Generation(number, replica, settled, planned_under)
        return self.unsettled[number]

    def open(self, token: int, generation: Generation, unsent: Sequence[LedgerRow]) -> None:
        self.check(token)
        if self.unsettled.get(generation.id, generation).state == "planning":
            generation.state, generation.ledger = "open", sorted(unsent, key=lambda row: row.lo)

    def abandon(self, token: int, generation: Generation) -> None:
        self.check(token)
        del self.unsettled[generation.id]
        self.files.pop(generation.id, None)

    def acknowledge(self, token: int, generation: Generation, rows: Sequence[LedgerRow]) -> None:
        self.check(token)
        generation.ledger = sorted([*generation.ledger, *rows], key=lambda row: row.lo)

    def move_base(self, token: int, replica: Replica, settled: Settled, *, stale: Sequence[tuple[str, str]]) -> None:
        self.check(token)
        self.forget(replica, stale)
        replica.base = self.rules.move(replica.base, settled)

    def settle(self, token: int, generation: Generation, settled: Settled, outcome: Settlement) -> None:
        self.check(token)
        replica = self.replicas[generation.replica]
        self.forget(replica, outcome.clear)
        replica.exceptions |= {(row.address, row.part): row for row in outcome.keep}
        replica.base = self.rules.move(replica.base, settled)
        self.unsettled.pop(generation.id, None)
        kept = {row.generation for one in self.replicas.values() for row in one.exceptions.values()}
        self.files = {n: file for n, file in self.files.items() if n in kept or n in self.unsettled}

    def want(self, at: int) -> None:
        """A run may be launched from then on, if not sooner."""
        self.wanted_at = at if self.wanted_at is None else min(self.wanted_at, at)

    def forget(self, replica: Replica, parts: Sequence[tuple[str, str]]) -> None:
        for part in parts:
            replica.exceptions.pop(part, None)
