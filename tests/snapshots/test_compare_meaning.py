"""Comparing fresh rows with a version says what plain Python says, on random rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.snapshots.compare import compare
from engage_pipelines.snapshots.rows import COLUMNS, VALUED_COLUMNS, Chain, VersionFile
from engage_pipelines.snapshots.write import write

Row = tuple[str, str, int, bool, bool, int, int]
_ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["user", "account"]), st.sampled_from("abc"), st.integers(1, 4), st.booleans()),
    st.tuples(st.booleans(), st.integers(1, 2), st.integers(1, 2)),
    max_size=12,
).map(lambda found: {(level, address, member, more[0], sole, *more[1:]) for (level, address, member, sole), more in found.items()})


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def _key(row: Row) -> tuple[str, str, int, bool]:
    return row[0], row[1], row[2], row[4]


def _with_those_that_stay(fresh: set[Row], before: set[Row]) -> set[Row]:
    """An address that a member no longer has stays, as not current, while the member is in."""
    members, keys = {(row[0], row[2]) for row in fresh}, {_key(row) for row in fresh}
    return fresh | {(*row[:3], False, *row[4:]) for row in before if (row[0], row[2]) in members and _key(row) not in keys}


def _sql(engine: duckdb.DuckDBPyConnection, rows: set[tuple[Any, ...]], names: str = COLUMNS) -> str:
    kinds = (pa.string(), pa.string(), pa.int64(), pa.bool_(), pa.bool_(), pa.int16(), pa.int16(), pa.string())[: len(names.split(", "))]
    columns = list(zip(*sorted(rows), strict=True)) or [[]] * len(kinds)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, kinds, strict=True)]
    engine.register("given_rows", pa.Table.from_arrays(arrays, names=names.split(", ")))
    return "select * from given_rows"


def _read(engine: duckdb.DuckDBPyConnection, path: Path, names: str) -> set[tuple[Any, ...]]:
    """The rows of a file, which are in order."""
    rows = engine.execute(f"select {names} from read_parquet('{path}')").fetchall()
    assert [row[:3] for row in rows] == sorted(row[:3] for row in rows)
    assert len(set(rows)) == len(rows)
    return set(rows)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=_ROWS, fresh=st.lists(_ROWS, min_size=1, max_size=2), level=st.sampled_from(["user", "account"]), keep=st.booleans())
def test_what_differs(
    engine: duckdb.DuckDBPyConnection,
    tmp_path_factory: pytest.TempPathFactory,
    before: set[Row],
    fresh: list[set[Row]],
    level: str,
    keep: bool,
) -> None:
    folder: Path = tmp_path_factory.mktemp("versions") / "a"
    chain = Chain(folder)
    write(chain, 1, compare(engine, chain, _sql(engine, before), level=level), is_full=True)
    chain = Chain(folder, (VersionFile(1, is_full=True),))
    for n, asked in enumerate(fresh, start=2):
        rows = asked | before if keep and len({_key(row) for row in asked | before}) == len(asked | before) else asked
        found = compare(engine, chain, _sql(engine, rows), level=level)
        now = _with_those_that_stay(rows, before)
        signed = {(*row, 1) for row in now - before} | {(*row, -1) for row in before - now}
        write(chain, n, found, is_full=True)
        assert _read(engine, folder / str(n) / "full.parquet", COLUMNS) == now
        assert _read(engine, folder / str(n) / "changes.parquet", f"{COLUMNS}, sign") == signed
        old, new = ({row[2] for row in each if row[0] == level} for each in (before, now))
        assert (found.size, found.entered, found.exited) == (len(new), len(new - old), len(old - new))
        assert (found.moved.entered.tolist(), found.moved.exited.tolist()) == (sorted(new - old), sorted(old - new))
        assert found.users == len({row[2] for row in now if row[0] == "user"})
        assert found.changed_rows == len(signed)
        again = compare(engine, chain, _sql(engine, rows), level=level, digest_before=found.digest)
        assert (again.size, again.changed_rows, again.digest) == (found.size, 0, found.digest)
        # the next one starts from the changes alone
        chain, before = Chain(folder, (*chain.versions, VersionFile(n, is_full=False))), now


_VALUES = st.fixed_dictionaries(
    {(level, member): st.sampled_from(["1", "2", '"a"']) for level in ("user", "account") for member in range(1, 5)}
)


def _valued(rows: set[Row], values: dict[tuple[str, int], str]) -> set[tuple[Any, ...]]:
    return {(*row, values[row[0], row[2]]) for row in rows}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=_ROWS, fresh=_ROWS, then=_VALUES, values=_VALUES, same=st.booleans())
def test_what_differs_of_a_trait(
    engine: duckdb.DuckDBPyConnection,
    tmp_path_factory: pytest.TempPathFactory,
    before: set[Row],
    fresh: set[Row],
    then: dict[tuple[str, int], str],
    values: dict[tuple[str, int], str],
    same: bool,
) -> None:
    values = then if same else values
    folder: Path = tmp_path_factory.mktemp("versions") / "t"
    first = Chain(folder, has_values=True)
    write(first, 1, compare(engine, first, _sql(engine, _valued(before, then), VALUED_COLUMNS), level="user"), is_full=True)
    chain = Chain(folder, (VersionFile(1, is_full=True),), has_values=True)
    found = compare(engine, chain, _sql(engine, _valued(fresh, values), VALUED_COLUMNS), level="user")

    was, now = _valued(before, then), _valued(_with_those_that_stay(fresh, before), values)
    signed = {(*row, 1) for row in now - was} | {(*row, -1) for row in was - now}
    assert found.changed_rows == len(signed)
    old, new = ({row[2] for row in rows if row[0] == "user"} for rows in (was, now))
    changed = {member for member in old & new if then["user", member] != values["user", member]}
    assert (found.size, found.entered, found.exited, found.updated) == (len(new), len(new - old), len(old - new), len(changed))
    if signed:
        write(chain, 2, found, is_full=False)
        assert _read(engine, folder / "2" / "changes.parquet", f"{VALUED_COLUMNS}, sign") == signed
        both = Chain(folder, (VersionFile(1, is_full=True), VersionFile(2, is_full=False)), has_values=True)
        assert sorted(engine.execute(f"select {VALUED_COLUMNS} from ({both.rows(2)})").fetchall()) == sorted(now)
