"""Computed traits over the API: made, read, changed and deleted in Segment's shapes; what is refused, and beside which field."""

from typing import Any

import pytest

from tests.server.world import SPEND, World

SUMMARY = {
    "id": str, "spaceId": str, "name": str, "description": str, "key": str, "enabled": bool, "definition": dict, "status": str,
    "createdBy": str, "updatedBy": str, "createdAt": str, "updatedAt": str, "options": dict,
}  # fmt: skip
"""What ComputedTraitSummary of the Python and TypeScript clients reads."""
SELECT = "SELECT user_id, count(*) AS orders FROM events GROUP BY user_id"


def test_a_trait_is_made_read_changed_computed_and_deleted(world: World) -> None:
    made = world.trait(description="How much")
    path = f"/spaces/{world.space.id}/computed-traits/{made['id']}"
    assert {name: type(made[name]) for name in SUMMARY} == SUMMARY
    assert (made["key"], made["definition"]["type"], made["definition"]["query"]) == ("spend", "USERS", SPEND)
    assert world.data("GET", path)["computedTrait"] == made
    assert world.data("GET", "/spaces/main/computed-traits/spend")["computedTrait"] == made, "keys do as well as ids"
    changed = world.data("PATCH", path, {"name": "Spent", "enabled": False, "definition": {"query": f"{SPEND}", "type": "USERS"}})
    assert (changed["computedTrait"]["name"], changed["computedTrait"]["status"]) == ("Spent", "Disabled")
    assert world.ask("POST", f"/x{path}/runs").json()["errors"][0]["message"].startswith("Trait 'spend' is disabled.")
    world.data("PATCH", path, {"enabled": True})
    assert world.data("POST", f"/x{path}/runs")["run"]["id"]
    assert world.data("GET", f"/x{path}/versions")["versions"] == []
    assert world.data("DELETE", path) == {"status": "SUCCESS"}
    assert world.ask("GET", path).status_code == 404
    assert [verb for verb, what in world.audited() if what == "trait main/spend"] == ["create", "update", "update", "compute", "delete"]


def test_a_select_is_a_trait_of_its_own_language_and_stays_one(world: World) -> None:
    definition = {"query": SELECT, "type": "USERS", "language": "SQL"}
    made = world.trait("Orders", definition=definition, key="orders")
    assert (made["definition"], made["cadence"]) == (definition, "0 */12 * * *")
    path = f"/spaces/main/computed-traits/{made['id']}"
    answer = world.ask("PATCH", path, {"definition": {"query": SPEND, "type": "USERS", "language": "COMPUTED"}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "definition.language")


def test_traits_and_audiences_are_listed_apart_in_pages_and_found_by_name(world: World) -> None:
    for name in ("Alpha", "Beta", "Gamma"):
        world.trait(name)
    audience = world.audience()
    told = world.data("GET", "/spaces/main/computed-traits?pagination.count=2")
    assert ([one["key"] for one in told["computedTraits"]], told["pagination"]["totalEntries"]) == (["alpha", "beta"], 3)
    assert [one["key"] for one in world.data("GET", "/spaces/main/computed-traits?search=GAM")["computedTraits"]] == ["gamma"]
    assert world.ask("GET", f"/spaces/main/computed-traits/{audience['id']}").status_code == 404
    assert [one["id"] for one in world.data("GET", "/spaces/main/audiences")["audiences"]] == [audience["id"]]


@pytest.mark.parametrize(
    ("fields", "field", "status"),
    [
        pytest.param(
            {"definition": {"query": "event('A').count() >= 1", "type": "USERS"}}, "definition.query", 422, id="an audience's text"
        ),
        pytest.param({"definition": {"query": "event(", "type": "USERS"}}, "definition.query", 422, id="half a text"),
        pytest.param({"definition": {"query": SPEND}}, "definition.type", 422, id="no level"),
        pytest.param({"definition": {"query": SPEND, "type": "LINKED"}}, "definition.type", 422, id="a level that is none"),
        pytest.param({"definition": {"query": SPEND, "type": "USERS", "language": "PRQL"}}, "definition.language", 422, id="a language"),
        pytest.param({"definition": {"query": "x" * 200_000, "type": "USERS"}}, "definition.query", 422, id="too long"),
        pytest.param({"name": ""}, "name", 422, id="no name"),
        pytest.param({"name": "€€"}, "key", 422, id="a name that is no key"),
        pytest.param({"key": "../etc"}, "key", 422, id="a path for a key"),
        pytest.param({"key": "taken"}, "key", 409, id="a key that is taken"),
        pytest.param({"cadence": "now and then"}, "cadence", 422, id="a cadence that is none"),
        pytest.param({"accountTraitConflict": "list"}, "accountTraitConflict", 422, id="accounts of users"),
        pytest.param({"options": {"includeHistoricalData": False}}, "options.includeHistoricalData", 422, id="without history"),
        pytest.param({"options": {"backfillDurationDays": 7}}, "options.backfillDurationDays", 422, id="some days"),
        pytest.param({"enabled": "true"}, "enabled", 422, id="a text for a truth"),
        pytest.param({"color": "red"}, "color", 422, id="an unknown field"),
    ],
)
def test_a_trait_that_cannot_be_is_refused_by_name(world: World, fields: dict[str, Any], field: str, status: int) -> None:
    world.trait("Taken")
    body = {"name": "Fine", "definition": {"query": SPEND, "type": "USERS"}, **fields}
    answer = world.ask("POST", "/spaces/main/computed-traits", body)
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["field"] == field


def test_a_stale_change_is_refused_with_both_versions(world: World) -> None:
    made = world.trait()
    path = f"/spaces/main/computed-traits/{made['id']}"
    world.data("PATCH", path, {"name": "Theirs"})
    answer = world.ask("PATCH", path, {"name": "Mine", "updatedAt": made["updatedAt"]})
    assert answer.status_code == 409
    told = answer.json()["errors"][0]["data"]
    assert (told["current"]["name"], told["given"]["name"]) == ("Theirs", "Mine")


def test_what_is_used_or_of_another_space_is_not_deleted(world: World) -> None:
    made = world.trait()
    world.audience(definition={"query": "trait('spend') >= 100"})
    path = f"/spaces/main/computed-traits/{made['id']}"
    assert world.ask("DELETE", path).status_code == 409
    assert world.ask("DELETE", f"/spaces/other/computed-traits/{made['id']}").status_code == 404
    assert world.data("GET", path)["computedTrait"]["id"] == made["id"]


def test_settings_of_a_list_and_what_is_sent_at_the_end_are_said_and_changed(world: World) -> None:
    audience, to, _made = world.connected()
    at = f"{world.connections(audience)}/{to['id']}"
    told = world.data("PATCH", at, {"connectionSettings": {"onDisconnect": "exit_all"}})
    assert told["connectionSettings"] == {
        "calls": ["identify"], "backfill": True, "listSettings": {}, "onDisconnect": "exit_all", "traits": [],
    }  # fmt: skip
    answer = world.ask("PATCH", at, {"connectionSettings": {"listSettings": {"name": "Mine"}}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "connectionSettings.listSettings")
    assert world.ask("PATCH", at, {"connectionSettings": {"onDisconnect": "delete"}}).status_code == 422
    # nothing was told, so there is nobody to send an exit of
    assert world.data("DELETE", f"{at}?removeActivations=true&sendExits=true") == {"status": "SUCCESS", "state": "gone"}
    assert world.data("GET", world.connections(audience))["connections"] == []


def test_traits_that_ride_along_are_said_when_connecting_read_back_and_changed(world: World) -> None:
    audience, to = world.audience(), world.destination()
    riding = [{"name": "plan", "mapTo": "plan_tier"}, {"name": "spend"}]
    body = {"destination": {"id": to["id"], "type": "destination"}, "connectionSettings": {"traits": riding}}
    assert world.data("POST", world.connections(audience), body)["connectionSettings"]["traits"] == riding
    again = world.ask("POST", world.connections(audience), {**body, "connectionSettings": {"traits": []}})
    assert again.status_code == 409, "what is said of a connection that is there is said to it"
    at = f"{world.connections(audience)}/{to['id']}"
    same = [{"name": "plan", "mapTo": "tier"}, {"name": "spend", "mapTo": "tier"}]
    refused = world.ask("PATCH", at, {"connectionSettings": {"traits": same}})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "connectionSettings.traits")
    assert world.data("PATCH", at, {"enabled": True})["connectionSettings"]["traits"] == riding, "what is not said stays"
    changed = world.data("PATCH", at, {"connectionSettings": {"traits": [{"name": "scores.orders"}]}})["connectionSettings"]
    assert changed["traits"] == [{"name": "scores.orders", "mapTo": "orders"}]
    assert world.data("PATCH", at, {"connectionSettings": {"traits": []}})["connectionSettings"]["traits"] == []
    (told,) = world.data("GET", world.connections(audience))["connections"]
    assert told["connectionSettings"]["traits"] == []
