"""Reference meaning: an interpreter over plain values, to be checked against the language reference line by line.

It is the judge of the compiled queries, so it is written to be read and not to be fast. Every answer is true or false.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from engage_pipelines.domain.computation import EmptyAccounts, Level
from engage_pipelines.domain.query.comparing import Given, holds, literal_value
from engage_pipelines.domain.query.tree import (
    EACH,
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
    Source,
    Sources,
    Trait,
    TraitDefinition,
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
    """A user or an account: present traits, and what can be referred to at its level: membership in audiences, values of computed traits.

    `users` are those of an account; a user has none.
    """

    traits: Mapping[str, Json] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    audiences: Mapping[str, bool] = field(default_factory=dict)
    users: Sequence["Profile"] = ()
    computed: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """As of when, what an account without users is, and which audiences and computed traits are of users."""

    at_us: int
    empty_accounts: EmptyAccounts = EmptyAccounts.DEFAULT
    user_audiences: frozenset[str] = frozenset()
    user_traits: frozenset[str] = frozenset()


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
    if not isinstance(source, Trait):
        return isinstance(source, Events)
    return source.path[0] in asked.user_traits or (len(source.path) == 1 and source.path[0] in asked.user_audiences)


def _profile_comparison(comparison: Comparison, profile: Profile, asked: Asked) -> bool:
    match comparison.scalar.source:
        case Events() as events:
            return _events_comparison(comparison, events, _rows_of(profile, asked))
        case Trait() as trait:
            values = _trait_values(trait, profile)
        case Property() | Context():
            raise TypeError("a property needs a row")
        case literal:
            values = [literal_value(literal)]
    return holds(comparison.comparator, values, _given(comparison, _Rows((), asked.at_us, profile)), at_us=asked.at_us)


def _trait_values(trait: Trait, profile: Profile) -> list[Json]:
    """Membership is true or false; the value of a computed trait comes before a trait that was sent under the same key."""
    key, *rest = trait.path
    if not rest and key in profile.audiences:
        return [profile.audiences[key]]
    if key in profile.computed:
        return list(walk(profile.computed[key], tuple(rest)))
    return list(walk(dict(profile.traits), trait.path))


# ---- computed traits


def trait_value(definition: TraitDefinition, profile: Profile, asked: Asked) -> Json:
    """The value that a user or an account has; None is missing. An account has the rows of all its users, each judged as its user's."""
    scalar = definition.scalar
    assert isinstance(scalar.source, Events)
    assert scalar.reducer
    people = [profile] if definition.level is Level.USER else profile.users
    kept = [row for user in people for row in _kept_rows(scalar.source, _rows_of(user, asked))]
    return reduced(scalar.reducer, _of_session(scalar.source, kept, asked.at_us))


def _of_session(events: Events, rows: Sequence[Row], at_us: int) -> Sequence[Row]:
    """The rows of the session that is going on: back from the last one, up to a gap that is longer than a session lasts."""
    if not events.expires_after:
        return rows
    going_on: list[Row] = []
    until = at_us
    for row in sorted(rows, key=lambda row: row.ts, reverse=True):
        if until - row.ts > events.expires_after.us:
            break
        going_on.append(row)
        until = row.ts
    return going_on


# ---- rows


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows of a profile, whose they are, and the row that is looked at, with the row it follows."""

    all: Sequence[Row]
    at_us: int
    profile: Profile
    row: Row | None = None
    parent: Row | None = None


def _events_comparison(comparison: Comparison, events: Events, rows: _Rows) -> bool:
    """Rows of that event that pass every filter, reduced to one value, which is compared."""
    assert comparison.scalar.reducer
    value = reduced(comparison.scalar.reducer, _kept_rows(events, rows))
    return holds(comparison.comparator, [] if value is None else [value], _given(comparison, rows), at_us=rows.at_us)


def _kept_rows(events: Events, rows: _Rows) -> list[Row]:
    return [row for row in rows.all if row.event == events.name and all(_passes(each, row, rows) for each in events.filters)]


def _rows_of(profile: Profile, asked: Asked) -> _Rows:
    return _Rows([row for row in profile.rows if row.ts <= asked.at_us], asked.at_us, profile)


def rows_by_filter(events: Events, profile: Profile, asked: Asked) -> list[list[Row]]:
    """The rows of that event, then those that passed the first filter, the first two, and so on; for explanations."""
    rows = _rows_of(profile, asked)
    steps = [[row for row in rows.all if row.event == events.name]]
    for each in events.filters:
        steps.append([row for row in steps[-1] if _passes(each, row, rows)])
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
            return holds(condition.comparator, _values_here(source, rows), _given(condition, rows), at_us=rows.at_us)
        case AnyUser() | AllUsers():
            raise TypeError("ANY and ALL are over the users of an account")


def _values_here(source: Source, rows: _Rows) -> list[Json]:
    match source:
        case Property() | Context():
            return _row_values(source, rows)
        case Trait():
            return _trait_values(source, rows.profile)
        case literal:
            return [literal_value(literal)]


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
            return sorted(set(_texts(values))) or None
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
    """The most frequent value, ties broken by the smallest in text order, numbers too: 10.0 before 5.0.

    As array: the most frequent element of values that are arrays, as text.
    """
    readable: list[str | float] = []
    if reducer.read_as is As.ARRAY:
        values = [element for value in values for element in walk(value, (EACH,))]
    readable.extend(_numbers(values) if reducer.read_as is As.NUMBER else _texts(values))
    counts = {value: readable.count(value) for value in readable}
    frequent = [value for value, count in counts.items() if count >= (reducer.minimum_frequency or 1)]
    return min(frequent, key=lambda value: (-counts[value], str(value)), default=None)


# ---- arguments


def _given(comparison: Comparison, rows: _Rows) -> list[Given]:
    """What is compared with: literals as they are, properties as their row has them, traits as the one has them whose rows they are."""
    return [_argument(each, rows) for each in comparison.arguments]


def _argument(argument: Argument, rows: _Rows) -> Given:
    match argument:
        case Moment() | Duration():
            return argument
        case Property() | Context():
            return next(iter(_row_values(argument, rows)), None)
        case Trait():
            return next(iter(_trait_values(argument, rows.profile)), None)
        case literal:
            return literal_value(literal)
