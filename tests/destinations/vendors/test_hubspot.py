from collections.abc import Mapping
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Record, Stop, Verdict
from engage_pipelines.destinations.hubspot import COMPANY_ID, Hubspot
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.hubspot import Fake


def _entered(case: Mapping[str, Any]) -> bool:
    event = case.get("event") or case["events"][0]
    return event["traits"]["big_spenders"]


def _only_when_needed(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if "/properties/" not in one["url"] and one["body"] != {"inputs": []}]


def _case_of_the_answer(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if "Ana@Example.test" in str(case.get("responses")):
        requests[1]["body"]["inputs"].insert(0, {"id": "51", "properties": {}})
    return requests


def _no_identify_before(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if case["action"] == "upsertCompany" and "associateContact" not in case["mapping"]:
        name = case["event"]["traits"]["name"]
        return [
            {
                "method": "PATCH",
                "url": "https://api.hubapi.com/crm/v3/objects/companies/acct-6",
                "query": [("idProperty", COMPANY_ID)],
                "headers": {"authorization": "Bearer the-app-token"},
                "body": {"properties": {"name": name, COMPANY_ID: "acct-6"}},
            }
        ]
    return requests


def _nobody_made_for_an_exit(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if _entered(case):
        return requests
    kept: list[Seen] = []
    for one in requests:
        if one["url"].endswith("batch/upsert"):
            names = [{"id": asked["id"]} for asked in one["body"]["inputs"]]
            kept.append(one | {"url": one["url"][:-6] + "read", "body": {"properties": ["tag"], "idProperty": "tag", "inputs": names}})
            if {"id": "u-1"} in names:
                known = {"inputs": [{"idProperty": "tag", "id": "u-1", "properties": {}}]}
                kept.append(one | {"url": one["url"][:-6] + "update", "body": known})
        elif not one["url"].endswith(("batch/create", "objects/companies")):
            kept.append(one)
    return kept


def _membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if not one["url"].endswith(("read", "search")):
            for written in one["body"].get("inputs", [one["body"]]):
                if written["properties"].keys() != {"lifecyclestage"}:
                    written["properties"] |= {"big_spenders": _entered(case)}
    return requests


class TestHubspot(VendorConformance):
    destination = Hubspot()
    differences = (
        Difference("properties are not read before every batch, and no batch is empty", _only_when_needed),
        Difference("a contact whose e-mail address comes back in another case is updated too", _case_of_the_answer),
        Difference("a company needs no identify before it", _no_identify_before),
        Difference("nobody is made only to say that they are not in", _nobody_made_for_an_exit),
        Difference("the membership is sent", _membership),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return str(email).strip().lower()

    def test_the_property_of_an_audience_is_made_when_there_is_none(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        assert _fake(bench).properties["contacts"] == {"big_spenders"}

    def test_a_property_that_is_not_ours_to_make_stops_with_its_name(self, bench: Bench) -> None:
        verdict = _send(bench, "upsert_contact", {"email": "a@example.test", "properties": {"no_such": 1}})
        assert isinstance(verdict, Stop)
        assert "no_such" in verdict.reason

    def test_an_account_becomes_a_company_with_its_id_and_its_contact(self, bench: Bench) -> None:
        fake = _fake(bench)
        fake.table("contacts")["100"] = {"email": "ana@example.test"}
        payload = {"groupid": "acct/1", "name": "Acme", "contact_email": "Ana@example.test", **_tells(entered=True)}
        for _ in range(2):
            assert _send(bench, "upsert_company", {**payload, "associateContact": True}) == Accepted()
        assert list(fake.table("companies").values()) == [{"name": "Acme", COMPANY_ID: "acct/1", "big_spenders": True}]
        assert fake.associated == {("101", "100")}

    def test_no_company_is_made_for_an_account_that_left(self, bench: Bench) -> None:
        assert _send(bench, "upsert_company", {"groupid": "acct-1", **_tells(entered=False)}, entered=False) == Accepted()
        assert _fake(bench).table("companies") == {}

    def test_records_of_an_object_are_made_and_keep_what_an_exit_sets(self, bench: Bench) -> None:
        details = {"object_type": "pets", "id_field_name": "tag", "id_field_value": "Rex", "property_group": "petinformation"}
        for entered in (True, False):
            payload = {"object_details": details, **_tells(entered=entered)}
            assert _send(bench, "upsert_object", payload, entered=entered) == Accepted()
        assert list(_fake(bench).table("pets").values()) == [{"tag": "Rex", "big_spenders": False}]

    def test_a_lifecycle_stage_goes_backwards_by_way_of_none(self, bench: Bench) -> None:
        fake = _fake(bench)
        fake.table("contacts")["100"] = {"email": "a@example.test", "lifecyclestage": "customer"}
        assert _send(bench, "upsert_contact", {"email": "a@example.test", "lifecyclestage": "Lead"}) == Accepted()
        assert fake.table("contacts")["100"]["lifecyclestage"] == "lead"


def _fake(bench: Bench) -> Fake:
    return cast(Fake, bench.fake)


def _tells(*, entered: bool) -> dict[str, Any]:
    return {"computation_key": "big_spenders", "traits_or_props": {"big_spenders": entered}}


def _send(bench: Bench, action: str, payload: Mapping[str, Any], *, entered: bool = True) -> Verdict:
    record = Record("personas_1:1:i0", "email:x", entered, orjson.dumps(payload))
    return bench.destination.send([record], action=action, settings=bench.settings, target=bench.target(), deadline_s=5)
