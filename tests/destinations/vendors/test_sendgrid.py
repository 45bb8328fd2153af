from collections.abc import Mapping
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Record, Verdict
from engage_pipelines.destinations.sendgrid import Sendgrid
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.sendgrid import Fake


def _membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    events = case.get("events") or [case.get("event", {})]
    for one in requests:
        if one["method"] == "PUT":
            for contact, event in zip(one["body"]["contacts"], events, strict=True):
                contact["custom_fields"]["e1_T"] = str(event["traits"]["big_spenders"]).lower()
    return requests


def _tried(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [{**one, "url": one["url"].replace("user/account", "marketing/field_definitions")} for one in requests]


class TestSendgrid(VendorConformance):
    destination = Sendgrid()
    differences = (
        Difference("the membership is told, in the custom field of the audience", _membership),
        Difference("credentials are tried on what they are for, which keys for marketing alone may do", _tried),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return str(email).lower()

    def test_the_audiences_field_is_made_once(self, bench: Bench) -> None:
        for entered in (True, False):
            bench.deliver([bench.record("u-1", entered=entered)])
        assert self._sendgrid(bench).fields == {"e1_T": "Shoe size", "e2_T": "big_spenders"}
        assert bench.board is not None
        assert [request.method for request in bench.board.requests] == ["GET", "POST", "PUT", "GET", "PUT"]

    def test_a_trait_that_is_a_number_gets_a_field_of_numbers(self, bench: Bench) -> None:
        assert self._send(bench, {"primary_email": "a@example.test", "traits": {"big_spenders": 12.5}}) == Accepted()
        assert self._sendgrid(bench).contacts["c1"]["custom_fields"] == {"e2_N": 12.5}

    def test_a_custom_field_that_is_not_there_refuses_its_record_alone(self, bench: Bench) -> None:
        verdict = self._send(
            bench,
            {"primary_email": "a@example.test", "customFields": {"Hat size": 7}},
            {"primary_email": "b@example.test", "customFields": {"SHOE SIZE": [41, 42]}},
        )
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert "'Hat size'" in verdict.rejected[0]
        assert self._sendgrid(bench).contacts == {"c1": {"email": "b@example.test", "custom_fields": {"e1_T": "[41,42]"}}}

    def test_an_address_that_sendgrid_names_is_left_out_and_the_others_go_at_once(self, bench: Bench) -> None:
        bench.fake.refuse("U-1@example.test")
        records = [bench.record("u-0"), bench.record("u-1", email="U-1@example.test"), bench.record("u-2")]
        assert bench.send(records) == Accepted({1: "SendGrid finds the e-mail address not valid"})
        assert len(bench.held()) == 2

    def test_who_has_no_identifier_is_refused_alone(self, bench: Bench) -> None:
        verdict = self._send(bench, {"first_name": "Ana"}, {"external_id": "u-2"})
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]

    def _send(self, bench: Bench, *bodies: dict[str, Any]) -> Verdict:
        records = [Record(f"personas_1:{at}:i0", f"user_id:u-{at}", True, orjson.dumps(body)) for at, body in enumerate(bodies)]
        return bench.destination.send(records, action="update_contact", settings=bench.settings, target=bench.target(), deadline_s=5)

    def _sendgrid(self, bench: Bench) -> Fake:
        return cast(Fake, bench.fake)
