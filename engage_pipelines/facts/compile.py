"""Conditions to DuckDB queries over members: one query per event name, one per trait key, one per `mode`.

Each query gives `member` and one truth value per condition, b0, b1 and so on, never NULL; members without a row are left out and have
the truth of `without_rows`. Most conditions need no such query, see `tally`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engage_pipelines.domain.query.comparing import has_each, holds_for
from engage_pipelines.domain.query.tree import As, Comparison, Events, Reduce, Trait
from engage_pipelines.facts.event_source import EventSource
from engage_pipelines.facts.known import Known, present_values
from engage_pipelines.facts.member_values import mode_of_member
from engage_pipelines.facts.row_conditions import Columns, filter_sql, reduced_sql, rows_of, which_rows
from engage_pipelines.facts.sql_values import JsonValue, NumberValue, TextValue, predicate, predicate_each


@dataclass(frozen=True, slots=True)
class LeafQuery:
    """A query for conditions that read the same rows; column b<n> is the truth of the n-th condition."""

    sql: str
    leaves: tuple[Comparison, ...]


def without_rows(leaf: Comparison, at_us: int) -> bool:
    """The truth of a condition for someone who has no row at all: counts are 0, everything else is missing."""
    reducer = leaf.scalar.reducer
    counts = reducer is not None and reducer.kind in (Reduce.COUNT, Reduce.UNIQUE_COUNT)
    return holds_for(leaf, 0 if counts else None, at_us=at_us)


def event_queries(leaves: Sequence[Comparison], source: EventSource, known: Known) -> list[LeafQuery]:
    """The queries for conditions on events; equal conditions are asked once."""
    by_name: dict[str, list[Comparison]] = {}
    queries: list[LeafQuery] = []
    for leaf in dict.fromkeys(leaves):
        if leaf.scalar.reducer and leaf.scalar.reducer.kind is Reduce.MODE:
            queries.append(_mode_query(leaf, source, known))
        else:
            by_name.setdefault(events_of(leaf).name, []).append(leaf)
    return [*(_event_query(name, group, source, known) for name, group in by_name.items()), *queries]


def trait_queries(leaves: Sequence[Comparison], at_us: int) -> list[LeafQuery]:
    """The queries for conditions on present traits, of users and accounts alike."""
    by_key: dict[str, list[Comparison]] = {}
    for leaf in dict.fromkeys(leaves):
        by_key.setdefault(trait_of(leaf).path[0], []).append(leaf)
    return [trait_query(present_values(key), group, at_us) for key, group in by_key.items()]


def compares_traits(leaf: Comparison) -> bool:
    """Whether a value is compared with that of a trait, and not with literals alone."""
    return any(isinstance(each, Trait) for each in leaf.arguments)


def events_of(leaf: Comparison) -> Events:
    if not isinstance(leaf.scalar.source, Events):
        raise TypeError(f"{leaf} is not about events")
    return leaf.scalar.source


def trait_of(leaf: Comparison) -> Trait:
    if not isinstance(leaf.scalar.source, Trait):
        raise TypeError(f"{leaf} is not about a trait")
    return leaf.scalar.source


def _event_query(name: str, leaves: Sequence[Comparison], source: EventSource, known: Known) -> LeafQuery:
    columns = Columns(known)
    rows = rows_of(columns, source.at_us)
    truths: list[str] = []
    for number, leaf in enumerate(leaves):
        condition = " AND ".join([filter_sql(each, rows) for each in events_of(leaf).filters]) or "true"
        truths.append(f"{reduced_sql(leaf, rows, condition)} AS b{number}")
    wanted = which_rows(name, [events_of(leaf).filters for leaf in leaves], source.at_us)
    read = columns.over(source.by_member(wanted, columns.needed, columns.readings))
    return LeafQuery(f"SELECT member, {', '.join(truths)} FROM ({read}) GROUP BY member", tuple(leaves))


def _mode_query(leaf: Comparison, source: EventSource, known: Known) -> LeafQuery:
    reducer = leaf.scalar.reducer
    assert reducer
    typed = NumberValue("v") if reducer.read_as is As.NUMBER else TextValue("v")
    truth = predicate(leaf.comparator, typed, leaf.arguments, source.at_us)
    return LeafQuery(f"SELECT member, {truth} AS b0 FROM ({mode_of_member(leaf, source, known)})", (leaf,))


def trait_truth(leaf: Comparison, columns: Columns, at_us: int) -> str:
    """The truth of a condition on a trait for one row, whose value is the column v."""
    path = trait_of(leaf).path[1:]
    if has_each(path):
        return columns.keep(1, predicate_each(leaf.comparator, "v", path, leaf.arguments, at_us))
    return predicate(leaf.comparator, JsonValue("v", path, columns.keep), leaf.arguments, at_us)


def trait_query(values: str, leaves: Sequence[Comparison], at_us: int) -> LeafQuery:
    """The query for conditions on one trait, whose `values` are given by SQL."""
    columns = Columns()
    truths = [f"{trait_truth(leaf, columns, at_us)} AS b{number}" for number, leaf in enumerate(leaves)]
    present = f"SELECT member, value AS v FROM ({values})"
    return LeafQuery(f"SELECT member, {', '.join(truths)} FROM ({columns.over(present)})", tuple(leaves))
