"""Rows of a version to be, in the order of its file, with two hashes of each: sorted once, then read batch by batch, however many they are.

A batch has the columns of the version, `level` as a dictionary, and `h` and `g`, which two rows share only when they are the same row.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Protocol, TypeVar
from weakref import finalize

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engage_pipelines.domain.errors import StateError

BATCH = 32_768
"""Rows: what is worked on at once stays in the processor's cache, and memory small."""
LEVELS = ("account", "user")
"""In the order of their rows; the index in here stands for the level."""
HASHES = ("h", "g")
_IN_MEMORY = 16_000_000
"""Bytes of sorted rows that need no file."""

_KINDS = {
    "level": pa.dictionary(pa.int8(), pa.string()),
    "member": pa.int64(),
    "current": pa.bool_(),
    "sole": pa.bool_(),
    "first_order": pa.int16(),
    "last_order": pa.int16(),
    "sign": pa.int8(),
}

Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]
_T = TypeVar("_T", bound=np.generic)


Piece = list[pa.RecordBatch]
"""Some rows, in order."""


class SortedRows(Protocol):
    """Rows sorted by (level, address, member)."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """From the first row on, each time; with these columns alone, `level` among them in any case."""
        ...


def with_hashes(rows: str, columns: str) -> str:
    """SQL for the rows of a query as batches have them; `columns` are those of the version, `level` the first."""
    others = columns.removeprefix("level, ")
    orders = "first_order::smallint as first_order, last_order::smallint as last_order"
    typed = f"select * replace (address::varchar as address, member::bigint as member, {orders}) from ({rows})"
    return (
        f"select (level = '{LEVELS[1]}')::tinyint as level, {others}, h, hash(address, h) as g"
        f" from (select *, hash({columns}) as h from ({typed}))"
    )


@dataclass(frozen=True, slots=True, weakref_slot=True)
class RowsFile:
    """Sorted rows in memory while they are few, else in a file that no one else sees and that goes with this object."""

    file: IO[bytes]

    def __post_init__(self) -> None:
        finalize(self, self.file.close)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with pa.ipc.open_file(self.file) as whole:
            names = whole.schema.names
        numbers = sorted({names.index(name) for name in (*columns, "level")})
        with pa.ipc.open_file(self.file, options=pa.ipc.IpcReadOptions(included_fields=numbers)) as reader:
            for number in range(reader.num_record_batches):
                yield leveled(reader.get_batch(number))


def sort_rows(connection: duckdb.DuckDBPyConnection, rows: str, columns: str) -> RowsFile:
    """Sort the rows of a query that gives these columns. Raises StateError when the disk is full."""
    return sort_parts(connection, [rows], columns)


def sort_parts(connection: duckdb.DuckDBPyConnection, parts: Iterable[str], columns: str) -> RowsFile:
    """The same for the rows of several queries, each of which has rows that come after those of the one before: one at a time takes less
    memory."""
    try:
        return _sorted(connection, (f"{with_hashes(rows, columns)} order by 1, address, member" for rows in parts))
    except (OSError, duckdb.IOException) as error:
        raise StateError(f"The rows of a version could not be sorted: {error}.", "Free disk space below ENGAGE_HOME.") from error


def _sorted(connection: duckdb.DuckDBPyConnection, queries: Iterable[str]) -> RowsFile:
    place = _place(connection)
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=place and str(place))  # noqa: SIM115 - closed by who holds it
    with ExitStack() as stack:
        writer = None
        for query in queries:
            reader = connection.sql(query).to_arrow_reader(BATCH)
            writer = writer or stack.enter_context(pa.ipc.new_file(file, reader.schema))
            for batch in reader:
                writer.write_batch(batch)
    return RowsFile(file)


def _place(connection: duckdb.DuckDBPyConnection) -> Path | None:
    """Where the engine may put what does not fit in memory, or the system's place when it was told none."""
    (told,) = connection.execute("select current_setting('temp_directory')").fetchall()[0]
    place = Path(told)
    return next((each for each in place.parents if each.is_dir()), None) if place.is_absolute() else None


def places(numbers: NDArray[np.int64]) -> pa.Array:
    """Numbers of rows to take; made so, none of them is looked at, and pandas is not imported to do it."""
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers))])


def as_flags(flags: Flags) -> pa.Array:
    """Flags as a column, see `places`."""
    return pa.Array.from_buffers(pa.bool_(), len(flags), [None, pa.py_buffer(np.packbits(flags, bitorder="little"))])


def arrow_schema(columns: Iterable[str]) -> pa.Schema:
    """The types of a version's columns, `sign` among them."""
    return pa.schema([(name, _KINDS.get(name, pa.string())) for name in columns])


def leveled(batch: pa.RecordBatch) -> pa.RecordBatch:
    """With levels as texts of a dictionary in place of their numbers."""
    place = batch.schema.get_field_index("level")
    return batch.set_column(place, "level", pa.DictionaryArray.from_arrays(batch.column(place), _level_texts()))


@cache
def _level_texts() -> pa.Array:
    ends = np.cumsum([0, *(len(level) for level in LEVELS)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(LEVELS), pa.py_buffer(ends), pa.py_buffer("".join(LEVELS).encode()))


def levels_of(batch: pa.RecordBatch) -> NDArray[np.int8]:
    """The level of each row, by its place in LEVELS."""
    return _values(batch.column("level").indices, np.int8)


def members_of(batch: pa.RecordBatch) -> Ids:
    return _values(batch.column("member"), np.int64)


def signs_of(batch: pa.RecordBatch) -> NDArray[np.int8]:
    return _values(batch.column("sign"), np.int8)


def hashes_of(piece: Sequence[pa.RecordBatch], name: str) -> Hashes:
    found = [_values(batch.column(name), np.uint64) for batch in piece]
    return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.uint64), *found])


def _values(array: pa.Array, kind: type[_T]) -> NDArray[_T]:
    """The numbers of a column, which is never null, where they lie; pyarrow would import pandas to hand them out."""
    return np.frombuffer(array.buffers()[1], dtype=kind)[array.offset : array.offset + len(array)] if len(array) else np.zeros(0, kind)


@dataclass(frozen=True, slots=True)
class ChosenRows:
    """Of sorted rows those of some members."""

    rows: SortedRows
    flags: Flags
    """By level and member id; the last id stands for all beyond."""

    @classmethod
    def of(cls, rows: SortedRows, *, accounts: Ids, users: Ids) -> "ChosenRows":
        flags = np.zeros((len(LEVELS), int(max(accounts.max(initial=0), users.max(initial=0))) + 2), dtype=np.bool_)
        flags[0, accounts] = True
        flags[1, users] = True
        return cls(rows, flags)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in self.rows.batches((*columns, "member")):
            members = np.minimum(members_of(batch), self.flags.shape[1] - 1)
            levels = levels_of(batch)
            yield from chosen([batch], self.flags[levels[0]][members] if levels[0] == levels[-1] else self.flags[levels, members])


@dataclass
class Seen:
    """Members seen, by level; ids are small, since profiles are numbered."""

    def __post_init__(self) -> None:
        self._flags = np.zeros((len(LEVELS), 0), dtype=np.bool_)

    def add(self, batch: pa.RecordBatch) -> None:
        if not len(batch):
            return
        members, levels = members_of(batch), levels_of(batch)
        highest = int(members.max())
        if highest >= self._flags.shape[1]:
            grown = np.zeros((len(LEVELS), 2 * highest + 1), dtype=np.bool_)
            grown[:, : self._flags.shape[1]] = self._flags
            self._flags = grown
        for level in range(len(LEVELS)):
            here = levels == level
            self._flags[level][members if here.all() else members[here]] = True

    def has(self, batch: pa.RecordBatch) -> Flags:
        """Of each row, whether its member was seen at its level."""
        members = members_of(batch)
        inside = members < self._flags.shape[1]
        return self._flags[levels_of(batch), np.where(inside, members, 0)] & inside if self._flags.shape[1] else inside

    def members(self, level: str) -> Ids:
        return np.flatnonzero(self._flags[LEVELS.index(level)])

    def count(self, level: str) -> int:
        return int(np.count_nonzero(self._flags[LEVELS.index(level)]))


def chosen(piece: Piece, flags: Flags) -> Piece:
    """The rows of a piece that are flagged."""
    return taken(piece, np.flatnonzero(flags))


def taken(piece: Piece, rows: Ids) -> Piece:
    """The rows of a piece at these places, which ascend."""
    found: Piece = []
    start = 0
    for batch in piece:
        first, end = np.searchsorted(rows, (start, start + len(batch)))
        if end - first == len(batch):
            found.append(batch)
        elif end > first:
            found.append(batch.take(places(rows[first:end] - start)))
        start += len(batch)
    return found
