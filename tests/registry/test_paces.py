"""The row of a destination, on both databases: permissions in turn for many at once, and rules that are written under its lock."""

import itertools
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from engage_pipelines.domain import pacing
from engage_pipelines.domain.pacing import SECOND_US, Pace
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.paces import change_pace, read_paces, take_permissions, try_again_at_once


@pytest.fixture
def crm(database: Database) -> str:
    """A destination with a row."""
    times = {"created_at": 1, "updated_at": 1}
    with database.write() as c:
        c.execute(sa.insert(t.space).values(id="spa_1", key="b2b", name="B2B", **times))
        values = {"id": "dst_1", "space_id": "spa_1", "key": "crm", "name": "CRM", "type": "segment", "settings": {}}
        c.execute(sa.insert(t.destination).values(**values, **times))
        change_pace(c, "dst_1", lambda pace: pace)
    return "dst_1"


def test_a_destination_without_a_row_gives_no_permission_and_no_pace(database: Database):
    assert take_permissions(database, "dst_none", rate=5, count=1) is None
    with database.read() as c:
        assert read_paces(c) == {}


def test_the_statement_gives_what_the_rule_says(database: Database, crm: str):
    for rate, count in ((5.0, 1), (200.0, 20), (0.5, 1), (3.0, 1), (0.5, 1), (0.5, 1), (0.5, 1)):
        with database.read() as c:
            before, early = read_paces(c)[crm].next_at_us, database.now_us(c)
        begins = take_permissions(database, crm, rate=rate, count=count)
        late = database.look_at_clock_us()
        expected = [pacing.grant(before, now, rate=rate, count=count) for now in (early, late)]
        if begins is None:
            assert None in expected
        else:
            assert all(one is not None for one in expected)
            assert expected[0][0] <= begins <= expected[1][0]
            with database.read() as c:
                assert read_paces(c)[crm].next_at_us == begins + count * pacing.interval_us(rate)


def test_processes_that_ask_at_once_get_permissions_one_after_the_other(database: Database, crm: str):
    granted: list[int] = []

    def ask() -> None:
        for _ in range(10):
            begins = take_permissions(database, crm, rate=100.0, count=2)
            assert begins is not None
            granted.extend((begins, begins + pacing.interval_us(100.0)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    granted.sort()
    assert len(granted) == 80
    assert all(b - a >= 10_000 for a, b in itertools.pairwise(granted))


def test_what_many_write_at_once_is_all_counted(database: Database, crm: str):
    def fail() -> None:
        for _ in range(5):
            with database.write() as c:
                change_pace(c, crm, lambda pace: pacing.failed(pace, "con_1", SECOND_US))

    threads = [threading.Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as c:
        assert read_paces(c)[crm].failures == 20


def test_a_pace_is_read_as_it_was_written(database: Database, crm: str):
    whole = Pace(1, 2.5, 10.0, 3, 4, 5, 6, 7, 8, "con_1", 9)
    with database.write() as c:
        assert change_pace(c, crm, lambda _: whole) == whole
    with database.read() as c:
        assert read_paces(c, [crm]) == {crm: whole}


def test_somebody_who_wants_it_tried_need_not_wait_for_the_rest_to_end(database: Database, crm: str):
    resting = replace(Pace(), failures=8, rests=3, rest_until_us=2**50)
    with database.write() as c:
        change_pace(c, crm, lambda _: resting)
        try_again_at_once(c, crm)
        assert pacing.may_try(read_paces(c)[crm], "con_1", 1)
