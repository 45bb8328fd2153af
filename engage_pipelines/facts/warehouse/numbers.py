"""Numbers of members: each user, visitor and account of a warehouse gets a number of ours when it is first read, and keeps it for ever.

    facts/<space>/warehouse/numbers.json      replaced by an atomic rename: the commit
                            numbers-*.parquet key and number, immutable; a key is in one of them
                            .lock             one writer at a time
A key is u: and a user id, a: and an anonymous id, g: and a group id.
"""

import json
import os
import secrets
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from engage_pipelines.domain.errors import BusyError, StateError
from engage_pipelines.facts.store import file_rows, open_engine, quoted, read_manifest

_FILE = "numbers.json"
_FORMAT = 1
_MOST_FILES = 20
_LOCK_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class _Numbered:
    next: int
    files: tuple[str, ...]


def number_members(db: duckdb.DuckDBPyConnection, keys: str, folder: Path) -> None:
    """Make the table `numbers(key, member)` of all keys that the query `keys` yields; new ones get the next numbers, kept in `folder`.

    Raises BusyError when another process is at it for long, StateError when the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    db.execute(f"CREATE TEMP TABLE wanted_keys AS SELECT DISTINCT key FROM ({keys})")
    known = _read(folder)
    if db.execute(f"SELECT 1 FROM wanted_keys ANTI JOIN ({_rows(folder, known)}) USING (key) LIMIT 1").fetchall():
        with _alone(folder):
            known = _add(db, folder)
    db.execute(f"CREATE TEMP TABLE numbers AS SELECT n.key, n.member FROM ({_rows(folder, known)}) n SEMI JOIN wanted_keys USING (key)")
    db.execute("DROP TABLE wanted_keys")


def numbers_of(folder: Path, keys: Collection[str]) -> dict[str, int]:
    """The numbers that these keys have, of those that have any. Raises StateError."""
    query = f"SELECT key, member FROM ({_rows(folder, _read(folder))}) WHERE key IN (SELECT unnest($1::VARCHAR[]))"
    with open_engine(None) as db:
        return dict(db.execute(query, [sorted(keys)]).fetchall())


def forget_keys(folder: Path, keys: Collection[str]) -> int:
    """Take the keys away, with every file that ever held them; how many. Their numbers are not given again.

    Whoever is reading the files just then fails, and reads again. Raises BusyError or StateError.
    """
    if not folder.exists():
        return 0
    with _alone(folder):
        known = _read(folder)
        found = len(numbers_of(folder, keys))
        if found:
            path = folder / f"numbers-{secrets.token_hex(8)}.parquet"
            kept = f"SELECT key, member FROM ({_rows(folder, known)}) WHERE key NOT IN (SELECT unnest($1::VARCHAR[])) ORDER BY key"
            with open_engine(None) as db:
                db.execute(f"COPY ({kept}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)", [sorted(keys)])
            known = _Numbered(known.next, (path.name,))
            _commit(folder, known, path)
        for path in folder.glob("numbers-*.parquet"):
            if path.name not in known.files:
                path.unlink(missing_ok=True)
    return found


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    try:
        with FileLock(folder / ".lock", timeout=_LOCK_TIMEOUT_S):
            yield
    except Timeout as error:
        raise BusyError("Another process is numbering members.", "Wait until it has ended and do it again.") from error


def _read(folder: Path) -> _Numbered:
    path = folder / _FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        # numbers that ingested facts gave stay theirs
        return _Numbered(read_manifest(folder.parent).next_subject, ())
    except (OSError, ValueError) as error:
        raise StateError(f"The numbers of members in {str(path)!r} cannot be read: {error}.", "Bring it back from a backup.") from error
    if content.get("format") != _FORMAT:
        raise StateError(
            f"{str(path)!r} has format {content.get('format')!r}, this version reads {_FORMAT}.", "Use the version that wrote it."
        )
    return _Numbered(content["next"], tuple(content["files"]))


def _rows(folder: Path, known: _Numbered) -> str:
    if not known.files:
        return "SELECT NULL::VARCHAR AS key, NULL::BIGINT AS member WHERE false"
    return f"SELECT key, member FROM {file_rows(folder, known.files)}"


def _add(db: duckdb.DuckDBPyConnection, folder: Path) -> _Numbered:
    """Number what is new; another process may have done part of it meanwhile."""
    known = _read(folder)
    given = _rows(folder, known)
    fresh = f"SELECT key, {known.next - 1} + row_number() OVER (ORDER BY key) AS member FROM wanted_keys ANTI JOIN ({given}) USING (key)"
    is_full = len(known.files) >= _MOST_FILES
    name = f"numbers-{secrets.token_hex(8)}.parquet"
    path = folder / name
    count = db.execute(f"SELECT count(*) FROM wanted_keys ANTI JOIN ({given}) USING (key)").fetchall()[0][0]
    if not count:
        return known
    query = f"{given} UNION ALL {fresh}" if is_full else fresh
    db.execute(f"COPY (FROM ({query}) ORDER BY key) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)")
    numbered = _Numbered(known.next + count, (name,) if is_full else (*known.files, name))
    _commit(folder, numbered, path)
    return numbered


def _commit(folder: Path, numbered: _Numbered, written: Path) -> None:
    """Files that are merged stay: a reader may be at them, and they are small beside everything else."""
    aside = folder / f"{_FILE}.{secrets.token_hex(4)}"
    aside.write_text(json.dumps({"format": _FORMAT, "next": numbered.next, "files": numbered.files}), encoding="utf-8")
    for path in (written, aside):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    os.replace(aside, folder / _FILE)
