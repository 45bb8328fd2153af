"""Evaluation of audiences over facts as of one instant: every distinct condition once, then the definitions combined as bit sets.

An audience that cannot be evaluated carries its error, and the others are evaluated all the same. Nothing is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.comparing import holds_for, literal_value
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.tree import AllUsers, And, AnyUser, Comparison, Condition, Events, Not, Or, Trait
from engage_pipelines.facts.admission import EVERYONE, Admission, admits_strangers
from engage_pipelines.facts.audience_order import Readable, in_order
from engage_pipelines.facts.bits import Bits, Ids, Universe, ids_of
from engage_pipelines.facts.leaves import LeafBits, ask, columns_of
from engage_pipelines.facts.scopes import scope_of, scoped
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.unknown_names import KnownNames, warnings_of


@dataclass(frozen=True, slots=True)
class Members:
    """Who is in, by member id, sorted and distinct.

    `users` of an account audience are those of the matching accounts; `accounts` of a user audience is empty.
    """

    users: Ids
    accounts: Ids


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of one audience: members or an error, and warnings about names that the facts do not know."""

    key: str
    members: Members | None
    error: EngageError | None
    warnings: tuple[str, ...]


def evaluate(session: FactsSession, audiences: Sequence[Audience], *, context: Sequence[Audience] = ()) -> dict[str, Evaluated]:
    """Each of the audiences by key. `context` holds the others that definitions may refer to by trait('key')."""
    if session.elsewhere is not None:
        return session.elsewhere.evaluate(session, audiences, context)
    plan = {key: _as_of(each, session.at_us) for key, each in in_order(audiences, context).items()}
    readable = [each for each in plan.values() if isinstance(each, Readable)]
    levels = {each.audience.key: each.audience.level for each in readable}
    with_strangers = admits_strangers([each.audience for each in readable])
    people = _people(session, EVERYONE if with_strangers else "users")
    leaves = ask(session, people.universes, _leaves(readable, levels))
    combiner = _Combiner(people, leaves, levels, {}, session.at_us, Admission(session, people.users, with_strangers))
    known = KnownNames(session, leaves.seen_events, leaves.seen_traits)
    results: dict[str, Evaluated] = {}
    for key, each in plan.items():
        if isinstance(each, Readable):
            warnings = tuple(warnings_of(each.definition, known, levels))
            results[key] = _evaluated(each, combiner, warnings)
        else:
            results[key] = Evaluated(key, None, each, ())
    return {audience.key: results[audience.key] for audience in audiences}


def _as_of(each: Readable | EngageError, at_us: int) -> Readable | EngageError:
    """The audience with its definition as it is meant at the instant, if its events count from some instant on."""
    if not isinstance(each, Readable):
        return each
    return Readable(each.audience, count_events_since(each.definition, each.audience.events_since_us, at_us=at_us))


def _leaves(readable: Sequence[Readable], levels: Mapping[str, Level]) -> list[tuple[Level, Comparison]]:
    """What is to be asked of the facts; literals and memberships are not."""
    return [
        (each.level, each.comparison)
        for one in readable
        for each in scoped(one.definition.condition, one.definition.level, levels)
        if each.audience is None and isinstance(each.comparison.scalar.source, Events | Trait)
    ]


def _evaluated(each: Readable, combiner: "_Combiner", warnings: tuple[str, ...]) -> Evaluated:
    key = each.audience.key
    try:
        bits = combiner.combine(each.definition.condition, each.definition.level, each.audience.empty_accounts)
        if each.audience.level is Level.USER:
            bits = combiner.admission.admit(bits, each.audience.external_ids)
    except EngageError as error:
        combiner.audiences[key] = error
        return Evaluated(key, None, error, warnings)
    combiner.audiences[key] = bits
    return Evaluated(key, combiner.members(each.audience.level, bits), None, warnings)


# ---- users, accounts, and who belongs to whom


@dataclass(frozen=True, slots=True)
class _People:
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


def _people(session: FactsSession, users_from: str) -> _People:
    users, accounts = (
        Universe(ids_of(columns_of(session, f"SELECT DISTINCT member FROM {rows} ORDER BY member")["member"]))
        for rows in (users_from, "accounts")
    )
    links = columns_of(session, "SELECT account, member FROM account_users")
    of_accounts, known_accounts = accounts.positions(ids_of(links["account"]))
    of_users, known_users = users.positions(ids_of(links["member"]))
    known = known_accounts & known_users
    return _People({Level.USER: users, Level.ACCOUNT: accounts}, of_accounts[known], of_users[known])


# ---- definitions over bits


@dataclass(frozen=True, slots=True)
class _Combiner:
    """Conditions to bits; `audiences` holds the bits of the audiences evaluated so far, each at its own level."""

    people: _People
    leaves: LeafBits
    levels: Mapping[str, Level]
    audiences: dict[str, Bits | EngageError]
    at_us: int
    admission: Admission

    def members(self, level: Level, bits: Bits) -> Members:
        if level is Level.USER:
            return Members(self.people.users.chosen(bits), np.zeros(0, dtype=np.int64))
        return Members(self.people.users.chosen(self.people.users_of(bits)), self.people.accounts.chosen(bits))

    def combine(self, condition: Condition, level: Level, empty: EmptyAccounts) -> Bits:
        """The members of `level` for whom the condition holds."""
        match condition:
            case And(parts):
                return np.bitwise_and.reduce([self.combine(part, level, empty) for part in parts])
            case Or(parts):
                return np.bitwise_or.reduce([self.combine(part, level, empty) for part in parts])
            case Not(part):
                return ~self.combine(part, level, empty)
            case AnyUser(part):
                return self._any(self.combine(part, Level.USER, empty), empty)
            case AllUsers(part):
                return self._all(self.combine(part, Level.USER, empty), empty, of_none=isinstance(part, Not))
            case Comparison():
                found = scope_of(condition, level, self.levels)
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
        bits = self.audiences[audience]
        if isinstance(bits, EngageError):
            raise bits
        if level is not self.levels[audience]:
            bits = self.people.users_of(bits)
        of_members = holds_for(comparison, True, at_us=self.at_us)
        if of_members == holds_for(comparison, False, at_us=self.at_us):
            return self.people.universes[level].constant(of_members)
        return bits if of_members else ~bits

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
