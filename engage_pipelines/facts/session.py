"""Facts as of one instant: what evaluation, snapshots and people's SQL read.

One in-memory DuckDB over the files that the manifest named when the session was opened; a writer at the same time changes nothing in it.
Rows after `at_us` are invisible; links, merges and memberships are as they were then. Instants are UTC microseconds since 1970.

| relation | rows |
|---|---|
| users(member) | every profile that holds a user id or an e-mail trait |
| accounts(member) | every account |
| account_users(account, member) | present links between accounts and users, each once |
| account_calls(account, member, called_at) | the last Group call about each account and user, also of those that are not linked any more |
| identifiers(member, kind, id, current, first_at, last_at) | user_id, anonymous_id, group_id; email, current while the trait's value |
| event_rows(member, event, ts, message_id, properties, context, source, kind) | properties and context as JSON text |
| trait_rows(member, key, ts, message_id, value, level) | every value a trait ever had, as JSON text; level user or account |
| event_names(name, rows), trait_keys(level, key) | what there is |
| late_claims(member, claimed_by, anonymous_id, ts) | users that an anonymous id was seen with after its first one |
"""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import duckdb
import pyarrow as pa

from engage_pipelines.domain.computation import Computation
from engage_pipelines.domain.query import Definition, TraitDefinition
from engage_pipelines.facts.bits import Ids
from engage_pipelines.facts.event_source import EventSource
from engage_pipelines.facts.identity_sql import resolve_members
from engage_pipelines.facts.store import Manifest, open_engine, read_manifest, relation, state_errors

if TYPE_CHECKING:
    from engage_pipelines.facts.evaluate import Evaluated

_TABLES = {
    # most users are subjects of their own, each once; only the rest has to be made distinct
    "users": """
        WITH alone AS (
            SELECT s.subject AS member FROM subjects_seen s ANTI JOIN member_of m ON m.subject = s.subject WHERE s.kind = 'user'
        ),
        others AS (
            SELECT DISTINCT o.member FROM (
                SELECT m.member FROM subjects_seen s JOIN member_of m ON m.subject = s.subject WHERE s.kind = 'user'
                UNION ALL
                SELECT member FROM trait_rows WHERE key = 'email' AND level = 'user' AND starts_with(value, '"') AND value <> '""'
            ) o ANTI JOIN alone a ON a.member = o.member
        )
        FROM alone UNION ALL FROM others""",
    "accounts": "SELECT s.subject AS member FROM subjects_seen s WHERE s.kind = 'account'",
    "account_users": """
        SELECT l.account, l.member FROM (
            SELECT s.account_subject AS account, {member} AS member, arg_max(s."left", (s.ts, s.message_id)) AS gone
            FROM {memberships} s {of_member_user} WHERE s.ts <= {at} GROUP BY ALL
        ) l SEMI JOIN users u ON u.member = l.member WHERE NOT l.gone""",
}
_VIEWS = {
    "subjects_known": "SELECT subject, kind, id, first_at, least(last_at, {at}) AS last_at FROM {folded_subjects}",
    "subjects_seen": "SELECT * FROM subjects_known WHERE first_at <= {at}",
    "trait_rows": """
        SELECT {member} AS member, s.key, s.ts, s.message_id, s.value, s.level FROM {traits} s {of_member} WHERE s.ts <= {at}""",
    "traits_given": "SELECT s.subject, s.key, s.ts, s.value FROM {traits} s WHERE s.ts <= {at}",
    "emails": """
        SELECT member, id, ts, message_id FROM (
            SELECT member, CASE WHEN json_type(value) = 'VARCHAR' THEN value ->> '$' END AS id, ts, message_id
            FROM trait_rows WHERE key = 'email' AND level = 'user'
        ) WHERE id <> ''""",
    "event_rows": """
        SELECT {member} AS member, s.event, s.ts, s.message_id, s.properties, s.context, s.source, s.kind
        FROM {events} s {of_member} WHERE s.ts <= {at}""",
    "event_names": "SELECT event AS name, count(*) AS rows FROM {events} s WHERE s.ts <= {at} GROUP BY 1",
    "trait_keys": "SELECT DISTINCT level, key FROM {traits} s WHERE s.ts <= {at}",
    # an id that nobody used but an alias named is a user id, unless it is the id of a visitor
    "aliased_ids": """
        SELECT l.from_subject AS subject, s.kind, s.id, min(l.ts) AS first_at, min(l.ts) AS last_at
        FROM linked l JOIN subjects_known s ON s.subject = l.from_subject
        WHERE l.kind = 'alias' AND (s.first_at > {at} OR s.first_at IS NULL)
          AND s.id NOT IN (SELECT id FROM subjects_seen WHERE kind = 'anonymous')
        GROUP BY ALL""",
    "current_emails": """
        SELECT member, arg_max(value, (ts, message_id)) AS value FROM trait_rows WHERE key = 'email' AND level = 'user' GROUP BY 1""",
    "identifiers": """
        SELECT {member} AS member, CASE s.kind WHEN 'user' THEN 'user_id' WHEN 'anonymous' THEN 'anonymous_id' ELSE 'group_id' END AS kind,
               s.id, true AS current, s.first_at, s.last_at
        FROM (SELECT * FROM subjects_seen UNION ALL SELECT * FROM aliased_ids) s {of_member}
        UNION ALL
        SELECT e.member, 'email', e.id, bool_or(json_type(c.value) = 'VARCHAR' AND c.value ->> '$' = e.id), min(e.ts), max(e.ts)
        FROM emails e JOIN current_emails c USING (member) GROUP BY e.member, e.id""",
    "late_claims": """
        SELECT m.member, l.to_subject AS claimed_by, s.id AS anonymous_id, l.ts
        FROM linked l JOIN subjects_known s ON s.subject = l.from_subject AND s.kind = 'anonymous'
        JOIN member_of m ON m.subject = l.from_subject
        LEFT JOIN member_of o ON o.subject = l.to_subject
        WHERE l.kind = 'identify' AND coalesce(o.member, l.to_subject) <> m.member""",
}
_CALLS = """
    SELECT s.account_subject AS account, {member} AS member, max(s.ts) AS called_at
    FROM {memberships} s {of_member_user} WHERE s.ts <= {at} GROUP BY ALL"""
_FOLDED = (
    "(SELECT subject, any_value(kind) AS kind, any_value(id) AS id, min(first_at) AS first_at, max(last_at) AS last_at FROM {} GROUP BY 1)"
)


class Elsewhere(Protocol):
    """Where the rows of events and traits are when they are not here: definitions are asked there, see `warehouse`."""

    def evaluate(
        self, session: "FactsSession", computations: Sequence[Computation], context: Sequence[Computation]
    ) -> "dict[str, Evaluated]": ...
    def read_rows(self, session: "FactsSession", members: Sequence[int], definition: Definition | TraitDefinition) -> None: ...
    def next_change(self, session: "FactsSession", ages: Collection[tuple[str, int]]) -> int | None: ...
    def close(self) -> None: ...


SELECT_S = 300.0


@dataclass(frozen=True, slots=True)
class FactsSession:
    """A connection with the relations above; to be used by one thread, and closed. SELECTs of people's own take `select_s` at most."""

    connection: duckdb.DuckDBPyConnection
    at_us: int
    fingerprint: str
    source: EventSource | None = None
    elsewhere: Elsewhere | None = None
    select_s: float = SELECT_S

    @property
    def events(self) -> EventSource:
        """Where evaluation reads the rows of events from."""
        return self.source or EventSource(self.at_us)

    @property
    def trait_values(self) -> str:
        """SQL for the rows of traits: subject, key, ts, value."""
        if self.source is None:
            return "(SELECT member AS subject, key, ts, value FROM trait_rows)"
        return "traits_given"

    @property
    def merged_subjects(self) -> str:
        """SQL for the subjects that belong to another member than themselves: subject, member."""
        return "member_of" if self.events.is_merged else "(SELECT 0::BIGINT AS subject, 0::BIGINT AS member LIMIT 0)"

    def read_rows(self, members: Sequence[int], definition: Definition | TraitDefinition) -> None:
        """Have event_rows and trait_rows hold what the definition may look at of these members; elsewhere they hold it of nobody."""
        if self.elsewhere is not None:
            self.elsewhere.read_rows(self, members, definition)

    def materialize(self, view: str) -> None:
        """Keep the rows of a view from here on, where they are read more than once."""
        self.connection.execute(
            f'CREATE TEMP TABLE "{view}_kept" AS FROM "{view}"; CREATE OR REPLACE TEMP VIEW "{view}" AS FROM "{view}_kept"'
        )

    def close(self) -> None:
        self.connection.close()
        if self.elsewhere is not None:
            self.elsewhere.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Given:
    """People who are known already and need not be looked up: members, sorted; subjects that belong to another member than themselves,
    and which; and the account and user of each link, None to look them up.
    """

    users: Ids
    accounts: Ids
    merged: Ids
    merged_to: Ids
    links: tuple[Ids, Ids] | None


Look = Callable[[duckdb.DuckDBPyConnection], Given | None]
"""Finds out about people by an engine that has no relations yet."""


def open_session(facts_dir: Path, space: str, *, at_us: int, manifest: Manifest | None = None, look: Look | None = None) -> FactsSession:
    """The facts of a space as of an instant; none at all is no error. With `manifest` those that it names, though others came since.

    Raises StateError when they cannot be read.
    """
    folder = facts_dir / space
    with state_errors(folder):
        manifest = manifest or read_manifest(folder)
        connection = open_engine(_spill(folder, manifest))
        with _closed_on_failure(connection):
            is_merged = _define(connection, folder, manifest, at_us, look(connection) if look else None)
        return FactsSession(connection, at_us, manifest.id, EventSource(at_us, folder, manifest, is_merged))


def _spill(folder: Path, manifest: Manifest) -> Path | None:
    """A place of its own for what does not fit in memory; the engine makes it when needed and takes it away."""
    if not manifest.id:
        return None
    parent = folder / "spill"
    parent.mkdir(exist_ok=True)
    return parent / token_hex(8)


@contextmanager
def _closed_on_failure(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _define(connection: duckdb.DuckDBPyConnection, folder: Path, manifest: Manifest, at_us: int, given: Given | None) -> bool:
    """Make the relations; whether some subjects belong to another member."""

    def rows(table: str) -> str:
        return relation(folder, table, manifest.files(table))

    merged = resolve_members(connection, rows("links"), at_us) if given is None else _take_merged(connection, rows("links"), at_us, given)
    subjects = rows("subjects")
    words = {
        "at": str(at_us),
        "member": "coalesce(m.member, s.subject)" if merged else "s.subject",
        "of_member": "LEFT JOIN member_of m ON m.subject = s.subject" if merged else "",
        "folded_subjects": _FOLDED.format(subjects) if len(manifest.files("subjects")) > 1 else subjects,
        "events": rows("events"),
        "traits": rows("traits"),
    }
    member_user = {
        "member": words["member"].replace("s.subject", "s.user_subject"),
        "of_member_user": words["of_member"].replace("s.subject", "s.user_subject"),
        "memberships": rows("memberships"),
    }
    for name, query in _VIEWS.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {query.format_map(words)}")
    connection.execute(f"CREATE TEMP VIEW account_calls AS {_CALLS.format_map(words | member_user)}")
    if given is not None:
        _register(connection, "users", member=given.users)
        _register(connection, "accounts", member=given.accounts)
        if given.links is not None:
            _register(connection, "account_users", account=given.links[0], member=given.links[1])
            return merged
    else:
        connection.execute(f"CREATE TEMP TABLE users AS {_TABLES['users'].format_map(words)}")
        connection.execute(f"CREATE TEMP TABLE accounts AS {_TABLES['accounts'].format_map(words)}")
    connection.execute(f"CREATE TEMP TABLE account_users AS {_TABLES['account_users'].format_map(words | member_user)}")
    return merged


def _take_merged(connection: duckdb.DuckDBPyConnection, links: str, at_us: int, given: Given) -> bool:
    """The relations of `resolve_members`, from what is known."""
    connection.execute(f"CREATE TEMP VIEW linked AS FROM {links} WHERE ts <= {at_us} AND from_subject <> to_subject")
    _register(connection, "member_of", subject=given.merged, member=given.merged_to)
    return bool(len(given.merged))


def _register(connection: duckdb.DuckDBPyConnection, name: str, **columns: Ids) -> None:
    connection.register(name, pa.table({key: pa.array(ids, pa.int64()) for key, ids in columns.items()}))
