from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, ListId, Pause, Record, Stop, Verdict
from engage_pipelines.destinations.http import Answer
from engage_pipelines.destinations.marketo_static_lists import BOUNDARY, MarketoStaticLists, read
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import Switchboard, reply_json, sent_query
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.marketo_static_lists import Fake


def _token_kept(case: Any, requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if not one["url"].endswith("/identity/oauth/token")]


def _quoted(case: Any, requests: list[Seen]) -> list[Seen]:
    return [{**one, "body": one["body"].replace("Muñoz, Eve", '"Muñoz, Eve"')} if isinstance(one["body"], str) else one for one in requests]


def _boundary(case: Any, requests: list[Seen]) -> list[Seen]:
    return [{**one, "body": one["body"].replace("--SEGMENT-DATA--", BOUNDARY)} if isinstance(one["body"], str) else one for one in requests]


def _nobody_found(case: Any, requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if one["method"] != "DELETE" or one["query"] != [("id", "")]]


class TestMarketoStaticLists(VendorConformance):
    destination = MarketoStaticLists()
    differences = (
        Difference("a token is bought once, not for each list", _token_kept),
        Difference("a value with a comma stays in its column", _quoted),
        Difference("what ends a file is a text of our own", _boundary),
        Difference("nothing is asked of the list when nobody is found", _nobody_found),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return str(email).lower()

    def test_a_token_that_expired_is_said_with_status_200_and_renewed(self, bench: Bench) -> None:
        bench.fake.expire()
        bench.deliver([bench.record("u-1")])
        assert bench.board is not None
        assert [request.path.partition("?")[0] for request in bench.board.requests] == [
            "/bulk/v1/leads.json",
            "/identity/oauth/token",
            "/bulk/v1/leads.json",
        ]

    def test_who_leaves_stays_in_marketo_and_nobody_is_made_by_leaving(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1", email="Ana@Example.test")])
        bench.deliver([bench.record("u-1", email="ana@example.TEST", entered=False), bench.record("u-9", entered=False)])
        assert [one["email"] for one in self._marketo(bench).people.values()] == ["Ana@Example.test"]
        assert bench.held() == {}

    def test_everybody_leaves_however_long_their_addresses_are(self, bench: Bench) -> None:
        people = [f"u-{number}{'x' * 60}" for number in range(120)]
        bench.deliver([bench.record(person) for person in people])
        assert len(bench.held()) == 120
        bench.deliver([bench.record(person, entered=False) for person in people])
        assert bench.held() == {}

    def test_values_arrive_as_they_are_in_whatever_columns_there_are(self, bench: Bench) -> None:
        hard = {"email": "a@example.test", "company": 'Muñoz, "Eve"\nand sons', "vip": False, "tags": ["a"], "gone": None}
        assert self._send(bench, "add_to_list", {"data": hard}, {"data": {"email": "b@example.test"}}) == Accepted()
        assert list(self._marketo(bench).people.values()) == [
            {"email": "a@example.test", "company": 'Muñoz, "Eve"\nand sons', "vip": "false", "tags": '["a"]', "gone": ""},
            {"email": "b@example.test", "company": "", "vip": "", "tags": "", "gone": ""},
        ]

    def test_what_cannot_be_used_is_refused_alone(self, bench: Bench) -> None:
        bad = ({}, {"email": "no address"}, {"email": "a@example.test", "note": f"--{BOUNDARY}--"})
        verdict = self._send(bench, "add_to_list", *({"data": data} for data in bad), {"data": {"email": "b@example.test"}})
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0, 1, 2]
        by_comma = self._send(bench, "remove_from_list", {"lookup_field": "twitterId", "field_value": "a,b"})
        assert by_comma == Accepted({0: "Marketo cannot look for a value with a comma in it"})

    def test_a_list_is_found_by_its_name(self, bench: Bench) -> None:
        target = replace(bench.target(), external_id=None)
        assert bench.destination.find_list(settings=bench.settings, target=target, deadline_s=5) == ListId("1001")

    def test_a_folder_that_is_not_there_is_said_when_the_destination_is_tried(self, bench: Bench) -> None:
        verdict = bench.destination.test(bench.settings.model_copy(update={"folder": "Nowhere"}))
        assert isinstance(verdict, Stop)
        assert "'Nowhere'" in verdict.reason

    @pytest.mark.parametrize(
        ("code", "count", "verdict"),
        [
            pytest.param("606", 2, Pause(20), id="too many calls in 20 seconds"),
            pytest.param("607", 2, Pause(3_600), id="too many calls on one day"),
            pytest.param("1016", 2, Backoff("the destination answered 1016: Oh"), id="too many imports wait"),
            pytest.param("1003", 2, Bisect("the destination answered 1003: Oh"), id="a batch with something wrong in it"),
            pytest.param("1003", 1, Accepted({0: "the destination answered 1003: Oh"}), id="a record that is wrong"),
        ],
    )
    def test_a_code_says_what_a_status_of_200_means(self, code: str, count: int, verdict: Verdict) -> None:
        body = reply_json({"success": False, "errors": [{"code": code, "message": "Oh"}]}).body
        assert read(Answer(200, body=body), count) == verdict

    @pytest.mark.parametrize(("code", "count"), [("603", 2), ("610", 1), ("709", 0)])
    def test_a_code_about_the_access_or_the_address_stops_the_sync(self, code: str, count: int) -> None:
        body = reply_json({"success": False, "errors": [{"code": code, "message": "Access denied"}]}).body
        verdict = read(Answer(200, body=body), count)
        assert isinstance(verdict, Stop)
        assert "Access denied" in verdict.reason

    def test_people_beyond_the_first_page_leave_too(self, bench: Bench, board: Switchboard) -> None:
        board.reply_with(
            reply_json({"success": True, "result": [{"id": 1}], "nextPageToken": "more"}),
            reply_json({"success": True, "result": [{"id": 2}]}),
        )
        bench.deliver([bench.record("u-1", entered=False)])
        assert [request.method for request in board.requests] == ["GET", "GET", "DELETE"]
        assert sent_query(board.requests[1])["nextPageToken"] == "more"
        assert sent_query(board.requests[2]) == {"id": "1,2"}

    def _send(self, bench: Bench, action: str, *bodies: dict[str, Any]) -> Verdict:
        entered = action == "add_to_list"
        given = [{"lookup_field": "email", **body} for body in bodies]
        records = [Record(f"personas_1:{at}:i0", f"user_id:u-{at}", entered, orjson.dumps(body)) for at, body in enumerate(given)]
        return bench.destination.send(records, action=action, settings=bench.settings, target=bench.target(), deadline_s=5)

    def _marketo(self, bench: Bench) -> Fake:
        return cast(Fake, bench.fake)
