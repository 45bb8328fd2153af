import json
import uuid
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Record
from engage_pipelines.destinations.mixpanel import IDS, Mixpanel
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.mixpanel import Fake

_MARKS = {"id", "$identified_id", "$source", "segment_source_name", "event_original_name"}


def _not_merged(case: Any, requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if not one["url"].endswith("/track")]


def _in_batches(case: Any, requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["url"].endswith(("/engage", "/groups")):
            ((_, profile),) = one["body"]["form"]
            one |= {"body": [profile], "query": [("verbose", "1")], "headers": {"authorization": "Basic dGhlLWFwaS1zZWNyZXQ6"}}
    return requests


def _picture(case: Any, requests: list[Seen]) -> list[Seen]:
    for one in requests:
        for profile in one["body"] if one["url"].endswith("/engage") else []:
            if "avatar" in profile["$set"]:
                profile["$set"]["$avatar"] = profile["$set"].pop("avatar")
    return requests


def _unmarked(case: Any, requests: list[Seen]) -> list[Seen]:
    for one in requests:
        for event in one["body"] if one["url"].endswith("/import") else []:
            event["properties"] = {name: value for name, value in event["properties"].items() if name not in _MARKS}
    return requests


def _known_ids(case: Any, requests: list[Seen]) -> list[Seen]:
    for one in requests:
        for event in one["body"] if one["url"].endswith("/import") else []:
            event["properties"]["$insert_id"] = str(uuid.uuid5(IDS, event["properties"]["$insert_id"]))
    return requests


class TestMixpanel(VendorConformance):
    destination = Mixpanel()
    differences = (
        Difference("an anonymous person is set as they are, there is nobody to merge with", _not_merged),
        Difference("profiles and groups go in batches, not one by one as forms", _in_batches),
        Difference("a picture of somebody is the one that Mixpanel shows", _picture),
        Difference("what only says that Segment sent it is left out", _unmarked),
        Difference("event ids have the form that Mixpanel takes", _known_ids),
    )

    def test_a_repeated_event_is_dropped_and_a_bad_one_rejected_alone(self, bench: Bench) -> None:
        vendor = self._vendor(bench)
        vendor.refuse("u-2")
        records = [
            Record(f"personas_1:{n}:t0", f"user_id:u-{n}", True, orjson.dumps({"event": "Audience Entered", "distinct_id": f"u-{n}"}))
            for n in range(4)
        ]
        for _ in range(2):
            verdict = bench.destination.send(records, action="track_event", settings=bench.settings, target=bench.target(), deadline_s=5)
            assert isinstance(verdict, Accepted)
            assert list(verdict.rejected) == [2]
        assert len(vendor.events) == 3

    def test_accounts_become_groups_in_batches_of_two_hundred(self, bench: Bench) -> None:
        assert bench.destination.limits_of("group_identify_user", bench.settings).max_batch_records == 200
        body = json.dumps({"group_key": "$group_id", "group_id": "acct-1", "traits": {"name": "Acme", "big_spenders": True}})
        record = Record("personas_1:1:g0", "group_id:acct-1", True, body.encode())
        bench.destination.send([record], action="group_identify_user", settings=bench.settings, target=bench.target(), deadline_s=5)
        assert self._vendor(bench).groups == {("$group_id", "acct-1"): {"$name": "Acme", "big_spenders": True}}

    def _vendor(self, bench: Bench) -> Fake:
        assert bench.board is not None
        return cast(Fake, bench.board.vendor)
