"""Reference meaning: an interpreter over plain values, to be checked against the language reference line by line.

It is the judge of the compiled queries, so it is written to be read and not to be fast. Every answer is true or false.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from engage_pipelines.domain.computation import EmptyAccounts
from engage_pipelines.domain.query.comparing import Given, holds, literal_value
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    Argument,
    As,
    Between,
    Comparison,
    Condition,
    Context,
    Duration,
    Events,
    Filter,
    Moment,
    Not,
    Or,
    Property,
    Reduce,
    Reducer,
    Sources,
    Trait,
    Where,
    Within,
)
from engage_pipelines.domain.query.values import EXACT, Json, number_of, text_form, walk


@dataclass(frozen=True, slots=True)
class Row:
    """One event."""

    event: str
    ts: int
    message_id: str
    properties: Mapping[str, Json] = field(default_factory=dict)
    context: Mapping[str, Json] = field(default_factory=dict)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A user or an account: present traits, and of each audience that can be referred to at its level whether it is in.

    `users` are those of an account; a user has none.
    """

    traits: Mapping[str, Json] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    audiences: Mapping[str, bool] = field(default_factory=dict)
    users: Sequence["Profile"] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """As of when, what an account without users is, and which audiences are of users."""

    at_us: int
    empty_accounts: EmptyAccounts = EmptyAccounts.DEFAULT
    user_audiences: frozenset[str] = frozenset()


def user_matches(condition: Condition, user: Profile, asked: Asked) -> bool:
    """Whether a user is in."""
    match condition:
        case And(parts):
            return all(user_matches(part, user, asked) for part in parts)
        case Or(parts):
            return any(user_matches(part, user, asked) for part in parts)
        case Not(part):
            return not user_matches(part, user, asked)
        case Comparison():
            return _profile_comparison(condition, user, asked)
        case AnyUser() | AllUsers():
            raise TypeError("ANY and ALL are over the users of an account")


def account_matches(condition: Condition, account: Profile, asked: Asked) -> bool:
    """Whether an account is in. What stands outside of ANY and ALL is about the account, except what only a user can have."""
    match condition:
        case And(parts):
            return all(account_matches(part, account, asked) for part in parts)
        case Or(parts):
            return any(account_matches(part, account, asked) for part in parts)
        case Not(part):
            return not account_matches(part, account, asked)
        case AnyUser(part):
            return _any_user(part, account, asked)
        case AllUsers(part):
            if not account.users:
                return _of_empty(asked.empty_accounts, default=isinstance(part, Not))
            return all(user_matches(part, user, asked) for user in account.users)
        case Comparison():
            if _is_about_users(condition, asked):
                return _any_user(condition, account, asked)
            return _profile_comparison(condition, account, asked)


def _any_user(part: Condition, account: Profile, asked: Asked) -> bool:
    if not account.users:
        return _of_empty(asked.empty_accounts, default=False)
    return any(user_matches(part, user, asked) for user in account.users)


def _of_empty(option: EmptyAccounts, *, default: bool) -> bool:
    return default if option is EmptyAccounts.DEFAULT else option is EmptyAccounts.TRUE


def _is_about_users(comparison: Comparison, asked: Asked) -> bool:
    source = comparison.scalar.source
    return isinstance(source, Events) or (isinstance(source, Trait) and len(source.path) == 1 and source.path[0] in asked.user_audiences)


def _profile_comparison(comparison: Comparison, profile: Profile, asked: Asked) -> bool:
    match comparison.scalar.source:
        case Events() as events:
            rows = [row for row in profile.rows if row.ts <= asked.at_us]
            return _events_comparison(comparison, events, _Rows(rows, asked.at_us))
        case Trait((key,)) if key in profile.audiences:
            return holds(comparison.comparator, [profile.audiences[key]], _literals(comparison, None), at_us=asked.at_us)
        case Trait(path):
            return holds(comparison.comparator, list(walk(dict(profile.traits), path)), _literals(comparison, None), at_us=asked.at_us)
        case Property() | Context():
            raise TypeError("a property needs a row")
        case literal:
            return holds(comparison.comparator, [literal_value(literal)], _literals(comparison, None), at_us=asked.at_us)


# ---- rows


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows of a profile, and the row that is looked at, with the row it follows."""

    all: Sequence[Row]
    at_us: int
    row: Row | None = None
    parent: Row | None = None


def _events_comparison(comparison: Comparison, events: Events, rows: _Rows) -> bool:
    """Rows of that event that pass every filter, reduced to one value, which is compared."""
    kept = [row for row in rows.all if row.event == events.name and all(_passes(each, row, rows) for each in events.filters)]
    assert comparison.scalar.reducer
    value = reduced(comparison.scalar.reducer, kept)
    return holds(comparison.comparator, [] if value is None else [value], _literals(comparison, rows), at_us=rows.at_us)


def rows_by_filter(events: Events, rows: Sequence[Row], at_us: int) -> list[list[Row]]:
    """The rows of that event as of an instant, then those that passed the first filter, the first two, and so on; for explanations."""
    asked = _Rows([row for row in rows if row.ts <= at_us], at_us)
    steps = [[row for row in asked.all if row.event == events.name]]
    for each in events.filters:
        steps.append([row for row in steps[-1] if _passes(each, row, asked)])
    return steps


def _passes(each: Filter, row: Row, rows: _Rows) -> bool:
    match each:
        case Where(condition):
            return _row_matches(condition, replace(rows, row=row, parent=rows.row))
        case Sources(exclude):
            return row.source not in exclude
        case Within(window, True):
            return rows.row is not None and rows.row.ts < row.ts <= rows.row.ts + window.us
        case Within(window):
            return rows.at_us - window.us <= row.ts <= rows.at_us
        case Between(newer, older):
            return rows.at_us - older.us <= row.ts <= rows.at_us - newer.us


def _row_matches(condition: Condition, rows: _Rows) -> bool:
    match condition:
        case And(parts):
            return all(_row_matches(part, rows) for part in parts)
        case Or(parts):
            return any(_row_matches(part, rows) for part in parts)
        case Not(part):
            return not _row_matches(part, rows)
        case Comparison():
            source = condition.scalar.source
            if isinstance(source, Events):
                return _events_comparison(condition, source, rows)
            values = _row_values(source, rows) if isinstance(source, Property | Context) else [literal_value(source)]
            return holds(condition.comparator, values, _literals(condition, rows), at_us=rows.at_us)
        case AnyUser() | AllUsers():
            raise TypeError("ANY and ALL are over the users of an account")


def _row_values(source: Property | Context, rows: _Rows) -> list[Json]:
    row = rows.parent if isinstance(source, Property) and source.parent else rows.row
    assert row
    return list(walk(dict(row.context if isinstance(source, Context) else row.properties), source.path))


def reduced(reducer: Reducer, rows: Sequence[Row]) -> Json:
    """What becomes of the rows; None is missing."""
    if reducer.kind is Reduce.COUNT:
        return len(rows)
    ordered = sorted(rows, key=lambda row: (row.ts, row.message_id))
    values = [value for row in ordered for value in _argument_values(reducer, row) if value is not None]
    match reducer.kind:
        case Reduce.SUM:
            return total(values)
        case Reduce.AVG:
            numbers = total(values)
            return None if numbers is None else numbers / len(_numbers(values))
        case Reduce.MIN | Reduce.MAX:
            choose = min if reducer.kind is Reduce.MIN else max
            if reducer.read_as is As.STRING:
                return choose(_texts(values), default=None)
            return choose(_numbers(values), default=None)
        case Reduce.FIRST:
            return values[0] if values else None
        case Reduce.LAST:
            return values[-1] if values else None
        case Reduce.UNIQUE:
            return sorted(set(_texts(values)))
        case Reduce.UNIQUE_COUNT:
            return len(set(_texts(values)))
        case Reduce.MODE:
            return _mode(values, reducer)


def _argument_values(reducer: Reducer, row: Row) -> Iterable[Json]:
    assert reducer.argument
    return walk(dict(row.context if isinstance(reducer.argument, Context) else row.properties), reducer.argument.path)


def _numbers(values: Iterable[Json]) -> list[float]:
    return [number for number in map(number_of, values) if number is not None]


def _texts(values: Iterable[Json]) -> list[str]:
    return [text for text in map(text_form, values) if text is not None]


def total(values: Sequence[Json]) -> float | None:
    """The sum of the numbers: exact in decimals while every one of them is of moderate length, otherwise of doubles.

    Missing when no double can hold it.
    """
    numeric = [value for value in values if number_of(value) is not None]
    if not numeric:
        return None
    texts = _texts(numeric)
    if all(EXACT.fullmatch(text) for text in texts):
        return float(sum(map(Decimal, texts), Decimal(0)))
    try:
        return math.fsum(_numbers(numeric))
    except OverflowError:
        return None


def _mode(values: Sequence[Json], reducer: Reducer) -> Json:
    """The most frequent value, ties broken by the smallest in text order, numbers too: 10.0 before 5.0."""
    readable: list[str | float] = []
    readable.extend(_numbers(values) if reducer.read_as is As.NUMBER else _texts(values))
    counts = {value: readable.count(value) for value in readable}
    frequent = [value for value, count in counts.items() if count >= (reducer.minimum_frequency or 1)]
    return min(frequent, key=lambda value: (-counts[value], str(value)), default=None)


# ---- arguments


def _literals(comparison: Comparison, rows: _Rows | None) -> list[Given]:
    """What is compared with: literals as they are, properties as their row has them."""
    return [_argument(each, rows) for each in comparison.arguments]


def _argument(argument: Argument, rows: _Rows | None) -> Given:
    match argument:
        case Moment() | Duration():
            return argument
        case Property() | Context():
            assert rows
            return next(iter(_row_values(argument, rows)), None)
        case Trait():
            raise TypeError("comparing with a trait is refused by the checks")
        case literal:
            return literal_value(literal)
