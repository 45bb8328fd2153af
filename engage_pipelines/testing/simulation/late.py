"""Worlds in which the heart of an owner has stopped, and a request of it takes effect late, when the next owner is at work.

What random histories bring about too seldom: it dies over a request that was begun late in its lease; or the shared clock is set ahead, so
that another takes the lease from under it, and then it sends. All of them go by the same clock of their own.
"""

import random
from contextlib import suppress
from dataclasses import dataclass, field

from engage_pipelines.domain.ownership import SECOND_US, LeaseTimes
from engage_pipelines.domain.protocol import FIRST_ADDRESS, BaseRow
from engage_pipelines.testing.simulation.checks import Checks
from engage_pipelines.testing.simulation.history import BOTH
from engage_pipelines.testing.simulation.outside import Outside
from engage_pipelines.testing.simulation.owner import Owner, Turns
from engage_pipelines.testing.simulation.people import ADDRESSES, USER, VALUES, People, Version
from engage_pipelines.testing.simulation.rules import Rules
from engage_pipelines.testing.simulation.steady import VALUES_SHARE
from engage_pipelines.testing.simulation.store import FencedError, MakeStore, Replica, Store, Switch

ALWAYS_LATE = (0, 0, 1, 0, 0, 0, 0)


@dataclass
class Late:
    """One such world; chance says which, how late the request is begun, and how long it lies on the way."""

    seed: int
    rules: Rules
    make_store: MakeStore = Store
    story: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 (chance that repeats, not secrecy)
        self.people = People(self.chance, has_accounts=False, with_former=False)
        if self.chance.random() < VALUES_SHARE:
            self.people.with_values(self.chance)
        self._publish(ADDRESSES)
        replica = Replica("users", USER, (BaseRow(FIRST_ADDRESS),))
        self.store = self.make_store(self.rules, LeaseTimes(), [Switch("identify", USER, "identify", "identify", BOTH)], {"users": replica})
        self.outside = Outside(self.chance, self.store, self.people, ALWAYS_LATE)
        self.checks = Checks(self.store, self.outside, self.people)

    def play(self) -> None:
        """Raises BrokenPromiseError."""
        first = self._owner("run1")
        turns = first.run()
        while not any(one.state == "open" for one in self.store.unsettled.values()):
            next(turns)
        first.heart_beats = False
        self.outside.is_flaky = False
        if self.chance.random() < 0.5:
            self._dies(turns)
        else:
            self._is_overtaken(turns)
        for number in range(3, 20):
            if self.store.wanted_at is None and self.outside.is_quiet:
                break
            self._pass(max((self.store.wanted_at or 0) - self.store.now, SECOND_US) / SECOND_US)
            self._work(self._owner(f"run{number}").run())
        self.checks.at_rest()

    def _dies(self, turns: Turns) -> None:
        """It dies over its request, and somebody takes the lease at its end."""
        self._pass(self.chance.uniform(self.store.times.ttl_s / 2, self.store.times.ttl_s - 1))
        self._send_late(turns)
        self.story.append("run1 dies")
        self._publish_another()
        self._work(self._owner("run2").run())

    def _is_overtaken(self, turns: Turns) -> None:
        """The clock that all share is set forward, somebody takes the lease, and only then it sends."""
        self.story.append("the clock is set by an hour")
        self.store.now += 3_600 * SECOND_US
        self._publish_another()
        second = self._owner("run2").run()
        for _ in range(self.chance.randint(5, 30)):
            next(second, None)
            self._pass(1)
        with suppress(FencedError):
            self._send_late(turns)
        self._work(second)

    def _send_late(self, turns: Turns) -> None:
        """Go on until a request lies on the way."""
        self.outside.is_flaky = True
        try:
            while self.outside.is_quiet:
                next(turns)
        finally:
            self.outside.is_flaky = False
            turns.close()

    def _work(self, turns: Turns) -> None:
        for _ in turns:
            self._pass(1)

    def _owner(self, name: str) -> Owner:
        return Owner(name, self.rules, self.store, self.people, self.outside, self.checks, self._say, max_changes=len(ADDRESSES))

    def _say(self, text: str) -> None:
        self.story.append(f"t={self.store.steady / SECOND_US:.0f} {text}")

    def _pass(self, seconds: float) -> None:
        self.store.passes(seconds)
        self.outside.time_passes()

    def _publish_another(self) -> None:
        """Of a trait everyone has another value then, of an audience all have left."""
        self._publish("" if self.people.values is None else ADDRESSES)

    def _publish(self, inside: str) -> None:
        users = {n: frozenset({address}) for n, address in enumerate(inside)}
        values = None if self.people.values is None else dict.fromkeys(users, VALUES[len(self.people.versions) % len(VALUES)])
        self.story.append(self.people.add(Version(users, {n: frozenset[str]() for n in users}, frozenset(), {}, values=values)))
