from collections.abc import Mapping
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Record
from engage_pipelines.destinations.intercom import Intercom
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.intercom import Fake


def _entered(case: Mapping[str, Any]) -> bool:
    return case["event"]["traits"]["big_spenders"]


def _not_seen(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if "last_seen_at" not in case["mapping"]:
        for one in requests:
            one["body"].pop("last_seen_at", None)
    return requests


def _one_of_several(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if "'total_count': 2" in str(case["responses"]):
        requests[1] |= {"method": "PUT", "url": requests[1]["url"] + "/c-1"}
    return requests


def _none_made_for_an_exit(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if _entered(case):
        return requests
    if case["action"] == "identifyContact":
        return [one for one in requests if one["method"] == "PUT" or one["url"].endswith("search")]
    query = [("company_id", requests[1]["body"]["company_id"])]
    return [requests[0], requests[1] | {"method": "GET", "query": query, "body": None}, *requests[1:]]


def _dates(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if (one["body"] or {}).get("remote_created_at") == "2026-01-01T00:00:00Z":
            one["body"]["remote_created_at"] = 1767225600
    return requests


def _membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["body"] is not None and not one["url"].endswith(("search", "c-1/companies")):
            one["body"]["custom_attributes"] = {**one["body"].get("custom_attributes", {}), "big_spenders": _entered(case)}
    return requests


class TestIntercom(VendorConformance):
    destination = Intercom()
    differences = (
        Difference("who comes into an audience has not been seen by that", _not_seen),
        Difference("of several contacts with an address one is updated, and no other is made", _one_of_several),
        Difference("nobody is made only to say that they are not in", _none_made_for_an_exit),
        Difference("dates of companies are Unix seconds too", _dates),
        Difference("the membership is sent", _membership),
    )

    def test_the_attribute_of_an_audience_is_made_when_there_is_none(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        assert _fake(bench).attributes == {("contact", "big_spenders")}

    def test_a_contact_that_the_search_does_not_know_yet_is_updated_and_not_made_twice(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        _fake(bench).search_lags = True
        _fake(bench).contacts["c1"]["custom_attributes"].clear()
        bench.deliver([bench.record("u-1")])
        assert bench.held() == {"u-1": True}
        assert len(_fake(bench).contacts) == 1

    def test_an_account_becomes_a_company_of_its_contact(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        payload = {"company_id": "acct-1", "name": "Acme", "external_id": "u-1"}
        for entered in (True, False):
            self._send(bench, payload, entered=entered)
        companies = [{**row["custom_attributes"], "name": row["name"]} for row in _fake(bench).companies.values()]
        assert companies == [{"name": "Acme", "big_spenders": False}]
        assert _fake(bench).belong == {("c1", "f1")}

    def test_no_company_is_made_for_an_account_that_left(self, bench: Bench) -> None:
        self._send(bench, {"company_id": "acct-1"}, entered=False)
        assert _fake(bench).companies == {}

    def _send(self, bench: Bench, payload: Mapping[str, Any], *, entered: bool) -> None:
        told = {**payload, "computation_key": "big_spenders", "traits_or_props": {"big_spenders": entered}}
        record = Record("personas_1:1:g0", "group_id:acct-1", entered, orjson.dumps(told))
        sent = bench.destination.send([record], action="upsert_company", settings=bench.settings, target=bench.target(), deadline_s=5)
        assert sent == Accepted()


def _fake(bench: Bench) -> Fake:
    return cast(Fake, bench.fake)
