"""The mark of a watched database stays while nothing is committed, and differs after every commit of anyone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.registry.database import Database
from engage_pipelines.registry.tables import audit
from engage_pipelines.registry.watch import Watch


@pytest.fixture
def watch(database: Database) -> Iterator[Watch]:
    watch = Watch(database)
    yield watch
    watch.close()


def _write(c: sa.Connection) -> None:
    c.execute(audit.insert().values(at=1, actor="test", verb="create", object="thing"))


def test_a_mark_stays_while_others_only_read(database: Database, watch: Watch) -> None:
    before = watch.mark()

    with database.read() as c:
        c.execute(sa.select(audit)).all()

    assert watch.mark() == before


def test_a_mark_differs_after_each_commit(database: Database, watch: Watch) -> None:
    marks = [watch.mark()]

    for _ in range(3):
        with database.write() as c:
            _write(c)
        marks.append(watch.mark())

    assert len(set(marks)) == 4


def test_what_is_read_before_a_commit_is_never_taken_for_what_is_read_after_it(database: Database, watch: Watch) -> None:
    with database.write() as c:
        _write(c)
        # not committed: whoever reads now reads the old state, and must not be believed afterwards
        during = watch.mark()

    assert watch.mark() != during


def test_a_database_that_cannot_be_read_has_no_two_equal_marks(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    watch = Watch(database)
    database.close()
    shutil.rmtree(tmp_path)

    assert watch.mark() != watch.mark()
