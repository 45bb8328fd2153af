"""Members of kept versions: as rows for people and files, as changes between two versions, and since when a member is in or out."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

import duckdb

from engage_pipelines.computing.history import History, Version
from engage_pipelines.computing.member_names import IDENTIFIERS
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import StateError
from engage_pipelines.facts.store import state_errors

_VERSIONS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Standing:
    """What the versions say of one member: in or out as of the newest, and the version that made it so.

    `since` is None for someone who was in none of the versions kept.
    """

    newest: Version
    is_in: bool
    since: Version | None


@contextmanager
def reading(history: History) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection to read versions with. Raises StateError when their files cannot be read."""
    # what does not fit in memory goes beside the versions, not into the folder that somebody happens to work in
    spill = history.folder / f".spill-{token_hex(8)}"
    with state_errors(history.folder), duckdb.connect(config={"temp_directory": str(spill)}) as connection:
        try:
            yield connection
        except duckdb.IOException as error:
            first_line = str(error).splitlines()[0]
            raise StateError(f"A version of {history.key} cannot be read: {first_line}", "Restore its folder from a backup.") from error


def members_sql(history: History, n: int, level: Level) -> str:
    """One row per member with its identifiers, the one seen first where it has several of a kind, and in their order.

    `level` user of an audience of accounts gives their users.
    """
    return f"{_details(history.chain.rows(n), level)} order by {', '.join(IDENTIFIERS[level])}, member"


def identifiers_sql(history: History, n: int, level: Level) -> str:
    """One row per identifier that a member has."""
    return f"""select member, split_part(address, ':', 1) as kind, substr(address, position(':' in address) + 1) as id
        from ({history.chain.rows(n)}) where level = '{level}' and current order by member, kind, first_order, id"""


def changes_sql(history: History, older: int, newer: int) -> str:
    """One row per member that is in one of the two versions alone, `change` being entered or exited; version 0 has no members."""
    chain, level = history.chain, history.level
    parts = [
        f"select '{change}' as change, * from ({_details(chain.rows(holds), level)}) where member not in"
        f" (select member from ({chain.rows(lacks)}) where level = '{level}')"
        for change, holds, lacks in (("entered", newer, older), ("exited", older, newer))
    ]
    return f"{' union all '.join(parts)} order by change, {', '.join(IDENTIFIERS[level])}, member"


def standing(history: History, member: int, level: Level) -> Standing | None:
    """In or out, and since which version; None when nothing was published."""
    versions = history.published
    if not versions:
        return None
    newest = versions[-1]
    with reading(history) as db:
        query = f"select count(*) from ({history.chain.rows(newest.n)}) where member = $1 and level = $2"
        rows = int(db.execute(query, [member, level.value]).fetchall()[0][0])
        turned = _turned(db, history, (member, level), rows)
    return Standing(newest, rows > 0, turned)


def _turned(db: duckdb.DuckDBPyConnection, history: History, member: tuple[int, Level], rows: int) -> Version | None:
    """The version in which a member that has so many rows in the newest one entered, or left; going back in time, some at once."""
    is_in = rows > 0
    versions = history.published
    for end in range(len(versions), 0, -_VERSIONS_AT_ONCE):
        chunk = versions[max(0, end - _VERSIONS_AT_ONCE) : end]
        signed = _signed(db, history, chunk, member)
        for each in reversed(chunk):
            before = rows - signed.get(each.n, 0)
            if (before > 0) != is_in:
                return each
            rows = before
    return None


def _signed(db: duckdb.DuckDBPyConnection, history: History, versions: tuple[Version, ...], member: tuple[int, Level]) -> dict[int, int]:
    """By version, how many rows more or fewer the member has than in the one before."""
    parts = [
        f"select {each.n} as n, sign from ({history.chain.changes(each.n - 1, each.n)}) where member = $1 and level = $2"
        for each in versions
    ]
    query = f"select n, sum(sign)::bigint from ({' union all '.join(parts)}) group by n"
    return dict(db.execute(query, [member[0], member[1].value]).fetchall())


def _details(rows: str, level: Level) -> str:
    columns = ", ".join(
        f"arg_min(substr(address, {len(kind) + 2}), first_order) filter (current and starts_with(address, '{kind}:')) as {kind}"
        for kind in IDENTIFIERS[level]
    )
    return f"select member, {columns} from ({rows}) where level = '{level}' group by member"
