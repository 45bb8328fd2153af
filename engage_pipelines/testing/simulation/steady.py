"""A world without faults but with a new version after every settled generation: nothing may starve.

Some people are members in every other version, so that catching up never ends; where the values of a trait are sent, they stay, and have
another value in every other version. In some worlds a backfill is to be made beside it; in the others every run ends after one generation,
as runs do that are stopped, and the very last address has left.
"""

import random
from dataclasses import dataclass, field

from engage_pipelines.domain.ownership import LeaseTimes
from engage_pipelines.domain.protocol import FIRST_ADDRESS, BaseRow
from engage_pipelines.testing.simulation.checks import Checks
from engage_pipelines.testing.simulation.history import BOTH
from engage_pipelines.testing.simulation.outside import BrokenPromiseError, Outside
from engage_pipelines.testing.simulation.owner import Owner
from engage_pipelines.testing.simulation.people import USER, VALUES, People, State, Version
from engage_pipelines.testing.simulation.rules import Rules
from engage_pipelines.testing.simulation.store import FencedError, MakeStore, Replica, Store, Switch

LONGEST_WAIT = 8
"""For how many versions a change may wait while a backfill of twenty generations goes on, with two people who come and go."""
VALUES_SHARE = 0.5
"""Of the worlds, those in which the values of a trait are sent."""


@dataclass
class Steady:
    """One steady world."""

    seed: int
    rules: Rules
    make_store: MakeStore = Store
    story: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        r = random.Random(self.seed)  # noqa: S311 (chance that repeats, not secrecy)
        self.is_backfill = r.random() < 0.5
        self.addresses = [f"{number:02}" for number in range(40 if self.is_backfill else r.randint(14, 20))]
        self.flips = frozenset(r.sample(self.addresses[:6], 2) if self.is_backfill else r.sample(self.addresses[:-1], 8))
        self.people = People(r, has_accounts=False, with_former=False)
        # chance of its own, so that the other worlds stay as they were
        if random.Random(f"values {self.seed}").random() < VALUES_SHARE:  # noqa: S311
            self.people.with_values(r)
        self._publish()
        version = 0 if self.is_backfill else 1
        replica = Replica("users", USER, (BaseRow(FIRST_ADDRESS, version, version),))
        self.store = self.make_store(self.rules, LeaseTimes(), [Switch("identify", USER, "identify", "identify", BOTH)], {"users": replica})
        self.outside = Outside(r, self.store, self.people, is_flaky=False)
        self.checks = Checks(self.store, self.outside, self.people, baseline={"users": self._states(version)})
        if version:
            self._publish()

    def play(self) -> None:
        """Raises BrokenPromiseError when the last address, or one that flips, is not told within its number of versions."""
        place = ("users", "identify", self.addresses[-1])
        while self.outside.holds.get(place) != self.people.state(USER, self.people.current, place[2]):
            self._run()
            if self.people.current > 4 * len(self.addresses):
                raise BrokenPromiseError(f"{place[2]} is not told after {self.people.current} versions: it starves")

    def _states(self, version: int) -> dict[str, State]:
        return {address: self.people.state(USER, version, address) for address in self.people.ids(USER, version)}

    def _check_waiting(self) -> None:
        """While a backfill goes on, what was told already is kept up to date."""
        versions = [row.version for row in self.store.replicas["users"].base if row.version]
        if self.is_backfill and versions and self.people.current - min(versions) > LONGEST_WAIT:
            raise BrokenPromiseError(f"a change has waited for {self.people.current - min(versions)} versions: catching up starves")

    def _run(self) -> None:
        owner = Owner("run", self.rules, self.store, self.people, self.outside, self.checks, self.story.append)
        settled = 0
        try:
            for _ in owner.run():
                self.store.passes(1)
                if owner.settled > settled:
                    settled = owner.settled
                    self._check_waiting()
                    self._publish()
                    owner.is_asked_to_stop = not self.is_backfill
        except FencedError as error:
            raise BrokenPromiseError("fenced off without a rival") from error

    def _publish(self) -> None:
        n = len(self.people.versions)
        has_values = self.people.values is not None
        inside = [a for a in self.addresses if has_values or a not in self.flips or n % 2]
        if n > 1 and not self.is_backfill:
            inside.remove(self.addresses[-1])
        users = {i: frozenset({a}) for i, a in enumerate(inside)}
        values = {i: VALUES[n % 2 if a in self.flips else 0] for i, a in enumerate(inside)} if has_values else None
        self.story.append(self.people.add(Version(users, {i: frozenset[str]() for i in users}, frozenset(), {}, values=values)))
