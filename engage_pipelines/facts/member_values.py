"""Values of members as relations of member and JSON text: rows of an event reduced, and what compares with the value of a trait.

A value is what a computed trait is. An account has the rows of all its users, each row judged as its user's.
"""

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.comparing import Given, has_each, holds, literal_value
from engage_pipelines.domain.query.tree import Argument, As, Comparison, Duration, Events, Moment, Reduce, Reducer, Scalar, Trait
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.event_source import EventSource
from engage_pipelines.facts.known import Known, Relation
from engage_pipelines.facts.row_conditions import Columns, Rows, elements_sql, filter_sql, reduced_value, rows_of, which_rows
from engage_pipelines.facts.sql_values import (
    JsonValue,
    ListValue,
    NumberValue,
    Value,
    number_json,
    predicate,
    predicate_each,
    scalar_json,
    text_json,
)

_COUNTS = (Reduce.COUNT, Reduce.UNIQUE_COUNT)
_OWNERS = {
    Level.USER: "SELECT r.*, r.member AS owner FROM ({}) r",
    Level.ACCOUNT: "SELECT r.*, a.account AS owner FROM ({}) r JOIN account_users a ON a.member = r.member",
}


def reduced_rows(scalar: Scalar, level: Level, source: EventSource, known: Known) -> Relation:
    """What rows of an event reduce to, for each user, or for each account."""
    events, reducer = scalar.source, scalar.reducer
    if not isinstance(events, Events) or reducer is None:
        raise TypeError(f"{scalar} is not made of rows")
    columns = Columns(known)
    rows = rows_of(columns, source.at_us)
    condition = " AND ".join([filter_sql(each, rows) for each in events.filters]) or "true"
    if events.expires_after:
        rows.column("ts")
    if reducer.kind is Reduce.MODE:
        value, listed = _mode_columns(reducer, rows)
        query = _of_owners(events, level, columns, source, condition)
        return Relation(_mode_rows(reducer, query, value, listed=listed))
    value_sql = json_of(reduced_value(reducer, rows, "true"))
    query = _of_owners(events, level, columns, source, condition)
    reduced = f"SELECT owner AS member, {value_sql} AS value FROM ({query}) GROUP BY owner"
    return Relation(f"SELECT * FROM ({reduced}) WHERE value IS NOT NULL", "0" if reducer.kind in _COUNTS else None)


def json_of(value: Value) -> str:
    """A value as JSON text."""
    match value:
        case NumberValue(number):
            return number_json(number)
        case ListValue(texts):
            return text_json(texts)
        case JsonValue(document):
            return scalar_json(document)
        case _:
            return text_json(value.text)


def _of_owners(events: Events, level: Level, columns: Columns, source: EventSource, condition: str) -> str:
    """The rows that pass, each with its owner; of a session those of the one that is going on."""
    wanted = which_rows(events.name, [events.filters], source.at_us)
    kept = f"SELECT * FROM ({columns.over(source.by_member(wanted, columns.needed, columns.readings))}) WHERE {condition}"
    owned = _OWNERS[level].format(kept)
    if not events.expires_after:
        return owned
    longest = events.expires_after.us
    gaps = f"SELECT *, ts - lag(ts) OVER (PARTITION BY owner ORDER BY ts) AS gap FROM ({owned})"
    bounds = f"""SELECT *, max(CASE WHEN gap IS NULL OR gap > {longest} THEN ts END) OVER (PARTITION BY owner) AS began,
        max(ts) OVER (PARTITION BY owner) AS ended FROM ({gaps})"""
    return f"SELECT * FROM ({bounds}) WHERE ts >= began AND ended >= {source.at_us - longest}"


def mode_of_member(leaf: Comparison, source: EventSource, known: Known) -> str:
    """The most frequent value of each user, not yet as JSON: member, v."""
    events, reducer = leaf.scalar.source, leaf.scalar.reducer
    if not isinstance(events, Events) or reducer is None:
        raise TypeError(f"{leaf} is not about events")
    columns = Columns(known)
    rows = rows_of(columns, source.at_us)
    condition = " AND ".join([filter_sql(each, rows) for each in events.filters]) or "true"
    value, listed = _mode_columns(reducer, rows)
    return _chosen(reducer, _of_owners(events, Level.USER, columns, source, condition), value, listed=listed)


def _mode_columns(reducer: Reducer, rows: Rows) -> tuple[str, bool]:
    """The column to count, and whether it holds a list of values."""
    if reducer.argument is None:
        raise TypeError("mode is of a property")
    if reducer.read_as is As.ARRAY:
        return elements_sql(rows, reducer.argument), True
    value = rows.value(reducer.argument)
    return (value.number if reducer.read_as is As.NUMBER else value.text), False


def _mode_rows(reducer: Reducer, query: str, value: str, *, listed: bool) -> str:
    read = number_json("v") if reducer.read_as is As.NUMBER else text_json("v")
    return f"SELECT member, {read} AS value FROM ({_chosen(reducer, query, value, listed=listed)})"


def _chosen(reducer: Reducer, query: str, value: str, *, listed: bool) -> str:
    values = f"SELECT owner, {f'unnest({value})' if listed else value} AS v FROM ({query})"
    counted = f"SELECT owner AS member, v, count(*) AS n FROM ({values}) WHERE v IS NOT NULL GROUP BY ALL"
    first = "row_number() OVER (PARTITION BY member ORDER BY n DESC, CAST(v AS VARCHAR)) = 1"
    return f"SELECT member, v FROM ({counted}) WHERE n >= {reducer.minimum_frequency} QUALIFY {first}"


# ---- comparisons with the values of traits


def compared_rows(leaf: Comparison, level: Level, source: EventSource, known: Known) -> str:
    """A query for member and b0, the truth of a comparison with traits, for everyone who has one of its values."""
    left, path = _left(leaf, level, source, known)
    relations = {Relation(left.rows, left.missing): "l"}
    given: list[object] = []
    for argument in leaf.arguments:
        if not isinstance(argument, Trait):
            given.append(argument)
            continue
        relation, inside = known.of(level, argument)
        name = relations.setdefault(relation, f"g{len(relations)}")
        given.append(JsonValue(f"{name}_value", inside))
    listed = ", ".join(f"{relation.value(f'{name}.value')} AS {name}_value" for relation, name in relations.items())
    joined = "".join(f" LEFT JOIN ({relation.rows}) {name} ON {name}.member = m.member" for relation, name in relations.items())
    members = " UNION ".join(f"SELECT member FROM ({relation.rows})" for relation in relations)
    if has_each(path):
        truth = predicate_each(leaf.comparator, "l_value", path, given, source.at_us)
    else:
        truth = predicate(leaf.comparator, JsonValue("l_value", path), given, source.at_us)
    return f"SELECT member, {truth} AS b0 FROM (SELECT m.member, {listed} FROM ({members}) m{joined})"


def without_values(leaf: Comparison, level: Level, known: Known, at_us: int) -> bool:
    """The truth of such a comparison for someone who has none of its values."""

    def missing(trait: Trait) -> Json:
        relation, inside = known.of(level, trait)
        # only membership is never missing
        return False if relation.missing == "false" and not inside else 0 if relation.missing == "0" and not inside else None

    def given(argument: Argument) -> Given:
        if isinstance(argument, Trait):
            return missing(argument)
        return argument if isinstance(argument, Moment | Duration) else literal_value(argument)

    source, reducer = leaf.scalar.source, leaf.scalar.reducer
    no_rows = 0 if reducer and reducer.kind in _COUNTS else None
    value = missing(source) if isinstance(source, Trait) else no_rows
    return holds(leaf.comparator, [value], [given(each) for each in leaf.arguments], at_us=at_us)


def _left(leaf: Comparison, level: Level, source: EventSource, known: Known) -> tuple[Relation, tuple[str, ...]]:
    if isinstance(leaf.scalar.source, Trait):
        return known.of(level, leaf.scalar.source)
    return reduced_rows(leaf.scalar, Level.USER, source, known), ()
