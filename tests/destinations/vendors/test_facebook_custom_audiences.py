import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, ListId, Pause, Record, Stop, Verdict
from engage_pipelines.destinations.facebook_custom_audiences import SCHEMA, FacebookCustomAudiences
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.local_server import Reply
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance

Expect = Callable[[Mapping[str, Any], list[Seen]], list[Seen]]


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _instead(theirs: str, ours: str) -> Expect:
    def expect(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
        said = json.dumps(requests)
        return json.loads(said.replace(theirs, ours)) if theirs in said else requests

    return expect


def _person(**payload: object) -> Record:
    return Record("personas_1:1:i0", "user_id:u-1", True, orjson.dumps({"externalId": "u-1", **payload}))


class TestFacebookCustomAudiences(VendorConformance):
    destination = FacebookCustomAudiences()
    differences = (
        Difference("a month has two digits", _instead(_hash("3"), _hash("03"))),
        Difference("states of two words are known as well", _instead(_hash("newhampshire"), _hash("nh"))),
        Difference("a postal code is cut at its dash only where that is a ZIP+4", _instead(_hash("00"), _hash("00950"))),
        Difference("device ids are in lower case", _instead("AB1234CD-E123-12FA-B123", "ab1234cd-e123-12fa-b123")),
    )

    def test_people_without_an_id_of_ours_are_told_by_their_address(self, bench: Bench) -> None:
        record = Record("personas_1:1:i0", "email:ana@example.test", True, orjson.dumps({"email": " Ana@example.test"}))
        assert self._send(bench, record) == Accepted()
        assert bench.held() == {_hash("ana@example.test"): True}

    def test_nobody_who_cannot_be_matched_is_sent(self, bench: Bench, board: Switchboard) -> None:
        record = Record("personas_1:1:i0", "anonymous_id:a-1", True, orjson.dumps({"city": "Oslo"}))
        verdict = self._send(bench, record)
        assert isinstance(verdict, Accepted)
        assert "externalId" in verdict.rejected[0]
        assert board.requests == []

    @pytest.mark.parametrize(
        ("fields", "column", "value"),
        [
            pytest.param({"email": _hash("x").upper()}, "EMAIL", _hash("x"), id="an address that is hashed already is kept"),
            pytest.param({"phone": "0049 (30) 901820", "country": "DE"}, "PHONE", _hash("4930901820"), id="a phone number has no plus"),
            pytest.param({"phone": "030 901820", "country": "DE"}, "PHONE", _hash("4930901820"), id="the country completes a number"),
            pytest.param({"birth": {"month": "december", "day": "7"}}, "DOBM", _hash("12"), id="a month by its name"),
            pytest.param({"birth": {"day": "7"}}, "DOBD", _hash("07"), id="a day has two digits"),
            pytest.param({"name": {"last": " De-La Cruz "}}, "LN", _hash("dela cruz"), id="a name without punctuation"),
            pytest.param({"city": "東京"}, "CT", "", id="a city of which no letter is left is left out"),
            pytest.param({"gender": "Woman"}, "GEN", _hash("f"), id="a gender in other words"),
            pytest.param({"zip": "SW1A 1AA"}, "ZIP", _hash("sw1a1aa"), id="a postal code with a space"),
        ],
    )
    def test_values_are_as_meta_wants_them(self, bench: Bench, board: Switchboard, fields: Any, column: str, value: str) -> None:
        assert self._send(bench, _person(**fields)) == Accepted()
        sent = orjson.loads(board.requests[0].body)["payload"]
        assert dict(zip(sent["schema"], sent["data"][0], strict=True))[column] == value
        assert sent["schema"] == list(SCHEMA)

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"email": "ana at example.test"}, id="no address"),
            pytest.param({"phone": "415 555 0105"}, id="a number of no country"),
            pytest.param({"country": "Germany"}, id="no country of two letters"),
        ],
    )
    def test_what_cannot_be_normalised_is_rejected_alone_without_its_value(self, bench: Bench, fields: dict[str, str]) -> None:
        verdict = self._send(bench, _person(**fields), bench.record("u-2"))
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert "cannot be used" in verdict.rejected[0]
        assert not any(value in verdict.rejected[0] for value in fields.values())
        assert bench.held() == {"u-2": True}

    def test_invalid_entries_in_a_batch_are_looked_for(self, bench: Bench) -> None:
        bench.fake.refuse("u-1")
        assert isinstance(self._send(bench, bench.record("u-1"), bench.record("u-2")), Bisect)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            pytest.param(190, Stop, id="the token is no good"),
            pytest.param(200, Stop, id="a right is missing"),
            pytest.param(80003, Pause, id="too many requests for custom audiences"),
            pytest.param(2, Backoff, id="Meta is ill"),
            pytest.param(100, Accepted, id="the data is refused"),
        ],
    )
    def test_the_code_in_the_answer_counts_not_its_status(self, bench: Bench, board: Switchboard, code: int, kind: type[Verdict]) -> None:
        board.reply_with(reply_json({"error": {"message": "no", "code": code}}, 400))
        assert isinstance(self._send(bench, bench.record("u-1")), kind)

    def test_it_waits_as_long_as_meta_estimates(self, bench: Bench, board: Switchboard) -> None:
        usage = orjson.dumps({"4711": [{"type": "custom_audience", "estimated_time_to_regain_access": 19}]}).decode()
        board.reply_with(Reply(400, b'{"error": {"code": 80003}}', {"X-Business-Use-Case-Usage": usage}))
        assert self._send(bench, bench.record("u-1")) == Pause(1140)

    def test_an_audience_of_the_same_name_is_found_again(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None)
        assert bench.destination.find_list(settings=bench.settings, target=wanted, deadline_s=5) == ListId("77")

    def _send(self, bench: Bench, *records: Record) -> Verdict:
        return bench.send(records)
