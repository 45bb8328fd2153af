import uuid
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Record
from engage_pipelines.destinations.posthog import IDS, PostHog
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.posthog import Fake


def _in_a_batch(case: Any, requests: list[Seen]) -> list[Seen]:
    def moved(request: Seen) -> Seen:
        body = request["body"]
        if "batch" in body:
            return request
        event = {
            "event": body["event"],
            "timestamp": body["timestamp"],
            "properties": {**body["properties"], "distinct_id": body["distinct_id"]},
        }
        return {**request, "url": "https://us.i.posthog.com/batch/", "body": {"api_key": body["api_key"], "batch": [event]}}

    return [moved(request) for request in requests]


def _identified(case: Any, requests: list[Seen]) -> list[Seen]:
    for request in requests:
        for event in request["body"].get("batch", []):
            event["properties"].pop("$process_person_profile", None)
    return requests


def _with_ids(case: Any, requests: list[Seen]) -> list[Seen]:
    events = case.get("events") or [case["event"]]
    for request in requests:
        for event, sent in zip(request["body"]["batch"], events, strict=True):
            event["uuid"] = str(uuid.uuid5(IDS, sent["messageId"]))
    return requests


class TestPostHog(VendorConformance):
    destination = PostHog()
    differences = (
        Difference("people are set in batches, as events are", _in_a_batch),
        Difference("events of people who are known are not sent as anonymous ones", _identified),
        Difference("events bear an id, so that a repeat can be told", _with_ids),
    )

    def test_an_account_becomes_a_group(self, bench: Bench) -> None:
        body = orjson.dumps({"group_key": "acct-1", "properties": {"big_spenders": True}})
        record = Record("personas_1:1:g0", "group_id:acct-1", True, body)
        target = bench.target()
        assert bench.destination.send([record], action="group_identify", settings=bench.settings, target=target, deadline_s=5) == Accepted()
        assert bench.board is not None
        assert cast(Fake, bench.board.vendor).groups == {("company", "acct-1"): {"big_spenders": True}}
