"""Counts over kept versions: identifiers by kind, what two audiences have in common, and pages of members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_members import members_sql, reading
from engage_pipelines.computing.member_names import IDENTIFIERS
from engage_pipelines.computing.preview import Overlap
from engage_pipelines.domain.computation import Level

_VERSIONS_ASKED = 2
"""Of how many versions the addresses of somebody are looked up: the current one, and the one before for who has just left."""


@dataclass(frozen=True, slots=True)
class Holders:
    """How many members of one level there are, and how many have a current identifier of each kind."""

    level: Level
    members: int
    by_kind: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MembersPage:
    """Some members in order, each with its number and identifiers; `total` counts all that were asked for."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[int, tuple[str | None, ...]]]
    total: int


def identifiers_held(db: duckdb.DuckDBPyConnection, history: History, n: int, level: Level) -> Holders:
    """Of version `n`."""
    kinds = IDENTIFIERS[level]
    columns = ", ".join(f"count(distinct member) filter (current and starts_with(address, '{kind}:'))" for kind in kinds)
    query = f"select count(distinct member), {columns} from ({history.chain.rows(n)}) where level = $1"
    (found,) = db.execute(query, [level.value]).fetchall()
    return Holders(level, int(found[0]), dict(zip(kinds, found[1:], strict=True)))


def overlap_of_versions(db: duckdb.DuckDBPyConnection, one: History, other: History) -> Overlap:
    """The current versions of two audiences; of two levels, it is their users that are compared. Raises NotFoundError without a version."""
    level = one.level if one.level is other.level else Level.USER
    left, right = (f"select distinct member from ({each.chain.rows(each.version().n)}) where level = '{level}'" for each in (one, other))
    query = f"""select (select count(*) from ({left})), (select count(*) from ({right})),
        (select count(*) from ({left}) where member in ({right}))"""
    (found,) = db.execute(query).fetchall()
    return Overlap(level, *(int(each) for each in found))


def members_page(history: History, level: Level, *, search: str, offset: int, limit: int) -> MembersPage:
    """Members of the current version with an identifier that contains `search`, in any case."""
    columns = IDENTIFIERS[level]
    query = f"select * from ({members_sql(history, history.version().n, level)})"
    words = " or ".join(f"contains(lower({column}), lower($1))" for column in columns)
    found = f"select * from ({query}) where $1 = '' or {words}"
    with reading(history) as db:
        total = int(db.execute(f"select count(*) from ({found})", [search]).fetchall()[0][0])
        page = f"{found} order by {', '.join(f'{column} nulls last' for column in columns)}, member limit {int(limit)} offset {int(offset)}"
        rows = db.execute(page, [search]).fetchall()
    return MembersPage(columns, [(int(row[0]), tuple(row[1:])) for row in rows], total)


def addresses_of(history: History, member: int, level: Level) -> list[str]:
    """The addresses of the member in the newest versions, in order; each as `kind:value`."""
    if history.current is None:
        return []
    numbers = [each.n for each in history.published[-_VERSIONS_ASKED:]]
    parts = " union ".join(f"select address from ({history.chain.rows(n)}) where member = $1 and level = $2" for n in numbers)
    with reading(history) as db:
        return sorted(row[0] for row in db.execute(parts, [member, level.value]).fetchall())


def holds_address(history: History, n: int, address: str) -> bool:
    """Whether version `n` has a member with that address."""
    if n == 0:
        return False
    with reading(history) as db:
        return bool(db.execute(f"select 1 from ({history.chain.rows(n)}) where address = $1 limit 1", [address]).fetchall())
