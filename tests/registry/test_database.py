"""What the database promises: snapshots, all-or-nothing writes, and faults in words."""

import multiprocessing
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from engage_pipelines.domain.errors import BusyError, ConfigurationError, ConflictError, StateError
from engage_pipelines.registry import database as database_module
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.tables import space


def _space(key: str) -> dict[str, Any]:
    return {"id": f"spa_{key}", "key": key, "name": key, "created_at": 0, "updated_at": 0}


def _keys(database: Database) -> list[str]:
    with database.read() as c:
        return list(c.execute(sa.select(space.c.key).order_by(space.c.key)).scalars())


def test_exception_rolls_everything_back(database: Database) -> None:
    def fail_half_way() -> None:
        with database.write() as c:
            c.execute(space.insert().values(_space("a")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert _keys(database) == []


def test_reader_sees_one_state(database: Database) -> None:
    with database.read() as c:
        before = c.execute(sa.select(sa.func.count()).select_from(space)).scalar_one()
        with database.write() as other:
            other.execute(space.insert().values(_space("a")))
        assert c.execute(sa.select(sa.func.count()).select_from(space)).scalar_one() == before
    assert _keys(database) == ["a"]


def test_reader_cannot_write(database: Database) -> None:
    with pytest.raises((StateError, exc.DBAPIError)), database.read() as c:
        c.execute(space.insert().values(_space("a")))
    assert _keys(database) == []


def test_lost_race_for_a_key_is_a_conflict(database: Database) -> None:
    with database.write() as c:
        c.execute(space.insert().values(_space("a")))
    with pytest.raises(ConflictError, match="same moment"), database.write() as c:
        c.execute(space.insert().values({**_space("a"), "id": "spa_other"}))


def test_threads_write_one_after_the_other(database: Database) -> None:
    def add(n: int) -> None:
        with database.write() as c:
            c.execute(space.insert().values(_space(f"k{n}")))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_keys(database)) == 8


def test_clock_is_in_microseconds(database: Database) -> None:
    with database.read() as c:
        assert 1_700_000_000_000_000 < database.now_us(c) < 10_000_000_000_000_000


def test_locked_file_is_busy(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_BUSY_TIMEOUT_S", 0.05)
    opened = Database(sqlite_url)
    other = sqlite3.connect(tmp_path / "engage.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="locked by another process"), opened.write():
        pass
    other.close()
    assert _keys(opened) == []
    opened.close()


def test_full_disk_changes_nothing(sqlite_url: str) -> None:
    opened = Database(sqlite_url)
    with opened.read() as c:
        pages = c.exec_driver_sql("PRAGMA page_count").scalar_one()
        c.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match=r"lies on a disk that is full"), opened.write() as c:
        c.execute(space.insert().values({**_space("a"), "name": "x" * 1_000_000}))
    assert _keys(opened) == []
    opened.close()


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engage.db").write_text("this is not a database, and long enough to be looked at " * 20)
    with pytest.raises(StateError, match="not a database of ours"):
        Database(f"sqlite:///{tmp_path / 'engage.db'}")


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be made"):
        Database(f"sqlite:///{tmp_path / 'file' / 'engage.db'}")


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Database(url)


def test_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(StateError, match="does not answer") as refused:
        Database("postgresql://someone:s3cr3t@127.0.0.1:1/engage")
    assert "s3cr3t" not in str(refused.value)


def _open(url: str) -> None:
    Database(url).close()


def test_two_processes_make_the_same_file_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'engage.db'}"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open, args=(url,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert _keys(Database(url)) == []
