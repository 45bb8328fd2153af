from collections.abc import Mapping
from typing import Any

import pytest

from engage_pipelines.destinations.amplitude import LIBRARY, Amplitude
from engage_pipelines.destinations.base import Accepted, Record, Stop, Target
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.local_server import Reply
from engage_pipelines.testing.vendor import Switchboard
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.amplitude import Fake


def _fields(request: Seen) -> dict[str, Any]:
    return dict(request["body"]["form"]) if request["body"] else {}


def _with(request: Seen, fields: dict[str, Any]) -> Seen:
    return {**request, "body": {"form": sorted([name, value] for name, value in fields.items())}} if fields else request


def _no_undefined(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [_with(one, {name: value for name, value in _fields(one).items() if value != "undefined"}) for one in requests]


def _lists(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    def changed(fields: dict[str, Any]) -> dict[str, Any]:
        said = fields.get("identification")
        return {**fields, "identification": [said]} if isinstance(said, dict) else fields

    return [_with(one, changed(_fields(one))) for one in requests]


def _own_name(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    def changed(fields: dict[str, Any]) -> dict[str, Any]:
        said = fields.get("identification")
        return {**fields, "identification": [{**entry, "library": LIBRARY} for entry in said]} if said else fields

    return [_with(one, changed(_fields(one))) for one in requests]


def _somebody(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    names = {"user_id", "device_id", "group_value"}
    return [one for one in requests if not one["body"] or all(names & set(entry) for entry in _fields(one)["identification"])]


class TestAmplitude(VendorConformance):
    destination = Amplitude()
    differences = (
        Difference("options are left out where there are none, the oracle sends the word undefined", _no_undefined),
        Difference("people are sent as a list, since many share a request", _lists),
        Difference("the library is named as who sends", _own_name),
        Difference("what is about nobody is refused here", _somebody),
    )

    def test_many_people_share_a_request(self, bench: Bench, board: Switchboard) -> None:
        assert bench.deliver([bench.record(f"u-{number}") for number in range(5)]) == {}
        assert len(board.requests) == 1

    @pytest.mark.parametrize(
        "said", [pytest.param(b"invalid_api_key", id="a word"), pytest.param(b'{"error":"Invalid API key: x"}', id="a sentence")]
    )
    def test_a_wrong_api_key_stops_though_it_is_told_with_400(self, bench: Bench, board: Switchboard, said: bytes) -> None:
        board.always_reply_with(Reply(400, said))
        verdict = bench.send([bench.record("u-1"), bench.record("u-2")])
        assert isinstance(verdict, Stop)
        assert "API key" in verdict.remedy

    def test_a_group_has_its_properties_and_its_people_belong_to_it(self, bench: Bench) -> None:
        payload = b'{"user_id": "u-1", "group_type": "account", "group_value": "acct-1", "group_properties": {"big_spenders": true}}'
        target = Target("main", "big_spenders", "account", 1)
        verdict = self.destination.send(
            [Record("m", "group_id:acct-1", True, payload)], action="identify_group", settings=bench.settings, target=target, deadline_s=5
        )
        assert verdict == Accepted()
        assert isinstance(bench.fake, Fake)
        assert bench.fake.groups == {"acct-1": {"big_spenders": True}}
        assert bench.fake.people == {"u-1": {"account": "acct-1"}}
