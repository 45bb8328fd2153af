"""User lists as Parquet files: every column is text, values are kept as they are."""

from collections.abc import Sequence
from typing import IO, Any

from engage_pipelines.destinations.base import Settings
from engage_pipelines.destinations.files import Chunks, FileDestination

_CHUNK = 10_000


class ParquetFile(FileDestination):
    """A Parquet file."""

    key = "parquet_file"
    name = "Parquet file"
    description = "Keeps the audience as a Parquet file, whole or as one file of changes for each step."
    docs_url = "docs/destinations.md#parquet_file"

    def write_table(self, file: IO[bytes], columns: Sequence[str], chunks: Chunks, settings: Settings) -> None:
        import pyarrow as pa  # noqa: PLC0415 (heavy, and most commands write no file)
        import pyarrow.parquet as pq  # noqa: PLC0415

        schema = pa.schema([(column, pa.string()) for column in columns])
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for chunk in chunks:
                cells: list[Any] = [list(column) for column in zip(*chunk, strict=True)] if chunk else [[] for _ in columns]
                writer.write_table(pa.table([pa.array(column, pa.string()) for column in cells], schema=schema))

    def read_table(self, file: IO[bytes]) -> tuple[list[str], Chunks]:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        try:
            table = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise ValueError("not a Parquet file") from error
        columns: list[str] = table.schema_arrow.names
        if columns[:1] != ["message_id"]:
            raise ValueError("not a file of changes")
        return columns, _chunks(table)


def _chunks(table: Any) -> Chunks:
    for batch in table.iter_batches(_CHUNK):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
