"""Queries that say of every row whose it is and which conditions it meets, and the arrays that the rows are added up in."""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.comparing import holds_for
from engage_pipelines.domain.query.tree import Comparator, Comparison, Reduce, Reducer
from engage_pipelines.facts.bits import Flags
from engage_pipelines.facts.compile import events_of, trait_truth, without_rows
from engage_pipelines.facts.row_conditions import Columns, filter_sql, rows_of, which_rows
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.sql_values import ReadValue, predicate, quote_text
from engage_pipelines.facts.tally import (
    AnyRow,
    Distinct,
    HowMany,
    LastRow,
    Places,
    Rows,
    Sum,
    Total,
    extreme,
    needs_one_row,
    truths_of_counts,
    truths_of_numbers,
)

LEAVES_AT_ONCE = 16
"""Conditions that share a scan: each has an array with one place per member."""
BATCH_ROWS = 122_880
_KINDS = {pa.int64(): np.int64, pa.int32(): np.int32, pa.uint8(): np.uint8, pa.float64(): np.float64}

_S = TypeVar("_S", bound=Sum)
Answer = Callable[[], Flags | None]
"""The truth of each member, or None when it has to be asked otherwise."""


@dataclass(frozen=True, slots=True)
class Found:
    """Truths by condition, None where rows do not add up exactly, and whether any member has a row at all."""

    truths: Mapping[Comparison, Flags | None]
    any_row: bool


@dataclass(slots=True)
class _Scan:
    """What one query gives for each row, by expression, and what becomes of it."""

    size: int
    at_us: int
    outputs: dict[str, str] = field(default_factory=dict)
    sums: dict[object, Sum] = field(default_factory=dict)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)
    """By column of texts, a number for each text seen."""

    def flag(self, condition: str) -> str:
        """The column that is 1 where the condition holds, '' when it always does."""
        return self.column(f"CAST({condition} AS UTINYINT)") if condition else ""

    def column(self, expression: str) -> str:
        return self.outputs.setdefault(expression, f"o{len(self.outputs)}")

    def sum(self, made: _S, *key: object) -> _S:
        """The one there is of that key."""
        kept = self.sums.setdefault((type(made), *key), made)
        assert isinstance(kept, type(made))
        return kept

    def any_row(self, condition: str) -> AnyRow:
        return self.sum(AnyRow(self.size, self.flag(condition)), condition)


def count_events(session: FactsSession, name: str, leaves: Sequence[Comparison], places: Places) -> Found:
    """Answer conditions on one event name. Raises duckdb.Error."""
    truths: dict[Comparison, Flags | None] = {}
    any_row = False
    for start in range(0, len(leaves), LEAVES_AT_ONCE):
        some = leaves[start : start + LEAVES_AT_ONCE]
        scan, columns = _Scan(places.size, session.at_us), Columns()
        answers = {leaf: _answer(leaf, scan, columns) for leaf in some}
        wanted = which_rows(name, [events_of(leaf).filters for leaf in some], session.at_us)
        needed = columns.needed | {"ts"} if any(isinstance(each, LastRow) for each in scan.sums.values()) else columns.needed
        rows = columns.over(session.events.by_subject(wanted, needed, columns.readings))
        any_row |= _add_up(session, scan, rows, [places], with_ts="ts" in needed)[0]
        truths.update({leaf: answer() for leaf, answer in answers.items()})
    return Found(truths, any_row)


def last_traits(session: FactsSession, key: str, leaves: Sequence[Comparison], places: Mapping[Level, Places]) -> dict[Level, Found]:
    """Answer conditions on the present values of one trait, for each level. Raises duckdb.Error."""
    found: dict[Level, Found] = {}
    levels = list(places)
    scans = {level: _Scan(places[level].size, session.at_us) for level in levels}
    columns = Columns()
    truths = [trait_truth(leaf, columns, session.at_us) for leaf in leaves]
    for scan in scans.values():
        scan.sum(LastRow(scan.size, "", [scan.flag(truth) for truth in truths]))
    rows = columns.over(f"SELECT subject, ts, value AS v FROM {session.trait_values} WHERE key = {quote_text(key)}")
    outputs = scans[levels[0]]
    any_rows = _add_up(session, outputs, rows, [places[level] for level in levels], with_ts=True, others=[scans[x] for x in levels[1:]])
    for level, any_row in zip(levels, any_rows, strict=True):
        (last,) = scans[level].sums.values()
        assert isinstance(last, LastRow)
        said = {leaf: _of_last(last, number, without_rows(leaf, session.at_us)) for number, leaf in enumerate(leaves)}
        found[level] = Found(said, any_row)
    return found


def _add_up(
    session: FactsSession, scan: _Scan, rows: str, places: Sequence[Places], *, with_ts: bool, others: Sequence[_Scan] = ()
) -> list[bool]:
    """Read the rows batch by batch; whether there is one of a member, for each of the `places`."""
    ts = ", ts" if with_ts else ""
    listed = "".join(f", {expression} AS {name}" for expression, name in scan.outputs.items())
    found = [False] * len(places)
    for batch in _batches(session, f"SELECT subject{ts}{listed} FROM ({rows})"):
        arrays = {name: _array(batch.column(name), scan.codes.get(name)) for name in batch.schema.names}
        subjects = np.asarray(arrays.pop("subject"), dtype=np.int64)
        for number, (each, one) in enumerate(zip(places, (scan, *others), strict=True)):
            given = Rows(each.of(subjects), arrays)
            found[number] = found[number] or bool((given.places < each.size).any())
            for total in one.sums.values():
                total.add(given)
    return found


def _batches(session: FactsSession, query: str) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType]
    """With one thread: rows come in the order of their files, so the last ones need not be sought, and few of them wait in memory."""
    engine = session.connection
    threads = engine.execute("SELECT current_setting('threads')").fetchall()[0][0]
    engine.execute("SET threads = 1")
    try:
        yield from engine.sql(query).to_arrow_reader(BATCH_ROWS)
    finally:
        engine.execute(f"SET threads = {threads}")


def _array(column: pa.Array, codes: dict[str, int] | None) -> NDArray[np.generic]:  # pyright: ignore[reportUnknownParameterType]
    if codes is None:
        return _numbers(column)
    encoded = column.dictionary_encode()
    known = np.fromiter((codes.setdefault(text, len(codes)) for text in encoded.dictionary.to_pylist()), dtype=np.int32)
    numbers = encoded.indices
    if not len(known):
        return np.full(len(numbers), -1, dtype=np.int32)
    if not numbers.null_count:
        return known[np.asarray(_numbers(numbers), dtype=np.int32)]
    start, end = numbers.offset, numbers.offset + len(numbers)
    present = np.unpackbits(np.frombuffer(numbers.buffers()[0], dtype=np.uint8), bitorder="little")[start:end].view(np.bool_)
    found = np.frombuffer(numbers.buffers()[1], dtype=np.int32)[start:end]
    return np.where(present, known[np.where(present, found, 0)], np.int32(-1))


def _numbers(column: pa.Array) -> NDArray[np.generic]:  # pyright: ignore[reportUnknownParameterType]
    """A column without NULL, where it lies: pyarrow would import pandas to hand it out."""
    kind = _KINDS.get(column.type)
    if kind is None or column.null_count or not len(column):
        return column.to_numpy(zero_copy_only=False)
    return np.frombuffer(column.buffers()[1], dtype=kind)[column.offset : column.offset + len(column)]


# ---- what is to be added up for a condition


def _answer(leaf: Comparison, scan: _Scan, columns: Columns) -> Answer:
    reducer = leaf.scalar.reducer
    assert reducer
    rows = rows_of(columns, scan.at_us)
    condition = " AND ".join([filter_sql(each, rows) for each in events_of(leaf).filters])
    if not reducer.argument:
        return _count(leaf, scan, condition)
    value = rows.value(reducer.argument)
    assert isinstance(value, ReadValue)
    match reducer.kind:
        case Reduce.SUM | Reduce.AVG:
            made = Total(scan.size, scan.flag(condition), scan.column(value.millionths))
            return _total(leaf, reducer, scan.sum(made, condition, value.document, value.path))
        case Reduce.UNIQUE_COUNT:
            texts = scan.column(value.text)
            scan.codes.setdefault(texts, {})
            distinct = scan.sum(Distinct(scan.size, scan.flag(condition), texts), condition, value.document, value.path)
            return lambda: truths_of_counts(leaf, distinct.counts(), scan.at_us)
        case Reduce.MIN | Reduce.MAX:
            return _extreme(leaf, value, scan, condition)
        case _:
            return _last(leaf, value, scan, _both(condition, value.present))


def _both(condition: str, other: str) -> str:
    return f"{condition} AND {other}" if condition else other


def _count(leaf: Comparison, scan: _Scan, condition: str) -> Answer:
    if needs_one_row(leaf, scan.at_us):
        rows = scan.any_row(condition)
        some, none = (holds_for(leaf, count, at_us=scan.at_us) for count in (1, 0))
        return lambda: np.where(rows.flags, some, none)
    counts = scan.sum(HowMany(scan.size, scan.flag(condition)), condition)
    return lambda: truths_of_counts(leaf, counts.counts, scan.at_us)


def _total(leaf: Comparison, reducer: Reducer, total: Total) -> Answer:
    def answer() -> Flags | None:
        if not total.is_exact:
            return None
        sums = total.sums / 1e6
        if reducer.kind is Reduce.AVG:
            sums = np.divide(sums, total.counts, out=sums, where=total.counts > 0)
        return truths_of_numbers(leaf, sums, total.counts > 0)

    return answer


def _extreme(leaf: Comparison, value: ReadValue, scan: _Scan, condition: str) -> Answer:
    asked = extreme(leaf)
    present = scan.any_row(_both(condition, f"{value.number} IS NOT NULL"))
    if asked.row is Comparator.EXISTS:
        return lambda: present.flags if asked.is_any else ~present.flags
    meeting = scan.any_row(_both(condition, predicate(asked.row, value, leaf.arguments, scan.at_us)))
    return lambda: meeting.flags if asked.is_any else present.flags & ~meeting.flags


def _last(leaf: Comparison, value: ReadValue, scan: _Scan, condition: str) -> Answer:
    reducer = leaf.scalar.reducer
    first = reducer is not None and reducer.kind is Reduce.FIRST
    truth = scan.flag(predicate(leaf.comparator, value, leaf.arguments, scan.at_us))
    last = scan.sum(LastRow(scan.size, scan.flag(condition), [truth], first), condition, truth, first)
    return lambda: _of_last(last, 0, without_rows(leaf, scan.at_us))


def _of_last(last: LastRow, number: int, otherwise: bool) -> Flags | None:
    if last.clashes[:-1].any():
        return None
    return np.where(last.has_any, last.values[number], otherwise)
