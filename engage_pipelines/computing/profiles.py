"""One member's own facts, as the reference meaning reads them: present traits, event rows, memberships, and the users of an account."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engage_pipelines.domain.computation import Audience, Computation, Level
from engage_pipelines.domain.query import Definition, TraitDefinition, computation_references, events, references
from engage_pipelines.domain.query.meaning import Profile, Row
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.evaluate import Members, Values, evaluate
from engage_pipelines.facts.session import FactsSession

_TRAITS = """
    SELECT t.member, t.key, arg_max(t.value, (t.ts, t.message_id)), max(t.ts) FROM trait_rows t
    WHERE t.member IN (SELECT unnest($members)) AND t.key IN (SELECT unnest($keys)) GROUP BY t.member, t.key"""
_EVENTS = """
    SELECT e.member, e.event, e.ts, e.message_id, e.properties, e.context, e.source FROM event_rows e
    WHERE e.event IN (SELECT unnest($names)) AND e.member IN (SELECT unnest($members))"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A user, or an account with its users; `set_at` says when each present trait got its value."""

    member: int
    profile: Profile
    set_at: Mapping[str, int] = field(default_factory=dict[str, int])
    users: tuple["Subject", ...] = ()


@dataclass(frozen=True, slots=True)
class Memberships:
    """Who is in the audiences that a definition refers to, and the values of the traits, as of the same instant."""

    levels: Mapping[str, Level]
    members: Mapping[str, Members]
    values: Mapping[str, Values] = field(default_factory=dict[str, Values])

    @property
    def of_users(self) -> frozenset[str]:
        return frozenset(key for key in self.members if self.levels[key] is Level.USER)

    @property
    def traits_of_users(self) -> frozenset[str]:
        return frozenset(key for key in self.values if self.levels[key] is Level.USER)

    def computed_for(self, session: FactsSession, member: int, level: Level) -> dict[str, Json]:
        """The values that a member has of the traits of its level."""
        found: dict[str, Json] = {}
        for key, values in self.values.items():
            if self.levels[key] is level:
                rows = session.connection.execute(f"SELECT value FROM ({values.rows}) WHERE member = $1", [member]).fetchall()
                text = rows[0][0] if rows else values.missing
                found[key] = None if text is None else json.loads(text)
        return found

    def held_by(self, member: int, level: Level) -> dict[str, bool]:
        """Users are asked about audiences of both levels, accounts about those of accounts."""
        if level is Level.USER:
            return {key: _has(found.users, member) for key, found in self.members.items()}
        return {key: _has(found.accounts, member) for key, found in self.members.items() if self.levels[key] is Level.ACCOUNT}


def memberships_for(session: FactsSession, definition: Definition | TraitDefinition, known: Sequence[Computation]) -> Memberships:
    """Evaluates what the definition refers to. Raises the EngageError of what cannot be evaluated."""
    audiences = {each.key for each in known if isinstance(each, Audience)}
    traits = {each.key for each in known} - audiences
    keys = computation_references(definition, audiences=audiences, traits=traits)
    referred = [each for each in known if each.key in keys]
    members: dict[str, Members] = {}
    values: dict[str, Values] = {}
    for key, found in (evaluate(session, referred, context=known) if referred else {}).items():
        if found.error is not None:
            raise found.error
        if found.values is not None:
            values[key] = found.values
            continue
        assert found.members is not None
        members[key] = found.members
    return Memberships({each.key: each.level for each in referred}, members, values)


def load_subjects(
    session: FactsSession, members: Sequence[int], definition: Definition | TraitDefinition, memberships: Memberships
) -> list[Subject]:
    """Each member with every fact that the definition may look at; of accounts, their users too. Raises StateError."""
    users = {member: [] if definition.level is Level.USER else _users_of(session, member) for member in members}
    session.read_rows(sorted({*members, *(user for each in users.values() for user in each)}), definition)
    return [_load_subject(session, member, users[member], definition, memberships) for member in members]


def _users_of(session: FactsSession, account: int) -> list[int]:
    query = "SELECT DISTINCT l.member FROM account_users l SEMI JOIN users u ON u.member = l.member WHERE l.account = $1 ORDER BY 1"
    return [row[0] for row in session.connection.execute(query, [account]).fetchall()]


def _load_subject(
    session: FactsSession, member: int, users: Sequence[int], definition: Definition | TraitDefinition, memberships: Memberships
) -> Subject:
    if definition.level is Level.USER:
        return _load(session, [member], definition, memberships)[0]
    account, *people = _load(session, [member, *users], definition, memberships, account=member)
    own = account.profile
    profile = Profile(own.traits, (), own.audiences, [each.profile for each in people], own.computed)
    return Subject(member, profile, account.set_at, tuple(people))


def _load(
    session: FactsSession,
    members: Sequence[int],
    definition: Definition | TraitDefinition,
    memberships: Memberships,
    *,
    account: int | None = None,
) -> list[Subject]:
    values, set_at = _traits(session, members, references(definition))
    rows = _rows(session, members, events(definition))
    levels = {member: Level.ACCOUNT if member == account else Level.USER for member in members}
    return [
        Subject(
            member,
            Profile(
                values[member],
                rows[member],
                memberships.held_by(member, level),
                computed=memberships.computed_for(session, member, level),
            ),
            set_at[member],
        )
        for member, level in levels.items()
    ]


def _traits(
    session: FactsSession, members: Sequence[int], keys: AbstractSet[str]
) -> tuple[dict[int, dict[str, Json]], dict[int, dict[str, int]]]:
    values: dict[int, dict[str, Json]] = {member: {} for member in members}
    set_at: dict[int, dict[str, int]] = {member: {} for member in members}
    if keys:
        found = session.connection.execute(_TRAITS, {"members": list(members), "keys": sorted(keys)})
        for member, key, value, ts in found.fetchall():
            values[member][key] = json.loads(value)
            if ts is not None:
                set_at[member][key] = ts
    return values, set_at


def _rows(session: FactsSession, members: Sequence[int], names: AbstractSet[str]) -> dict[int, list[Row]]:
    rows: dict[int, list[Row]] = {member: [] for member in members}
    if names:
        found = session.connection.execute(_EVENTS, {"members": list(members), "names": sorted(names)})
        for member, event, ts, message_id, properties, context, source in found.fetchall():
            rows[member].append(Row(event, ts, message_id, _object(properties), _object(context), source))
    return rows


def _object(text: str | None) -> dict[str, Json]:
    value = None if text is None else json.loads(text)
    return value if isinstance(value, dict) else {}


def _has(ids: NDArray[np.int64], member: int) -> bool:
    place = int(np.searchsorted(ids, member))
    return place < len(ids) and int(ids[place]) == member
