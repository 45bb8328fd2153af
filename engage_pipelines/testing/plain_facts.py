"""Facts given as plain Python values: the relations of a FactsSession, and the profiles of the reference meaning."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from engage_pipelines.domain.query.meaning import Profile, Row
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import leave_out_faulty

_NOTHING: Mapping[int, Mapping[str, Json]] = {}
FIRST_ACCOUNT = 1_000


@dataclass(frozen=True)
class TraitRow:
    key: str
    ts: int
    message_id: str
    value: object


@dataclass(frozen=True)
class Member:
    """A user or an account by member id, with all rows it ever got; `users` are the present ones of an account."""

    member: int
    traits: Sequence[TraitRow] = ()
    rows: Sequence[Row] = ()
    users: Sequence[int] = ()


@dataclass(frozen=True)
class Facts:
    users: Sequence[Member] = ()
    accounts: Sequence[Member] = ()
    strangers: Sequence[Member] = field(default=())

    def everyone(self) -> list[Member]:
        return [*self.users, *self.accounts, *self.strangers]


_TABLES = """
CREATE TABLE users(member BIGINT);
CREATE TABLE accounts(member BIGINT);
CREATE TABLE account_users(account BIGINT, member BIGINT);
CREATE TABLE account_calls(account BIGINT, member BIGINT, called_at BIGINT);
CREATE TABLE event_rows(member BIGINT, event VARCHAR, ts BIGINT, message_id VARCHAR, properties VARCHAR, context VARCHAR, source VARCHAR);
CREATE TABLE trait_rows(member BIGINT, key VARCHAR, ts BIGINT, message_id VARCHAR, value VARCHAR, level VARCHAR);
CREATE VIEW event_names AS SELECT event AS name, count(*) AS rows FROM event_rows GROUP BY 1;
CREATE VIEW trait_keys AS SELECT DISTINCT level, key FROM trait_rows;
"""


def as_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def open_engine() -> duckdb.DuckDBPyConnection:
    """A DuckDB with empty relations, to be filled as often as one likes, and closed."""
    connection = duckdb.connect(config={"threads": 1})
    leave_out_faulty(connection)
    connection.execute(_TABLES)
    return connection


def session_of(facts: Facts, at_us: int, engine: duckdb.DuckDBPyConnection | None = None) -> FactsSession:
    """A session whose relations hold what is visible at that instant, and nothing else; in an engine of its own unless one is given."""
    connection = engine or open_engine()
    for table in ("users", "accounts", "account_users", "event_rows", "trait_rows"):
        connection.execute(f"DELETE FROM {table}")
    _fill(connection, facts, at_us)
    return FactsSession(connection, at_us, "test")


def _fill(connection: duckdb.DuckDBPyConnection, facts: Facts, at_us: int) -> None:
    accounts = {each.member for each in facts.accounts}
    events = [
        (each.member, row.event, row.ts, row.message_id, as_text(row.properties), as_text(row.context), row.source)
        for each in facts.everyone()
        for row in each.rows
        if row.ts <= at_us
    ]
    traits = [
        (each.member, row.key, row.ts, row.message_id, as_text(row.value), "account" if each.member in accounts else "user")
        for each in facts.everyone()
        for row in each.traits
        if row.ts <= at_us
    ]
    _insert(connection, "users", [(each.member,) for each in facts.users])
    _insert(connection, "accounts", [(each.member,) for each in facts.accounts])
    _insert(connection, "account_users", [(each.member, user) for each in facts.accounts for user in each.users])
    _insert(connection, "event_rows", events)
    _insert(connection, "trait_rows", traits)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        width = ", ".join("?" for _ in rows[0])
        values = ", ".join(f"({width})" for _ in rows)
        connection.execute(f"INSERT INTO {table} VALUES {values}", [value for row in rows for value in row])


def profile_of(
    member: Member,
    facts: Facts,
    at_us: int,
    audiences: Mapping[int, Mapping[str, bool]],
    computed: Mapping[int, Mapping[str, Json]] = _NOTHING,
) -> Profile:
    """What the reference meaning is asked about; `audiences` is the membership of each member, `computed` its computed traits."""
    last: dict[str, TraitRow] = {}
    for row in sorted(member.traits, key=lambda row: (row.ts, row.message_id)):
        if row.ts <= at_us:
            last[row.key] = row
    by_id = {each.member: each for each in facts.users}
    return Profile(
        traits={key: row.value for key, row in last.items()},  # type: ignore[misc]
        rows=member.rows,
        audiences=audiences.get(member.member, {}),
        users=[profile_of(by_id[user], facts, at_us, audiences, computed) for user in member.users],
        computed=computed.get(member.member, {}),
    )
