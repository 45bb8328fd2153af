"""Writing a version: fresh members are compared with the version before, and what differs is put on disk beside it, whole or not at all.

The caller reserves the number and flips the pointer in the registry; until then nobody reads the folder. A folder that was written for a
number that was never published is an orphan, and `sweep` takes it away.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engage_pipelines.domain.errors import StateError
from engage_pipelines.snapshots.compare import Difference, VersionRows
from engage_pipelines.snapshots.rows import Chain
from engage_pipelines.snapshots.side_by_side import first_from, keys_of, side_by_side
from engage_pipelines.snapshots.sorted_rows import Piece, arrow_schema, places

FULL_WHEN_CHANGES_EXCEED = 0.1
"""A full snapshot is written when the changes since the last full one outgrow this share of it."""

_ROW_GROUP = 122_880
_FEW_VALUES = ["level", "first_order", "last_order", "value"]


def wants_full(chain: Chain, changed_rows: int, connection: duckdb.DuckDBPyConnection) -> bool:
    """True when the changes since the last full snapshot, with these, outgrow a tenth of it."""
    fulls = [version.n for version in chain.versions if version.is_full]
    if not fulls:
        return True
    since, whole = (
        connection.execute(f"select count(*) from ({rows})").fetchall()[0][0]
        for rows in (chain.changes(fulls[-1], chain.versions[-1].n), chain.rows(fulls[-1]))
    )
    return changed_rows + since > FULL_WHEN_CHANGES_EXCEED * whole


def write(chain: Chain, n: int, found: Difference, *, is_full: bool) -> None:
    """Put what `compare` found on disk as version `n`, by rename. Raises StateError when the disk refuses."""
    aside = chain.folder / f".writing-{n}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        columns = chain.columns.split(", ")
        if is_full:
            _write(_all_rows(found.rows, columns), columns, aside / "full.parquet")
        if chain.versions:
            assert found.rows.changed is not None
            _write(iter(found.rows.changed.to_batches()), [*columns, "sign"], aside / "changes.parquet")
        aside.rename(chain.folder / str(n))
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StateError(
            f"Version {n} of {chain.folder.name} could not be written: {error}.", "Free disk space below ENGAGE_HOME and compute it again."
        ) from error


def sweep(folder: Path, known: Collection[int]) -> None:
    """Remove folders of numbers that the registry does not know, left by a process that died while it wrote."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith(".writing-") or (entry.name.isdigit() and int(entry.name) not in known):
            shutil.rmtree(entry, ignore_errors=True)


def _all_rows(rows: VersionRows, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The fresh rows with those that stay, in order."""
    if not rows.stay.num_rows:
        yield from rows.fresh.batches(columns)
        return
    for fresh, stay in side_by_side((rows.fresh.batches(columns), rows.stay.to_batches())):
        yield from _with(fresh, stay) if stay else fresh


def _with(rows: Piece, more: Piece) -> Piece:
    """Sorted rows with a few more, each at its place."""
    if not rows:
        return more
    whole, few = pa.concat_batches(rows), pa.concat_batches(more)
    keys, of_few = keys_of(whole), keys_of(few)
    before = [first_from(keys, len(whole), of_few(number)) for number in range(len(few))]
    order = np.insert(np.arange(len(whole)), before, len(whole) + np.arange(len(few)))
    return [pa.concat_batches([whole, few]).take(places(order))]


def _write(batches: Iterator[pa.RecordBatch], columns: Sequence[str], path: Path) -> None:
    schema = arrow_schema(columns)
    few = [name for name in columns if name in _FEW_VALUES]
    encoding: Any = {"use_dictionary": few, "compression": "zstd", "store_schema": False}
    with pq.ParquetWriter(path, schema, **encoding) as writer:
        for group in _grouped(batches):
            writer.write_table(pa.Table.from_batches([each.select(columns) for each in group], schema))


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """As many as make a group of rows in the file, which readers skip by their addresses; one at least."""
    group: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if group and rows + len(batch) > _ROW_GROUP:
            yield group
            group, rows = [], 0
        group.append(batch)
        rows += len(batch)
    yield group
