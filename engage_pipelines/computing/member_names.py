"""Members by name and names of members, as of a session's instant: user ids, e-mail addresses, group ids, anonymous ids."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engage_pipelines.domain.computation import Audience, Computation, Level
from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.facts.admission import EVERYONE, admits_strangers
from engage_pipelines.facts.bits import Ids
from engage_pipelines.facts.session import FactsSession

IDENTIFIERS = {Level.USER: ("user_id", "email", "anonymous_id"), Level.ACCOUNT: ("group_id",)}
"""Kinds of identifiers by level, the one that people are known by first."""

# a person without a user id is shown by e-mail, a visitor by anonymous id; of several user ids the one is shown whose number the member has
_NAMES = """
    SELECT a.member, coalesce(any_value(s.id), min(e.id) FILTER (e.kind = 'email'), min(e.id)) FROM asked_members a
    LEFT JOIN subjects_known s ON s.subject = a.member AND s.kind IN ('user', 'account')
    LEFT JOIN identifiers e ON e.member = a.member AND e.kind IN ('email', 'anonymous_id') AND e.current
    GROUP BY a.member"""
_PEOPLE = """
    SELECT DISTINCT i.member FROM identifiers i SEMI JOIN {universe} u ON u.member = i.member WHERE i.id = $1 AND i.kind = $2
    ORDER BY i.member"""
_ACCOUNTS = "SELECT DISTINCT member FROM identifiers WHERE id = $1 AND kind = 'group_id'"
_NEAREST = """
    SELECT id FROM identifiers WHERE kind IN (SELECT unnest($kinds)) AND jaro_winkler_similarity(lower(id), lower($name)) >= 0.85
    ORDER BY jaro_winkler_similarity(lower(id), lower($name)) DESC, id LIMIT 1"""
_KINDS = ("user_id", "email", "anonymous_id")
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Named:
    """A member that someone named, and whether it is a user or an account."""

    member: int
    level: Level


def names_of(session: FactsSession, members: Iterable[int]) -> dict[int, str]:
    """A name for each member that has one: the user id or group id, else the e-mail address, else the anonymous id."""
    asked = np.fromiter(members, dtype=np.int64)
    session.connection.register("asked_members", {"member": asked})
    try:
        return {member: name for member, name in session.connection.execute(_NAMES).fetchall() if name is not None}
    finally:
        session.connection.unregister("asked_members")


def describe(session: FactsSession, members: Ids, level: Level) -> str:
    """SQL over the session for one row per member: of each kind the identifier it has now, and had first; as versions keep them."""
    session.connection.register("described", {"member": members})
    columns = ", ".join(f"arg_min(i.id, (i.first_at, i.id)) FILTER (i.kind = '{kind}') AS {kind}" for kind in IDENTIFIERS[level])
    query = f"SELECT a.member, {columns} FROM described a LEFT JOIN identifiers i ON i.member = a.member AND i.current GROUP BY a.member"
    if level is Level.USER:
        query = f"SELECT * REPLACE (CASE WHEN user_id IS NULL THEN anonymous_id END AS anonymous_id) FROM ({query})"
    return f"{query} ORDER BY {', '.join(IDENTIFIERS[level])}, member"


def find_member(session: FactsSession, name: str, audience: Computation) -> Named:
    """The member that a name means: a user id, an e-mail address or an anonymous id; in an audience or trait of accounts a group id first.

    Raises NotFoundError with the nearest name, ConflictError for an e-mail address that several people have.
    """
    level = audience.level
    if level is Level.ACCOUNT:
        found = session.connection.execute(_ACCOUNTS, [name]).fetchall()
        if found:
            return Named(found[0][0], Level.ACCOUNT)
    universe = EVERYONE if isinstance(audience, Audience) and admits_strangers([audience]) else "users"
    for kind in _KINDS:
        people = [row[0] for row in session.connection.execute(_PEOPLE.format(universe=universe), [name, kind]).fetchall()]
        if len(people) > 1:
            raise _several(session, name, people)
        if people:
            return Named(people[0], Level.USER)
    raise _unknown(session, name, level)


def _several(session: FactsSession, name: str, people: list[int]) -> ConflictError:
    names = sorted(names_of(session, people[:_MOST_SHOWN]).values())
    return ConflictError(f"{len(people)} people have the e-mail address {name!r}.", f"Name one by user id: {', '.join(names)}.")


def _unknown(session: FactsSession, name: str, level: Level) -> NotFoundError:
    if level is Level.USER and session.connection.execute(_ACCOUNTS, [name]).fetchall():
        return NotFoundError(f"{name!r} is an account, and this is an audience of users.", "Name a user id or an e-mail address.")
    kinds = [*_KINDS, *(["group_id"] if level is Level.ACCOUNT else [])]
    near = session.connection.execute(_NEAREST, {"kinds": kinds, "name": name}).fetchall()
    what = "user or account" if level is Level.ACCOUNT else "user"
    remedy = f"Did you mean {near[0][0]!r}?" if near else "Name a user id, an e-mail address or a group id of the facts as of that instant."
    return NotFoundError(f"There is no {what} {name!r}.", remedy)
