"""Calls of an ingest under way, on disk beside the facts: decoded, in the order of lines, not yet told from duplicates."""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportArgumentType=false

import json
import os
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engage_pipelines.facts.columns import CALL_SCHEMA, TRAIT_SCHEMA, Batch
from engage_pipelines.facts.lines import InputFile

_SEQ = pa.field("seq", pa.int64())
_FLUSH_BYTES = 16 * 1024 * 1024


class _StagedFile:
    """One file under way, written in pieces that are neither tiny nor large."""

    def __init__(self, path: Path, schema: pa.Schema, repeating: list[str]) -> None:
        # read once and thrown away: packing it would cost more than it saves
        self._writer = pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=repeating, write_statistics=["seq"])
        self._waiting: list[pa.Table] = []
        self._bytes = 0

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting, self._bytes = [], 0

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()


class Staging:
    """What was read so far. The files can be read once the context is left; `seq` is the place of a call in the whole ingest."""

    def __init__(self, folder: Path) -> None:
        self.calls_path = folder / "calls.parquet"
        self.traits_path = folder / "call_traits.parquet"
        self.calls = 0
        self.rejected = 0
        self.by_type: Counter[str] = Counter()
        self._rejects_path = folder / "rejects.jsonl"

    def __enter__(self) -> Self:
        self._calls = _StagedFile(self.calls_path, CALL_SCHEMA.insert(0, _SEQ), ["kind", "event"])
        self._traits = _StagedFile(self.traits_path, TRAIT_SCHEMA.set(0, _SEQ), ["key"])
        self._rejects = self._rejects_path.open("w", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for writer in (self._calls, self._traits, self._rejects):
            # after a failure the files are worthless, and closing them on a full disk fails once more
            with suppress(Exception) if error is not None else nullcontext():
                writer.close()

    def add(self, file: InputFile, batch: Batch) -> None:
        """Put a batch behind what was read before."""
        rows = batch.calls.num_rows
        if rows:
            seqs = pa.array(np.arange(self.calls, self.calls + rows, dtype=np.int64))
            self._calls.add(batch.calls.add_column(0, _SEQ, seqs))
            for count in batch.calls.column("kind").value_counts():
                self.by_type[count["values"].as_py()] += count["counts"].as_py()
        if batch.traits.num_rows:
            seqs = pa.array(batch.traits.column("row").to_numpy() + self.calls)
            self._traits.add(batch.traits.set_column(0, _SEQ, seqs))
        for reject in batch.rejects:
            self._rejects.write(json.dumps({"file": file.name, "line": reject.line, "reason": reject.reason}) + "\n")
        self.calls += rows
        self.rejected += len(batch.rejects)

    def keep_rejects(self, folder: Path, stem: str) -> Path | None:
        """Move the rejects out of the staging folder, under a name of their own; None when there are none."""
        if not self.rejected:
            return None
        folder.mkdir(exist_ok=True)
        number = 1
        while (path := folder / f"{stem}-{number}.jsonl").exists():
            number += 1
        os.rename(self._rejects_path, path)
        return path
