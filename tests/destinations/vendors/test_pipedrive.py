from collections.abc import Mapping
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Backoff, Record, Stop, Verdict
from engage_pipelines.destinations.pipedrive import Pipedrive
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.pipedrive import COMPANY_ID, PERSON_ID, Fake


def _token_in_a_header(case: Any, requests: list[Seen]) -> list[Seen]:
    return [{**one, "query": [pair for pair in one["query"] if pair[0] not in {"api_token", "headers"}]} for one in requests]


def _membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    entered = case["event"]["traits"]["big_spenders"]
    for request in requests:
        if request["body"] is not None:
            request["body"] |= {"c4d5": str(entered).lower()}
    return requests


def _field_by_its_name(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if len(requests) < 2:
        return requests
    search, told = requests
    place = "personFields" if "persons" in told["url"] else "organizationFields"
    asked = {**search, "url": f"https://acme.pipedrive.com/api/v1/{place}", "query": [("limit", "500"), ("start", "0")]}
    return [search, asked, told]


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
        Difference("the field of the membership is found by its name", _field_by_its_name),
    )

    def test_an_account_becomes_an_organization(self, bench: Bench) -> None:
        record = Record("personas_1:1:g0", "group_id:acct-1", True, orjson.dumps({"match_value": "acct-1", "name": "Acme"}))
        sent = bench.destination.send([record], action="upsert_organization", settings=bench.settings, target=bench.target(), deadline_s=5)
        assert sent == Accepted()
        assert bench.board is not None
        assert list(cast(Fake, bench.board.vendor).tables["organizations"].values()) == [{"name": "Acme", COMPANY_ID: "acct-1"}]

    def test_each_audience_has_a_field_of_its_own_that_is_made_once(self, bench: Bench) -> None:
        for key, entered in (("big_spenders", True), ("lapsed", True), ("lapsed", False), ("big_spenders", True)):
            assert _told(bench, key, entered=entered) == Accepted()
        vendor = _fake(bench)
        (person,) = vendor.tables["persons"].values()
        assert {vendor.fields["person"][key]: value for key, value in person.items()} == {
            "Name": "u-1",
            "Our id": "u-1",
            "big_spenders": "true",
            "lapsed": "false",
        }
        assert bench.board is not None
        made = [one for one in bench.board.requests if one.method == "POST" and "Fields" in one.path]
        assert len(made) == 2

    def test_a_field_that_is_there_is_found_on_a_later_page_and_none_is_made(self, bench: Bench) -> None:
        _fake(bench).fields["person"]["9" * 40] = "lapsed"
        assert _told(bench, "lapsed", entered=True) == Accepted()
        assert _fake(bench).tables["persons"][1]["9" * 40] == "true"
        assert _told(bench, "lapsed", entered=True, membership_field=PERSON_ID) == Accepted()
        assert _fake(bench).tables["persons"][1][PERSON_ID] == "true"

    def test_a_token_that_may_make_no_field_stops_the_sync(self, bench: Bench, board: Switchboard) -> None:
        nobody, none = reply_json({"success": True, "data": None}), reply_json({"success": True, "data": []})
        board.reply_with(nobody, none, reply_json({"success": False, "error": "Scope and URL mismatch"}, 403))
        assert isinstance(_told(bench, "lapsed", entered=True), Stop)
        board.reply_with(nobody, none, reply_json({"success": True, "data": {}}, 201))
        assert isinstance(_told(bench, "lapsed", entered=True), Backoff)


def _told(bench: Bench, key: str, *, entered: bool, **more: str) -> Verdict:
    body = {"match_value": "u-1", "computation_key": key, "traits_or_props": {key: entered}, **more}
    record = Record("personas_1:1:i0", "user_id:u-1", entered, orjson.dumps(body))
    return bench.destination.send([record], action="upsert_person", settings=bench.settings, target=bench.target(), deadline_s=5)


def _fake(bench: Bench) -> Fake:
    return cast(Fake, bench.fake)
