"""Values of kept versions of traits: as rows for people, and as changes between two versions."""

from engage_pipelines.computing.history import History
from engage_pipelines.computing.member_names import IDENTIFIERS


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


def _details(history: History, rows: str) -> str:
    columns = ", ".join(
        f"arg_min(substr(address, {len(kind) + 2}), first_order) filter (current and starts_with(address, '{kind}:')) as {kind}"
        for kind in IDENTIFIERS[history.level]
    )
    return f"select member, {columns}, any_value(value) as value from ({rows}) where level = '{history.level}' group by member"
