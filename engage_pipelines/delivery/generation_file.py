"""The file of a generation: its rendered records, frozen, with a dense seq through the whole file.

| column | meaning |
|---|---|
| seq | 0, 1, 2, ... |
| address, entered | whose change, and its new value |
| part | call letter and ordinal: tells one change's records apart |
| call | group, identify or track |
| lane | records of equal lane may share a batch |
| action | what the destination does with it |
| message_id | never changes, also when the record is tried again in a later generation |
| body | the payload, JSON in UTF-8, the same bytes on every try |
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engage_pipelines.domain.errors import StateError

SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("address", pa.string()),
        ("entered", pa.bool_()),
        ("part", pa.string()),
        ("call", pa.string()),
        ("lane", pa.string()),
        ("action", pa.string()),
        ("message_id", pa.string()),
        ("body", pa.binary()),
    ]
)
ROWS_PER_GROUP = 20_000


@dataclass(frozen=True, slots=True)
class FrozenRecord:
    """One row of the file."""

    seq: int
    address: str
    entered: bool
    part: str
    call: str
    lane: str
    action: str
    message_id: str
    body: bytes


class GenerationWriter:
    """Writes the file aside and puts it in place by rename when the block ends well; otherwise nothing stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_suffix(".writing")
        self._rows: list[FrozenRecord] = []
        self.count = 0

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._aside, SCHEMA, compression="zstd")
        except OSError as error:
            raise _unwritable(self._path, error) from error
        return self

    def add(self, record: FrozenRecord) -> None:
        self._rows.append(record)
        self.count += 1
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._flush()
            self._writer.close()
            if error is None:
                with self._aside.open("rb") as written:
                    os.fsync(written.fileno())
                self._aside.rename(self._path)
                return
        except OSError as failure:
            raise _unwritable(self._path, failure) from failure
        finally:
            self._aside.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            columns = [pa.array([getattr(row, field.name) for row in self._rows], field.type) for field in SCHEMA]
            try:
                self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
            except OSError as error:
                raise _unwritable(self._path, error) from error
            self._rows.clear()


def read(path: Path) -> Iterator[FrozenRecord]:
    """The records in order of seq, a row group in memory at a time. Raises StateError when the file is gone or broken."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP):
                columns = [batch.column(name).to_pylist() for name in SCHEMA.names]
                for row in zip(*columns, strict=True):
                    yield FrozenRecord(*row)
    except (OSError, pa.ArrowInvalid) as error:
        raise StateError(
            f"The file of generation {path.stem} cannot be read: {error}.",
            "Restore it below ENGAGE_HOME/generations, or resync the connection.",
        ) from error


def pick(path: Path, seqs: Sequence[int]) -> list[FrozenRecord]:
    """The records with these seqs that the file still has; none when the file is gone."""
    if not path.exists():
        return []
    table = pq.read_table(path, filters=pc.field("seq").isin(list(seqs)))
    return [FrozenRecord(**row) for row in table.to_pylist()]


def _unwritable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"The file of generation {path.stem} could not be written: {error}.",
        "Free disk space below ENGAGE_HOME; the sync goes on where it stopped.",
    )
