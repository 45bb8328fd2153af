"""Who there is in the mapped tables: users, accounts, who belongs to whom, and the identifiers of everyone.

A member is a text: u: and a user id, a: and an anonymous id that belongs to no user, g: and a group id. An anonymous id belongs to the
first user id that a row of identifies or links has beside it. A user id that was merged counts as the one that stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engage_pipelines.domain.warehouse_mapping import Kind, MappedColumn, Table, WarehouseFacts
from engage_pipelines.facts.warehouse.catalog import Catalog
from engage_pipelines.facts.warehouse.dialects.base import Dialect


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The mapped tables in the words of one dialect, as of an instant: where all SQL begins."""

    facts: WarehouseFacts
    dialect: Dialect
    catalog: Catalog
    at_us: int

    def table(self, table: Table) -> str:
        """The name of a table as SQL has it."""
        schema = self.facts.schema_of(table)
        parts = [*(schema.split(".") if schema else ()), table.table]
        return ".".join(map(self.dialect.identifier, parts))

    def column(self, column: MappedColumn) -> str:
        return f"t.{self.dialect.identifier(column.column)}"

    def id(self, column: MappedColumn | None) -> str:
        """An identifier as text; an empty one is none."""
        if column is None:
            return self.dialect.as_text(self.dialect.null(self.dialect.text_type))
        return f"nullif({self.dialect.as_text(self.column(column))}, '')"

    def instant(self, table: Table, column: MappedColumn | None, *, otherwise: str = "0") -> str:
        """The instant of a row, in microseconds."""
        if column is None:
            return self.dialect.to_bigint(otherwise)
        return self.dialect.instant_of_column(self.column(column), self.catalog.instant_kind(table, column))

    def visible(self, table: Table, column: MappedColumn | None, since_us: int | None = None) -> str:
        """A condition for the rows at or before the instant of evaluation, and not before `since_us`."""
        if column is None:
            return "1 = 1"
        kind = self.catalog.instant_kind(table, column)
        own = self.column(column)
        last, first = self.dialect.instant_literal(self.at_us, kind), None
        if since_us is not None:
            first = self.dialect.instant_literal(since_us, kind)
        if last is None:
            own, last, first = self.instant(table, column), str(self.at_us), None if since_us is None else str(since_us)
        return f"{own} <= {last}" + (f" AND {own} >= {first}" if first is not None else "")

    # ---- who is who

    @property
    def has_merges(self) -> bool:
        return bool(self.facts.tables.merges)

    @property
    def has_links(self) -> bool:
        return bool(self.facts.tables.links) or any(each.anonymous_id for each in self.facts.tables.identifies)

    def merges(self) -> str:
        """user_id, into: each user id once."""
        parts = [
            f"SELECT {self.id(each.user_id)} AS user_id, {self.id(each.into)} AS into_id FROM {self.table(each)} t"
            for each in self.facts.tables.merges
        ]
        return (
            f"SELECT user_id, min(into_id) AS into_id FROM ({all_of(parts)}) m"
            " WHERE user_id IS NOT NULL AND into_id IS NOT NULL AND user_id <> into_id GROUP BY user_id"
        )

    def links(self) -> str:
        """anonymous_id, user_id, first_at, last_at: each anonymous id once, with the first user id that it was seen with."""
        parts = [
            f"SELECT {self.id(each.anonymous_id)} AS anonymous_id, {self.id(each.user_id)} AS user_id,"
            f" {self.instant(each, each.timestamp)} AS ts, {self.id(each.message_id)} AS message_id"
            f" FROM {self.table(each)} t WHERE {self.visible(each, each.timestamp)}"
            for each in self.facts.tables.identifies
            if each.anonymous_id
        ]
        parts += [
            f"SELECT {self.id(each.anonymous_id)} AS anonymous_id, {self.id(each.user_id)} AS user_id,"
            f" {self.instant(each, each.timestamp)} AS ts, {self.id(None)} AS message_id"
            f" FROM {self.table(each)} t WHERE {self.visible(each, each.timestamp)}"
            for each in self.facts.tables.links
        ]
        ranked = (
            "SELECT anonymous_id, user_id, ts, row_number() OVER (PARTITION BY anonymous_id ORDER BY ts, message_id, user_id) AS n,"
            f" max(ts) OVER (PARTITION BY anonymous_id) AS last_at FROM ({all_of(parts)}) c"
            " WHERE anonymous_id IS NOT NULL AND user_id IS NOT NULL"
        )
        user_id = "coalesce(m.into_id, r.user_id)" if self.has_merges else "r.user_id"
        merged = " LEFT JOIN merges m ON m.user_id = r.user_id" if self.has_merges else ""
        return f"SELECT r.anonymous_id, {user_id} AS user_id, r.ts AS first_at, r.last_at FROM ({ranked}) r{merged} WHERE r.n = 1"

    @property
    def shared(self) -> list[tuple[str, str]]:
        """The queries that others refer to by name."""
        return [*([("merges", self.merges())] if self.has_merges else []), *([("links", self.links())] if self.has_links else [])]

    def of_member(self, rows: str, columns: str, *, visitors: bool = True) -> str:
        """Rows with user_key and anonymous_key as rows with `member`; `columns` begin with a comma."""
        merged = " LEFT JOIN merges m ON m.user_id = s.user_key" if self.has_merges else ""
        user = "coalesce(m.into_id, s.user_key)" if self.has_merges else "s.user_key"
        if not visitors:
            return f"SELECT concat('u:', {user}) AS member{columns} FROM ({rows}) s{merged} WHERE s.user_key IS NOT NULL"
        linked = " LEFT JOIN links l ON l.anonymous_id = s.anonymous_key" if self.has_links else ""
        known = " WHEN l.user_id IS NOT NULL THEN concat('u:', l.user_id)" if self.has_links else ""
        return (
            f"SELECT CASE WHEN s.user_key IS NOT NULL THEN concat('u:', {user}){known}"
            f" WHEN s.anonymous_key IS NOT NULL THEN concat('a:', s.anonymous_key) END AS member{columns} FROM ({rows}) s{merged}{linked}"
        )

    # ---- users and accounts

    def user_ids(self) -> str:
        """user_key, ts: where a user id is known from, ts NULL where none says since when; of events only if nothing else tells users."""
        tables = self.facts.tables
        parts = [self._seen(each, each.user_id, each.created_at) for each in tables.users]
        parts += [self._seen(each, each.user_id, each.timestamp) for each in (*tables.identifies, *tables.groups)]
        parts += [self._seen(each, each.user_id, each.started_at) for each in tables.memberships]
        parts += [self._seen(each, each.user_id, each.timestamp) for each in tables.links]
        if not (tables.users or tables.identifies):
            parts += [self._seen(each, each.user_id, each.timestamp) for each, _ in tables.event_tables]
        return all_of(parts) or self.nobody("user_key, ts")

    def _seen(self, table: Table, column: MappedColumn, at: MappedColumn | None) -> str:
        seen = f"SELECT {self.id(column)} AS user_key, {self.instant(table, at, otherwise='NULL')} AS ts"
        return f"{seen} FROM {self.table(table)} t WHERE {self.visible(table, at)}"

    def accounts(self) -> str:
        """member, first_at, last_at of every account."""
        tables = self.facts.tables
        parts = [(each, each.group_id, each.created_at) for each in tables.accounts]
        parts += [(each, each.group_id, each.timestamp) for each in tables.groups]
        parts += [(each, each.group_id, each.started_at) for each in tables.memberships]
        if not parts:
            return self.nobody("member, first_at, last_at")
        queries = [
            f"SELECT {self.id(column)} AS id, {self.instant(table, at)} AS ts FROM {self.table(table)} t WHERE {self.visible(table, at)}"
            for table, column, at in parts
        ]
        return (
            "SELECT concat('g:', id) AS member, min(ts) AS first_at, max(ts) AS last_at"
            f" FROM ({all_of(queries)}) a WHERE id IS NOT NULL GROUP BY id"
        )

    def account_users(self) -> str:
        """account, member: present links, each once; a member need not be a user of `users`."""
        parts = [part for part in (self._present_members(), self._grouped_members()) if part]
        return f"SELECT DISTINCT member, account FROM ({all_of(parts)}) b" if parts else self.nobody("member, account")

    def account_calls(self) -> str:
        """member, account, called_at: when each user of an account was last told of together with it; 0 where no column says when."""
        parts = [
            f"SELECT {self.id(each.user_id)} AS user_key, {self.id(None)} AS anonymous_key, {self.id(each.group_id)} AS group_key,"
            f" {self.instant(each, each.started_at)} AS ts FROM {self.table(each)} t WHERE {self.visible(each, each.started_at)}"
            for each in self.facts.tables.memberships
        ]
        parts += [
            f"SELECT {self.id(each.user_id)} AS user_key, {self.id(each.anonymous_id)} AS anonymous_key,"
            f" {self.id(each.group_id)} AS group_key, {self.instant(each, each.timestamp)} AS ts"
            f" FROM {self.table(each)} t WHERE {self.visible(each, each.timestamp)}"
            for each in self.facts.tables.groups
        ]
        if not parts:
            return self.nobody("member, account, called_at")
        rows = self.of_member(all_of(parts, "group_key IS NOT NULL"), ", concat('g:', s.group_key) AS account, s.ts")
        return f"SELECT member, account, max(ts) AS called_at FROM ({rows}) c WHERE member IS NOT NULL GROUP BY member, account"

    def _present_members(self) -> str:
        queries: list[str] = []
        for each in self.facts.tables.memberships:
            conditions = [self.visible(each, each.started_at)]
            if each.left:
                conditions.append(f"NOT {self._true(each, each.left)}")
            if each.ended_at:
                ended = self.instant(each, each.ended_at)
                conditions.append(f"({self.column(each.ended_at)} IS NULL OR {ended} > {self.at_us})")
            queries.append(
                f"SELECT {self.id(each.user_id)} AS user_key, {self.id(each.group_id)} AS group_key"
                f" FROM {self.table(each)} t WHERE {' AND '.join(conditions)}"
            )
        if not queries:
            return ""
        return self.of_member(all_of(queries, "group_key IS NOT NULL"), ", concat('g:', s.group_key) AS account", visitors=False)

    def _grouped_members(self) -> str:
        queries = [
            f"SELECT {self.id(each.user_id)} AS user_key, {self.id(each.anonymous_id)} AS anonymous_key,"
            f" {self.id(each.group_id)} AS group_key, {self.instant(each, each.timestamp)} AS ts, {self.id(each.message_id)} AS message_id,"
            f" {self._true(each, each.left) if each.left else 'false'} AS gone"
            f" FROM {self.table(each)} t WHERE {self.visible(each, each.timestamp)}"
            for each in self.facts.tables.groups
        ]
        if not queries:
            return ""
        rows = self.of_member(all_of(queries, "group_key IS NOT NULL"), ", s.group_key, s.ts, s.message_id, s.gone")
        last = "row_number() OVER (PARTITION BY member, group_key ORDER BY ts DESC, message_id DESC) AS n"
        return (
            f"SELECT member, concat('g:', group_key) AS account FROM (SELECT w.*, {last} FROM ({rows}) w WHERE member IS NOT NULL) w"
            " WHERE n = 1 AND NOT gone"
        )

    def _true(self, table: Table, column: MappedColumn) -> str:
        """Whether a column is true: a truth value, the text true, or a number that is not 0; NULL is not."""
        own = self.column(column)
        match self.catalog.kind(table, column, otherwise=Kind.BOOLEAN):
            case Kind.BOOLEAN:
                return f"coalesce({own}, false)"
            case Kind.NUMBER:
                return f"coalesce({own} <> 0, false)"
            case _:
                return f"coalesce(lower({self.dialect.as_text(own)}) IN ('true', 't', '1'), false)"

    def nobody(self, columns: str) -> str:
        listed = ", ".join(
            f"{self.dialect.null(self.dialect.bigint if name.endswith(('_at', 'ts')) else self.dialect.text_type)} AS {name}"
            for name in columns.split(", ")
        )
        return f"SELECT {listed} FROM (SELECT 1 AS one) o WHERE 1 = 0"


def all_of(parts: Sequence[str], condition: str = "") -> str:
    joined = " UNION ALL ".join(parts)
    return f"SELECT * FROM ({joined}) g WHERE {condition}" if condition else joined
