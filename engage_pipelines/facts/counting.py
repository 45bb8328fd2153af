"""Conditions answered by counting: what each needs to know of every row, and its truth for each member from what that added up to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.comparing import holds_for
from engage_pipelines.domain.query.tree import Comparator, Comparison, Reduce, Reducer
from engage_pipelines.facts.bits import Flags
from engage_pipelines.facts.compile import events_of, trait_truth, without_rows
from engage_pipelines.facts.row_conditions import Columns, filter_sql, rows_of, which_rows
from engage_pipelines.facts.row_scan import Scan, add_up, add_up_apart
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.sql_values import ReadValue, predicate, quote_text
from engage_pipelines.facts.tally import (
    Distinct,
    HowMany,
    LastRow,
    Places,
    Total,
    extreme,
    needs_one_row,
    truths_of_counts,
    truths_of_numbers,
)

LEAVES_AT_ONCE = 16
"""Conditions that share a scan: each has an array with one place per member."""
_WIDER_BY = 1.5
"""By how much the rows of an event may have more columns, so that they come in one query with those of others."""

Answer = Callable[[], Flags | None]
"""The truth of each member, or None when it has to be asked otherwise."""
Groups = Mapping[str, Sequence[Comparison]]
"""Conditions by the event that they are about."""


@dataclass(frozen=True, slots=True)
class Found:
    """Truths by condition, None where rows do not add up exactly, and whether any member has a row at all."""

    truths: Mapping[Comparison, Flags | None]
    any_row: bool


def count_events(session: FactsSession, groups: Groups, places: Places) -> dict[str, Found]:
    """Answer conditions on events, the rows of each read by themselves. Raises duckdb.Error."""
    return {name: _count_one(session, name, leaves, places) for name, leaves in groups.items()}


def _count_one(session: FactsSession, name: str, leaves: Sequence[Comparison], places: Places) -> Found:
    truths: dict[Comparison, Flags | None] = {}
    any_row = False
    for start in range(0, len(leaves), LEAVES_AT_ONCE):
        some = leaves[start : start + LEAVES_AT_ONCE]
        scan, columns = Scan(places.size, session.at_us), Columns()
        answers = {leaf: _answer(leaf, scan, columns) for leaf in some}
        wanted = which_rows(name, [events_of(leaf).filters for leaf in some], session.at_us)
        needed = columns.needed | {"ts"} if scan.needs_ts else columns.needed
        rows = columns.over(session.events.by_subject(wanted, needed, columns.readings))
        any_row |= add_up(session, scan, rows, [places], with_ts="ts" in needed)[0]
        truths.update({leaf: answer() for leaf, answer in answers.items()})
    return Found(truths, any_row)


def count_together(session: FactsSession, groups: Groups, places: Places) -> dict[str, Found]:
    """Answer conditions on several events, of a session with few rows: a query costs more there than they do. Raises duckdb.Error."""
    found: dict[str, Found] = {}
    for names in _alike(session, groups):
        together = _Together.of(session, {name: groups[name] for name in names}, places.size)
        with_row = together.add_up(session, places)
        for name, answers in together.answers.items():
            found[name] = Found({leaf: answer() for leaf, answer in answers.items()}, with_row[name])
    return found


def _alike(session: FactsSession, groups: Groups) -> list[list[str]]:
    """Events whose rows are asked about the same, mostly; what is asked about some rows is computed for the others too."""
    scans = _Together.of(session, groups, 0).scans
    bunches: list[list[str]] = []
    for name in scans:
        for names in bunches:
            widths = [len(scans[each].used) for each in (*names, name)]
            if len(set[str]().union(*(scans[each].used for each in (*names, name)))) <= _WIDER_BY * min(widths):
                names.append(name)
                break
        else:
            bunches.append([name])
    return bunches


@dataclass(frozen=True, slots=True)
class _Together:
    """Scans of one query by event, and what becomes of them."""

    scans: Mapping[str, Scan]
    answers: Mapping[str, Mapping[Comparison, Answer]]
    columns: Columns
    wanted: str

    @classmethod
    def of(cls, session: FactsSession, groups: Groups, size: int) -> "_Together":
        columns, first = Columns(), Scan(size, session.at_us)
        scans = {name: Scan(size, session.at_us, first.outputs, codes=first.codes) for name in groups}
        answers = {name: {leaf: _answer(leaf, scans[name], columns) for leaf in leaves} for name, leaves in groups.items()}
        each = (which_rows(name, [events_of(leaf).filters for leaf in leaves], session.at_us) for name, leaves in groups.items())
        return cls(scans, answers, columns, " OR ".join(f"({one})" for one in each))

    def add_up(self, session: FactsSession, places: Places) -> dict[str, bool]:
        with_ts = any(scan.needs_ts for scan in self.scans.values())
        needed = self.columns.needed | {"event"} | ({"ts"} if with_ts else set())
        rows = self.columns.over(session.events.by_subject(self.wanted, needed, self.columns.readings))
        return add_up_apart(session, self.scans, rows, places, with_ts=with_ts or "ts" in needed)


def last_traits(session: FactsSession, key: str, leaves: Sequence[Comparison], places: Mapping[Level, Places]) -> dict[Level, Found]:
    """Answer conditions on the present values of one trait, for each level. Raises duckdb.Error."""
    found: dict[Level, Found] = {}
    levels = list(places)
    scans = {level: Scan(places[level].size, session.at_us) for level in levels}
    columns = Columns()
    truths = [trait_truth(leaf, columns, session.at_us) for leaf in leaves]
    for scan in scans.values():
        scan.sum(LastRow(scan.size, "", [scan.flag(truth) for truth in truths]))
    rows = columns.over(f"SELECT subject, ts, value AS v FROM {session.trait_values} WHERE key = {quote_text(key)}")
    outputs = scans[levels[0]]
    any_rows = add_up(session, outputs, rows, [places[level] for level in levels], with_ts=True, others=[scans[x] for x in levels[1:]])
    for level, any_row in zip(levels, any_rows, strict=True):
        (last,) = scans[level].sums.values()
        assert isinstance(last, LastRow)
        said = {leaf: _of_last(last, number, without_rows(leaf, session.at_us)) for number, leaf in enumerate(leaves)}
        found[level] = Found(said, any_row)
    return found


# ---- what is to be added up for a condition


def _answer(leaf: Comparison, scan: Scan, columns: Columns) -> Answer:
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


def _count(leaf: Comparison, scan: Scan, condition: str) -> Answer:
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


def _extreme(leaf: Comparison, value: ReadValue, scan: Scan, condition: str) -> Answer:
    asked = extreme(leaf)
    present = scan.any_row(_both(condition, f"{value.number} IS NOT NULL"))
    if asked.row is Comparator.EXISTS:
        return lambda: present.flags if asked.is_any else ~present.flags
    meeting = scan.any_row(_both(condition, predicate(asked.row, value, leaf.arguments, scan.at_us)))
    return lambda: meeting.flags if asked.is_any else present.flags & ~meeting.flags


def _last(leaf: Comparison, value: ReadValue, scan: Scan, condition: str) -> Answer:
    reducer = leaf.scalar.reducer
    first = reducer is not None and reducer.kind is Reduce.FIRST
    truth = scan.flag(predicate(leaf.comparator, value, leaf.arguments, scan.at_us))
    last = scan.sum(LastRow(scan.size, scan.flag(condition), [truth], first), condition, truth, first)
    return lambda: _of_last(last, 0, without_rows(leaf, scan.at_us))


def _of_last(last: LastRow, number: int, otherwise: bool) -> Flags | None:
    if last.clashes[:-1].any():
        return None
    return np.where(last.has_any, last.values[number], otherwise)
