import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, ListId, Record, Verdict
from engage_pipelines.destinations.linkedin_audiences import LinkedinAudiences
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _by_membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    """The reference reads the event's name, which an Identify has none of, and what the mapping says it is to do."""
    events: list[dict[str, Any]] = case.get("events") or [case["event"]]
    states = {"identify": "traits", "track": "properties"}
    entered = all(event[states[event["type"]]]["big_spenders"] for event in events)
    for one in requests:
        for element in (one["body"] or {}).get("elements", []):
            element["action"] = "ADD" if entered else "REMOVE"
    return requests


def _in_lower_case(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        one["body"] = json.loads(json.dumps(one["body"]).replace(_hash("Eve@Example.test"), _hash("eve@example.test")))
    return requests


def _not_asked_for_nobody(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return requests if any(one["method"] == "POST" for one in requests) else []


class TestLinkedinAudiences(VendorConformance):
    destination = LinkedinAudiences()
    differences = (
        Difference("the membership decides who is added and who is removed, for every call and whatever the mapping says", _by_membership),
        Difference("addresses are hashed in lower case", _in_lower_case),
        Difference("the segment is not looked for when nobody can be sent", _not_asked_for_nobody),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return _hash((email or "").strip().lower())

    @pytest.mark.parametrize("call", ["identify", "track"])
    def test_who_left_is_removed_whatever_the_call_and_its_mapping_say(self, bench: Bench, board: Switchboard, call: str) -> None:
        said = {"email": "ana@example.test", "dmp_user_action": "ADD"} | ({"event_name": "Audience Exited"} if call == "track" else {})
        assert self._send(bench, Record("personas_1:1:i0", "email:a", False, orjson.dumps(said))) == Accepted()
        assert [one["action"] for one in orjson.loads(board.requests[0].body)["elements"]] == ["REMOVE"]

    def test_a_hash_is_kept_and_what_is_no_address_rejected_alone(self, bench: Bench) -> None:
        addresses = (_hash("ana@example.test").upper(), "ana at example.test")
        verdict = self._send(bench, *(Record("m", "email:a", True, orjson.dumps({"email": address})) for address in addresses))
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [1]
        assert "ana at" not in verdict.rejected[1]
        assert bench.held() == {_hash("ana@example.test"): True}

    def test_devices_are_not_sent_where_the_settings_keep_them_back(self, bench: Bench, board: Switchboard) -> None:
        settings = bench.settings.model_copy(update={"send_google_advertising_id": False})
        record = Record("m", "email:a", True, orjson.dumps({"google_advertising_id": "38400000-8cf0-11bd-b23e-10b96e40000d"}))
        verdict = bench.destination.send([record], action="update_audience", settings=settings, target=bench.target(), deadline_s=5)
        assert isinstance(verdict, Accepted)
        assert verdict.rejected
        assert board.requests == []

    def test_settings_that_send_nothing_are_refused(self, bench: Bench) -> None:
        given = {**self.settings("http://127.0.0.1:9", bench.folder), "send_email": False, "send_google_advertising_id": False}
        with pytest.raises(ConfigurationError, match="must be on"):
            self.destination.configure(given, files_dir=bench.folder)

    def test_a_segment_that_is_not_there_yet_is_waited_for(self, bench: Bench) -> None:
        target = replace(bench.target(), external_id="4040")
        verdict = bench.destination.send(
            [bench.record("u-1")], action="update_audience", settings=bench.settings, target=target, deadline_s=5
        )
        assert isinstance(verdict, Backoff)
        assert verdict.after_s == 5

    def test_people_whom_linkedin_cannot_take_now_are_tried_again(self, bench: Bench, board: Switchboard) -> None:
        board.reply_with(reply_json({"elements": [{"status": 201}, {"status": 503}]}))
        assert isinstance(self._send(bench, bench.record("u-1"), bench.record("u-2")), Backoff)

    def test_without_a_segment_of_the_connection_that_of_the_key_is_used_or_made(self, bench: Bench, board: Switchboard) -> None:
        for key, requests in (("big_spenders", 2), ("another", 3)):
            target = replace(bench.target(), external_id=None, computation=key)
            body = orjson.dumps({"email": "ana@example.test", "personas_audience_key": key})
            record = Record("m", "email:a", True, body)
            board.requests.clear()
            sent = bench.destination.send([record], action="update_audience", settings=bench.settings, target=target, deadline_s=5)
            assert sent == Accepted()
            assert len(board.requests) == requests
        assert bench.held() == {_hash("ana@example.test"): True}

    def test_two_audiences_of_one_key_do_not_share_a_segment(self, bench: Bench) -> None:
        target = replace(bench.target(), external_id=None)
        elsewhere = replace(target, space="other")
        named = replace(elsewhere, list_settings={"source_segment_id": "other_big_spenders"})
        owned = [bench.destination.external_target(bench.settings, one) for one in (target, elsewhere, named)]
        assert owned[0] == owned[1] != owned[2]
        assert bench.destination.find_list(settings=bench.settings, target=elsewhere, deadline_s=5) == ListId("77")
        assert bench.destination.find_list(settings=bench.settings, target=named, deadline_s=5) is None

    def _send(self, bench: Bench, *records: Record) -> Verdict:
        return bench.send(records)
