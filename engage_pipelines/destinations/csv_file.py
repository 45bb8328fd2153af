"""User lists as CSV files: UTF-8, a header line, commas, quotes where they are needed, lines that end with a line feed.

A cell that a spreadsheet would run as a formula gets an apostrophe in front of it, since identifiers and traits are what strangers typed.
Numbers and phone numbers stay as they are. Turn `escape_formulas` off for a file that only machines read.
Source: https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import re
from collections.abc import Generator, Iterator, Sequence
from itertools import chain, islice
from typing import IO

from pydantic import Field

from engage_pipelines.destinations.base import Settings
from engage_pipelines.destinations.files import Chunks, FileDestination, FileSettings, Row

_CHUNK = 10_000
_LONGEST_CELL = 64_000_000
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d\s().,-]*\Z)")


class CsvSettings(FileSettings):
    """Which file, and for whom."""

    escape_formulas: bool = Field(True, description="Put an apostrophe before cells that a spreadsheet would take for a formula.")


class CsvFile(FileDestination):
    """A CSV file."""

    key = "csv_file"
    name = "CSV file"
    description = "Keeps the audience as a CSV file, whole or as one file of changes for each step."
    docs_url = "docs/destinations.md#csv_file"
    settings_model = CsvSettings

    def write_table(self, file: IO[bytes], columns: Sequence[str], chunks: Chunks, settings: Settings) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
        writer = csv.writer(text, lineterminator="\n")
        escape = isinstance(settings, CsvSettings) and settings.escape_formulas
        for chunk in chain([[columns]], chunks):
            writer.writerows([harmless(row) for row in chunk] if escape else chunk)
        text.flush()
        text.detach()

    def read_table(self, file: IO[bytes]) -> tuple[list[str], Chunks]:
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.reader((line.decode() for line in file), strict=True)
        columns = next(_chunked(reader, 1), [[]])[0]
        if columns[:1] != ["message_id"]:
            raise ValueError("not a file of changes")
        return columns, _chunked(reader, _CHUNK)


def _chunked(reader: Iterator[list[str]], size: int) -> Generator[list[list[str]]]:
    try:
        while chunk := list(islice(reader, size)):
            yield chunk
    except csv.Error as error:
        raise ValueError("not a CSV file") from error


def harmless(row: Row) -> Row:
    """The row with an apostrophe in front of every cell that a spreadsheet would run."""
    return [f"'{text}" if text and _FORMULA.match(text) else text for text in row]
