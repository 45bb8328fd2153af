"""Traits computed: values in versions, what enters, changes and leaves, and audiences that follow at the same instant."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from engage_pipelines.computing.compute import Computed
from engage_pipelines.computing.kept_members import reading
from engage_pipelines.computing.kept_values import value_changes_sql, values_sql
from engage_pipelines.computing.questions import Desk as Questions
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.registry.lookup import find_trait
from engage_pipelines.registry.spaces import update_space
from tests.computing.desk import Desk


def order(user: str, total: float, day: str = "2026-01-01") -> dict[str, Any]:
    return {"type": "track", "event": "Order", "userId": user, "properties": {"total": total}, "timestamp": f"{day}T00:00:00Z"}


def group(user: str, account: str) -> dict[str, Any]:
    return {"type": "group", "userId": user, "groupId": account}


@pytest.fixture
def shop(desk: Desk) -> Desk:
    assert desk.say("space", "create", "default", "--evaluate-at", "2026-02-01T00:00:00Z") == 0
    desk.ingest(order("ann", 10), order("ann", 5.5), order("bo", 20), {"type": "identify", "userId": "cy"})
    desk.ingest(group("ann", "acme"), group("bo", "acme"), group("cy", "idle"))
    return desk


def pin(desk: Desk, instant: str) -> None:
    registry = desk.registry()
    with registry.change() as change:
        update_space(change, "default", evaluate_at=read_instant(instant))
    registry.database.close()


def values(desk: Desk, key: str, n: int | None = None) -> Mapping[str, Any]:
    """By name, the values that a version holds."""
    registry = desk.registry()
    history = Questions(desk.settings, registry.database, "default").history(key, find=find_trait)
    with reading(history) as db:
        rows = db.execute(values_sql(history, history.version(n).n)).fetchall()
    registry.database.close()
    return {row[1]: json.loads(row[-1]) for row in rows}


def changes(desk: Desk, key: str, older: int, newer: int) -> list[tuple[Any, ...]]:
    registry = desk.registry()
    history = Questions(desk.settings, registry.database, "default").history(key, find=find_trait)
    with reading(history) as db:
        query = f"SELECT change, {'user_id' if history.level == 'user' else 'group_id'}, before, value"
        rows = db.execute(f"{query} FROM ({value_changes_sql(history, older, newer)})").fetchall()
    registry.database.close()
    return sorted(rows)


def outcome(computed: Computed) -> tuple[Any, ...]:
    return computed.state, computed.size, computed.entered, computed.updated, computed.exited


def test_values_enter_change_and_leave(shop: Desk) -> None:
    assert shop.say("trait", "create", "spend", "--query", "event('Order').within(40 days).sum(property('total'))") == 0
    assert [outcome(each) for each in shop.compute("spend")] == [("published", 2, 2, 0, 0)]
    assert values(shop, "spend") == {"ann": 15.5, "bo": 20}
    shop.ingest(order("ann", 4.5), order("cy", 1, "2026-01-31"))
    assert [outcome(each) for each in shop.compute("spend")] == [("published", 3, 1, 1, 0)]
    pin(shop, "2026-02-20T00:00:00Z")
    assert [outcome(each) for each in shop.compute("spend")] == [("published", 1, 0, 0, 2)]
    assert values(shop, "spend", 2) == {"ann": 20, "bo": 20, "cy": 1}
    assert changes(shop, "spend", 1, 2) == [("entered", "cy", None, "1"), ("updated", "ann", "15.5", "20")]
    assert changes(shop, "spend", 2, 3) == [("exited", "ann", "20", None), ("exited", "bo", "20", None)]


def test_nothing_is_written_while_no_value_moves(shop: Desk) -> None:
    shop.say("trait", "create", "orders", "--query", "event('Order').count()")
    assert [outcome(each) for each in shop.compute("orders")] == [("published", 3, 3, 0, 0)]
    assert values(shop, "orders") == {"ann": 2, "bo": 1, "cy": 0}
    assert [each.state for each in shop.compute("orders")] == ["unchanged"]
    shop.ingest({"type": "track", "event": "Other", "userId": "ann"})
    assert [outcome(each) for each in shop.compute("orders")] == [("unchanged", 3, 0, 0, 0)]
    assert "trait=orders state=unchanged reason=inputs" in shop.log


def test_an_account_pools_the_events_of_its_users(shop: Desk) -> None:
    shop.say("trait", "create", "pooled", "--type", "ACCOUNTS", "--query", "event('Order').unique(property('total'))")
    assert [outcome(each) for each in shop.compute("pooled")] == [("published", 1, 1, 0, 0)]
    assert values(shop, "pooled") == {"acme": ["10", "20", "5.5"]}


def test_an_audience_reads_a_trait_as_of_its_own_instant(shop: Desk) -> None:
    shop.say("trait", "create", "spend", "--query", "event('Order').sum(property('total'))")
    shop.say("audience", "create", "big", "--query", "trait('spend') >= 20")
    shop.compute("spend", "big")
    shop.ingest(order("ann", 100))
    assert [each.state for each in shop.compute("big")] == ["published"]
    assert shop.addresses("big") == ["user_id:ann", "user_id:bo"]
    assert values(shop, "spend") == {"ann": 15.5, "bo": 20}, "the trait itself was not computed again"


def test_a_trait_may_be_made_of_another(shop: Desk) -> None:
    shop.say("trait", "create", "usual", "--query", "event('Order').avg(property('total'))")
    shop.say("trait", "create", "large", "--query", "event('Order').where(property('total') > trait('usual')).count()")
    shop.compute("large")
    assert values(shop, "large") == {"ann": 1, "bo": 0, "cy": 0}


def test_a_loop_of_traits_and_audiences_is_named(shop: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    shop.say("trait", "create", "large", "--query", "event('Order').where(property('total') > 1).count()")
    shop.say("audience", "create", "big", "--query", "trait('large') > 2")
    capsys.readouterr()
    assert shop.say("trait", "update", "large", "--query", "event('Order').where(trait('big') = true).count()") == 1
    assert "large -> big -> large" in capsys.readouterr().err


def test_a_fall_by_more_than_half_is_held(shop: Desk) -> None:
    shop.ingest(*(order(f"user-{number}", 1) for number in range(200)))
    shop.say("trait", "create", "spend", "--query", "event('Order').within(40 days).sum(property('total'))")
    shop.compute("spend")
    pin(shop, "2026-03-20T00:00:00Z")
    assert [each.state for each in shop.compute("spend")] == ["held"]
    assert len(values(shop, "spend")) == 202


def test_a_suppressed_person_has_no_value(shop: Desk) -> None:
    shop.say("trait", "create", "orders", "--query", "event('Order').count()")
    shop.compute("orders")
    shop.say("profile", "suppress", "ann")
    assert [outcome(each) for each in shop.compute("orders")] == [("published", 2, 0, 0, 1)]


def test_a_former_address_goes_with_the_value_that_its_owner_has_now(shop: Desk) -> None:
    mail = {"type": "identify", "userId": "ann"}
    shop.ingest({**mail, "traits": {"email": "ann@old.test"}})
    shop.say("trait", "create", "orders", "--query", "event('Order').count()")
    shop.compute("orders")
    shop.ingest({**mail, "traits": {"email": "ann@new.test"}, "timestamp": "2026-01-02T00:00:00Z"}, order("ann", 1))
    shop.compute("orders")
    registry = shop.registry()
    history = Questions(shop.settings, registry.database, "default").history("orders", find=find_trait)
    with reading(history) as db:
        rows = db.execute(f"SELECT address, current, value FROM ({history.chain.rows(2)}) WHERE address LIKE '%ann%' ORDER BY 1").fetchall()
    registry.database.close()
    assert rows == [("email:ann@new.test", True, "3"), ("email:ann@old.test", False, "3"), ("user_id:ann", True, "3")]


def test_one_that_fails_takes_those_that_read_it_along_and_nobody_else(shop: Desk) -> None:
    shop.say("trait", "create", "pooled", "--type", "ACCOUNTS", "--query", "event('Order').count()")
    shop.say("audience", "create", "plain", "--query", "event('Order').count() >= 1")
    shop.say("audience", "create", "wrong", "--query", "trait('later') = 1")
    shop.say("trait", "create", "later", "--type", "ACCOUNTS", "--query", "event('Order').count()")
    states = {each.key: each for each in shop.compute("plain", "pooled", "wrong")}
    assert (states["plain"].state, states["pooled"].state, states["wrong"].state) == ("published", "published", "failed")
    assert "is of accounts, and this is asked of users" in str(states["wrong"].error)


def on_users(desk: Desk, key: str) -> dict[str, str]:
    """By user id, the values that the newest version of a trait of accounts has on users."""
    registry = desk.registry()
    history = Questions(desk.settings, registry.database, "default").history(key, find=find_trait)
    rows = history.chain.rows(history.chain.versions[-1].n, "level = 'user' and starts_with(address, 'user_id:')")
    with reading(history) as db:
        found = db.execute(f"SELECT substr(address, 9), value FROM ({rows}) ORDER BY 1").fetchall()
    registry.database.close()
    return dict(found)


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        pytest.param("latest", {"ann": "2", "bo": "3", "cy": "2"}, id="the account of the latest Group call"),
        pytest.param("list", {"ann": "[2,3]", "bo": "[3]", "cy": "[2]"}, id="a list of all values"),
        pytest.param("skip", {"bo": "3", "cy": "2"}, id="none where they disagree"),
    ],
)
def test_a_trait_of_accounts_is_a_value_of_each_of_their_users(shop: Desk, conflict: str, expected: dict[str, str]) -> None:
    """`cy` has no events; `ann` is in two accounts, and then leaves the one that she was in last."""
    shop.ingest({**group("ann", "idle"), "timestamp": "2026-01-20T00:00:00Z"})
    made = shop.say(
        "trait", "create", "orders", "--type", "ACCOUNTS", "--query", "event('Order').count()", "--account-trait-conflict", conflict
    )
    assert made == 0
    assert [(each.size, each.users) for each in shop.compute("orders")] == [(2, len(expected))]
    assert values(shop, "orders") == {"acme": 3, "idle": 2}
    assert on_users(shop, "orders") == expected
    shop.ingest({**group("ann", "idle"), "timestamp": "2026-01-21T00:00:00Z", "context": {"left": True}})
    shop.compute("orders")
    of_list = {"ann": "[3]", "bo": "[3]", "cy": "[0]"}
    assert on_users(shop, "orders") == (of_list if conflict == "list" else {"ann": "3", "bo": "3", "cy": "0"})


def test_what_a_user_of_several_accounts_has_is_asked_of_traits_of_accounts_alone(shop: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    refused = ["trait", "create", "x", "--account-trait-conflict", "list"]
    assert shop.say(*refused, "--query", "event('Order').count()") == 1
    assert shop.say(*refused, "--type", "ACCOUNTS", "--sql", "SELECT group_id, 1 AS tier FROM accounts") == 1
    said = capsys.readouterr().err
    assert "account_trait_conflict is list, and the trait is one of users." in said
    assert "account_trait_conflict is list, and each column of a SELECT is one value." in said


def test_a_trait_is_connected_where_values_are_taken_and_refused_elsewhere(shop: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    shop.say("trait", "create", "orders", "--query", "event('Order').count()")
    shop.say("destination", "create", "hook", "--type", "webhook", "--set", "url=http://127.0.0.1:9")
    shop.say("destination", "create", "list", "--type", "csv_file", "--set", "path=list.csv")
    capsys.readouterr()
    assert shop.say("connect", "orders", "list") == 2
    assert "'orders' is a trait, and 'list' takes who is in and who is not, no values." in capsys.readouterr().err
    assert shop.say("connect", "orders", "hook", "--track") == 0
    assert "Trait Computed: orders" in capsys.readouterr().out


def test_a_row_that_vanishes_takes_its_values_along(shop: Desk) -> None:
    select = "SELECT user_id, count(*) AS orders FROM events WHERE event = 'Order' AND (properties->>'total')::DOUBLE > 6 GROUP BY 1"
    assert shop.say("trait", "create", "sums", "--sql", select) == 0
    assert [outcome(each) for each in shop.compute("sums")] == [("published", 2, 2, 0, 0)]
    assert values(shop, "sums") == {"ann": {"orders": 1}, "bo": {"orders": 1}}
    shop.ingest(order("ann", 7))
    assert shop.say("trait", "update", "sums", "--sql", select.replace("> 6", "> 6 AND user_id <> 'bo'")) == 0
    assert [outcome(each) for each in shop.compute("sums")] == [("published", 1, 0, 1, 1)]
    assert changes(shop, "sums", 1, 2) == [("exited", "bo", '{"orders":1}', None), ("updated", "ann", '{"orders":1}', '{"orders":2}')]
    assert [each.state for each in shop.compute("sums")] == ["unchanged"]


def test_a_select_that_fails_publishes_nothing(shop: Desk) -> None:
    shop.say("trait", "create", "broken", "--sql", "SELECT user_id, 1 AS one FROM read_csv('/etc/passwd')")
    shop.say("trait", "create", "orders", "--query", "event('Order').count()")
    states = {each.key: each for each in shop.compute("broken", "orders")}
    assert (states["broken"].state, states["orders"].state) == ("failed", "published")
    assert "file system operations are disabled" in str(states["broken"].error)
