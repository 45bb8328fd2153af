"""Records as columns: what a generation's file holds, cut and joined without a Python object for each record.

A record is either frozen as its body, or as a pattern (`patterns`) with the texts that fill it; both give the same bytes on every look.
`FrozenRecord` is one record by itself, for everything that is rare.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false, reportMissingTypeArgument=false, reportAttributeAccessIssue=false
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engage_pipelines.delivery import columns as arrow
from engage_pipelines.delivery.columns import Flags, Numbers
from engage_pipelines.delivery.patterns import SEQ, Pattern
from engage_pipelines.destinations.base import Record

__all__ = ["Batch", "Flags", "FrozenRecord", "Numbers", "Rows"]

_POWERS: Numbers = 10 ** np.arange(1, 19, dtype=np.int64)
_NO_PATTERN = -1


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    """One record of a generation."""

    seq: int
    address: str
    entered: bool
    part: str
    call: str
    lane: str
    action: str
    message_id: str
    body: bytes
    digest: str | None = None
    """Of the value that it says, where it is one of a trait."""


@lru_cache(maxsize=256)
def _loaded(pattern: str) -> Pattern:
    return Pattern.loaded(pattern)


class Rows:
    """A stretch of a generation's file, all columns or some; slices share its memory."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self._codes: dict[str, tuple[Numbers, list[str]]] = {}

    def __len__(self) -> int:
        return self.batch.num_rows

    def prepare(self) -> None:
        """Know the columns of few values from here on, also in what is cut from these rows."""
        for column in ("lane", "part", "action", "pattern"):
            self.codes(column)

    def cut(self, start: int, end: int) -> "Rows":
        """The rows from `start` to before `end`."""
        if (start, end) == (0, len(self)):
            return self
        part = Rows(self.batch.slice(start, end - start))
        part.__dict__ |= {name: self.__dict__[name][start:end] for name in ("seqs", "sizes") if name in self.__dict__}
        part._codes = {column: (codes[start:end], values) for column, (codes, values) in self._codes.items()}
        return part

    def where(self, wanted: Flags) -> "Rows":
        """The rows that are wanted."""
        return self if wanted.all() else Rows(self.batch.filter(arrow.flags(wanted)))

    @cached_property
    def seqs(self) -> Numbers:
        return arrow.numbers_of(self.batch.column("seq"))

    @cached_property
    def entered(self) -> Flags:
        return arrow.flags_of(self.batch.column("entered"))

    def codes(self, column: str) -> tuple[Numbers, list[str]]:
        """A column of few values: for each row the place of its value in the list, below zero where there is none."""
        if column in self._codes:
            return self._codes[column]
        encoded = self.batch.column(column)
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        codes = np.where(arrow.present(encoded), arrow.numbers_of(encoded.indices), _NO_PATTERN).astype(np.int64)
        self._codes[column] = (codes, encoded.dictionary.to_pylist())
        return self._codes[column]

    def is_in(self, column: str, values: Collection[str]) -> Flags:
        """For each row whether its value is one of these."""
        if not values:
            return np.zeros(len(self), np.bool_)
        return arrow.flags_of(pc.is_in(self.batch.column(column), value_set=arrow.texts(list(values))))

    def value(self, column: str) -> str:
        """What the first row has in a column of few values."""
        codes, values = self.codes(column)
        return values[codes[0]]

    @cached_property
    def sizes(self) -> Numbers:
        """Bytes of each body."""
        codes, patterns = self.codes("pattern")
        sizes = arrow.lengths_of(self.batch.column("body"))
        for code in arrow.distinct(codes):
            if code == _NO_PATTERN:
                continue
            pattern = _loaded(patterns[code])
            own = np.full(len(self), sum(len(text.encode()) for text in pattern.texts), np.int64)
            for hole in pattern.holes:
                own += self._digits() if hole == SEQ else arrow.lengths_of(self.batch.column(hole))
            sizes = np.where(codes == code, own, sizes)
        return sizes

    def _digits(self) -> Numbers:
        """Digits of each seq; these are in order, so that the ends of a stretch mostly speak for all of it."""
        first, last = (np.searchsorted(_POWERS, seq, side="right") + 1 for seq in (self.seqs[0], self.seqs[-1]))
        return np.full(len(self), first, np.int64) if first == last else np.searchsorted(_POWERS, self.seqs, side="right") + 1

    def joined(self, separator: bytes) -> bytes | memoryview:
        """The bodies with the separator between them."""
        if not len(self):
            return b""
        whole = self._bodies(separator)
        _, offsets, data = whole.buffers()
        places = np.frombuffer(offsets, np.int32)
        first, last = places[whole.offset], places[whole.offset + len(whole)]
        return memoryview(data)[first : last - len(separator)]

    def bodies(self) -> list[bytes]:
        """The bodies one by one."""
        return self._bodies(b"").to_pylist()

    def records(self) -> Iterator[FrozenRecord]:
        """The records one by one."""
        columns = [self.batch.column(name).to_pylist() for name in ("seq", "address", "entered", "part", "call", "lane", "action")]
        return map(FrozenRecord, *columns, self.message_ids(), self.bodies(), self.digests())

    def message_ids(self) -> list[str]:
        """The message ids one by one."""
        kept, patterns = self.batch.column("message_id").to_pylist(), self.batch.column("pattern").to_pylist()
        seqs = self.seqs.tolist()
        for at, pattern in enumerate(patterns):
            if pattern is not None:
                before, after = _loaded(pattern).message_id
                kept[at] = f"{before}{seqs[at]}{after}"
        return kept

    def digests(self) -> list[str | None]:
        """The digests of the values one by one; of audiences there are none."""
        return self.batch.column("digest").to_pylist() if "digest" in self.batch.schema.names else [None] * len(self)

    def _bodies(self, separator: bytes) -> pa.BinaryArray:
        """The bodies in order, each with the separator behind it."""
        codes, patterns = self.codes("pattern")
        present = arrow.distinct(codes)
        if len(present) == 1:
            return _filled(self.batch, None if present[0] == _NO_PATTERN else patterns[present[0]], separator)
        places = [np.flatnonzero(codes == code) for code in present]
        parts = [
            _filled(self.batch.take(arrow.numbers(at)), None if code == _NO_PATTERN else patterns[code], separator)
            for code, at in zip(present, places, strict=True)
        ]
        return pa.concat_arrays(parts).take(arrow.numbers(np.argsort(np.concatenate(places), kind="stable")))


def _filled(batch: pa.RecordBatch, pattern: str | None, separator: bytes) -> pa.BinaryArray:
    """The bodies of rows of one pattern, or of none, each with the separator behind it."""
    if pattern is None:
        return pc.binary_join_element_wise(batch.column("body"), _constant(separator), _constant(b""))
    holes, texts = _loaded(pattern).holes, _constants(pattern, separator)
    if not holes:
        return arrow.blobs([texts[0].as_py()] * len(batch))
    parts: list[Any] = [texts[0]]
    for hole, text in zip(holes, texts[1:], strict=True):
        filling = batch.column(hole)
        parts += ((filling.cast(pa.string()) if hole == SEQ else filling).view(pa.binary()), text)
    return pc.binary_join_element_wise(*parts, _constant(b""))


@lru_cache(maxsize=256)
def _constants(pattern: str, separator: bytes) -> list[Any]:
    """The texts of a pattern with the separator at the end."""
    *texts, last = [text.encode() for text in _loaded(pattern).texts]
    return [_constant(text) for text in (*texts, last + separator)]


@lru_cache(maxsize=64)
def _constant(text: bytes) -> Any:
    return arrow.blobs([text])[0]


class Batch(Sequence[Record]):
    """Records of one lane that go into one request, in the order of the file: a sequence of records that are made when they are looked at.

    Types that pass the bodies on take `joined` and `weight` instead, and touch no record.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = tuple(parts)
        self.joined_with: tuple[bytes, bytes, bytes] | None = None
        self._joined: bytes | None = None

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self._made[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._made)

    @cached_property
    def _made(self) -> list[Record]:
        return [_record(frozen) for rows in self.parts for frozen in rows.records()]

    def cut(self, start: int, end: int) -> "Batch":
        """The records from `start` to before `end`."""
        parts: list[Rows] = []
        for rows in self.parts:
            lo, hi = max(start, 0), min(end, len(rows))
            if lo < hi:
                parts.append(rows.cut(lo, hi))
            start, end = start - len(rows), end - len(rows)
        return Batch(parts)

    @cached_property
    def seqs(self) -> Numbers:
        return np.concatenate([rows.seqs for rows in self.parts])

    @cached_property
    def weight(self) -> tuple[int, int]:
        """Bytes of all bodies together and of the largest."""
        return sum(int(rows.sizes.sum()) for rows in self.parts), max((int(rows.sizes.max(initial=0)) for rows in self.parts), default=0)

    @property
    def action(self) -> str:
        return self.parts[0].value("action")

    @property
    def lane(self) -> str:
        return self.parts[0].value("lane")

    @cached_property
    def part(self) -> str | None:
        """The part that all of the records are; None when they are several."""
        found = {values[code] for rows in self.parts for codes, values in [rows.codes("part")] for code in arrow.distinct(codes)}
        return found.pop() if len(found) == 1 else None

    def joined(self, separator: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
        """The bodies with the separator between them and something around; `joined_with` keeps that they were asked for so."""
        asked = (separator, before, after)
        if self._joined is None or self.joined_with != asked:
            pieces = [rows.joined(separator) for rows in self.parts]
            bodies = pieces[0] if len(pieces) == 1 else separator.join(pieces)
            self._joined = b"".join((before, bodies, after))
            self.joined_with = asked
        return self._joined

    def prepare(self, join_with: tuple[bytes, bytes, bytes]) -> None:
        """Work out now what sending it will ask for."""
        self.joined(*join_with)
        _ = self.seqs, self.weight, self.part


def _record(frozen: FrozenRecord) -> Record:
    return Record(frozen.message_id, frozen.address, frozen.entered, frozen.body)
