"""The network and the destination: they lose, delay and refuse by chance, and check every request as it comes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from engage_pipelines.delivery.generation_file import FrozenRecord
from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, Pause, Verdict
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.testing.simulation.moods import FATES, MOODS
from engage_pipelines.testing.simulation.people import ACCOUNT, USER, People, State
from engage_pipelines.testing.simulation.store import Generation, Store, View


class BrokenPromiseError(Exception):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Told:
    """The last record that was sent about an address in one channel."""

    value: State
    message_id: str
    target: int
    epoch: int
    resync_no: int


Place = tuple[str, str, str]
"""Replica, channel and address."""


def state_of(record: FrozenRecord) -> State:
    """What a record says of its address."""
    return record.entered if record.digest is None else record.digest


@dataclass
class Outside:
    """The destination: `holds` is what it was told last, `ever` what it was ever told to be true."""

    chance: random.Random
    store: Store
    people: People
    fates: Sequence[int] = MOODS[0].fates
    is_flaky: bool = True
    epochs: dict[str, int] = field(default_factory=dict[str, int])
    poison: set[Place] = field(default_factory=set[Place])
    holds: dict[Place, State] = field(default_factory=dict[Place, State])
    ever: set[Place] = field(default_factory=set[Place])
    told: dict[Place, Told] = field(default_factory=dict[Place, Told])
    checks_groups: bool = True
    _bodies: dict[str, bytes] = field(default_factory=dict[str, bytes])
    _executed: dict[Place, int] = field(default_factory=dict[Place, int])
    _late: list[tuple[int, Generation, list[FrozenRecord]]] = field(
        default_factory=list[tuple[int, Generation, list[FrozenRecord]]]
    )  # fmt: skip

    def request(self, view: View, generation: Generation, batch: list[FrozenRecord]) -> tuple[str, Verdict]:
        """What becomes of a request, and in a word why."""
        for record in batch:
            self._check(view, generation, record)
        fate = self.chance.choices(FATES, self.fates)[0] if self.is_flaky else "ok"
        match fate:
            case "5xx":
                return fate, Backoff("5xx")
            case "429":
                return fate, Pause(float(self.chance.choice([1, 20, 90])))
            case "late" | "twice":
                deadline = round(self.store.times.request_deadline_s * SECOND_US)
                self._late.append((self.store.steady + self.chance.randint(1, deadline), generation, batch))
                if fate == "twice":
                    self._execute(generation, batch)
                return fate, Backoff("no answer")
            case "400" if any(self._place(generation, record) in self.poison for record in batch):
                return fate, Bisect("bad")
            case _:
                rejected = self._execute(generation, batch)
                return (fate, Backoff("no answer")) if fate == "lost" else ("ok", Accepted(rejected))

    def time_passes(self) -> None:
        """Requests that lay somewhere on the way are executed when their time has come."""
        due = sorted((one for one in self._late if one[0] <= self.store.steady), key=lambda one: one[0])
        self._late = [one for one in self._late if one[0] > self.store.steady]
        for _, generation, batch in due:
            self._execute(generation, batch)

    @property
    def is_quiet(self) -> bool:
        return not self._late

    def _execute(self, generation: Generation, batch: Sequence[FrozenRecord]) -> dict[int, str]:
        rejected: dict[int, str] = {}
        for index, record in enumerate(batch):
            place = self._place(generation, record)
            if generation.id < self._executed.get(place, 0):
                raise BrokenPromiseError(f"inversion: {place} of g{generation.id} takes effect after g{self._executed[place]}")
            self._executed[place] = generation.id
            if place in self.poison:
                rejected[index] = "refused"
                continue
            self.holds[place] = state_of(record)
            if record.entered:
                self.ever.add(place)
        return rejected

    def _check(self, view: View, generation: Generation, record: FrozenRecord) -> None:
        place, level = self._place(generation, record), self.store.replicas[generation.replica].level
        if self._bodies.setdefault(record.message_id, record.body) != record.body:
            raise BrokenPromiseError(f"two records under one id {record.message_id}")
        if record.entered and state_of(record) != self.people.state(level, view.current, record.address):
            raise BrokenPromiseError(f"{place} is told {state_of(record)} though v{view.current} no longer has it so")
        self._check_repeat(place, level, generation, record)
        if record.entered and level == USER and self.checks_groups:
            self._check_groups(generation, record)

    def _check_repeat(self, place: Place, level: str, generation: Generation, record: FrozenRecord) -> None:
        """A state is told under one id, unless it was another in between, a resync was asked for, or mappings were switched."""
        target, resync_no, epoch = generation.settled.target, generation.settled.resync_no, self.epochs.get(generation.replica, 0)
        before, state = self.told.get(place), state_of(record)
        if before is not None and before.value == state and before.message_id != record.message_id:
            versions = (n for n in self.people.between(before.target, target) if not self.people.is_held(n))
            stayed = all(self.people.state(level, n, place[2]) == state for n in versions)
            if stayed and before.resync_no == resync_no and before.epoch == epoch:
                raise BrokenPromiseError(f"{place} is told {state} under two ids, {before.message_id} and {record.message_id}")
        self.told[place] = Told(state, record.message_id, target, epoch, resync_no)

    def _check_groups(self, generation: Generation, record: FrozenRecord) -> None:
        accounts = self.store.replicas.get("accounts")
        if accounts is None:
            return
        version = self.people.versions[generation.settled.target]
        members = version.members(USER, with_former=self.people.with_former)
        for account in {a for m, addresses in members.items() if record.address in addresses for a in version.of.get(m, ())}:
            known = ("accounts", "group", account) in self.ever or accounts.excepted(account)
            if not known and account in self.people.ids(ACCOUNT, self.people.current):
                raise BrokenPromiseError(f"user {record.address} is told before account {account}")

    def _place(self, generation: Generation, record: FrozenRecord) -> Place:
        return generation.replica, record.action, record.address
