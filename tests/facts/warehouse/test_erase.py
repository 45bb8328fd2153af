"""Erasing somebody whose facts are in a warehouse: nothing is left here, and what is there is its owner's."""

from typing import Any

import pytest

from tests.computing.desk import Desk
from tests.facts.warehouse.shop import DOCUMENT, apply_document

pytestmark = pytest.mark.postgres
MAILS = ("was-secret@x.test", "is-secret@x.test")


@pytest.fixture
def told(desk: Desk, cursor: Any) -> Desk:
    """Customer 4711, who changed address once, was told to a list."""
    cursor.execute(f"INSERT INTO shop.customers VALUES (4711, '{MAILS[0]}', 'gold'), (4712, 'other@x.test', 'gold')")
    assert (
        apply_document(desk, {**DOCUMENT, "audiences": [{"key": "gold", "definition": "trait('plan') = 'gold'", "cadence": "manual"}]}) == 0
    )
    desk.say("destination", "create", "list", "--type", "csv_file", "--set", "path=lists/{audience}.csv", "--set", "changes=true")
    desk.compute()
    cursor.execute(f"UPDATE shop.customers SET mail = '{MAILS[1]}' WHERE customer_no = 4711")
    desk.compute()
    assert desk.say("connect", "gold", "list") == 0
    desk.sync()
    return desk


def _found(desk: Desk) -> list[str]:
    return desk.traces_of(["4711", *MAILS])


def _erase(desk: Desk, who: str = "4711", by: str = "user_id") -> int:
    return desk.say("profile", "erase", who, "--by", by, "--yes")


@pytest.mark.parametrize(
    ("who", "by"), [pytest.param("4711", "user_id", id="by user id"), pytest.param(MAILS[1], "email", id="by an address it had")]
)
def test_whoever_was_deleted_in_the_warehouse_leaves_nothing_here(told: Desk, cursor: Any, who: str, by: str) -> None:
    cursor.execute("DELETE FROM shop.customers WHERE customer_no = 4711")
    assert _erase(told, who, by) == 1
    told.compute()
    told.sync()
    assert _found(told)
    assert _erase(told, who, by) == 0
    assert _found(told) == []
    assert told.rows("suppression") == []
    assert told.addresses("gold") == told.addresses("gold", 1) == ["email:other@x.test", "user_id:4712"]
    assert {one.state for one in told.compute()} == {"unchanged"}


def test_whom_the_warehouse_still_has_stays_suppressed_and_that_is_said(
    told: Desk, cursor: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _erase(told)
    told.compute()
    told.sync()
    capsys.readouterr()
    assert _erase(told) == 0
    assert "The warehouse still has rows about it: they are yours to delete" in capsys.readouterr().err
    assert "user_id:4711" not in told.addresses("gold", 1)
    assert [row.id for row in told.rows("suppression")] == ["4711"]
    assert {one.state for one in told.compute()} == {"unchanged"}
    cursor.execute("DELETE FROM shop.customers WHERE customer_no = 4711")
    assert _erase(told) == 0
    assert _found(told) == []
