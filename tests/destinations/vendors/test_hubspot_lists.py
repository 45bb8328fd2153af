import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from engage_pipelines.destinations.base import Stop
from engage_pipelines.destinations.hubspot_lists import HubspotLists
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen, compare
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.hubspot_lists import Fake

CASES = Path(__file__).parents[2] / "data" / "destinations" / "hubspot_list_memberships.jsonl"


def _list_known_already(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if "/properties/" not in one["url"] and (one["method"] == "PUT" or "/lists" not in one["url"])]


def _lower_case(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    text = json.dumps(requests)
    lowered = json.loads(text.replace("Eve@Example.test", "eve@example.test"))
    if lowered != json.loads(text):
        entered = (case.get("event") or case["events"][0])["traits"]["big_spenders"]
        lowered[-1]["body"]["recordIdsToAdd" if entered else "recordIdsToRemove"].append("53")
    return lowered


def _looked_up_to_leave(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["url"].endswith("upsert") and requests[-1]["body"].get("recordIdsToRemove"):
            one["url"] = one["url"][:-6] + "read"
            one["body"] = {
                "properties": ["email"],
                "idProperty": "email",
                "inputs": [{"id": asked["id"]} for asked in one["body"]["inputs"]],
            }
    return requests


class TestHubspotLists(VendorConformance):
    destination = HubspotLists()

    def identity(self, user_id: str, email: str | None) -> str:
        return str(email).strip().lower()

    def test_its_changes_of_lists_are_the_oracles_but_for_the_differences_that_have_a_name(self) -> None:
        differences = (
            Difference("the list is known before the first batch, and properties are not read", _list_known_already),
            Difference("an e-mail address that comes back in lower case is on the list", _lower_case),
            Difference("who leaves is looked up, not made", _looked_up_to_leave),
        )
        result = compare(CASES, differences)
        assert result.cases >= 10
        assert result.mismatches == {}
        assert result.used == {difference.why for difference in differences}

    def test_who_leaves_stays_a_contact_and_who_was_never_there_is_not_made(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        bench.deliver([bench.record("u-1", entered=False, generation=2), bench.record("u-2", entered=False, generation=2)], generation=2)
        fake = cast(Fake, bench.fake)
        assert fake.members["1"] == set()
        assert [row["email"] for row in fake.table("contacts").values()] == ["u-1@example.test"]

    def test_a_list_that_hubspot_keeps_itself_is_not_taken(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, name="Kept by HubSpot")
        assert isinstance(bench.destination.find_list(settings=bench.settings, target=wanted, deadline_s=5), Stop)

    def test_an_entry_whose_record_hubspot_misses_is_rejected(self, bench: Bench, board: Switchboard) -> None:
        found = reply_json({"results": [{"id": "9", "properties": {"email": "u-1@example.test"}}]})
        board.reply_with(found, reply_json({"recordIdsMissing": ["9"]}))
        assert "does not know" in bench.deliver([bench.record("u-1")])["user_id:u-1"]
