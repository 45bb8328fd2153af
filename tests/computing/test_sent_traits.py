"""Traits sent by command, from calls that are taken in to the requests of a webhook: their own connections, and riding along."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from engage_pipelines.testing.local_server import LocalServer, Received, Reply
from tests.computing.desk import Desk


@dataclass
class Hook:
    """What arrived."""

    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __call__(self, request: Received) -> Reply:
        self.records += json.loads(request.body)
        return Reply(200)

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        """Of whom, and which traits or properties, since it was last asked."""
        found = [(r.get("groupId") or r["userId"], r.get("traits") or r["properties"]) for r in self.records]
        self.records.clear()
        return sorted(found, key=lambda one: (one[0], json.dumps(one[1], sort_keys=True)))


@pytest.fixture
def hook(desk: Desk) -> Iterator[Hook]:
    found = Hook()
    with LocalServer(found) as server:
        assert desk.say("space", "create", "default", "--evaluate-at", "2026-02-01T00:00:00Z") == 0
        settings = ("--set", f"url={server.url}", "--set", "allow_private_addresses=true")
        assert desk.say("destination", "create", "hook", "--type", "webhook", *settings) == 0
        yield found


def order(user: str, total: float) -> dict[str, Any]:
    return {"type": "track", "event": "Order", "userId": user, "properties": {"total": total}}


def test_a_computed_trait_of_accounts_reaches_accounts_and_their_users(desk: Desk, hook: Hook) -> None:
    for user, account in (("ann", "acme"), ("bo", "acme"), ("cy", "idle")):
        desk.ingest({"type": "group", "userId": user, "groupId": account})
    desk.ingest(order("ann", 5))
    spend = "event('Order').sum(property('total'))"
    assert desk.say("trait", "create", "spend", "--type", "ACCOUNTS", "--query", spend) == 0
    assert desk.say("connect", "spend", "hook") == 0
    desk.compute("spend")
    desk.sync()
    assert hook.said() == [("acme", {"spend": 5}), ("ann", {"spend": 5}), ("bo", {"spend": 5})]
    desk.ingest(
        order("cy", 1), {"type": "group", "userId": "bo", "groupId": "acme", "timestamp": "2026-01-02T00:00:00Z", "context": {"left": True}}
    )
    desk.compute("spend")
    desk.sync()
    assert hook.said() == [("bo", {"spend": None}), ("cy", {"spend": 1}), ("idle", {"spend": 1})]


def test_traits_that_were_sent_and_computed_ride_along_as_they_are_when_planned(desk: Desk, hook: Hook) -> None:
    desk.ingest(
        {"type": "identify", "userId": "ann", "traits": {"plan": "pro", "address": {"city": "Ulm"}}}, order("ann", 5), order("bo", 7)
    )
    assert desk.say("trait", "create", "spend", "--query", "event('Order').sum(property('total'))") == 0
    assert desk.say("trait", "create", "scores", "--sql", "SELECT user_id, count(*) AS orders FROM events GROUP BY 1") == 0
    assert desk.say("audience", "create", "buyers", "--query", "event('Order').count() >= 1") == 0
    riding = ("--trait", "plan:plan_tier", "--trait", "address", "--trait", "spend", "--trait", "scores.orders")
    assert desk.say("connect", "buyers", "hook", "--identify", "--track", *riding) == 0
    desk.compute("spend", "scores", "buyers")
    desk.sync()
    tracks = {r["userId"]: r["properties"] for r in hook.records if r["type"] == "track"}
    rides = {"ann": {"plan_tier": "pro", "address": {"city": "Ulm"}, "spend": 5, "orders": 1}, "bo": {"spend": 7, "orders": 1}}
    assert tracks == {user: {"audience_key": "buyers", **rides[user], "buyers": True} for user in ("ann", "bo")}
    assert {r["userId"]: r["traits"] for r in hook.records if r["type"] == "identify"} == {
        user: {**rides[user], "buyers": True} for user in ("ann", "bo")
    }
    hook.said()
    desk.ingest(order("ann", 1), {"type": "identify", "userId": "bo", "traits": {"plan": "free"}})
    desk.compute("spend", "scores", "buyers")
    desk.sync()
    assert hook.said() == []
    desk.ingest({"type": "identify", "userId": "bo", "traits": {"plan": "max"}, "timestamp": "2026-01-03T00:00:00Z"}, order("cy", 2))
    assert desk.say("connect", "buyers", "hook", "--trait", "plan") == 0
    desk.compute("buyers")
    desk.sync()
    assert hook.said() == [("cy", {"audience_key": "buyers", "buyers": True}), ("cy", {"buyers": True})]


def test_a_column_that_a_select_has_no_more_is_null_for_who_had_it_and_stays_so(desk: Desk, hook: Hook) -> None:
    desk.ingest(order("ann", 5), order("bo", 7))
    both = "SELECT user_id, count(*) AS orders, 'gold' AS tier FROM events GROUP BY 1"
    assert desk.say("trait", "create", "scores", "--sql", both) == 0
    assert desk.say("connect", "scores", "hook") == 0
    desk.compute("scores")
    desk.sync()
    assert hook.said() == [("ann", {"orders": 1, "tier": "gold"}), ("bo", {"orders": 1, "tier": "gold"})]
    assert desk.say("trait", "update", "scores", "--sql", "SELECT user_id, count(*) AS orders FROM events GROUP BY 1") == 0
    desk.compute("scores")
    desk.sync()
    assert hook.said() == [("ann", {"orders": 1, "tier": None}), ("bo", {"orders": 1, "tier": None})]
    desk.ingest(order("ann", 5))
    desk.compute("scores")
    desk.sync()
    assert hook.said() == [("ann", {"orders": 2, "tier": None})]
    assert desk.say("trait", "update", "scores", "--sql", f"SELECT tier, orders, user_id FROM ({both}) WHERE user_id = 'bo'") == 0
    desk.compute("scores")
    desk.sync()
    assert hook.said() == [("ann", {"orders": None, "tier": None}), ("bo", {"orders": 1, "tier": "gold"})]


def test_what_cannot_ride_along_is_refused(desk: Desk, hook: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.say("audience", "create", "buyers", "--query", "event('Order').count() >= 1") == 0
    capsys.readouterr()
    for said, problem in (
        (["plan:buyers"], "'buyers' in 'plan:buyers' is taken in the records."),
        (["plan", "tier:plan"], "Two traits would have the name 'plan'."),
        ([":plan"], "':plan' names no trait."),
        (["plan:a b"], "the name of a trait that rides along 'a b' is not a legal key."),
    ):
        assert desk.say("connect", "buyers", "hook", *(part for one in said for part in ("--trait", one))) != 0
        assert problem in capsys.readouterr().err


def test_files_say_what_rides_along_and_exports_repeat_it(desk: Desk, hook: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.say("audience", "create", "buyers", "--query", "event('Order').count() >= 1") == 0
    path = desk.folder / "engage.yaml"
    path.write_text(
        "space: default\nconnections:\n- {audience: buyers, destination: hook, traits: [plan, 'spend:ltv']}\n", encoding="utf-8"
    )
    assert desk.say("apply", str(path)) == 0
    assert desk.say("apply", str(path)) == 0
    capsys.readouterr()
    assert desk.say("export") == 0
    assert "spend:ltv" in capsys.readouterr().out
