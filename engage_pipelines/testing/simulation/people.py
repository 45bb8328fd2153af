"""The customer's world: a handful of people under a handful of addresses that move, merge and are shared, and versions published of it.

In some worlds it is a trait that is sent: everybody who is in has a value, an address that several share that of the first of them.
"""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from engage_pipelines.domain.protocol import EMPTIED, said_in

ADDRESSES = "abcde"
MEMBERS = range(1, 6)
ACCOUNTS = "XYZ"
USER, ACCOUNT = "user", "account"
VALUES = "PQR"

State = str | bool
"""What a destination holds of an address: whether it is in, of a trait the value, and False where there is none."""


@dataclass
class Version:
    """Who is a member: `users` and `former` give the addresses of each, `of` their matching accounts."""

    users: Mapping[int, frozenset[str]]
    former: Mapping[int, frozenset[str]]
    accounts: frozenset[str]
    of: Mapping[int, frozenset[str]]
    held: bool = False
    values: Mapping[int, str] | None = None

    @cached_property
    def _ids(self) -> dict[tuple[str, bool], frozenset[str]]:
        current = frozenset[str]().union(*self.users.values())
        return {
            (USER, False): current,
            (USER, True): current.union(*self.former.values()),
            (ACCOUNT, False): self.accounts,
            (ACCOUNT, True): self.accounts,
        }

    @cached_property
    def _states(self) -> dict[tuple[str, bool], dict[str, str]]:
        """The value of each address: of those who share one, the first member's."""
        found: dict[tuple[str, bool], dict[str, str]] = {}
        for level, former in ((USER, False), (USER, True), (ACCOUNT, False), (ACCOUNT, True)):
            states = found[level, former] = {}
            for m, addresses in sorted(self.members(level, with_former=former).items(), reverse=True):
                states.update(dict.fromkeys(addresses, (self.values or {})[m]))
        return found

    def ids(self, level: str, *, with_former: bool) -> Collection[str]:
        """The addresses, of a trait each with its value."""
        return self._ids[level, with_former] if self.values is None else self._states[level, with_former]

    def members(self, level: str, *, with_former: bool) -> Mapping[int, frozenset[str]]:
        """The addresses of each member."""
        if level == ACCOUNT:
            return {ord(account): frozenset(account) for account in self.accounts}
        return {m: a | self.former[m] if with_former else a for m, a in self.users.items()}


NOBODY = Version({}, {}, frozenset(), {})


@dataclass
class People:
    """Everybody as they are now, and the versions so far; version n is `versions[n]`, and 0 is nobody."""

    chance: random.Random
    has_accounts: bool
    with_former: bool
    versions: list[Version] = field(default_factory=lambda: [NOBODY])
    current: int = 0
    addresses: dict[int, set[str]] = field(default_factory=lambda: {m: set[str]() for m in MEMBERS})
    inside: set[int] = field(default_factory=set[int])
    matching: set[str] = field(default_factory=set[str])
    of: dict[int, set[str]] = field(default_factory=lambda: {m: set[str]() for m in MEMBERS})
    values: dict[int, str] | None = None
    _former: dict[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])
    _chance_of_values: random.Random = field(default_factory=random.Random)

    def with_values(self, chance: random.Random) -> None:
        """From now on everybody has a value, which changes by that chance."""
        self.values = dict.fromkeys((*MEMBERS, *map(ord, ACCOUNTS)), VALUES[0])
        self._chance_of_values = chance

    def state(self, level: str, n: int, address: str) -> State:
        """What a version says of an address."""
        ids = self.ids(level, n)
        said = said_in(ids, address)
        return address in ids if said is None else said

    def ids(self, level: str, n: int) -> Collection[str]:
        """The addresses of a version, none of a held one, nor of the one in which everyone has left."""
        if n == EMPTIED:
            return NOBODY.ids(level, with_former=False)
        version = self.versions[n]
        return NOBODY.ids(level, with_former=False) if version.held else version.ids(level, with_former=self.with_former)

    def between(self, one: int, other: int) -> list[int]:
        """The versions from the lower to the higher, both included, the empty one after all others."""
        lower, higher = sorted((one, other))
        found = list(range(lower, min(higher, len(self.versions) - 1) + 1))
        return [*found, EMPTIED] if higher == EMPTIED else found

    def is_held(self, n: int) -> bool:
        return n != EMPTIED and self.versions[n].held

    def members(self, level: str, n: int) -> Mapping[int, Collection[str]]:
        """The addresses of each member of a version."""
        return {} if n == EMPTIED else self.versions[n].members(level, with_former=self.with_former)

    def churn(self) -> None:
        """A few people come, go, move, merge, or share an address."""
        for _ in range(self.chance.randint(1, 4)):
            self._change_one(self.chance.choice(MEMBERS), self.chance.random())
        if self.values is not None:
            for _ in range(self._chance_of_values.randint(0, 3)):
                self.values[self._chance_of_values.choice(list(self.values))] = self._chance_of_values.choice(VALUES)

    def publish(self) -> str:
        """A version of everybody as they are; held when less than half of the last published one."""
        if self.has_accounts:
            self.inside = {m for m in MEMBERS if self.of[m] & self.matching}
        users = {m: frozenset(self.addresses[m]) for m in sorted(self.inside) if self.addresses[m]}
        before = self.versions[self.current]
        seen = {m: before.users.get(m, frozenset[str]()) | before.former.get(m, frozenset[str]()) for m in users}
        former = {m: seen[m] - users[m] for m in users}
        of = {m: frozenset(self.of[m] & self.matching) for m in users}
        version = Version(users, former, frozenset(self.matching), of, values=None if self.values is None else dict(self.values))
        version.held = len(before.users) >= 2 and len(users) * 2 < len(before.users)
        return self.add(version)

    def add(self, version: Version) -> str:
        """Publish a version as it is; gives what to say of it."""
        self.versions.append(version)
        n = len(self.versions) - 1
        if not version.held:
            self.current = n
        held = "held " if version.held else ""
        values = version.values or {}
        people = " ".join(f"{m}{values.get(m, '')}:{''.join(sorted(a))}" for m, a in version.users.items())
        return f"publish v{n} {held}{people} {''.join(sorted(version.accounts))}"

    def release(self) -> int | None:
        """Release a held version that is newer than the current one."""
        for n in range(self.current + 1, len(self.versions)):
            if self.versions[n].held:
                self.versions[n].held = False
                self.current = n
                return n
        return None

    def _change_one(self, m: int, what: float) -> None:
        r = self.chance
        if what < 0.35:
            self.inside ^= {m}
            self.addresses[m] = self.addresses[m] or {r.choice(ADDRESSES)}
        elif what < 0.55:
            self.addresses[m] = {r.choice(ADDRESSES)}
        elif what < 0.7:
            self.addresses[m] = set(r.sample(ADDRESSES, r.randint(1, 2)))
        elif what < 0.8:
            self._merge(m, r.choice(MEMBERS))
        elif self.has_accounts:
            account = r.choice(ACCOUNTS)
            if r.random() < 0.6:
                self.matching ^= {account}
            else:
                self.of[m] ^= {account}

    def _merge(self, gone: int, survivor: int) -> None:
        if gone != survivor:
            self.addresses[survivor] |= self.addresses[gone]
            self.addresses[gone] = set()
            self.inside -= {gone}
