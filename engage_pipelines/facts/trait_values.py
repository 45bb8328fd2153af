"""Values of traits, evaluated: a temporary table of member and JSON text, for the version and for what refers to the trait."""

from dataclasses import dataclass
from itertools import count

import duckdb
import numpy as np
import pyarrow as pa

from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.audience_order import ReadableTrait
from engage_pipelines.facts.bits import Ids, ids_of
from engage_pipelines.facts.combining import Combiner, Members
from engage_pipelines.facts.known import Known, Relation
from engage_pipelines.facts.leaves import columns_of, unreadable
from engage_pipelines.facts.member_values import reduced_rows
from engage_pipelines.facts.projection import on_users
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.sql_traits import select_values
from engage_pipelines.facts.store import quoted

_numbers = count()


@dataclass(frozen=True, slots=True)
class Values:
    """The values of those who have one; `rows` is SQL over the session for member and value, JSON text.

    `missing` is the value, if any, of profiles that cannot have one of their own: those that nobody has identified. `on_users` is, of
    traits of accounts, SQL for the values of their users.
    """

    rows: str
    missing: str | None = None
    on_users: str | None = None


@dataclass(frozen=True, slots=True)
class FoundValues:
    """The values of a trait: of users or accounts, as versions keep them, and as a relation for what refers to the trait."""

    values: Values
    relation: Relation
    warnings: tuple[str, ...] = ()


def evaluate_trait(session: FactsSession, each: ReadableTrait, known: Known) -> FoundValues:
    """The values of a trait as of the session's instant. Raises StateError when the facts cannot be read."""
    if each.definition is None:
        return _selected(session, each)
    found = reduced_rows(each.definition.scalar, each.trait.level, session.events, known)
    relation = Relation(keep_rows(session, found.rows), found.missing)
    return FoundValues(_values(each, relation, found.missing), relation)


def _selected(session: FactsSession, each: ReadableTrait) -> FoundValues:
    try:
        found = select_values(session, each.trait, lambda query: _keep(session, query))
    except duckdb.Error as error:
        raise unreadable(error) from error
    relation = Relation(keep_rows(session, found.rows))
    return FoundValues(_values(each, relation), relation, found.warnings)


def _values(each: ReadableTrait, relation: Relation, missing: str | None = None) -> Values:
    rows = _of_everyone(relation, each.trait.level)
    return Values(rows, missing, on_users(rows, each.trait.conflict) if each.trait.level is Level.ACCOUNT else None)


def computed_values(each: ReadableTrait, rows: str, missing: str | None) -> Values:
    """The values of a trait that were computed elsewhere: `rows` is SQL over the session for member and value, others have `missing`."""
    return _values(each, Relation(rows, missing), missing)


def keep_rows(session: FactsSession, query: str) -> str:
    """The rows of a query, kept until the session is closed; SQL for them."""
    try:
        return f"SELECT member, value FROM ({_keep(session, query)})"
    except duckdb.Error as error:
        raise unreadable(error) from error


def _keep(session: FactsSession, query: str) -> str:
    name = f"kept_values_{next(_numbers)}"
    session.connection.execute(f"CREATE TEMP TABLE {name} AS {query}")
    return f"SELECT * FROM {name}"


def _of_everyone(relation: Relation, level: Level) -> str:
    """The values of profiles that can have one: users who are known by an identifier, and accounts."""
    people = "users" if level is Level.USER else "accounts"
    if relation.missing is None:
        return f"SELECT v.member, v.value FROM ({relation.rows}) v SEMI JOIN {people} p ON p.member = v.member"
    value = relation.value("v.value")
    return f"SELECT p.member, {value} AS value FROM {people} p LEFT JOIN ({relation.rows}) v ON v.member = p.member"


def members_of(session: FactsSession, values: Values, level: Level) -> Members:
    """Those who have a value; of accounts their users too."""
    ids = _ids(session, values.rows)
    if level is Level.USER:
        return Members(ids, np.zeros(0, dtype=np.int64))
    return Members(_ids(session, values.on_users or values.rows), ids)


def _ids(session: FactsSession, rows: str) -> Ids:
    return ids_of(columns_of(session, f"SELECT member FROM ({rows}) ORDER BY member")["member"])


def keep_membership(session: FactsSession, known: Known, combiner: Combiner, key: str) -> None:
    """Have membership in an audience read as a value: true or false."""
    levels = {Level.USER} if combiner.levels[key] is Level.USER else set(Level)
    for level in levels:
        ids = combiner.people.universes[level].chosen(combiner.membership(key, level))
        session.connection.register("members_given", pa.table({"member": pa.array(ids, pa.int64())}))
        rows = keep_rows(session, f"SELECT member, {quoted('true')} AS value FROM members_given")
        session.connection.unregister("members_given")
        known.relations[level, key] = Relation(rows, "false")
