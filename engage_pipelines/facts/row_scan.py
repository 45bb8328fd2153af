"""Scans of rows: what one query gives for each row, and the arrays that the rows are added up in, batch by batch."""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.sql_values import quote_text
from engage_pipelines.facts.store import one_thread
from engage_pipelines.facts.tally import AnyRow, LastRow, Places, Rows, Sum

BATCH_ROWS = 122_880
_KINDS = {pa.int64(): np.int64, pa.int32(): np.int32, pa.uint8(): np.uint8, pa.float64(): np.float64}

_S = TypeVar("_S", bound=Sum)


@dataclass(slots=True)
class Scan:
    """What one query gives for each row, by expression, and what becomes of it. Scans of one query share `outputs` and `codes`."""

    size: int
    at_us: int
    outputs: dict[str, str] = field(default_factory=dict)
    sums: dict[object, Sum] = field(default_factory=dict)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)
    """By column of texts, a number for each text seen."""
    used: set[str] = field(default_factory=set[str])

    def flag(self, condition: str) -> str:
        """The column that is 1 where the condition holds, '' when it always does."""
        return self.column(f"CAST({condition} AS UTINYINT)") if condition else ""

    def column(self, expression: str) -> str:
        name = self.outputs.setdefault(expression, f"o{len(self.outputs)}")
        self.used.add(name)
        return name

    def sum(self, made: _S, *key: object) -> _S:
        """The one there is of that key."""
        kept = self.sums.setdefault((type(made), *key), made)
        assert isinstance(kept, type(made))
        return kept

    @property
    def needs_ts(self) -> bool:
        return any(isinstance(each, LastRow) for each in self.sums.values())

    def any_row(self, condition: str) -> AnyRow:
        return self.sum(AnyRow(self.size, self.flag(condition)), condition)


def add_up(
    session: FactsSession, scan: Scan, rows: str, places: Sequence[Places], *, with_ts: bool, others: Sequence[Scan] = ()
) -> list[bool]:
    """Read the rows batch by batch; whether there is one of a member, for each of the `places`. Raises duckdb.Error."""
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


def add_up_apart(session: FactsSession, scans: Mapping[str, Scan], rows: str, places: Places, *, with_ts: bool) -> dict[str, bool]:
    """The same, with a scan for each event: its rows alone are added up in it. `rows` have the event."""
    ts = ", ts" if with_ts else ""
    (outputs,) = {id(each.outputs): each.outputs for each in scans.values()}.values()
    listed = "".join(f", {expression} AS {name}" for expression, name in outputs.items())
    names = ", ".join(map(quote_text, scans))
    which = f"CAST(list_position([{names}], event) - 1 AS INTEGER) AS which"
    codes = next(iter(scans.values())).codes
    found = dict.fromkeys(scans, False)
    for batch in _batches(session, f"SELECT subject, {which}{ts}{listed} FROM ({rows})"):
        arrays = {name: _array(batch.column(name), codes.get(name)) for name in batch.schema.names}
        of_event = np.asarray(arrays.pop("which"), dtype=np.int32)
        if not (of_event[1:] >= of_event[:-1]).all():
            order = np.argsort(of_event, kind="stable")
            of_event, arrays = of_event[order], {name: each[order] for name, each in arrays.items()}
        their_places = places.of(np.asarray(arrays.pop("subject"), dtype=np.int64))
        edges = np.searchsorted(of_event, np.arange(len(scans) + 1)).tolist()
        for (name, scan), begin, end in zip(scans.items(), edges[:-1], edges[1:], strict=True):
            if begin == end:
                continue
            given = Rows(their_places[begin:end], {column: each[begin:end] for column, each in arrays.items()})
            found[name] = found[name] or bool((given.places < places.size).any())
            for total in scan.sums.values():
                total.add(given)
    return found


def _batches(session: FactsSession, query: str) -> Iterator[pa.RecordBatch]:  # pyright: ignore[reportUnknownParameterType]
    """In the order of their files, so the last ones need not be sought."""
    engine = session.connection
    with one_thread(engine):
        yield from engine.sql(query).to_arrow_reader(BATCH_ROWS)


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
