from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, ListId, Stop
from engage_pipelines.destinations.iterable_lists import IterableLists
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.iterable_lists import Fake


def _looked_for_before(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return requests[1:] if case.get("op") == "createAudience" else requests


class TestIterableLists(VendorConformance):
    destination = IterableLists()
    list_settings: ClassVar[Mapping[str, object]] = {"updateExistingUsersOnly": False}
    differences = (Difference("a list is looked for in a step of its own, before it is made", _looked_for_before),)

    def test_the_number_of_a_list_is_text_here_and_a_number_there(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, computation="new")
        assert bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5) == ListId("78")
        bench.deliver([bench.record("u-1")])
        assert bench.board is not None
        assert orjson.loads(bench.board.requests[-1].body)["listId"] == 77

    def test_a_list_is_found_by_the_audiences_key(self, bench: Bench) -> None:
        nameless = replace(bench.target(), external_id=None, name="Anything")
        assert bench.destination.find_list(settings=bench.settings, target=nameless, deadline_s=5) == ListId("77")

    def test_who_leaves_stays_in_the_project_and_nobody_is_made_by_leaving(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        bench.deliver([bench.record("u-1", entered=False), bench.record("u-9", entered=False)])
        assert isinstance(bench.fake, Fake)
        assert bench.fake.users == {"u-1"}

    def test_whom_iterable_does_not_know_is_refused_where_nobody_is_to_be_made(self, bench: Bench) -> None:
        target = replace(bench.target(), list_settings={"updateExistingUsersOnly": True})
        verdict = bench.destination.send(
            [bench.record("u-1")], action="sync_audience", settings=bench.settings, target=target, deadline_s=5
        )
        assert verdict == Accepted({0: "Iterable does not know this user, and none is to be made"})

    @pytest.mark.parametrize("list_id", [None, "seventy-seven"])
    def test_without_a_list_that_has_a_number_nothing_is_sent(self, bench: Bench, list_id: str | None) -> None:
        target = replace(bench.target(), external_id=list_id)
        verdict = bench.destination.send(
            [bench.record("u-1")], action="sync_audience", settings=bench.settings, target=target, deadline_s=5
        )
        assert isinstance(verdict, Stop)
        assert bench.board is not None
        assert bench.board.requests == []
