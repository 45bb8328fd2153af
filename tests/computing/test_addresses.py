"""The rows of everyone, sorted kind by kind, are those that numbering all identifiers at once gives."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.computing.addresses import Addresses, rows_of
from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.combining import Members
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.snapshots.rows import COLUMNS

_KINDS = ("user_id", "anonymous_id", "group_id", "email", "ios.idfa", "it's", "a", "a:b")
_IDENTIFIERS = st.dictionaries(
    st.tuples(st.integers(1, 4), st.sampled_from(_KINDS), st.sampled_from(["x", "y", "b:x", "é"])),
    st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)),
    max_size=14,
)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(identifiers=_IDENTIFIERS, with_colons=st.booleans())
def test_rows_of_everyone(
    engine: duckdb.DuckDBPyConnection, identifiers: dict[tuple[int, str, str], tuple[bool, int, int]], *, with_colons: bool
) -> None:
    # accounts have ids of their own, and only an e-mail address may be a former one
    rows = [
        (member + (10 if kind == "group_id" else 0), kind, id_, current or kind != "email", first, last)
        for (member, kind, id_), (current, first, last) in identifiers.items()
        if with_colons or ":" not in kind
    ]
    kinds = (pa.int64(), pa.string(), pa.string(), pa.bool_(), pa.int64(), pa.int64())
    arrays = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(kinds)]
    engine.register("given_rows", pa.Table.from_arrays(arrays, names=["member", "kind", "id", "current", "first_at", "last_at"]))
    engine.execute("create or replace temp table identifiers as from given_rows")
    session = FactsSession(engine, 0, "")
    addresses = Addresses(session)
    addresses.share()
    assert addresses.everyones is not None
    found = [
        tuple(row.values())
        for batch in addresses.everyones.batches(COLUMNS.split(", "))
        for row in batch.select(COLUMNS.split(", ")).to_pylist()
    ]
    everyone = pa.array(range(20), pa.int64()).to_numpy()
    expected = engine.execute(rows_of(session, Members(everyone, everyone), Level.ACCOUNT)).fetchall()
    assert sorted(found) == sorted(expected)
    assert [row[:3] for row in found] == sorted(row[:3] for row in found)
