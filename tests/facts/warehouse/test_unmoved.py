"""Audiences over a warehouse that is provably as it was, or declared to be, are not evaluated; every other one is."""

from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.domain.warehouse_mapping import read_facts
from engage_pipelines.facts.warehouse.session import UNKNOWN, Home, read_fingerprint
from engage_pipelines.registry import tables as t
from tests.computing.desk import Desk
from tests.facts.warehouse.shop import AT_US, DOCUMENT, MAPPING, apply_document

pytestmark = pytest.mark.postgres
DAY_US = 86_400_000_000
WATERMARKED = {
    "url": "env:SHOP_URL",
    "tables": {
        "users": {"table": "people", "watermark": "changed_at", "traits": {"plan": "plan"}},
        "events": {"table": "seen", "event": "Seen", "watermark": "loaded_at"},
    },
}
TABLES = """
    CREATE TABLE people(id text, plan text, changed_at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE seen(user_id text, "timestamp" timestamptz, loaded_at timestamptz DEFAULT clock_timestamp());
    INSERT INTO people VALUES ('u1', 'pro'), ('u2', 'free'); INSERT INTO seen VALUES ('u1', '2026-03-01'), ('u2', '2026-02-27')"""


def _at(desk: Desk, at_us: int) -> None:
    registry = desk.registry()
    with registry.database.write() as c:
        c.execute(sa.update(t.space).values(evaluate_at=at_us))
    registry.database.close()


def _compute(desk: Desk) -> tuple[str, int | None, bool]:
    """What became of the one audience, its size, and whether the warehouse was asked for that."""
    desk.log.clear()
    (one,) = desk.compute()
    return one.state, one.size, any("evaluated=whole" in line for line in desk.log)


def _apply(desk: Desk, mapping: dict[str, Any], definition: str) -> None:
    audience = {"key": "one", "definition": definition, "cadence": "manual"}
    document = {"space": {**DOCUMENT["space"], "facts": mapping}, "audiences": [audience]}
    assert apply_document(desk, document) == 0


def test_a_server_in_which_nobody_wrote_is_not_asked_again(desk: Desk, cursor: Any) -> None:
    _apply(desk, MAPPING, "trait('plan') = 'pro'")
    state, size, _ = _compute(desk)
    assert (state, size) == ("published", 20)
    # whoever else works on the server of the tests may write just then
    assert any(_compute(desk) == ("unchanged", 20, False) for _ in range(5))
    cursor.execute("UPDATE shop.customers SET plan_name = 'pro' WHERE customer_no = 1")
    assert _compute(desk) == ("published", 21, True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("CREATE VIEW shop.c AS SELECT * FROM shop.customers", id="a view"),
        pytest.param("CREATE UNLOGGED TABLE shop.c AS SELECT * FROM shop.customers", id="an unlogged table"),
        pytest.param("CREATE TABLE shop.c AS SELECT * FROM shop.customers; ALTER TABLE shop.c ENABLE ROW LEVEL SECURITY", id="rls"),
        pytest.param(
            "CREATE TABLE shop.c(LIKE shop.customers); CREATE UNLOGGED TABLE shop.d() INHERITS (shop.c)", id="a part that is not logged"
        ),
    ],
)
def test_what_may_move_unseen_is_never_taken_for_unmoved(desk: Desk, cursor: Any, warehouse_url: str, change: str) -> None:
    cursor.execute(change)
    tables = {**MAPPING["tables"], "users": {**MAPPING["tables"]["users"], "table": "c"}}
    assert read_fingerprint(Home(read_facts({**MAPPING, "tables": tables}), warehouse_url)).startswith(UNKNOWN)
    assert not read_fingerprint(Home(read_facts(MAPPING), warehouse_url)).startswith(UNKNOWN)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("INSERT INTO people VALUES ('u3', 'pro')", id="an insert"),
        pytest.param("UPDATE people SET plan = 'pro', changed_at = clock_timestamp() WHERE id = 'u2'", id="a change"),
        pytest.param("DELETE FROM people WHERE id = 'u1'", id="a deletion"),
        pytest.param("DELETE FROM people WHERE id = 'u1'; INSERT INTO people VALUES ('u4', 'pro')", id="one for another"),
    ],
)
def test_watermarks_tell_every_change_and_nothing_else(desk: Desk, cursor: Any, change: str) -> None:
    cursor.execute(TABLES)
    _apply(desk, WATERMARKED, "trait('plan') = 'pro'")
    assert _compute(desk) == ("published", 1, True)
    cursor.execute("CREATE TABLE another(id int); INSERT INTO another VALUES (1)")
    assert _compute(desk) == ("unchanged", 1, False)
    cursor.execute(change)
    assert _compute(desk)[2]
    assert not _compute(desk)[2]


def test_a_row_without_a_watermark_takes_the_mark_away(desk: Desk, cursor: Any, warehouse_url: str) -> None:
    cursor.execute(f"{TABLES}; INSERT INTO people VALUES ('u5', 'pro', NULL)")
    assert read_fingerprint(Home(read_facts(WATERMARKED), warehouse_url)).startswith(UNKNOWN)


@pytest.mark.parametrize(
    ("definition", "sizes"),
    [
        pytest.param("event('Seen').within(3 days).count() >= 1", [(0, 2), (1, 2), (DAY_US, 2), (DAY_US + 1, 1)], id="a row leaves"),
        pytest.param("event('Seen').between(3 days, 9 days).count() >= 1", [(0, 0), (DAY_US - 1, 0), (DAY_US, 1)], id="a row enters"),
        pytest.param("event('Later').count() >= 1", [(0, 0), (DAY_US - 1, 0), (DAY_US, 1)], id="a row of a later instant"),
    ],
)
def test_time_is_looked_at_when_it_can_change_somebody_and_not_before(
    desk: Desk, cursor: Any, definition: str, sizes: list[tuple[int, int]]
) -> None:
    cursor.execute(f"""{TABLES}; CREATE TABLE later(user_id text, "timestamp" timestamptz, loaded_at timestamptz DEFAULT clock_timestamp());
        INSERT INTO later VALUES ('u1', '2026-03-02')""")
    events = [WATERMARKED["tables"]["events"], {"table": "later", "event": "Later", "watermark": "loaded_at"}]
    if "Later" not in definition:
        events = events[:1]
    _apply(desk, {**WATERMARKED, "tables": {**WATERMARKED["tables"], "events": events}}, definition)
    seen: list[bool] = []
    for after_us, size in sizes:
        _at(desk, AT_US + after_us)
        _, found, was_opened = _compute(desk)
        assert found == size
        seen.append(was_opened)
    assert seen == [True, *(False for _ in sizes[2:]), True]
