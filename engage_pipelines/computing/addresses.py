"""Addresses of members as versions keep them: every identifier that a destination may match a user or an account by.

An anonymous id is there only for a member without a user id. An e-mail address that is not the present one is there as not current.
"""

from dataclasses import dataclass

import pyarrow as pa

from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.bits import Ids
from engage_pipelines.facts.combining import Members
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.trait_values import Values
from engage_pipelines.snapshots.rows import COLUMNS
from engage_pipelines.snapshots.sorted_rows import ChosenRows, SortedRows, sort_rows

_USERS = "kind <> 'group_id' and (current or kind = 'email') and (kind <> 'anonymous_id' or sole)"


@dataclass(slots=True)
class Addresses:
    """The rows of versions of one session."""

    session: FactsSession
    everyones: SortedRows | None = None

    def share(self) -> None:
        """Sort the rows of everyone once, for many computations. Raises StateError when the disk is full."""
        self.everyones = sort_rows(self.session.connection, _everyones("identifiers", "identifiers"), COLUMNS)

    def of_some(self, users: Ids, accounts: Ids) -> SortedRows:
        """The rows of these users and accounts, sorted. Raises StateError when the disk is full."""
        return sort_rows(self.session.connection, rows_of(self.session, Members(users, accounts), Level.ACCOUNT), COLUMNS)

    def of(self, members: Members, level: Level, values: Values | None = None) -> str | SortedRows:
        """The rows of a version, or SQL for them; of a trait with the member's value."""
        if self.everyones is None or values is not None:
            return rows_of(self.session, members, level, values)
        return ChosenRows.of(self.everyones, accounts=members.accounts, users=members.users)


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
