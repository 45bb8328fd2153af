"""One member's own facts, as the reference meaning reads them: present traits, event rows, memberships, and the users of an account."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.query import Definition, audience_references, events, references
from engage_pipelines.domain.query.meaning import Profile, Row
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.evaluate import Members, evaluate
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
    """Who is in the audiences that a definition refers to, as of the same instant."""

    levels: Mapping[str, Level]
    members: Mapping[str, Members]

    @property
    def of_users(self) -> frozenset[str]:
        return frozenset(key for key, level in self.levels.items() if level is Level.USER)

    def held_by(self, member: int, level: Level) -> dict[str, bool]:
        """Users are asked about audiences of both levels, accounts about those of accounts."""
        if level is Level.USER:
            return {key: _has(found.users, member) for key, found in self.members.items()}
        return {key: _has(found.accounts, member) for key, found in self.members.items() if self.levels[key] is Level.ACCOUNT}


def memberships_for(session: FactsSession, definition: Definition, known: Sequence[Audience]) -> Memberships:
    """Evaluates the audiences that the definition refers to. Raises the EngageError of one that cannot be evaluated."""
    keys = audience_references(definition)
    referred = [audience for audience in known if audience.key in keys]
    members: dict[str, Members] = {}
    for key, found in (evaluate(session, referred, context=known) if referred else {}).items():
        if found.error is not None:
            raise found.error
        assert found.members is not None
        members[key] = found.members
    return Memberships({audience.key: audience.level for audience in referred}, members)


def load_subject(session: FactsSession, member: int, definition: Definition, memberships: Memberships) -> Subject:
    """The member with every fact that the definition may look at; of an account, its users too."""
    if definition.level is Level.USER:
        return _load(session, [member], definition, memberships)[0]
    query = "SELECT DISTINCT l.member FROM account_users l SEMI JOIN users u ON u.member = l.member WHERE l.account = $1 ORDER BY 1"
    users = [row[0] for row in session.connection.execute(query, [member]).fetchall()]
    account, *people = _load(session, [member, *users], definition, memberships, account=member)
    profile = Profile(account.profile.traits, (), account.profile.audiences, [each.profile for each in people])
    return Subject(member, profile, account.set_at, tuple(people))


def _load(
    session: FactsSession, members: Sequence[int], definition: Definition, memberships: Memberships, *, account: int | None = None
) -> list[Subject]:
    values, set_at = _traits(session, members, references(definition))
    rows = _rows(session, members, events(definition))
    return [
        Subject(
            member,
            Profile(values[member], rows[member], memberships.held_by(member, Level.ACCOUNT if member == account else Level.USER)),
            set_at[member],
        )
        for member in members
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
