from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.destinations.base import Accepted, Record, Target
from engage_pipelines.destinations.customerio import Customerio
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.records import RENDER, Subject
from engage_pipelines.testing.bench import Bench, envelope
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.customerio import Fake


def _one_endpoint(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [
        {**request, "url": request["url"].replace("/v2/entity", "/v2/batch"), "body": {"batch": [request["body"]]}}
        if request["url"].endswith("/v2/entity")
        else request
        for request in requests
    ]


def _somebody(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [request for request in requests if request["body"] is None or all("identifiers" in one for one in request["body"]["batch"])]


def _together(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if len(requests) < 2:
        return requests
    order = [event.get("groupId") for event in case["events"]]
    entries = sorted(
        (one for request in requests for one in request["body"]["batch"]), key=lambda one: order.index(one["identifiers"]["object_id"])
    )
    return [{**requests[0], "body": {"batch": entries}}]


class TestCustomerio(VendorConformance):
    destination = Customerio()
    differences = (
        Difference("one person goes to the endpoint for many too, so that there is one kind of answer", _one_endpoint),
        Difference("what is about nobody is refused here", _somebody),
        Difference("accounts that a visitor is tied to go with the others", _together),
    )

    def test_the_membership_of_an_account_is_among_its_attributes(self, bench: Bench) -> None:
        """Segment's default mapping reads traits.objectAttributes, which Engage never sends."""
        action = self.destination.action("update_object")
        event = RENDER["group"](Subject(group_id="acct-1"), envelope(), message_id="m", entered=True)
        record = Record("m", "group_id:acct-1", True, orjson.dumps(compile_mapping(action.fields)(event)))
        target = Target("main", "big_spenders", "account", 1)
        assert self.destination.send([record], action="update_object", settings=bench.settings, target=target, deadline_s=5) == Accepted()
        assert isinstance(bench.fake, Fake)
        assert bench.fake.objects == {"acct-1": {"big_spenders": True}}
