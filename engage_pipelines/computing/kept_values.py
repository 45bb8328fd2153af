"""Values of kept versions of traits: as rows for people, as changes between two versions, and what they are like together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_members import reading
from engage_pipelines.computing.member_names import IDENTIFIERS
from engage_pipelines.domain.query.values import Json

_COMMON = 5


@dataclass(frozen=True, slots=True)
class ValuesPage:
    """Some members by identifiers, each with its value; `total` counts all that were asked for."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[tuple[str | None, ...], Json]]
    total: int


@dataclass(frozen=True, slots=True)
class Spread:
    """What the values of a version are like: how many differ, the commonest, and of numbers the least, the middle one and the most."""

    members: int
    different: int
    commonest: Sequence[tuple[Json, int]]
    numbers: tuple[float, float, float] | None


def values_sql(history: History, n: int) -> str:
    """One row per member with its identifiers, the one seen first where it has several of a kind, and its value as JSON text."""
    return f"{_details(history, history.chain.rows(n))} order by {', '.join(IDENTIFIERS[history.level])}, member"


def value_changes_sql(history: History, older: int, newer: int) -> str:
    """One row per member whose value is not the same in both versions: change (entered, updated, exited), identifiers, before, value.

    Version 0 has no values. `before` is NULL for who entered, `value` for who exited.
    """
    was, now = (_details(history, history.chain.rows(n)) for n in (older, newer))
    kinds = IDENTIFIERS[history.level]
    names = ", ".join(f"coalesce(n.{kind}, o.{kind}) as {kind}" for kind in kinds)
    change = "case when o.member is null then 'entered' when n.member is null then 'exited' else 'updated' end"
    return f"""select {change} as change, member, {names}, o.value as before, n.value as value
        from ({was}) o full join ({now}) n using (member) where o.value is distinct from n.value
        order by change, {", ".join(kinds)}, member"""


def values_page(history: History, *, search: str, offset: int, limit: int) -> ValuesPage:
    """Of the current version, those with an identifier or a value that contains `search`, in any case."""
    columns = IDENTIFIERS[history.level]
    words = " or ".join(f"contains(lower({column}), lower($1))" for column in (*columns, "value"))
    found = f"select * from ({_details(history, history.chain.rows(history.version().n))}) where $1 = '' or {words}"
    with reading(history) as db:
        total = int(db.execute(f"select count(*) from ({found})", [search]).fetchall()[0][0])
        order = ", ".join(f"{column} nulls last" for column in columns)
        rows = db.execute(f"{found} order by {order}, member limit {int(limit)} offset {int(offset)}", [search]).fetchall()
    return ValuesPage(columns, [(tuple(row[1:-1]), json.loads(row[-1])) for row in rows], total)


def spread_of(history: History) -> Spread:
    """Of the current version."""
    rows = f"select member, any_value(value) as value from ({history.chain.rows(history.version().n)}) where level = $1 group by member"
    number = "try_cast(value as double)"
    query = f"""select count(*), count(distinct value), count({number}), min({number}), median({number}), max({number}) from ({rows})"""
    with reading(history) as db:
        (found,) = db.execute(query, [history.level.value]).fetchall()
        common = db.execute(
            f"select value, count(*) from ({rows}) group by value order by count(*) desc, value limit {_COMMON}", [history.level.value]
        ).fetchall()
    are_numbers = found[0] > 0 and found[2] == found[0]
    numbers = (float(found[3]), float(found[4]), float(found[5])) if are_numbers else None
    return Spread(int(found[0]), int(found[1]), [(json.loads(value), int(count)) for value, count in common], numbers)


def _details(history: History, rows: str) -> str:
    columns = ", ".join(
        f"arg_min(substr(address, {len(kind) + 2}), first_order) filter (current and starts_with(address, '{kind}:')) as {kind}"
        for kind in IDENTIFIERS[history.level]
    )
    return f"select member, {columns}, any_value(value) as value from ({rows}) where level = '{history.level}' group by member"
