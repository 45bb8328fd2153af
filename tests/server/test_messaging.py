"""Messaging subscriptions over the API: kept, asked for, refused one by one, gone with the person, and in no log."""

from typing import Any

import pytest

from engage_pipelines.registry.tokens import Role
from tests.server.world import World

PATH = "/spaces/main/messaging-subscriptions"
JANE, PHONE = "jane@example.com", "+12162226233"


def test_a_status_is_kept_with_its_groups_and_replaced(world: World) -> None:
    said: list[dict[str, Any]] = [
        {"key": JANE, "type": "EMAIL", "status": "SUBSCRIBED", "groups": [{"name": "promotions", "status": "SUBSCRIBED"}]},
        {"key": PHONE, "type": "SMS", "status": "DID_NOT_SUBSCRIBE"},
        {"key": "no address", "type": "EMAIL", "status": "SUBSCRIBED"},
    ]
    told = world.data("PUT", PATH, {"subscriptions": said})
    assert told["successes"] == said[:2]
    assert [(one["key"], one["errors"][0]["code"]) for one in told["failures"]] == [("no address", "INVALID_KEY")]
    world.data("PUT", PATH, {"subscriptions": [{"key": JANE, "type": "EMAIL", "status": "UNSUBSCRIBED"}]})
    asked = [{"key": JANE, "type": "EMAIL"}, {"key": "who@example.com", "type": "EMAIL"}, {"key": JANE, "type": "IOS_PUSH"}]
    told = world.data("POST", f"{PATH}/batch", {"subscriptions": asked})
    assert told["successes"] == [{**said[0], "status": "UNSUBSCRIBED"}]
    assert [(one["type"], one["errors"][0]["code"]) for one in told["failures"]] == [("EMAIL", "NOT_FOUND"), ("IOS_PUSH", "NOT_FOUND")]
    other = world.data("POST", "/spaces/other/messaging-subscriptions/batch", {"subscriptions": asked[:1]})
    assert other["successes"] == [], "each space has its own"


def test_no_address_is_in_the_audit_log_and_none_is_told_without_the_permission(world: World) -> None:
    body = {"subscriptions": [{"key": JANE, "type": "EMAIL", "status": "SUBSCRIBED"}]}
    world.data("PUT", PATH, body)
    told = world.ask("GET", "/audit-events").text
    assert "EMAIL SUBSCRIBED" in told
    assert JANE not in told
    headers = {"Authorization": f"Bearer {world.token(Role.ADMIN, members=False)}"}
    assert world.ask("POST", f"{PATH}/batch", {"subscriptions": [{"key": JANE, "type": "EMAIL"}]}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("one", "field"),
    [
        pytest.param({"key": "", "type": "EMAIL", "status": "SUBSCRIBED"}, "key", id="no address"),
        pytest.param({"key": "x" * 1_001, "type": "EMAIL", "status": "SUBSCRIBED"}, "key", id="too long"),
        pytest.param({"key": JANE, "type": "FAX", "status": "SUBSCRIBED"}, "type", id="a channel that there is not"),
        pytest.param({"key": JANE, "type": "EMAIL", "status": "MAYBE"}, "status", id="a status that there is not"),
        pytest.param({"key": JANE, "type": "EMAIL", "status": True}, "status", id="a truth for a text"),
        pytest.param({"key": JANE, "type": "EMAIL", "status": "SUBSCRIBED", "role": "admin"}, "role", id="an unknown field"),
    ],
)
def test_what_cannot_be_is_refused_by_name(world: World, one: dict[str, Any], field: str) -> None:
    answer = world.ask("PUT", PATH, {"subscriptions": [one]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"subscriptions.0.{field}"
    assert JANE not in answer.text
