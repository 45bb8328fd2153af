"""Values of a warehouse read as the reference reads them: numbers and instants in text, and columns of many types."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.query.instants import instant_us
from engage_pipelines.domain.query.values import EXACT, number_of, text_form
from engage_pipelines.domain.warehouse_mapping import Kind
from engage_pipelines.facts.warehouse.dialects.postgres import PostgreSQL
from engage_pipelines.facts.warehouse.values import column_reading

pytestmark = pytest.mark.postgres
PG = PostgreSQL()

_NUMERIC = st.text("0123456789.eE+-", max_size=12)
_ODD_NUMBERS = [
    "1e400",
    "-1e400",
    "1e-400",
    "0e99999",
    "1e99999",
    "1e-99999",
    "9" * 400,
    "0" * 400,
    "." + "0" * 400 + "1",
    "5\n",
    "\uff11",
    "+.5",
    "5.",
]
_DATES = st.builds(
    "{:04}-{:02}-{:02}{}{}".format,
    st.sampled_from([0, 1, 1900, 1999, 2000, 2011, 2024, 9999]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from(["", "T00:00", "T23:59:59", "T24:00:00", "T07:06:40.1", "T07:06:40.123456789", "T07:06:60", " 07:06:40", "t07:06"]),
    st.sampled_from(["", "Z", "+01:00", "-0430", "+15", "+16:00", "-00:60", "z"]),
)


def _read(cursor: Any, value: Any, kind: str, way: str, of: Kind) -> Any:
    read = column_reading(PG, "t.v", of, (), way).replace("%", "%%")
    cursor.execute(f"SELECT {read} FROM (SELECT %s::{kind} AS v) t", [value])
    return cursor.fetchone()[0]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.one_of(_NUMERIC, st.sampled_from(_ODD_NUMBERS), st.floats(allow_nan=False).map(repr), st.text("ab 5\n", max_size=3)))
def test_a_text_reads_as_the_number_that_it_is(cursor: Any, text: str) -> None:
    assert _read(cursor, text, "text", "number", Kind.TEXT) == number_of(text)
    assert (_read(cursor, text, "text", "exact", Kind.TEXT) is not None) == bool(EXACT.fullmatch(text))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.one_of(_DATES, st.datetimes().map(lambda at: at.isoformat()), st.just("2011-03-13\n")))
def test_a_text_reads_as_the_instant_that_it_names(cursor: Any, text: str) -> None:
    assert _read(cursor, text, "text", "instant", Kind.TEXT) == instant_us(text)


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a"]), inner, max_size=1)),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=_JSON)
def test_json_has_the_text_that_it_has_everywhere(cursor: Any, value: Any) -> None:
    assert _read(cursor, json.dumps(value), "json", "text", Kind.JSON) == text_form(value)


@pytest.mark.parametrize(
    ("value", "kind", "of", "way", "expected"),
    [
        pytest.param("5.00", "numeric", Kind.NUMBER, "text", "5", id="zeros of a numeric are no part of it"),
        pytest.param("100", "integer", Kind.NUMBER, "text", "100", id="zeros of a whole number are"),
        pytest.param("NaN", "numeric", Kind.NUMBER, "number", None, id="no number is no number"),
        pytest.param("Infinity", "double precision", Kind.NUMBER, "number", None, id="nor is infinity"),
        pytest.param("1e400", "numeric", Kind.NUMBER, "number", None, id="a numeric that no double holds"),
        pytest.param("0.1", "real", Kind.NUMBER, "text", "0.1", id="a real is as short as it prints"),
        pytest.param("true", "boolean", Kind.BOOLEAN, "text", "true", id="a truth value"),
        pytest.param("infinity", "timestamptz", Kind.TIMESTAMP, "instant", None, id="an endless instant is none"),
        pytest.param("2011-03-13 08:06:40.000001+01", "timestamptz", Kind.TIMESTAMP, "text", "2011-03-13T07:06:40.000001Z", id="in UTC"),
        pytest.param("2011-03-13 07:06:40", "timestamp", Kind.DATETIME, "instant", 1_300_000_000_000_000, id="without a zone it is UTC"),
        pytest.param("2011-03-13", "date", Kind.DATE, "instant", 1_299_974_400_000_000, id="a day is its midnight"),
        pytest.param("2011-03-13", "date", Kind.DATE, "text", "2011-03-13", id="and its text has no time"),
        pytest.param("{a,b}", "text[]", Kind.JSON, "text", '["a","b"]', id="an array is JSON"),
        pytest.param("ab  ", "char(6)", Kind.TEXT, "text", "ab", id="padding of char is no part of it"),
    ],
)
def test_a_column_of_any_type(cursor: Any, value: str, kind: str, of: Kind, way: str, expected: Any) -> None:
    cursor.execute("SET TimeZone = 'America/New_York'")
    assert _read(cursor, value, kind, way, of) == expected


@pytest.mark.parametrize(
    "at", [datetime(2011, 3, 13, 6, 59, 59, tzinfo=UTC), datetime(2011, 3, 13, 7, 0, tzinfo=UTC), datetime(1901, 1, 1, tzinfo=UTC)]
)
def test_instants_do_not_depend_on_the_zone_of_the_server(cursor: Any, at: datetime) -> None:
    cursor.execute("SET TimeZone = 'America/New_York'")
    assert _read(cursor, at, "timestamptz", "instant", Kind.TIMESTAMP) == instant_us(at.isoformat())
    cursor.execute("RESET TimeZone")
