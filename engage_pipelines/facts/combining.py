"""Conditions over members as bit sets: what single conditions came to, put together as definitions say, over users and over accounts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from engage_pipelines.domain.computation import EmptyAccounts, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.comparing import holds_for, literal_value
from engage_pipelines.domain.query.tree import AllUsers, And, AnyUser, Comparison, Condition, Events, Not, Or, Trait
from engage_pipelines.facts.bits import Bits, Ids, Universe, distinct, ids_of
from engage_pipelines.facts.leaves import LeafBits, columns_of
from engage_pipelines.facts.scopes import scope_of
from engage_pipelines.facts.session import FactsSession

# ---- users, accounts, and who belongs to whom


@dataclass(frozen=True, slots=True)
class People:
    """Users and accounts, and for each link between them the positions of both."""

    universes: dict[Level, Universe]
    link_accounts: NDArray[np.int64]
    link_users: NDArray[np.int64]

    @property
    def users(self) -> Universe:
        return self.universes[Level.USER]

    @property
    def accounts(self) -> Universe:
        return self.universes[Level.ACCOUNT]

    def users_per_account(self, flags: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """How many users each account has; with `flags`, how many that are flagged."""
        links = self.link_accounts if flags is None else self.link_accounts[flags[self.link_users]]
        return np.bincount(links, minlength=self.accounts.size)

    def users_of(self, accounts: Bits) -> Bits:
        """The users who belong to one of the accounts at least."""
        flags = np.zeros(self.users.size, dtype=np.bool_)
        flags[self.link_users[self.accounts.flags(accounts)[self.link_accounts]]] = True
        return self.users.bits(flags)


def people_of(session: FactsSession, users_from: str) -> People:
    users, accounts = (
        Universe(distinct(ids_of(columns_of(session, f"SELECT member FROM {rows}")["member"]))) for rows in (users_from, "accounts")
    )
    links = columns_of(session, "SELECT account, member FROM account_users")
    of_accounts, known_accounts = accounts.positions(ids_of(links["account"]))
    of_users, known_users = users.positions(ids_of(links["member"]))
    known = known_accounts & known_users
    return People({Level.USER: users, Level.ACCOUNT: accounts}, of_accounts[known], of_users[known])


# ---- definitions over bits


class Members:
    """Who is in, by member id, sorted and distinct; listed each time somebody looks, if bits tell it.

    `users` of an account audience are those of the matching accounts; `accounts` of a user audience is empty.
    """

    def __init__(self, users: Ids | Callable[[], Ids], accounts: Ids | Callable[[], Ids]) -> None:
        self._users, self._accounts = users, accounts

    @property
    def users(self) -> Ids:
        return self._users() if callable(self._users) else self._users

    @property
    def accounts(self) -> Ids:
        return self._accounts() if callable(self._accounts) else self._accounts


@dataclass(frozen=True, slots=True)
class Combiner:
    """Conditions to bits. `levels` are those of audiences, `traits` those of computed traits; `audiences` holds the bits of those evaluated
    so far, each at its own level.
    """

    people: People
    leaves: LeafBits
    levels: Mapping[str, Level]
    traits: Mapping[str, Level]
    audiences: dict[str, Bits | EngageError]
    at_us: int

    def members(self, level: Level, bits: Bits) -> Members:
        if level is Level.USER:
            return Members(lambda: self.people.users.chosen(bits), np.zeros(0, dtype=np.int64))
        return Members(lambda: self.people.users.chosen(self.people.users_of(bits)), lambda: self.people.accounts.chosen(bits))

    def combine(self, condition: Condition, level: Level, empty: EmptyAccounts) -> Bits:
        """The members of `level` for whom the condition holds."""
        match condition:
            case And(parts):
                return reduce(np.bitwise_and, (self.combine(part, level, empty) for part in parts))
            case Or(parts):
                return reduce(np.bitwise_or, (self.combine(part, level, empty) for part in parts))
            case Not(part):
                return ~self.combine(part, level, empty)
            case AnyUser(part):
                return self._any(self.combine(part, Level.USER, empty), empty)
            case AllUsers(part):
                return self._all(self.combine(part, Level.USER, empty), empty, of_none=isinstance(part, Not))
            case Comparison():
                found = scope_of(condition, level, self.levels, self.traits)
                bits = self._comparison(condition, found.level, found.audience)
                return self._any(bits, empty) if found.level is not level else bits

    def _comparison(self, comparison: Comparison, level: Level, audience: str | None) -> Bits:
        if audience is not None:
            return self._membership(comparison, level, audience)
        if isinstance(comparison.scalar.source, Events | Trait):
            return self.leaves.of(level, comparison)
        truth = holds_for(comparison, literal_value(comparison.scalar.source), at_us=self.at_us)
        return self.people.universes[level].constant(truth)

    def _membership(self, comparison: Comparison, level: Level, audience: str) -> Bits:
        """Membership is true or false, never missing, and is compared like any truth value."""
        bits = self.membership(audience, level)
        of_members = holds_for(comparison, True, at_us=self.at_us)
        if of_members == holds_for(comparison, False, at_us=self.at_us):
            return self.people.universes[level].constant(of_members)
        return bits if of_members else ~bits

    def membership(self, audience: str, level: Level) -> Bits:
        """Those of a level who are in an audience. Raises the EngageError of one that cannot be evaluated."""
        bits = self.audiences[audience]
        if isinstance(bits, EngageError):
            raise bits
        return bits if level is self.levels[audience] else self.people.users_of(bits)

    def _any(self, users: Bits, empty: EmptyAccounts) -> Bits:
        flags = self.people.users_per_account(self.people.users.flags(users)) > 0
        return self._with_empty(flags, empty, default=False)

    def _all(self, users: Bits, empty: EmptyAccounts, *, of_none: bool) -> Bits:
        flags = self.people.users_per_account(self.people.users.flags(users)) == self.people.users_per_account()
        return self._with_empty(flags, empty, default=of_none)

    def _with_empty(self, flags: NDArray[np.bool_], empty: EmptyAccounts, *, default: bool) -> Bits:
        without_users = self.people.users_per_account() == 0
        flags[without_users] = default if empty is EmptyAccounts.DEFAULT else empty is EmptyAccounts.TRUE
        return self.people.accounts.bits(flags)
