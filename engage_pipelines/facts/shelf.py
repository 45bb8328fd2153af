"""A file of events laid out for looking up single people: its rows by event, subject and time, each column uncompressed by itself.

Reading a few people out of a Parquet file costs as much as reading everyone. A shelf is made from its file when it is first asked for,
column by column, and mapped into memory from then on; a small file is read whole instead, and leaves nothing behind. A shelf holds no
more than its file does, and goes with it. Instants are UTC microseconds.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engage_pipelines.facts.bits import Ids
from engage_pipelines.facts.promotion import Promoted
from engage_pipelines.facts.store import SHELVES, Manifest

SHELVED_FROM = 50_000
"""Rows from which on a file gets a shelf on disk."""
RAW_COLUMNS = frozenset({"properties", "context"})
"""Columns of JSON text: those of shelves on disk are left in the Parquet file, they would take more room than everything else."""
_ORDER, _BY_TIME = "order", "by_time"
_NAMES = ("event", "first", "end")


@dataclass(slots=True)
class Shelf:
    """One file of events. Places count its rows by event, subject and time."""

    file: Path
    promoted: Mapping[str, Promoted]
    folder: Path | None
    """None of a file that is kept in memory."""
    ranges: Mapping[str, tuple[int, int]]
    """By event name its first place, and the one after the last."""
    _columns: dict[str, pa.Array] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether it has the JSON as well."""
        return self.folder is None

    def subjects_between(self, event: str, first_us: int, last_us: int) -> Ids:
        """The subjects of the rows of an event from one instant to another, both included; some several times."""
        begin, end = self._between(event, first_us, last_us)
        return self._subjects[self._by_time[begin:end]]

    def first_at(self, event: str, from_us: int) -> int | None:
        """The instant of the first row of an event at or after `from_us`."""
        begin, _ = self._between(event, from_us, from_us)
        return int(self._instants[self._by_time[begin]]) if begin < self.ranges.get(event, (0, 0))[1] else None

    def subjects_of(self, event: str) -> Ids:
        """The subjects of all rows of an event; some several times."""
        begin, end = self.ranges.get(event, (0, 0))
        return self._subjects[begin:end]

    def places_of(self, event: str, subjects: Ids) -> NDArray[np.int64]:
        """The places of the rows of an event that these subjects have; `subjects` are sorted and distinct."""
        begin, end = self.ranges.get(event, (0, 0))
        there = self._subjects[begin:end]
        first, last = np.searchsorted(there, subjects, "left"), np.searchsorted(there, subjects, "right")
        counts = last - first
        starts = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])) if len(counts) else first, counts)
        return starts + np.arange(len(starts)) + begin

    def take(self, places: NDArray[np.int64], columns: Iterable[str]) -> pa.Table:
        """Some columns of the rows at these places."""
        rows = pa.array(places)
        return pa.table({name: self._column(name).take(rows) for name in columns})

    def _between(self, event: str, first_us: int, last_us: int) -> tuple[int, int]:
        """The rows of an event between two instants, as a range of `_by_time`."""
        begin, end = self.ranges.get(event, (0, 0))
        return self._search(begin, end, first_us), self._search(begin, end, last_us + 1)

    def _search(self, begin: int, end: int, at_us: int) -> int:
        """The first place of `_by_time` whose row is not before the instant."""
        while begin < end:
            middle = (begin + end) // 2
            if self._instants[self._by_time[middle]] < at_us:
                begin = middle + 1
            else:
                end = middle
        return begin

    @property
    def _subjects(self) -> Ids:
        return self._numbers("subject")

    @property
    def _instants(self) -> Ids:
        return self._numbers("ts")

    @property
    def _by_time(self) -> NDArray[np.int32]:
        return self._column(_BY_TIME).to_numpy()

    def _numbers(self, name: str) -> Ids:
        return self._column(name).to_numpy()

    def _column(self, name: str) -> pa.Array:
        if name not in self._columns:
            self._columns[name] = self._load(name)
        return self._columns[name]

    def _load(self, name: str) -> pa.Array:
        assert self.folder is not None
        path = self.folder / f"{name}.arrow"
        if not path.exists():
            order = _mapped(self.folder / f"{_ORDER}.arrow")
            _store(path, _read(self.file, name).take(order))
            _leave_with(self.file, self.folder)
        return _mapped(path)


def subjects_by_event(path: Path) -> Mapping[str, Ids]:
    """By event, the subjects of the rows of a file; some several times. Raises OSError."""
    events, subjects = _read(path, "event"), _read(path, "subject").to_numpy()
    codes = events.indices.to_numpy(zero_copy_only=False)
    return {name: subjects[codes == code] for code, name in enumerate(events.dictionary.to_pylist())}


def open_shelves(folder: Path, manifest: Manifest, *, shelved_from: int = SHELVED_FROM) -> list[Shelf]:
    """The shelves of all files of events, made now where there is none yet. Raises OSError."""
    mapped = _mapped_shelves.get(folder, {})
    shelves = [mapped.get(name) or _open(folder, name, manifest.promoted.get(name, ()), shelved_from) for name in manifest.files("events")]
    # a process that evaluates again has them at hand, and lets go of those whose file is gone
    _mapped_shelves[folder] = {each.file.name: each for each in shelves if each.folder is not None}
    return shelves


_mapped_shelves: dict[Path, dict[str, Shelf]] = {}


def _open(folder: Path, file: str, promoted: Sequence[Promoted], shelved_from: int) -> Shelf:
    path, columns = folder / file, {each.column: each for each in promoted}
    if pq.read_metadata(path).num_rows < shelved_from:
        return _in_memory(path, columns)
    home = folder / SHELVES / path.stem
    ranges = home / "events.arrow"
    if not ranges.exists():
        _build(path, home)
    return Shelf(path, columns, home, _ranges(_table(ranges)))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the rows of a file go: `order` are their places in the file, `by_time` their places on the shelf by event and time."""

    order: NDArray[np.int32]
    by_time: NDArray[np.int32]
    names: pa.Table


def _layout(events: pa.DictionaryArray, subjects: Ids, instants: Ids) -> _Layout:
    codes = events.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = events.dictionary.to_pylist()
    order = np.lexsort((instants, subjects, codes)).astype(np.int32)
    by_time = np.lexsort((instants[order], codes[order])).astype(np.int32)
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    starts = ends - np.bincount(codes, minlength=len(names))
    return _Layout(order, by_time, pa.table(dict(zip(_NAMES, (pa.array(names, pa.string()), starts, ends), strict=True))))


def _in_memory(path: Path, promoted: Mapping[str, Promoted]) -> Shelf:
    table = pq.read_table(path)
    layout = _layout(_dictionary(table["event"]), table["subject"].to_numpy(), table["ts"].to_numpy())
    sorted_rows = table.take(pa.array(layout.order))
    columns = {name: _whole(sorted_rows[name]) for name in table.column_names if name != "event"}
    columns[_BY_TIME] = pa.array(layout.by_time)
    return Shelf(path, promoted, None, _ranges(layout.names), columns)


def _build(path: Path, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    subjects, instants = _read(path, "subject"), _read(path, "ts")
    layout = _layout(_read(path, "event"), subjects.to_numpy(), instants.to_numpy())
    order = pa.array(layout.order)
    for name, column in (
        (_ORDER, order),
        (_BY_TIME, pa.array(layout.by_time)),
        ("subject", subjects.take(order)),
        ("ts", instants.take(order)),
    ):
        _store(home / f"{name}.arrow", column)
    # last, for it says that the others are there
    _store_table(home / "events.arrow", layout.names)
    _leave_with(path, home)


def _leave_with(file: Path, home: Path) -> None:
    """Nothing stays of a file that was taken away meanwhile, because somebody in it was erased. Raises FileNotFoundError then."""
    if not file.exists():
        shutil.rmtree(home, ignore_errors=True)
        raise FileNotFoundError(errno.ENOENT, "gone meanwhile", str(file))


def _read(path: Path, name: str) -> pa.Array:
    """A column of a file; texts as numbers into a list of those that there are."""
    return _whole(pq.read_table(path, columns=[name], read_dictionary=[name])[name])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        return _dictionary(column)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    whole = encoded.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        return whole.chunk(0) if whole.num_chunks else pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    return whole


def _ranges(names: pa.Table) -> Mapping[str, tuple[int, int]]:
    columns = [names[name].to_pylist() for name in _NAMES]
    return {event: (first, end) for event, first, end in zip(*columns, strict=True) if first < end}


def _store(path: Path, column: pa.Array) -> None:
    _store_table(path, pa.table({"value": column}))


def _store_table(path: Path, table: pa.Table) -> None:
    """Whole or not at all, also when another process makes the same."""
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with pa.OSFile(str(aside), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    os.replace(aside, path)


def _table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _mapped(path: Path) -> pa.Array:
    column = _table(path)["value"]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)
