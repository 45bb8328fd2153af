"""User lists in files below the operator's folder (ENGAGE_FILES_DIR): the whole list, or with `changes` one file per generation.

A file is always whole, and a repeat writes the same file again. Which file it is says a relative path, in which `{audience}` and `{space}`
stand for keys.

| mode | file | columns |
|---|---|---|
| whole list | `path` | address, user_id, email, then the traits asked for |
| changes | `path` with the generation before its suffix | message_id, change (add or remove), address, then the fields of the payload |

Cells are text: a missing value is missing, a truth value is true or false, lists and objects are JSON. A generation that is sent in several
batches adds to its file batch by batch; a record that is in the file already is not written twice.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import orjson
from pydantic import Field, field_validator

from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    DestinationType,
    Effect,
    Limits,
    ListRow,
    MembershipAs,
    Preset,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
    refuse_oversize,
)
from engage_pipelines.destinations.sending.filesystem import PlaceError, check_path, filled, place, verdict_on, written_aside

LIST_COLUMNS = ("address", "user_id", "email")
CHANGE_COLUMNS = ("message_id", "change", "address")

Row = Sequence[str | None]
Chunks = Iterator[Sequence[Row]]


class FileSettings(Settings):
    """Which file."""

    path: str = Field(min_length=1, max_length=500, description="Relative path of the file; {audience} and {space} stand for keys.")
    changes: bool = Field(False, description="On: one file of changes for each step. Off: one file that is the whole list.")
    traits: tuple[str, ...] = Field((), description="Traits that become columns of the whole list.")
    files_dir: Path | None = Field(None, description="The operator's: the folder below which files are written.")

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return check_path(value)


class FileDestination(DestinationType):
    """A type that keeps a list in files of one format."""

    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = FileSettings
    actions = (
        Action(
            "write",
            "Write the change",
            frozenset({"identify"}),
            fields={
                "user_id": {"@path": "$.userId"},
                "anonymous_id": {"@path": "$.anonymousId"},
                "email": {"@path": "$.traits.email"},
            },
        ),
    )
    presets = (Preset("Members", "identify", 'type = "identify" and context.personas.computation_key = "{key}"', "write"),)
    limits = Limits(max_batch_records=100_000, max_batch_bytes=64_000_000)
    user_address_kinds = ("user_id", "email")

    @abstractmethod
    def write_table(self, file: IO[bytes], columns: Sequence[str], chunks: Chunks, settings: Settings) -> None:
        """Write a table of text; every row is as long as `columns`."""

    @abstractmethod
    def read_table(self, file: IO[bytes]) -> tuple[list[str], Chunks]:
        """Columns and rows of a table that `write_table` wrote. Raises ValueError or OSError when it is none."""

    def writes_whole_list(self, settings: Settings) -> bool:
        return not _mine(settings).changes

    def list_traits(self, settings: Settings) -> tuple[str, ...]:
        return _mine(settings).traits

    def external_target(self, settings: Settings, target: Target) -> str | None:
        return f"file {filled(_mine(settings).path, target)}"

    def write_list(self, rows: Iterator[Sequence[ListRow]], *, settings: Settings, target: Target) -> Verdict:
        mine = _mine(settings)
        columns = (*LIST_COLUMNS, *mine.traits)
        cells = ([_cells_of_member(row, mine.traits) for row in chunk] for chunk in rows)
        return self._replace(filled(mine.path, target), columns, cells, mine)

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        if not records:
            return Accepted()
        mine = _mine(settings)
        too_much = refuse_oversize(records, self.limits)
        if too_much is not None:
            return too_much
        rows, rejected = rows_of_changes(records)
        whole_path = filled(mine.path, target)
        relative = whole_path.with_name(f"{whole_path.stem}.{target.generation:012d}{whole_path.suffix}")
        verdict = self._add(relative, rows, mine) if rows else Accepted()
        return Accepted(rejected) if isinstance(verdict, Accepted) else verdict

    def test(self, settings: Settings) -> Verdict:
        mine = _mine(settings)
        try:
            with written_aside(place(mine.files_dir, PurePosixPath("engage-test"))):
                raise _OnlyTryingError
        except _OnlyTryingError:
            return Accepted()
        except PlaceError as error:
            return Stop(error.reason, error.remedy)
        except OSError as error:
            return verdict_on(error, "the folder for files")

    def _add(self, relative: PurePosixPath, rows: Mapping[str, Mapping[str, str | None]], settings: FileSettings) -> Verdict:
        """Put rows into the file of a generation, but for those that it has."""
        try:
            path = place(settings.files_dir, relative)
            there: list[str] = []
            if path.exists():
                with path.open("rb") as file:
                    there, chunks = self.read_table(file)
                    known = {row[0] for chunk in chunks for row in chunk if row[0] in rows}
                rows = {message_id: row for message_id, row in rows.items() if message_id not in known}
                if not rows:
                    return Accepted()
        except PlaceError as error:
            return Stop(error.reason, error.remedy)
        except ValueError:
            return Stop(f"the file {relative} is not one of ours.", "Move it away, or name another path in the settings.")
        except OSError as error:
            return verdict_on(error, f"the file {relative}")
        columns = list(dict.fromkeys((*CHANGE_COLUMNS, *there, *(name for row in rows.values() for name in row))))
        return self._replace(relative, columns, self._joined(path, columns, rows), settings)

    def _joined(self, path: Path, columns: Sequence[str], rows: Mapping[str, Mapping[str, str | None]]) -> Chunks:
        if path.exists():
            with path.open("rb") as file:
                there, chunks = self.read_table(file)
                for chunk in chunks:
                    yield [in_order(dict(zip(there, row, strict=False)), columns) for row in chunk]
        yield [in_order(row, columns) for row in rows.values()]

    def _replace(self, relative: PurePosixPath, columns: Sequence[str], chunks: Chunks, settings: FileSettings) -> Verdict:
        try:
            with written_aside(place(settings.files_dir, relative)) as file:
                self.write_table(file, columns, chunks, settings)
        except PlaceError as error:
            return Stop(error.reason, error.remedy)
        except OSError as error:
            return verdict_on(error, f"the file {relative}")
        return Accepted()


class _OnlyTryingError(Exception):
    """Ends the writing of a file that nobody wants."""


def rows_of_changes(records: Sequence[Record]) -> tuple[dict[str, dict[str, str | None]], dict[int, str]]:
    """Rows by message id, and the records that make none."""
    rows: dict[str, dict[str, str | None]] = {}
    rejected: dict[int, str] = {}
    for index, record in enumerate(records):
        payload: Any = orjson.loads(record.body)
        if not isinstance(payload, dict):
            rejected[index] = "the mapping makes no object of it, so there are no columns"
            continue
        row: dict[str, str | None] = {
            "message_id": record.message_id,
            "change": "add" if record.entered else "remove",
            "address": record.address,
        }
        fields = cast(dict[str, Any], payload)
        rows[record.message_id] = row | {name: cell(value) for name, value in fields.items() if name not in row}
    return rows, rejected


def _cells_of_member(row: ListRow, traits: Sequence[str]) -> Row:
    return [row.address, row.user_id, row.email, *(cell(row.traits.get(trait)) for trait in traits)]


def in_order(row: Mapping[str, str | None], columns: Sequence[str]) -> Row:
    """The cells of a row by the order of the columns; what it does not have is missing."""
    return [row.get(column) for column in columns]


def cell(value: Any) -> str | None:
    """A value as the text of a cell."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _mine(settings: Settings) -> FileSettings:
    assert isinstance(settings, FileSettings)
    return settings
