"""Addresses of members as versions keep them: every identifier that a destination may match a user or an account by.

An anonymous id is there only for a member without a user id. An e-mail address that is not the present one is there as not current.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.bits import Ids
from engage_pipelines.facts.combining import Members
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import quoted
from engage_pipelines.facts.trait_values import Values
from engage_pipelines.snapshots.rows import COLUMNS
from engage_pipelines.snapshots.sorted_rows import LEVELS, ChosenRows, SortedRows, sort_parts, sort_rows

_SORTING_MEMORY, _SORTING_THREADS = "200MB", 2
"""Sorting would take all that the engine may have, and threads take their share each; the rest goes by way of the disk, not much slower."""
_USERS = "kind <> 'group_id' and (current or kind = 'email') and (kind <> 'anonymous_id' or sole)"


@dataclass(slots=True)
class Addresses:
    """The rows of versions of one session."""

    session: FactsSession
    everyones: SortedRows | None = None

    def share(self) -> None:
        """Sort the rows of everyone once, for many computations. Raises StateError when the disk is full."""
        connection = self.session.connection
        try:
            with _in_little_memory(connection):
                self.everyones = sort_parts(connection, _by_kind(connection), COLUMNS)
        except duckdb.OutOfMemoryException:
            # it was too little for so many
            self.everyones = sort_parts(connection, _by_kind(connection), COLUMNS)

    def of_some(self, users: Ids, accounts: Ids) -> SortedRows:
        """The rows of these users and accounts, sorted. Raises StateError when the disk is full."""
        return sort_rows(self.session.connection, rows_of(self.session, Members(users, accounts), Level.ACCOUNT), COLUMNS)

    def of(self, members: Members, level: Level, values: Values | None = None) -> str | SortedRows:
        """The rows of a version, or SQL for them; of a trait with the member's value."""
        if self.everyones is None or values is not None:
            return rows_of(self.session, members, level, values)
        return ChosenRows.of(self.everyones, accounts=members.accounts, users=members.users)


@contextmanager
def _in_little_memory(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    memory, threads = connection.execute("select current_setting('memory_limit'), current_setting('threads')").fetchall()[0]
    connection.execute(f"set memory_limit = '{_SORTING_MEMORY}'; set threads = {min(_SORTING_THREADS, int(threads))}")
    try:
        yield
    finally:
        connection.execute(f"set memory_limit = '{memory}'; set threads = {threads}")


def rows_of(session: FactsSession, members: Members, level: Level, values: Values | None = None) -> str:
    """SQL for the rows of a version; of a trait with the member's value."""
    if values is not None:
        valued = f"select '{level.value}' as level, member, value from ({values.rows})"
        if values.on_users is not None:
            valued += f" union all select 'user', member, value from ({values.on_users})"
        return f"select r.*, v.value from ({rows_of(session, members, level)}) r join ({valued}) v using (level, member)"
    db = session.connection
    for name, ids in (("users_in", members.users), ("accounts_in", members.accounts)):
        db.register(f"{name}_array", pa.table({"member": pa.array(ids, pa.int64())}))
        db.execute(f"create or replace temp table {name} as select member from {name}_array")
        db.unregister(f"{name}_array")
    users, accounts = (f"(from identifiers semi join {name} using (member))" for name in ("users_in", "accounts_in"))
    return _of_users(users) if level is Level.USER else _everyones(accounts, users)


def _everyones(accounts: str, users: str) -> str:
    of_accounts = _identifiers("account", accounts, "kind = 'group_id'", "false")
    return f"{of_accounts} union all {_of_users(users)}"


def _of_users(identifiers: str) -> str:
    return _identifiers("user", identifiers, _USERS, "sole")


def _identifiers(level: str, identifiers: str, condition: str, sole: str) -> str:
    return f"""select '{level}' as level, kind || ':' || id as address, member, current, {sole} as sole,
            row_number() over (partition by member, kind order by first_at, id)::smallint as first_order,
            row_number() over (partition by member, kind order by last_at desc, id)::smallint as last_order
        from (select *, not bool_or(kind = 'user_id') over (partition by member) as sole from {identifiers})
        where {condition}"""


# ---- the rows of everyone: most members have one identifier of a kind, and need not be put in order to number it


_KINDS = """select kind, max(held) > 1 from (select member, kind, count(*) as held from identifiers group by all) group by kind"""
_SEVERAL = """create or replace temp table several as
    select member, kind from identifiers where kind in ({kinds}) group by all having count(*) > 1"""


def _by_kind(connection: duckdb.DuckDBPyConnection) -> Iterable[str]:
    """SQL for the rows of `_everyones` over all identifiers, kind by kind, in the order of their addresses."""
    has_several = dict(connection.execute(_KINDS).fetchall())
    if not has_several or any(":" in kind for kind in has_several):
        # without a kind there is no part, and with such ones addresses of one kind might lie between those of another
        return [_everyones("identifiers", "identifiers")]
    several = [quoted(kind) for kind, is_so in has_several.items() if is_so]
    if several:
        connection.execute(_SEVERAL.format(kinds=", ".join(several)))
    ordered = sorted(has_several, key=lambda kind: (LEVELS.index(_level(kind)), f"{kind}:".encode()))
    return [_of_kind(kind, has_several=has_several[kind]) for kind in ordered]


def _of_kind(kind: str, *, has_several: bool) -> str:
    holds_no_user_id = "member not in (select member from identifiers where kind = 'user_id')"
    sole = "false" if kind in ("user_id", "group_id") else holds_no_user_id
    some = f"select *, {sole} as sole from identifiers where kind = {quoted(kind)}"
    if _level(kind) == "user":
        some = f"select * from ({some}) where {_USERS}"
    if not has_several:
        return _numbered(kind, some, "1", "1")
    held = f"(select member from several where kind = {quoted(kind)})"
    first, last = (f"row_number() over (partition by member order by {order})" for order in ("first_at, id", "last_at desc, id"))
    alone = _numbered(kind, f"from ({some}) anti join {held} using (member)", "1", "1")
    return f"{alone} union all {_numbered(kind, f'from ({some}) semi join {held} using (member)', first, last)}"


def _numbered(kind: str, rows: str, first: str, last: str) -> str:
    return f"""select '{_level(kind)}' as level, kind || ':' || id as address, member, current, sole,
            ({first})::smallint as first_order, ({last})::smallint as last_order from ({rows})"""


def _level(kind: str) -> str:
    return "account" if kind == "group_id" else "user"
