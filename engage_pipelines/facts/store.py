"""The facts of a space on disk: immutable Parquet files and the manifest that names them.

    facts/<space>/manifest.json     replaced by an atomic rename: the commit. Readers read it once, then its files.
                  <table>-*.parquet immutable; named by the manifest, or retired and swept an hour later by a writer
                  rejects/          lines that were no valid calls, by ingested file
                  shelf/, kept/     derived, to evaluate what moved alone; made again when missing
                  staging-*/        what a writer is at; worthless without its process
                  spill/            where the engine puts what does not fit in memory
                  .lock             one writer at a time
Instants are UTC microseconds since 1970.
"""

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from engage_pipelines.domain.errors import BusyError, EngageError, StateError
from engage_pipelines.facts.promotion import Promoted, checked, choose, with_columns

TABLES: Mapping[str, str] = {
    "events": (
        "subject BIGINT, event VARCHAR, ts BIGINT, message_id VARCHAR, kind VARCHAR, properties VARCHAR, context VARCHAR, source VARCHAR"
    ),
    "traits": "subject BIGINT, key VARCHAR, ts BIGINT, message_id VARCHAR, value VARCHAR, level VARCHAR",
    "subjects": "subject BIGINT, kind VARCHAR, id VARCHAR, first_at BIGINT, last_at BIGINT",
    "links": "kind VARCHAR, from_subject BIGINT, to_subject BIGINT, ts BIGINT, message_id VARCHAR",
    "memberships": 'user_subject BIGINT, account_subject BIGINT, ts BIGINT, "left" BOOLEAN, message_id VARCHAR',
    "messages": "message_id VARCHAR",
}
FORMAT = 1
SWEEP_AFTER_US = 3_600_000_000
# a session may take READ_MEMORY; with the interpreter and the calls being decoded an ingest stays at 512 MB
READ_MEMORY = "512MB"
WRITE_MEMORY = "300MB"
SHELVES, KEPT = "shelf", "kept"
_MANIFEST = "manifest.json"
_PARQUET = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 100000"
_PATTERN_SIGN = re.compile(r"([\[*?])")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which files hold the facts. `id` is another one after every commit, '' when there are no facts yet."""

    id: str = ""
    next_subject: int = 1
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    retired: Mapping[str, int] = field(default_factory=dict)
    promoted: Mapping[str, tuple[Promoted, ...]] = field(default_factory=dict)
    """By file of events, the properties that have columns of their own there."""
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By file that others were merged into, those others: it says what they said, and nothing more."""

    def files(self, table: str) -> tuple[str, ...]:
        return self.tables.get(table, ())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a space's facts; an empty one when nothing was taken in yet. Raises StateError."""
    path = folder / _MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Manifest()
    except (OSError, ValueError) as error:
        raise StateError(f"The facts' manifest {str(path)!r} cannot be read: {error}.", "Bring it back from a backup.") from error
    if content.get("format") != FORMAT:
        raise StateError(
            f"The facts in {str(folder)!r} have format {content.get('format')!r}, this version reads format {FORMAT}.",
            "Use the version of engage_pipelines that wrote them.",
        )
    return _manifest(content)


def decode_manifest(text: str) -> Manifest:
    """What `encode_manifest` wrote."""
    return _manifest(json.loads(text))


def _manifest(content: Mapping[str, Any]) -> Manifest:
    tables = {table: tuple(names) for table, names in content["tables"].items()}
    promoted = {
        name: tuple(Promoted(tuple(each["path"]), each["kind"], each["whole"], each["exact"]) for each in columns)
        for name, columns in content.get("promoted", {}).items()
    }
    merged = {name: tuple(names) for name, names in content.get("merged", {}).items()}
    return Manifest(content["id"], content["next_subject"], tables, content.get("retired", {}), promoted, merged)


def relation(folder: Path, table: str, files: tuple[str, ...]) -> str:
    """SQL for the rows of some files of a table, of the right types when there are none; without promoted columns."""
    columns = [column.rsplit(" ", 1) for column in TABLES[table].split(", ")]
    if not files:
        return f"(SELECT {', '.join(f'NULL::{kind} AS {name}' for name, kind in columns)} WHERE false)"
    if table == "events":
        return f"(SELECT {', '.join(name for name, _ in columns)} FROM {file_rows(folder, files)})"
    return file_rows(folder, files)


def file_rows(folder: Path, files: Sequence[str], *, alike: bool = True) -> str:
    """SQL for the rows of some files, at least one; `alike` when they have the same columns."""
    by_name = "" if alike else ", union_by_name = true"
    return f"read_parquet([{', '.join(_quoted_pattern(folder / name) for name in files)}]{by_name})"


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _quoted_pattern(path: Path) -> str:
    """A path as SQL text that matches this one file alone, whatever signs of a pattern its folders carry."""
    return quoted(_PATTERN_SIGN.sub(r"[\1]", str(path)))


def open_engine(spill: Path | None, *, memory: str = READ_MEMORY) -> duckdb.DuckDBPyConnection:
    """A DuckDB of this process alone, in memory, that puts what does not fit below `spill`."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "preserve_insertion_order": "false",
        "autoinstall_known_extensions": "false",
        # files are read once, so keeping what was read only takes memory
        "enable_external_file_cache": "false",
    }
    if spill is not None:
        settings["temp_directory"] = str(spill)
    connection = duckdb.connect(config=settings)
    leave_out_faulty(connection)
    return connection


@contextmanager
def one_thread(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    """Run the body with one thread: rows come in the order of their files, and fewer of them wait in memory."""
    threads = connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
    if threads == 1:
        yield
        return
    connection.execute("SET threads = 1")
    try:
        yield
    finally:
        connection.execute(f"SET threads = {threads}")


def leave_out_faulty(connection: duckdb.DuckDBPyConnection) -> None:
    """Do without the step of the optimizer that ends DuckDB 2.0 with an internal error on joins with a count over no groups: a funnel
    compared with a trait below a window. Earlier versions have no such step."""
    if connection.execute("SELECT 1 FROM duckdb_optimizers() WHERE name = 'join_elimination'").fetchall():
        connection.execute("SET disabled_optimizers = 'join_elimination'")


@contextmanager
def state_errors(folder: Path) -> Generator[None]:
    """Faults of disk and memory below the facts, as errors that say what to do."""
    try:
        yield
    except EngageError:
        raise
    except RuntimeError as error:
        # how the engine tells that Ctrl-C ended its query
        if "Query interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise
    except OSError as error:
        raise _state_error(folder, error.errno, error.strerror or str(error)) from error
    except duckdb.OutOfMemoryException as error:
        raise StateError(
            f"The facts in {str(folder)!r} need more memory or disk than there is: {_first_line(error)}", "Free some space."
        ) from error
    except duckdb.IOException as error:
        number = errno.ENOSPC if "No space left" in str(error) else None
        raise _state_error(folder, number, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]


def _state_error(folder: Path, number: int | None, text: str) -> StateError:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StateError(
            f"The disk that holds {str(folder)!r} is full.", "Free some space and do it again; the facts are as they were before."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StateError(f"{str(folder)!r} cannot be written: {text}.", "Check its permissions; the facts are as they were before.")
    return StateError(f"{str(folder)!r} cannot be used: {text}.", "Check the disk; the facts are as they were before.")


@dataclass(slots=True)
class Write:
    """One change of the facts under way: files are made in `staging`, then named by one new manifest, or forgotten."""

    folder: Path
    staging: Path
    manifest: Manifest
    engine: duckdb.DuckDBPyConnection
    next_subject: int
    _added: dict[str, list[str]] = field(default_factory=dict)
    _removed: dict[str, set[str]] = field(default_factory=dict)
    _promoted: dict[str, tuple[Promoted, ...]] = field(default_factory=dict)
    _merged: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def relation(self, table: str, names: Sequence[str] | None = None) -> str:
        """SQL for the committed rows of a table, or of some of its files."""
        return relation(self.folder, table, self.manifest.files(table) if names is None else tuple(names))

    def add(self, table: str, query: str, *, sampled: str = "") -> int:
        """The rows of a query as a new file of the table; their number. No rows, no file.

        Properties of events are promoted by what a sample of `sampled` shows, SQL for about the same rows.
        """
        name = f"{table}-{secrets.token_hex(8)}.parquet"
        columns = choose(self.engine, sampled) if sampled else ()
        written = with_columns(query, columns)
        rows = self.engine.execute(f"COPY ({written}) TO {quoted(str(self.staging / name))} ({_PARQUET})").fetchall()[0][0]
        if rows:
            self._added.setdefault(table, []).append(name)
            self._promoted[name] = checked(self.engine, file_rows(self.staging, [name]), columns)
        return rows

    def replace(self, table: str, names: Sequence[str], query: str) -> int:
        """Put the rows of a query in place of committed files of the table; their number."""
        self._removed.setdefault(table, set()).update(names)
        return self.add(table, query, sampled=self.relation(table, names) if table == "events" else "")

    def merge(self, table: str, names: Sequence[str], query: str) -> None:
        """The same, of rows that say what those of the files said together."""
        if self.replace(table, names, query):
            self._merged[self._added[table][-1]] = tuple(names)

    def left(self, table: str) -> list[str]:
        """The committed files of the table that this change has not replaced."""
        return [name for name in self.manifest.files(table) if name not in self._removed.get(table, ())]

    def commit(self) -> Manifest:
        """Make the new files part of the facts, all at once; the manifest is written out first, so that a full disk is met before."""
        manifest = self._next_manifest()
        aside = self.staging / _MANIFEST
        aside.write_bytes(encode_manifest(manifest))
        added = [name for names in self._added.values() for name in names]
        for name in (*added, _MANIFEST):
            _sync(self.staging / name)
        for name in added:
            os.rename(self.staging / name, self.folder / name)
        _sync(self.folder)
        os.replace(aside, self.folder / _MANIFEST)
        _sync(self.folder)
        return manifest

    def _next_manifest(self) -> Manifest:
        now_us = time.time_ns() // 1000
        gone = {name: now_us for names in self._removed.values() for name in names}
        promoted = {**self.manifest.promoted, **self._promoted}
        return replace(
            self.manifest,
            id=secrets.token_hex(8),
            next_subject=self.next_subject,
            tables={table: (*self.left(table), *self._added.get(table, ())) for table in TABLES},
            retired={**self.manifest.retired, **gone},
            promoted={name: columns for name, columns in promoted.items() if columns and name not in gone},
            merged={**self.manifest.merged, **self._merged},
        )


def encode_manifest(manifest: Manifest) -> bytes:
    """The text of a manifest."""
    content = {
        "format": FORMAT,
        "id": manifest.id,
        "next_subject": manifest.next_subject,
        "tables": manifest.tables,
        "retired": manifest.retired,
        "promoted": {name: [asdict(each) for each in columns] for name, columns in manifest.promoted.items()},
        "merged": manifest.merged,
    }
    return json.dumps(content, indent=1).encode()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(folder: Path) -> Generator[Write]:
    """Sole right to change the facts of a space. Nothing is changed unless `commit` is reached.

    Raises BusyError when another process is at it, StateError when the disk does not play along.
    """
    with state_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"Another process is changing the facts in {str(folder)!r}.", "Wait until it has ended and do it again."
            ) from error
        try:
            manifest = _swept(folder, read_manifest(folder))
            staging = folder / f"staging-{secrets.token_hex(8)}"
            staging.mkdir()
            try:
                with open_engine(staging / "spill", memory=WRITE_MEMORY) as engine:
                    yield Write(folder, staging, manifest, engine, manifest.next_subject)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        finally:
            lock.release()


def _swept(folder: Path, manifest: Manifest) -> Manifest:
    """Remove what no reader can be at any more; the manifest without those files."""
    now_us = time.time_ns() // 1000
    for staging in folder.glob("staging-*"):
        shutil.rmtree(staging, ignore_errors=True)
    kept = {name for names in manifest.tables.values() for name in names}
    due = {name for name, retired_us in manifest.retired.items() if retired_us < now_us - SWEEP_AFTER_US}
    waiting = {name: at_us for name, at_us in manifest.retired.items() if name not in due}
    for path in folder.glob("*.parquet"):
        strange = path.name not in kept and path.name not in manifest.retired and path.stat().st_mtime_ns // 1000 < now_us - SWEEP_AFTER_US
        if path.name in due or strange:
            path.unlink(missing_ok=True)
    sweep_shelves(folder, (*kept, *waiting))
    merged = {name: names for name, names in manifest.merged.items() if name in kept or name in waiting}
    return replace(manifest, retired=waiting, merged=merged)


def sweep_shelves(folder: Path, files: Iterable[str]) -> None:
    """Remove what was derived of all files but these."""
    stems = {Path(name).stem for name in files}
    for entry in (folder / SHELVES).glob("*"):
        if entry.name not in stems:
            shutil.rmtree(entry, ignore_errors=True)
