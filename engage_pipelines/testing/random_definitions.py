"""Random definitions for property tests, as trees that the checks let through; and the random facts that make them true now and then.

Few names and few values, so that they meet: missing values, numbers as text, ties, non-ASCII, dates at the edges of windows,
rows at the very instant of evaluation. Needs hypothesis.
"""

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.instants import moment_text
from engage_pipelines.domain.query.meaning import Row
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    As,
    Between,
    Comparator,
    Comparison,
    Condition,
    Context,
    Definition,
    Duration,
    Events,
    Moment,
    Not,
    Number,
    Or,
    Property,
    Reduce,
    Reducer,
    Scalar,
    Sources,
    Text,
    Trait,
    Truth,
    Unit,
    Where,
    Within,
    both,
)
from engage_pipelines.testing.plain_facts import FIRST_ACCOUNT, Facts, Member, TraitRow

AT_US = 1_300_000_000_000_000
"""An ordinary instant in March 2011, in the hour of no daylight saving anywhere that matters."""
HOUR_US = 3_600_000_000

EVENTS = ("A", "B")
PATHS = (("p",), ("q",), ("n", "x"))
EACH_PATHS = (("l", "$"), ("m", "$", "x"))
USER_AUDIENCES = ("ua", "ub")
ACCOUNT_AUDIENCES = ("aa",)
TRAITS = (("t",), ("u",), ("t", "x"))
SOURCES = ("web", "it's")

_ages = st.sampled_from([0, 1, HOUR_US - 1, HOUR_US, HOUR_US + 1, 2 * HOUR_US, 24 * HOUR_US, 24 * HOUR_US + 1, 48 * HOUR_US])
_texts = st.sampled_from(
    ["", "a", "ab", "Ä", "ä", "5", "5.0", "1e1", "-1", " 5", "inf", "true", "false", "True", "[1]", "null", "it's", "日"]
)
_dates = st.sampled_from(
    [
        "2011-03-13",
        "2011-03-13T07:06:40Z",
        "2011-03-13T08:06:40+01:00",
        "2011-03-12T07:06:40",
        "2011-03-13T06:06:40.000001Z",
        "2011-03-13 07:06:40",
        "2011-02-30",
        "0000-01-01",
        "2011-03-13T24:00:00Z",
        "2011-03-14T07:06:40-0000",
        "1901-01-01T00:00",
    ]
)
_numbers = st.sampled_from([0, 1, 2, 5, 5.0, 0.1, 0.2, 0.3, -1, 10, 1e16, 123456789012.25, 1e-7, 10**25])
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _texts, _dates)
_items = st.one_of(_scalars, st.fixed_dictionaries({}, optional={"x": _scalars}))


def values() -> st.SearchStrategy[object]:
    """Any value that a trait may have."""
    return st.one_of(_scalars, _scalars, st.lists(_items, max_size=3), st.fixed_dictionaries({}, optional={"x": _scalars}))


def properties() -> st.SearchStrategy[dict[str, object]]:
    """Properties of an event."""
    return st.fixed_dictionaries(
        {},
        optional={
            "p": _scalars,
            "q": _scalars,
            "n": st.one_of(_scalars, st.fixed_dictionaries({}, optional={"x": _scalars})),
            "l": st.one_of(_scalars, st.lists(_scalars, max_size=3)),
            "m": st.one_of(_scalars, st.lists(_items, max_size=3)),
        },
    )


# ---- facts

_stamps = st.one_of(_ages.map(lambda age: AT_US - age), _ages.map(lambda age: AT_US + age))


@st.composite
def _members(draw: st.DrawFn, member: int, users: Sequence[int] = ()) -> Member:
    def message_id(number: int) -> str:
        return f"{draw(st.sampled_from('zaé'))}{member}-{number}"

    rows = [
        Row(event, ts, message_id(number), held, {"page": {"url": url}}, source)  # type: ignore[arg-type]
        for number, (event, ts, held, url, source) in enumerate(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(EVENTS), _stamps, properties(), _scalars, st.sampled_from([None, *SOURCES])),
                    max_size=0 if member >= FIRST_ACCOUNT else 5,
                )
            )
        )
    ]
    traits = [
        TraitRow(key, ts, message_id(number), value)
        for number, (key, ts, value) in enumerate(draw(st.lists(st.tuples(st.sampled_from("tu"), _stamps, values()), max_size=4)))
    ]
    return Member(member, traits, rows, users)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """A few users, some strangers without a user id, and accounts with any number of the users."""
    users = [draw(_members(number)) for number in range(1, draw(st.integers(0, 4)) + 1)]
    strangers = [draw(_members(50))] if draw(st.booleans()) else []
    ids = [each.member for each in users]
    accounts = [
        draw(_members(FIRST_ACCOUNT + number, draw(st.lists(st.sampled_from(ids), unique=True)) if ids else ()))
        for number in range(draw(st.integers(0, 3)))
    ]
    return Facts(users, accounts, strangers)


# ---- definitions

_durations = st.sampled_from(
    [Duration(1, Unit.HOUR), Duration(2, Unit.HOUR), Duration(1, Unit.DAY), Duration(2, Unit.DAY), Duration(0, Unit.DAY)]
)
_number_literals = st.sampled_from(["0", "1", "2", "5", "0.1", "0.3", "-1", "10", "123456789012.25"]).map(
    lambda text: Number(Decimal(text))
)
_moments = st.sampled_from([AT_US, AT_US - HOUR_US, 1_299_974_400_000_000]).map(
    lambda at: Moment(at, date_only=at % (24 * HOUR_US) == 0),
)
_literals = st.one_of(_number_literals, st.one_of(_texts, _dates).map(Text), st.booleans().map(Truth), _moments)
_orderable = st.one_of(_number_literals, st.sampled_from(["5", "1e1", "-1"]).map(Text))

_SAME = (Comparator.EQUALS, Comparator.DIFFERS)
_ORDER = (Comparator.GREATER_THAN, Comparator.AT_LEAST, Comparator.LESS_THAN, Comparator.AT_MOST)
_MANY = (Comparator.ONE_OF, Comparator.NONE_OF)
_PRESENCE = (Comparator.ABSENT, Comparator.EXISTS)
_TEXTS = (Comparator.CONTAINS, Comparator.OMITS)
_ENDS = (Comparator.STARTS_WITH, Comparator.ENDS_WITH)
_DATES = (Comparator.BEFORE_DATE, Comparator.AFTER_DATE)
_WINDOWS = (Comparator.WITHIN_LAST, Comparator.WITHIN_NEXT, Comparator.BEFORE_LAST, Comparator.AFTER_NEXT)


def _compared(
    kinds: Sequence[Comparator], arguments: st.SearchStrategy[tuple[object, ...]]
) -> st.SearchStrategy[tuple[Comparator, tuple[object, ...]]]:
    return st.tuples(st.sampled_from(kinds), arguments)


_one_text = _texts.map(Text)
_of_numbers = st.one_of(
    _compared(_SAME, st.tuples(_orderable)),
    _compared(_ORDER, st.tuples(_orderable)),
    _compared(_ORDER, st.tuples(_orderable)),
    _compared(_MANY, st.lists(_orderable, min_size=1, max_size=2).map(tuple)),
    _compared(_PRESENCE, st.just(())),
)
_of_anything = st.one_of(
    _of_numbers,
    _compared(_SAME, st.tuples(_literals)),
    _compared(_MANY, st.lists(_literals, min_size=1, max_size=2).map(tuple)),
    _compared(_TEXTS, st.lists(_one_text, min_size=1, max_size=2).map(tuple)),
    _compared(_ENDS, st.tuples(_one_text)),
    _compared(_DATES, st.tuples(_moments)),
    _compared(_WINDOWS, st.tuples(_durations)),
)


@st.composite
def _comparison(draw: st.DrawFn, scalar: Scalar) -> Comparison:
    reducer = scalar.reducer
    numeric = reducer and (reducer.read_as is As.NUMBER or reducer.kind in (Reduce.COUNT, Reduce.SUM, Reduce.AVG, Reduce.UNIQUE_COUNT))
    comparator, arguments = draw(_of_numbers if numeric else _of_anything)
    return Comparison(scalar, comparator, arguments)  # type: ignore[arg-type]


@st.composite
def _row_conditions(draw: st.DrawFn, funnels: bool, parent: bool) -> Condition:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return Not(draw(_row_conditions(funnels, parent)))
    if kind == 1:
        joined = draw(st.sampled_from([And, Or]))
        return both(joined, (draw(_row_conditions(funnels, parent)), draw(_row_conditions(funnels, parent))))
    if kind <= 3 and funnels:
        return draw(_event_comparisons(follows=True))
    if kind == 4:
        other = Property(draw(st.sampled_from(PATHS)), parent and draw(st.booleans()))
        left = Property(draw(st.sampled_from((*PATHS, *EACH_PATHS))))
        return Comparison(Scalar(left), draw(st.sampled_from((*_SAME, *_ORDER, *_MANY))), (other,))
    if kind == 5:
        return draw(_comparison(Scalar(Context(("page", "url")))))
    path = draw(st.sampled_from((*PATHS, *PATHS, *EACH_PATHS)))
    return draw(_comparison(Scalar(Property(path, parent and draw(st.booleans())))))


_reducers = st.one_of(
    st.just(Reducer(Reduce.COUNT)),
    st.just(Reducer(Reduce.COUNT)),
    st.builds(
        Reducer,
        st.sampled_from([Reduce.SUM, Reduce.AVG, Reduce.FIRST, Reduce.LAST, Reduce.UNIQUE_COUNT]),
        st.sampled_from(PATHS).map(Property),
    ),
    st.builds(
        Reducer, st.sampled_from([Reduce.MIN, Reduce.MAX]), st.sampled_from(PATHS).map(Property), st.sampled_from([As.NUMBER, As.STRING])
    ),
)
_modes = st.builds(
    Reducer, st.just(Reduce.MODE), st.sampled_from(PATHS).map(Property), st.sampled_from([As.NUMBER, As.STRING]), st.integers(1, 3)
)


@st.composite
def _event_comparisons(draw: st.DrawFn, follows: bool = False) -> Comparison:
    filters: list[object] = []
    if follows:
        filters.append(Within(draw(_durations), parent=True))
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.integers(0, 5))
        if kind <= 2:
            filters.append(Where(draw(_row_conditions(funnels=not follows, parent=follows))))
        elif kind == 3:
            filters.append(Sources(tuple(draw(st.lists(st.sampled_from(SOURCES), min_size=1, unique=True)))))
        elif kind == 4 or follows:
            filters.append(Within(draw(_durations)))
        else:
            windows = sorted([draw(_durations), draw(_durations)], key=lambda window: window.us)
            filters.append(Between(windows[0], windows[1]))
    reducer = draw(_reducers if follows else st.one_of(_reducers, _reducers, _modes))
    return draw(_comparison(Scalar(Events(draw(st.sampled_from(EVENTS)), tuple(filters)), reducer)))  # type: ignore[arg-type]


@st.composite
def _trait_comparisons(draw: st.DrawFn, audiences: Sequence[str]) -> Comparison:
    if audiences and draw(st.integers(0, 3)) == 0:
        return draw(_comparison(Scalar(Trait((draw(st.sampled_from(audiences)),)))))
    if draw(st.integers(0, 9)) == 0:
        return draw(_comparison(Scalar(draw(_one_text))))
    return draw(_comparison(Scalar(Trait(draw(st.sampled_from((*TRAITS, ("t", "$"), ("t", "$", "x"))))))))


@st.composite
def _conditions(draw: st.DrawFn, level: Level, audiences: Sequence[str], depth: int = 0) -> Condition:
    kind = draw(st.integers(0, 9)) if depth < 4 else 9
    if kind == 0:
        return Not(draw(_conditions(level, audiences, depth + 1)))
    if kind <= 2:
        joined = draw(st.sampled_from([And, Or]))
        return both(joined, tuple(draw(_conditions(level, audiences, depth + 1)) for _ in range(draw(st.integers(2, 3)))))
    if kind <= 5 and level is Level.ACCOUNT:
        wrapped = draw(st.sampled_from([AnyUser, AllUsers]))
        return wrapped(draw(_conditions(Level.USER, audiences, depth + 1)))
    return draw(st.one_of(_event_comparisons(), _trait_comparisons(audiences)))


def definitions(level: Level, audiences: Sequence[str] = (*USER_AUDIENCES, *ACCOUNT_AUDIENCES)) -> st.SearchStrategy[Definition]:
    """Definitions that may refer to the audiences given."""
    return _conditions(level, audiences).filter(_is_small).map(lambda condition: Definition(level, condition))


def _is_small(condition: Condition) -> bool:
    return len(list(_expressions(condition))) <= 20


def _expressions(condition: Condition) -> Sequence[object]:
    from engage_pipelines.domain.query.tree import all_comparisons  # noqa: PLC0415

    return list(all_comparisons(condition))


__all__ = ["AT_US", "definitions", "facts", "moment_text"]
