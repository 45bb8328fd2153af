"""Traits of accounts on each of their users: what most marketing tools can take, since they know people alone."""

from engage_pipelines.domain.computation import AccountTraitConflict

_CHOSEN = {
    # the smallest number of an account, where two were called about at the same instant
    AccountTraitConflict.LATEST: "SELECT member, arg_max(value, (called_at, -account)) AS value FROM held GROUP BY member",
    AccountTraitConflict.LIST: """SELECT member, '[' || string_agg(DISTINCT value, ',' ORDER BY value) || ']' AS value
        FROM held GROUP BY member""",
    AccountTraitConflict.SKIP: "SELECT member, any_value(value) AS value FROM held GROUP BY member HAVING count(DISTINCT value) = 1",
}


def on_users(rows: str, conflict: AccountTraitConflict) -> str:
    """SQL for member and value of the users of accounts that have one; `rows` gives those accounts' members and values."""
    held = f"""SELECT a.member, a.account, coalesce(c.called_at, 0) AS called_at, v.value
        FROM ({rows}) v JOIN account_users a ON a.account = v.member
        LEFT JOIN account_calls c ON c.account = a.account AND c.member = a.member"""
    return f"WITH held AS ({held}) {_CHOSEN[conflict]}"
