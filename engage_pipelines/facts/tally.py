"""Conditions answered by counting rows into an array with one place per member, instead of grouping them.

The engine says of each row whose it is and which conditions it meets; adding up is done here. It knows the conditions whose rows can be
added up in any order: counts, also of different values, sums and averages of exact decimals, least and greatest numbers, first and last
values. What it cannot add up exactly (a tie of first values that differ, a sum of doubles) it leaves to a query of its own, see `compile`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engage_pipelines.domain.query.comparing import has_each, holds_for
from engage_pipelines.domain.query.inspection import reads_traits
from engage_pipelines.domain.query.tree import As, Comparator, Comparison, Events, Number, Reduce, Text, Where, all_comparisons
from engage_pipelines.domain.query.values import number_of
from engage_pipelines.facts.bits import Flags

Positions = NDArray[np.int32]
Doubles = NDArray[np.float64]

_ORDERS = {
    Comparator.GREATER_THAN: np.greater,
    Comparator.AT_LEAST: np.greater_equal,
    Comparator.LESS_THAN: np.less,
    Comparator.AT_MOST: np.less_equal,
}
_EQUALITIES = (Comparator.EQUALS, Comparator.DIFFERS, Comparator.ONE_OF, Comparator.NONE_OF)
_PRESENCES = (Comparator.EXISTS, Comparator.ABSENT)
EXACT_BELOW = 2.0**53
"""Whole numbers below it are added up exactly as doubles, in any order."""
FEW_CODES = 64


def is_counted(leaf: Comparison) -> bool:
    """Whether the condition can be answered here; funnels cannot, since the rows they follow are sought by member."""
    source, reducer = leaf.scalar.source, leaf.scalar.reducer
    if not isinstance(source, Events) or not reducer or any(_is_funnel(each) for each in source.filters) or reads_traits(leaf.scalar):
        return False
    if reducer.argument and has_each(reducer.argument.path):
        return False
    compares = leaf.comparator in (*_ORDERS, *_EQUALITIES, *_PRESENCES) and all(_number(each) is not None for each in leaf.arguments)
    match reducer.kind:
        case Reduce.COUNT | Reduce.FIRST | Reduce.LAST | Reduce.UNIQUE_COUNT:
            return True
        case Reduce.SUM | Reduce.AVG:
            return compares
        case Reduce.MIN | Reduce.MAX:
            return reducer.read_as is not As.STRING and compares and leaf.comparator not in _EQUALITIES
        case _:
            return False


def _is_funnel(each: object) -> bool:
    return isinstance(each, Where) and any(isinstance(inner.scalar.source, Events) for inner in all_comparisons(each.condition))


def _number(argument: object) -> float | None:
    match argument:
        case Number(value):
            return float(value)
        case Text(text):
            return number_of(text)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of rows: the place of each one's member, and columns by name; the last place is that of nobody."""

    places: Positions
    columns: dict[str, NDArray[np.generic]]

    def those(self, condition: str) -> tuple[Positions, Flags | slice]:
        """The places of the rows that meet the condition in a column, or of all for ''."""
        if not condition:
            return self.places, slice(None)
        flags = self.columns[condition].view(np.bool_)
        return self.places[flags], flags


# ---- arrays that rows are added up in


class Sum(Protocol):
    """Something that rows are added to, batch by batch."""

    def add(self, rows: Rows) -> None: ...


@dataclass
class AnyRow:
    """Whether a member has a row that meets the condition."""

    size: int
    condition: str

    def __post_init__(self) -> None:
        self.flags = np.zeros(self.size + 1, dtype=np.bool_)

    def add(self, rows: Rows) -> None:
        self.flags[rows.those(self.condition)[0]] = True


@dataclass
class HowMany:
    """How many rows of a member meet the condition."""

    size: int
    condition: str

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.size + 1, dtype=np.int32)

    def add(self, rows: Rows) -> None:
        np.add.at(self.counts, rows.those(self.condition)[0], np.int32(1))


@dataclass
class Distinct:
    """How many different values rows of a member have in a column of codes, which are below 0 where there is none.

    A row of flags per code while codes are few; pairs of place and code, sorted, from then on.
    """

    size: int
    condition: str
    column: str
    pairs: list[NDArray[np.int64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # memory that is never touched is never taken
        self.flags = np.zeros((FEW_CODES, self.size + 1), dtype=np.bool_)

    def add(self, rows: Rows) -> None:
        places, chosen = rows.those(self.condition)
        codes = np.asarray(rows.columns[self.column], dtype=np.int32)[chosen]
        there = codes >= 0
        if not there.all():
            places, codes = places[there], codes[there]
        if not self.pairs and codes.max(initial=0) < FEW_CODES:
            self.flags[codes, places] = True
        else:
            self.pairs.append(_unique(places.astype(np.int64) << 32 | codes))

    def counts(self) -> NDArray[np.int32]:
        if not self.pairs:
            return self.flags.sum(axis=0, dtype=np.int32)
        codes, places = np.nonzero(self.flags)
        pairs = _unique(np.concatenate([*self.pairs, places << 32 | codes]))
        return np.bincount(pairs >> 32, minlength=self.size + 1).astype(np.int32)


def _unique(values: NDArray[np.int64]) -> NDArray[np.int64]:
    values.sort()
    return values[np.concatenate((values[:1] == values[:1], values[1:] != values[:-1]))]


@dataclass
class Total:
    """The sum of a column of millionths, and how many there are; `is_exact` turns false when it may be off by a bit."""

    size: int
    condition: str
    column: str
    is_exact: bool = True

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.size + 1, dtype=np.float64)
        self.magnitudes = self.sums
        self.counts = np.zeros(self.size + 1, dtype=np.int32)

    def add(self, rows: Rows) -> None:
        places, chosen = rows.those(self.condition)
        values = np.asarray(rows.columns[self.column], dtype=np.float64)[chosen]
        present = ~np.isnan(values)
        if not present.all():
            places, values = places[present], values[present]
        if not len(values):
            return
        if not np.isfinite(values).all():
            self.is_exact = False
            return
        if values.min() < 0 and self.magnitudes is self.sums:
            self.magnitudes = self.sums.copy()
        if self.magnitudes is not self.sums:
            np.add.at(self.magnitudes, places, np.abs(values))
        np.add.at(self.sums, places, values)
        np.add.at(self.counts, places, np.int32(1))
        self.is_exact = self.is_exact and bool(self.magnitudes[:-1].max(initial=0.0) < EXACT_BELOW)


@dataclass
class LastRow:
    """What the last row of a member that meets the condition says in other columns; with `first`, the first.

    `clashes`: members of whom two rows of that instant say different things.
    """

    size: int
    condition: str
    truths: Sequence[str]
    first: bool = False

    def __post_init__(self) -> None:
        self.at = np.full(self.size + 1, np.iinfo(np.int64).min, dtype=np.int64)
        self.values = np.zeros((len(self.truths), self.size + 1), dtype=np.bool_)
        self.clashes = np.zeros(self.size + 1, dtype=np.bool_)
        self._last = np.zeros(self.size + 1, dtype=np.int32)
        self._latest = int(np.iinfo(np.int64).min)

    @property
    def has_any(self) -> Flags:
        return self.at != np.iinfo(np.int64).min

    def add(self, rows: Rows) -> None:
        places, chosen = rows.those(self.condition)
        if not len(places):
            return
        ts = np.asarray(rows.columns["ts"], dtype=np.int64)[chosen]
        ts = -ts if self.first else ts
        said = [rows.columns[name].view(np.bool_)[chosen] for name in self.truths]
        if not (ts[1:] >= ts[:-1]).all():
            order = np.argsort(ts, kind="stable")
            places, ts, said = places[order], ts[order], [each[order] for each in said]
        self._merge(places, ts, said)

    def _merge(self, places: Positions, ts: NDArray[np.int64], said: list[Flags]) -> None:
        """Rows in the order of time: only the last one of each member counts, and those of the same instant that differ from it."""
        if ts[0] > self._latest and (ts[1:] > ts[:-1]).all():
            self._latest = int(ts[-1])
            self.at[places] = ts  # of equal places the later one stays
            for values, each in zip(self.values, said, strict=True):
                values[places] = each
            self.clashes[places] = False
            return
        self._latest = max(self._latest, int(ts[-1]))
        numbers = np.arange(len(places), dtype=np.int32)
        self._last[places] = numbers  # of equal places the later one stays
        last_of_each = self._last[places]
        rows = np.flatnonzero(last_of_each == numbers)
        there, at = places[rows], ts[rows]
        newer, equal = at > self.at[there], at == self.at[there]
        self.clashes[there[newer]] = False
        tied = np.flatnonzero((last_of_each != numbers) & (ts == ts[last_of_each]) & (ts >= self.at[places]))
        for values, each in zip(self.values, said, strict=True):
            self.clashes[places[tied[each[tied] != each[last_of_each[tied]]]]] = True
            self.clashes[there[equal][each[rows[equal]] != values[there[equal]]]] = True
            values[there[newer]] = each[rows[newer]]
        self.at[there[newer]] = at[newer]


# ---- truths by member


def truths_of_counts(leaf: Comparison, counts: NDArray[np.int32], at_us: int) -> Flags:
    """The truth for each count, by the reference meaning of every count that there is."""
    highest = int(counts.max(initial=0))
    if highest < 10_000:
        table = np.zeros(highest + 1, dtype=np.bool_)
        # many counts up to the highest are nobody's
        different = np.flatnonzero(np.bincount(counts))
        table[different] = [holds_for(leaf, each, at_us=at_us) for each in different.tolist()]
        return table[counts]
    different, where = np.unique(counts, return_inverse=True)
    return np.fromiter((holds_for(leaf, int(each), at_us=at_us) for each in different), dtype=np.bool_)[where]


def needs_one_row(leaf: Comparison, at_us: int) -> bool:
    """Whether one row is as good as many: the truth of a count does not change beyond 1."""
    numbers = [number for each in leaf.arguments if (number := _number(each)) is not None]
    if len(numbers) < len(leaf.arguments) or any(number > 1 for number in numbers):
        return False
    return holds_for(leaf, 1, at_us=at_us) == holds_for(leaf, 2, at_us=at_us)


def truths_of_numbers(leaf: Comparison, values: Doubles, present: Flags) -> Flags:
    """The truth for each number; a number that is not present is a missing one."""
    given = [number for each in leaf.arguments if (number := _number(each)) is not None]
    match leaf.comparator:
        case Comparator.EXISTS:
            return present
        case Comparator.ABSENT:
            return ~present
        case Comparator.EQUALS | Comparator.ONE_OF:
            return present & np.isin(values, given)
        case Comparator.DIFFERS:
            return present & ~np.isin(values, given)
        case Comparator.NONE_OF:
            return ~(present & np.isin(values, given))
        case _:
            return present & _ORDERS[leaf.comparator](values, given[0])


@dataclass(frozen=True, slots=True)
class Extreme:
    """A comparison of a least or greatest number as a question whether there is a row: `is_any` of them meets `row`, or else none does."""

    row: Comparator
    is_any: bool


def extreme(leaf: Comparison) -> Extreme:
    """The greatest is more than 5 when some value is; it is at most 5 when there are values and none is more."""
    reducer = leaf.scalar.reducer
    assert reducer
    if leaf.comparator in _PRESENCES:
        return Extreme(Comparator.EXISTS, leaf.comparator is Comparator.EXISTS)
    upwards = leaf.comparator in (Comparator.GREATER_THAN, Comparator.AT_LEAST)
    if upwards == (reducer.kind is Reduce.MAX):
        return Extreme(leaf.comparator, True)
    opposite = {
        Comparator.GREATER_THAN: Comparator.AT_MOST,
        Comparator.AT_LEAST: Comparator.LESS_THAN,
        Comparator.LESS_THAN: Comparator.AT_LEAST,
        Comparator.AT_MOST: Comparator.GREATER_THAN,
    }
    return Extreme(opposite[leaf.comparator], False)


@dataclass(frozen=True, slots=True)
class Places:
    """The place of each subject's member among the sorted members of a level; nobody's place is the last one, `size`."""

    table: Positions
    size: int = field(default=0)

    def of(self, subjects: NDArray[np.int64]) -> Positions:
        return self.table[np.minimum(subjects, len(self.table) - 1)]


def places_of(members: NDArray[np.int64], linked: NDArray[np.int64], linked_to: NDArray[np.int64]) -> Places:
    """Places among `members` of all subjects, of which those in `linked` belong to the members in `linked_to`."""
    size = len(members)
    highest = max(int(members.max(initial=0)), int(linked.max(initial=0)), int(linked_to.max(initial=0)))
    table = np.full(highest + 2, size, dtype=np.int32)
    table[members] = np.arange(size, dtype=np.int32)
    table[linked] = table[linked_to]
    return Places(table, size)
