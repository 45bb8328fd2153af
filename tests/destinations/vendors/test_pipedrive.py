from collections.abc import Mapping
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Record
from engage_pipelines.destinations.pipedrive import Pipedrive
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.pipedrive import COMPANY_IN, Fake


def _token_in_a_header(case: Any, requests: list[Seen]) -> list[Seen]:
    return [{**one, "query": [pair for pair in one["query"] if pair[0] not in {"api_token", "headers"}]} for one in requests]


def _membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    entered = case["event"]["traits"]["big_spenders"]
    for request in requests:
        if request["body"] is not None:
            place = "personMembershipField" if "persons" in request["url"] else "organizationMembershipField"
            request["body"] |= {case["settings"][place]: str(entered).lower()}
    return requests


def _found_again(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    event = case["event"]
    for request in requests:
        if request["method"] == "POST":
            is_person = "persons" in request["url"]
            value = event["userId"] if is_person else event["groupId"]
            key = case["mapping"].get("match_field") or case["settings"]["personField" if is_person else "organizationField"]
            name = event["traits"].get("email", value) if is_person else event["traits"]["name"]
            request["body"] = {"name": name, key: value, **request["body"]}
    return requests


def _nobody_made_for_an_exit(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if one["method"] != "POST" or case["event"]["traits"]["big_spenders"]]


class TestPipedrive(VendorConformance):
    destination = Pipedrive()
    differences = (
        Difference("the token is in a header, not in the address where logs keep it", _token_in_a_header),
        Difference("what is made bears the id it is found by the next time, and the name that Pipedrive asks for", _found_again),
        Difference("the membership is sent", _membership),
        Difference("nobody is made only to say that they are not in", _nobody_made_for_an_exit),
    )

    def test_an_account_becomes_an_organization(self, bench: Bench) -> None:
        record = Record("personas_1:1:g0", "group_id:acct-1", True, orjson.dumps({"match_value": "acct-1", "name": "Acme"}))
        sent = bench.destination.send([record], action="upsert_organization", settings=bench.settings, target=bench.target(), deadline_s=5)
        assert sent == Accepted()
        assert bench.board is not None
        assert [(row["name"], row[COMPANY_IN]) for row in cast(Fake, bench.board.vendor).tables["organizations"].values()] == [
            ("Acme", "true")
        ]
