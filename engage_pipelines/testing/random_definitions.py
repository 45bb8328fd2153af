"""Random definitions for property tests, as trees that the checks let through; and the random facts that make them true now and then.

Few names and few values, so that they meet: missing values, numbers as text, ties, non-ASCII, dates at the edges of windows,
rows at the very instant of evaluation. Needs hypothesis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
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
    TraitDefinition,
    Truth,
    Unit,
    Where,
    Within,
    all_comparisons,
    both,
)
from engage_pipelines.domain.query.values import Json
from engage_pipelines.testing.plain_facts import FIRST_ACCOUNT, Facts, Member, TraitRow

AT_US = 1_300_000_000_000_000
"""An ordinary instant in March 2011, in the hour of no daylight saving anywhere that matters."""
HOUR_US = 3_600_000_000

EVENTS = ("A", "B")
PATHS = (("p",), ("q",), ("n", "x"))
ARRAYS = (("l",), ("m",))
EACH_PATHS = (("l", "$"), ("m", "$", "x"))
USER_AUDIENCES = ("ua", "ub")
ACCOUNT_AUDIENCES = ("aa",)
TRAITS = (("t",), ("u",), ("t", "x"))
SOURCES = ("web", "it's")

_AGES = (0, 1, HOUR_US - 1, HOUR_US, HOUR_US + 1, 2 * HOUR_US, 24 * HOUR_US, 24 * HOUR_US + 1, 48 * HOUR_US)
_TEXTS_HELD = ("", "a", "ab", "Ä", "ä", "5", "5.0", "1e1", "-1", " 5", "inf", "true", "false", "True", "[1]", "null", "it's", "日")
_DATES_HELD = (
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
)
# from 1e16 on and below 1e-4 the text of a number is not the same everywhere (1e+16, 10000000000000000.0), and no reference says which
_NUMBERS_HELD = (0, 1, 2, 5, 5.0, 0.1, 0.2, 0.3, -1, 10, 1e15, 123456789012.25, 1e-4, 10**25, "1e999", "0.1")


# ---- facts


@dataclass(frozen=True)
class _Maker:
    """Facts from a seed: many members at once cost hypothesis too much, and definitions are what is worth shrinking."""

    random: Random

    def facts(self, users: int) -> Facts:
        people = [self.member(number) for number in range(1, users + 1)]
        ids = [each.member for each in people]
        accounts = [
            self.member(FIRST_ACCOUNT + number, self.random.sample(ids, self.random.randint(0, min(3, len(ids)))))
            for number in range(users // 2)
        ]
        return Facts(people, accounts, [self.member(500)])

    def member(self, member: int, users: Sequence[int] = ()) -> Member:
        def message_id(number: int) -> str:
            return f"{self.random.choice('zaé')}{member}-{number}"

        rows = [] if member >= FIRST_ACCOUNT else [self.row(message_id(number)) for number in range(self.random.randint(0, 8))]
        traits = [
            TraitRow(self.random.choice("tu"), self.stamp(), message_id(number), self.value())
            for number in range(self.random.randint(0, 5))
        ]
        return Member(member, traits, rows, users)

    def row(self, message_id: str) -> Row:
        properties = {
            "p": self.scalar(),
            "q": self.scalar(),
            "n": self.random.choice([self.scalar(), {"x": self.scalar()}, {}]),
            "l": self.random.choice([self.scalar(), [self.scalar() for _ in range(self.random.randint(0, 3))]]),
            "m": self.random.choice([self.scalar(), [self.item() for _ in range(self.random.randint(0, 3))]]),
        }
        held: dict[str, Json] = {key: properties[key] for key in properties if self.random.random() < 0.8}
        context: dict[str, Json] = {"page": {"url": self.scalar()}}
        return Row(self.random.choice(EVENTS), self.stamp(), message_id, held, context, self.random.choice([None, *SOURCES]))

    def stamp(self) -> int:
        return AT_US + self.random.choice([-1, -1, -1, 1]) * self.random.choice(_AGES)

    def scalar(self) -> Json:
        kind = self.random.choice([_NUMBERS_HELD, _NUMBERS_HELD, _TEXTS_HELD, _DATES_HELD, (None, True, False)])
        return self.random.choice(kind)

    def item(self) -> Json:
        return self.random.choice([self.scalar(), {"x": self.scalar()}, {}])

    def value(self) -> Json:
        listed: list[Json] = [self.item() for _ in range(self.random.randint(0, 3))]
        return self.random.choice([self.scalar(), self.scalar(), self.scalar(), {"x": self.scalar()}, listed])


def facts() -> st.SearchStrategy[Facts]:
    """Users, a stranger without a user id, and accounts with any number of the users."""
    return st.builds(_made, st.integers(0, 30), st.integers(0, 2**32))


def _made(users: int, seed: int) -> Facts:
    return _Maker(Random(seed)).facts(users)  # noqa: S311 - reproducible, not secret


# ---- definitions

_durations = st.sampled_from(
    [Duration(1, Unit.HOUR), Duration(2, Unit.HOUR), Duration(1, Unit.DAY), Duration(2, Unit.DAY), Duration(0, Unit.DAY)]
)
_SESSIONS = (Duration(1, Unit.SECOND), Duration(1, Unit.HOUR), Duration(1, Unit.DAY))
_number_literals = st.sampled_from(["0", "1", "2", "5", "0.1", "0.3", "-1", "10", "123456789012.25"]).map(
    lambda text: Number(Decimal(text))
)
_moments = st.sampled_from([AT_US, AT_US - HOUR_US, 1_299_974_400_000_000]).map(
    lambda at: Moment(at, date_only=at % (24 * HOUR_US) == 0),
)
_literals = st.one_of(_number_literals, st.sampled_from((*_TEXTS_HELD, *_DATES_HELD)).map(Text), st.booleans().map(Truth), _moments)
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


_one_text = st.sampled_from(_TEXTS_HELD).map(Text)
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


@dataclass(frozen=True)
class Computed:
    """Computations that definitions may refer to. With it they use the whole language; without, what every home of facts can answer."""

    audiences: Sequence[str] = ()
    user_traits: Sequence[str] = ()
    account_traits: Sequence[str] = ()

    def of_users(self) -> st.SearchStrategy[Trait]:
        """What can be asked of a user, as a value."""
        computed = [(key,) for key in (*self.audiences, *self.user_traits, *self.user_traits)]
        return st.sampled_from([*TRAITS, *computed]).map(Trait)

    def of_accounts(self) -> st.SearchStrategy[Trait]:
        computed = [(key,) for key in self.account_traits]
        return st.sampled_from([*TRAITS, *computed]).map(Trait)


@st.composite
def _comparison(draw: st.DrawFn, scalar: Scalar, others: st.SearchStrategy[Trait] | None = None) -> Comparison:
    """`others` are traits that the value may be compared with."""
    reducer = scalar.reducer
    if reducer and reducer.kind is Reduce.UNIQUE:
        comparator, arguments = draw(_of_lists)
        return Comparison(scalar, comparator, arguments)  # type: ignore[arg-type]
    if others is not None and not isinstance(scalar.source, Text) and draw(st.integers(0, 3)) == 0:
        return Comparison(scalar, draw(st.sampled_from((*_SAME, *_ORDER, *_MANY))), (draw(others),))
    numeric = reducer and (reducer.read_as is As.NUMBER or reducer.kind in (Reduce.COUNT, Reduce.SUM, Reduce.AVG, Reduce.UNIQUE_COUNT))
    comparator, arguments = draw(_of_numbers if numeric else _of_anything)
    return Comparison(scalar, comparator, arguments)  # type: ignore[arg-type]


@st.composite
def _row_conditions(draw: st.DrawFn, depth: int, computed: Computed | None) -> Condition:
    """On rows at depth 1, on rows that follow those at 2, and so on."""
    kind = draw(st.integers(0, 11 if computed else 9))
    parent = depth > 1
    if kind == 0:
        return Not(draw(_row_conditions(depth, computed)))
    if kind == 1:
        joined = draw(st.sampled_from([And, Or]))
        return both(joined, (draw(_row_conditions(depth, computed)), draw(_row_conditions(depth, computed))))
    if kind <= 3 and depth <= (2 if computed else 1):
        return draw(_event_comparisons(depth, computed))
    if kind >= 10 and computed:
        return draw(_comparison(Scalar(draw(computed.of_users())), computed.of_users()))
    if kind == 4:
        other = Property(draw(st.sampled_from(PATHS)), parent and draw(st.booleans()))
        left = Property(draw(st.sampled_from((*PATHS, *EACH_PATHS))))
        return Comparison(Scalar(left), draw(st.sampled_from((*_SAME, *_ORDER, *_MANY))), (other,))
    if kind == 5:
        return draw(_comparison(Scalar(Context(("page", "url")))))
    path = draw(st.sampled_from((*PATHS, *PATHS, *EACH_PATHS)))
    return draw(_comparison(Scalar(Property(path, parent and draw(st.booleans()))), computed.of_users() if computed else None))


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

_array_modes = st.builds(Reducer, st.just(Reduce.MODE), st.sampled_from(ARRAYS).map(Property), st.just(As.ARRAY), st.integers(1, 3))
_lists = st.builds(Reducer, st.just(Reduce.UNIQUE), st.sampled_from((*PATHS, *ARRAYS)).map(Property))
_of_lists = st.one_of(
    _compared(_TEXTS, st.lists(_one_text, min_size=1, max_size=2).map(tuple)),
    _compared(_PRESENCE, st.just(())),
)


@st.composite
def _event_comparisons(draw: st.DrawFn, depth: int, computed: Computed | None) -> Comparison:
    """On rows at no depth, or at 1 and more on rows that follow others."""
    events = draw(_events(depth, computed))
    reducers = [_reducers, _reducers]
    if computed:
        reducers += [_modes, _array_modes, _lists]
    elif not depth:
        reducers.append(_modes)
    others = computed.of_users() if computed else None
    scalar = Scalar(events, draw(st.one_of(reducers)))
    if depth and draw(st.integers(0, 5)) == 0 and _is_single(scalar.reducer):
        # with the row at hand, which these rows follow
        here = Property(draw(st.sampled_from(PATHS)), depth > 1 and draw(st.booleans()))
        return Comparison(scalar, draw(st.sampled_from(_SAME)), (here,))
    return draw(_comparison(scalar, others))


def _is_single(reducer: Reducer | None) -> bool:
    return reducer is not None and reducer.kind not in (Reduce.UNIQUE, Reduce.MODE)


@st.composite
def _events(draw: st.DrawFn, depth: int, computed: Computed | None) -> Events:
    filters: list[object] = []
    follows = depth > 0
    if follows:
        filters.append(Within(draw(_durations), parent=True))
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.integers(0, 5))
        if kind <= 2:
            filters.append(Where(draw(_row_conditions(depth + 1, computed))))
        elif kind == 3:
            filters.append(Sources(tuple(draw(st.lists(st.sampled_from(SOURCES), min_size=1, unique=True)))))
        elif kind == 4 or (follows and not computed):
            filters.append(Within(draw(_durations)))
        else:
            windows = sorted([draw(_durations), draw(_durations)], key=lambda window: window.us)
            filters.append(Between(windows[0], windows[1]))
    return Events(draw(st.sampled_from(EVENTS)), tuple(filters))  # type: ignore[arg-type]


@st.composite
def _trait_comparisons(draw: st.DrawFn, level: Level, audiences: Sequence[str], computed: Computed | None) -> Comparison:
    of_users = level is Level.USER
    others = None if not computed else computed.of_users() if of_users else computed.of_accounts()
    keys = () if not computed else (*computed.user_traits, *(() if of_users else computed.account_traits))
    if keys and draw(st.integers(0, 2)) == 0:
        key = draw(st.sampled_from(keys))
        path = draw(st.sampled_from([(key,), (key, "$"), (key, "x")]))
        same_level = of_users or key in computed.account_traits if computed else False
        return draw(_comparison(Scalar(Trait(path)), others if same_level else None))
    if audiences and draw(st.integers(0, 3)) == 0:
        return draw(_comparison(Scalar(Trait((draw(st.sampled_from(audiences)),)))))
    if draw(st.integers(0, 9)) == 0:
        return draw(_comparison(Scalar(draw(_one_text))))
    return draw(_comparison(Scalar(Trait(draw(st.sampled_from((*TRAITS, ("t", "$"), ("t", "$", "x")))))), others))


@st.composite
def _conditions(draw: st.DrawFn, level: Level, audiences: Sequence[str], computed: Computed | None, depth: int = 0) -> Condition:
    kind = draw(st.integers(0, 9)) if depth < 4 else 9
    if kind == 0:
        return Not(draw(_conditions(level, audiences, computed, depth + 1)))
    if kind <= 2:
        joined = draw(st.sampled_from([And, Or]))
        return both(joined, tuple(draw(_conditions(level, audiences, computed, depth + 1)) for _ in range(draw(st.integers(2, 3)))))
    if kind <= 5 and level is Level.ACCOUNT:
        wrapped = draw(st.sampled_from([AnyUser, AllUsers]))
        return wrapped(draw(_conditions(Level.USER, audiences, computed, depth + 1)))
    return draw(st.one_of(_event_comparisons(0, computed), _trait_comparisons(level, audiences, computed)))


def definitions(
    level: Level, audiences: Sequence[str] = (*USER_AUDIENCES, *ACCOUNT_AUDIENCES), *, computed: Computed | None = None
) -> st.SearchStrategy[Definition]:
    """Definitions that may refer to the audiences given, and to what was computed."""
    return _conditions(level, audiences, computed).filter(_is_small).map(lambda condition: Definition(level, condition))


def trait_definitions(level: Level, computed: Computed) -> st.SearchStrategy[TraitDefinition]:
    """Definitions of traits that may refer to what was computed."""
    return _trait_scalars(computed).map(lambda scalar: TraitDefinition(level, scalar))


@st.composite
def _trait_scalars(draw: st.DrawFn, computed: Computed) -> Scalar:
    reducer = draw(st.one_of(_reducers, _modes, _array_modes, _lists))
    session = draw(st.sampled_from([None, None, *_SESSIONS]))
    return Scalar(replace(draw(_events(0, computed)), expires_after=session), reducer)


def event_definitions() -> st.SearchStrategy[Definition]:
    """Definitions of a single condition on events, half of them funnels."""
    return st.one_of(_event_comparisons(0, None), _funnels()).map(lambda condition: Definition(Level.USER, condition))


@st.composite
def _funnels(draw: st.DrawFn) -> Comparison:
    followed = draw(_event_comparisons(1, None))
    where = Where(draw(st.sampled_from([followed, Not(followed)])))
    events = Events(draw(st.sampled_from(EVENTS)), (where,))
    return Comparison(Scalar(events, Reducer(Reduce.COUNT)), Comparator.AT_LEAST, (Number(Decimal(draw(st.integers(1, 2)))),))


def _is_small(condition: Condition) -> bool:
    return len(list(all_comparisons(condition))) <= 20
