import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, ListId, Record, Stop, Verdict
from engage_pipelines.destinations.sendgrid_lists import SendgridLists
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.sendgrid_lists import Fake


def _looked_for_before(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return requests[1:] if case.get("op") == "createAudience" else requests


def _nobody_made(case: Any, requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if one["method"] != "PUT" or one["body"]["list_ids"]]


def _by_identifier(case: Any, requests: list[Seen]) -> list[Seen]:
    searched: list[Seen] = []
    for one in requests:
        if not one["url"].endswith("/contacts/search"):
            searched.append(one)
            continue
        for kind, values in re.findall(r"(\w+) IN \((.*?)\)", one["body"]["query"]):
            named = [value.strip("'") for value in values.split(",")]
            place, name = ("emails", "emails") if kind == "email" else (f"identifiers/{kind}", "identifiers")
            searched.append({**one, "url": f"{one['url']}/{place}", "body": {name: named}})
    return searched


def _tried(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if case.get("op") != "testAuthentication":
        return requests
    return [{**one, "url": one["url"].replace("user/account", "marketing/lists"), "query": [("page_size", "1000")]} for one in requests]


class TestSendgridLists(VendorConformance):
    destination = SendgridLists()
    differences = (
        Difference("a list is looked for in a step of its own, before it is made", _looked_for_before),
        Difference("no contact is written because it leaves", _nobody_made),
        Difference("who leaves is looked for as they are, whatever the case or a quote in their address", _by_identifier),
        Difference("credentials are tried on what they are for, which keys for marketing alone may do", _tried),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return str(email).lower()

    def test_who_leaves_stays_a_contact_and_nobody_is_made_by_leaving(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        bench.deliver([bench.record("u-1", entered=False), bench.record("u-9", entered=False)])
        assert [one["email"] for one in self._sendgrid(bench).contacts.values()] == ["u-1@example.test"]
        assert bench.held() == {}

    def test_who_leaves_under_an_address_in_another_case_or_with_a_quote_leaves(self, bench: Bench) -> None:
        for address, again in (("Ana@Example.test", "ANA@example.test"), ("o'brien@example.test", "o'brien@example.test")):
            bench.deliver([bench.record("u-1", email=address)])
            assert len(bench.held()) == 1
            bench.deliver([bench.record("u-1", email=again, entered=False)])
            assert bench.held() == {}

    def test_everybody_leaves_however_many_they_are(self, bench: Bench) -> None:
        people = [f"u-{number}" for number in range(101)]
        bench.deliver([bench.record(person) for person in people])
        bench.deliver([bench.record(person, entered=False) for person in people])
        assert bench.held() == {}

    def test_a_list_is_found_among_more_than_a_hundred(self, bench: Bench) -> None:
        fake = self._sendgrid(bench)
        fake.names = {f"other-{number}": f"Other {number}" for number in range(150)} | fake.names
        target = replace(bench.target(), external_id=None)
        assert bench.destination.find_list(settings=bench.settings, target=target, deadline_s=5) == ListId("list-1")

    def test_who_is_known_by_another_identifier_leaves_too(self, bench: Bench) -> None:
        body = {"identifiers": {"email": "a@example.test", "external_id": "u-1"}}
        assert self._send(bench, body) == Accepted()
        assert self._send(bench, {"identifiers": {"external_id": "u-1"}}, entered=False) == Accepted()
        assert bench.held() == {}

    def test_what_cannot_be_used_is_refused_alone(self, bench: Bench) -> None:
        known = {"identifiers": {"email": "a@example.test"}}
        verdict = self._send(
            bench,
            known,
            {"identifiers": {}},
            {"identifiers": {"phone_number_id": "555"}},
            {**known, "custom_date_fields": {"e3_D": "soon"}},
        )
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [1, 2, 3]

    def test_a_list_that_is_gone_stops_the_sync_when_somebody_leaves(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        target = replace(bench.target(), external_id="gone")
        records = [bench.record("u-1", entered=False)]
        verdict = bench.destination.send(records, action="sync_audience", settings=bench.settings, target=target, deadline_s=5)
        assert isinstance(verdict, Stop)

    def _send(self, bench: Bench, *bodies: dict[str, Any], entered: bool = True) -> Verdict:
        records = [Record(f"personas_1:{at}:i0", f"user_id:u-{at}", entered, orjson.dumps(body)) for at, body in enumerate(bodies)]
        return bench.destination.send(records, action="sync_audience", settings=bench.settings, target=bench.target(), deadline_s=5)

    def _sendgrid(self, bench: Bench) -> Fake:
        return cast(Fake, bench.fake)
