"""The file of a generation: its rendered records, frozen, with a dense seq through the whole file.

| column | meaning |
|---|---|
| seq | 0, 1, 2, ... |
| address, entered | whose change, and its new value |
| part | call letter and ordinal: tells one change's records apart |
| call | group, identify or track |
| lane | records of equal lane may share a batch |
| action | what the destination does with it |
| message_id | never changes, also when the record is tried again in a later generation; null where the pattern says it |
| body | the payload, JSON in UTF-8, the same bytes on every try; null where there is a pattern |
| pattern, first, second | the body as text with holes (`patterns`), and what fills them with the seq: most records differ in these alone |
| digest | of traits alone: of the value that the record says, null where it says that there is none |
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false, reportArgumentType=false
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engage_pipelines.delivery import columns as arrow
from engage_pipelines.delivery.patterns import FIRST, SECOND
from engage_pipelines.delivery.rows import FrozenRecord, Rows
from engage_pipelines.domain.errors import StateError

_FEW_VALUES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("address", pa.string()),
        ("entered", pa.bool_()),
        ("part", _FEW_VALUES),
        ("call", _FEW_VALUES),
        ("lane", _FEW_VALUES),
        ("action", _FEW_VALUES),
        ("message_id", pa.string()),
        ("body", pa.binary()),
        ("pattern", _FEW_VALUES),
        (FIRST, pa.string()),
        (SECOND, pa.string()),
    ]
)
OF_VALUES = SCHEMA.append(pa.field("digest", pa.string()))
"""Of traits."""

FATES = ("seq", "address", "entered", "part", "call", "message_id", "pattern", "digest")
"""The columns that tell what a record's fate means, without its payload."""

COUNTED = ("seq", "entered", "call")
"""Those that are enough where every record was delivered and none was an exception before."""

_COMPRESSION = "lz4"
"""The file lives as long as its generation is under way: what it costs to write and read weighs more than its size."""

ROWS_PER_GROUP = 20_480
BYTES_PER_GROUP = 16_000_000

_ENCODED = [field.name for field in SCHEMA if field.type == _FEW_VALUES]


class GenerationWriter:
    """Writes the file aside and puts it in place by rename when the block ends well; otherwise nothing stays."""

    def __init__(self, path: Path, *, has_values: bool = False) -> None:
        self._path = path
        self._schema = OF_VALUES if has_values else SCHEMA
        self._aside = path.with_suffix(".writing")
        self._rows: list[FrozenRecord] = []
        self._bytes = 0
        self.count = 0

    def __enter__(self) -> Self:
        with self._on_disk():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._aside, self._schema, compression=_COMPRESSION, use_dictionary=_ENCODED, write_statistics=["seq", "address"]
            )
        return self

    def add(self, record: FrozenRecord) -> None:
        """One record, with its body."""
        self._rows.append(record)
        self._bytes += len(record.body)
        self.count += 1
        if len(self._rows) >= ROWS_PER_GROUP or self._bytes >= BYTES_PER_GROUP:
            self._flush()

    def add_rows(self, columns: dict[str, Any], rows: int) -> None:
        """Many records at once, numbered here; columns that are left out are null, one value stands for all rows."""
        self._flush()
        known = {**columns, "seq": np.arange(self.count, self.count + rows, dtype=np.int64)}
        arrays = [_column(known.get(field.name), field.type, rows) for field in self._schema]
        with self._on_disk():
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self.count += rows

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            with self._on_disk():
                if error is None:
                    self._flush()
                self._writer.close()
                if error is None:
                    with self._aside.open("rb") as written:
                        os.fsync(written.fileno())
                    self._aside.rename(self._path)
        finally:
            self._aside.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            columns = [
                _column([getattr(row, field.name, None) for row in self._rows], field.type, len(self._rows)) for field in self._schema
            ]
            with self._on_disk():
                self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
            self._rows.clear()
            self._bytes = 0

    @contextmanager
    def _on_disk(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"The file of generation {self._path.stem} could not be written: {error}.",
                "Free disk space below ENGAGE_HOME; the sync goes on where it stopped.",
            ) from error


def _column(value: Any, kind: Any, rows: int) -> Any:
    """A column of that type: given as one, as values, one value for all rows, or null."""
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value if value.type == kind else value.cast(kind)
    if isinstance(value, np.ndarray):
        return arrow.numbers(value)
    if isinstance(value, list):
        return _of_values(cast("list[Any]", value), kind)
    if value is None:
        return pa.nulls(rows, kind)
    if pa.types.is_dictionary(kind):
        return arrow.encoded(np.zeros(rows, np.int32), [value])
    return pa.repeat((arrow.flags([value]) if isinstance(value, bool) else arrow.texts([value]))[0], rows)


def _of_values(values: list[Any], kind: Any) -> Any:
    if all(value is None for value in values):
        return pa.nulls(len(values), kind)
    if pa.types.is_dictionary(kind):
        known = {value: code for code, value in enumerate(dict.fromkeys(values))}
        return arrow.encoded([known[value] for value in values], list(known))
    if pa.types.is_integer(kind):
        return arrow.numbers(np.array(values, np.int64))
    return arrow.flags(values) if pa.types.is_boolean(kind) else arrow.blobs(values) if pa.types.is_binary(kind) else arrow.texts(values)


def rows_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[Rows]:
    """The records in order of seq, a row group in memory at a time. Raises StateError when the file is gone or broken."""
    try:
        with pq.ParquetFile(path, read_dictionary=_ENCODED) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=columns)
                for batch in table.to_batches():
                    yield Rows(batch)
    except (OSError, pa.ArrowInvalid) as error:
        raise StateError(
            f"The file of generation {path.stem} cannot be read: {error}.",
            "Restore it below ENGAGE_HOME/generations, or resync the connection.",
        ) from error


def read(path: Path) -> Iterator[FrozenRecord]:
    """The records one by one. Raises StateError when the file is gone or broken."""
    for rows in rows_of(path):
        yield from rows.records()


def pick(path: Path, seqs: Iterable[int]) -> list[FrozenRecord]:
    """The records with these seqs that the file still has; none when the file is gone."""
    if not path.exists():
        return []
    import pyarrow.compute as pc  # noqa: PLC0415 (needed where records are tried again)

    table = pq.read_table(path, filters=pc.field("seq").isin(list(seqs)), read_dictionary=_ENCODED)
    return [record for batch in table.to_batches() for record in Rows(batch).records()]
