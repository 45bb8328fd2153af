"""What must be true: whenever the base of a replica moves, and when everything has come to rest."""

from dataclasses import dataclass, field

from engage_pipelines.domain.protocol import ExceptionKind, Settled, may_go
from engage_pipelines.testing.simulation.outside import BrokenPromiseError, Outside, Place
from engage_pipelines.testing.simulation.people import ACCOUNT, ACCOUNTS, ADDRESSES, People, State
from engage_pipelines.testing.simulation.store import Replica, Store, Switch


@dataclass
class Checks:
    """The checks of one history.

    `baseline` is what a connection without backfill holds unsaid, until a resync; `since` is the resync number from which
    on a channel has every address; `gaps` are channels whose mapping was off while another of the replica sent exits.
    """

    store: Store
    outside: Outside
    people: People
    baseline: dict[str, dict[str, State]] = field(default_factory=dict[str, dict[str, State]])
    since: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    gaps: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def only_one_open(self) -> None:
        """At most one generation of a connection is under way."""
        if len(self.store.unsettled) > 1:
            raise BrokenPromiseError(f"generations {sorted(self.store.unsettled)} are under way at once")

    def base_moved(self, replica: Replica, settled: Settled, switches: tuple[Switch, ...]) -> None:
        """The base says no more than the destination was told."""
        want = self.people.ids(replica.level, settled.target)
        for switch in switches:
            if switch.level != replica.level or settled.resync_no < self.since.get((replica.name, switch.channel), 0):
                continue
            self._told_again(replica, settled)
            for address in (a for a in _all(replica.level) if a in settled.range and (a in want) in switch.sends):
                if address not in want and not settled.sends_exits:
                    continue
                state = self.people.state(replica.level, settled.target, address)
                if self._differs((replica.name, switch.channel, address), state):
                    raise BrokenPromiseError(f"the base of {replica.name} says {address}={state}, {switch.channel} was not told")

    def at_rest(self) -> None:
        """Everything is where it should be, but for listed exceptions, and nothing is kept that is not needed."""
        if self.store.unsettled:
            raise BrokenPromiseError(f"generations {sorted(self.store.unsettled)} stay open")
        for replica in self.store.replicas.values():
            self._replica_at_rest(replica)

    def gone(self) -> None:
        """A connection that has left may go when nothing of it is kept: then nobody is held any more whom it could take out."""
        kept = sum(len(replica.exceptions) for replica in self.store.replicas.values())
        may = may_go(self.store.states(self.store.view(self.people.current)), kept=kept)
        if not kept and not may:
            raise BrokenPromiseError(f"it cannot go: {[replica.base for replica in self.store.replicas.values()]}")
        held = {place for place, value in self.outside.holds.items() if value and (place[0], place[1]) not in self.gaps}
        if may and held:
            raise BrokenPromiseError(f"it goes while the destination still holds {sorted(held)}")

    def _replica_at_rest(self, replica: Replica) -> None:
        switches = [switch for switch in self.store.switches if switch.level == replica.level]
        sends = {value for switch in switches if switch.enabled for value in switch.sends}
        current = self.store.aim(self.people.current)
        want = self.people.ids(replica.level, current)
        for switch in (one for one in switches if one.enabled):
            for address in _all(replica.level):
                place, state = (replica.name, switch.channel, address), self.people.state(replica.level, current, address)
                if (address in want) in switch.sends and self._differs(place, state):
                    raise BrokenPromiseError(f"{place} is {self.outside.holds.get(place)} at the destination, should be {state}")
                if address in want and True in switch.sends and not replica.excepted(address):
                    self._check_resent(replica, place)
        if len(sends) == 2:
            kept = {place: row.kind for place, row in replica.exceptions.items() if row.kind is not ExceptionKind.REJECTED}
            if kept:
                raise BrokenPromiseError(f"{replica.name} keeps {kept} at rest")
            if len(replica.base) > 1:
                raise BrokenPromiseError(f"the base of {replica.name} has {len(replica.base)} rows at rest")
        if current and sends and any(row.version != current for row in replica.base):
            raise BrokenPromiseError(f"the base of {replica.name} rests at {replica.base}, current is v{current}")
        baseline = self.baseline.get(replica.name, {})
        for address in [one for one, state in baseline.items() if state != self.people.state(replica.level, current, one)]:
            del baseline[address]

    def _told_again(self, replica: Replica, settled: Settled) -> None:
        """A resync tells of those whom a connection without backfill began with."""
        if settled.resync_no:
            baseline = self.baseline.get(replica.name, {})
            for address in [one for one in baseline if one in settled.range]:
                del baseline[address]

    def _check_resent(self, replica: Replica, place: Place) -> None:
        told = self.outside.told.get(place)
        if told is not None and told.resync_no < replica.resync_no:
            raise BrokenPromiseError(f"{place} was not told again after resync {replica.resync_no}")

    def _differs(self, place: Place, value: State) -> bool:
        replica, channel, address = place
        if self.outside.holds.get(place, False) == value or self.store.replicas[replica].excepted(address):
            return False
        if value:
            return self.baseline.get(replica, {}).get(address) != value
        return (replica, channel) not in self.gaps


def _all(level: str) -> str:
    return ACCOUNTS if level == ACCOUNT else ADDRESSES
