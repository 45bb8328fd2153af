"""Members as CSV, whole or piece by piece: a header line, then the rows of a query over a version, without our own numbers."""

import csv
import io
from collections.abc import Generator, Sequence
from typing import IO, Any

import duckdb

from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_members import reading
from engage_pipelines.destinations.csv_file import harmless

_CHUNK = 10_000


def write_csv(db: duckdb.DuckDBPyConnection, query: str, out: IO[str], *, raw: bool) -> int:
    """How many rows were written; unless they are for machines (`raw`), cells that a spreadsheet would run get an apostrophe."""
    cursor = db.execute(f"select * exclude (member) from ({query})")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column[0] for column in cursor.description or ()])
    rows = 0
    while chunk := cursor.fetchmany(_CHUNK):
        writer.writerows(_cells(chunk, raw=raw))
        rows += len(chunk)
    out.flush()
    return rows


def csv_pieces(history: History, query: str) -> Generator[str]:
    """The same for people, as pieces of text; the version is read while they are taken."""
    with reading(history) as db:
        cursor = db.execute(f"select * exclude (member) from ({query})")
        yield _text([[column[0] for column in cursor.description or ()]])
        while chunk := cursor.fetchmany(_CHUNK):
            yield _text(_cells(chunk, raw=False))


def _cells(rows: Sequence[Sequence[Any]], *, raw: bool) -> list[Sequence[str | None]]:
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return [row if raw else harmless(row) for row in cells]


def _text(rows: Sequence[Sequence[str | None]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
