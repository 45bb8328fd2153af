import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from engage_pipelines.destinations.amplitude_cohorts import AmplitudeCohorts
from engage_pipelines.destinations.base import Stop
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.amplitude_cohorts import Fake


def _first_hit(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    searches = [one for one in requests if one["url"].endswith("usersearch")]
    return [one for one in requests if one not in searches[1:]] if case.get("op") == "createAudience" else requests


def _by_id(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    events = case.get("events") or [case.get("event", {})]
    personas = events[0].get("context", {}).get("personas", {})
    said = case.get("audience", {}).get("audienceSettings") or personas.get("audience_settings", {})
    if said.get("id_type") != "BY_AMP_ID":
        return requests
    text = json.dumps(requests).replace("BY_AMP_ID", "BY_ID").replace("BY_NAME", "BY_ID").replace("BY_USER_ID", "BY_AMP_ID")
    return json.loads(text)


class TestAmplitudeCohorts(VendorConformance):
    destination = AmplitudeCohorts()
    list_settings: ClassVar[Mapping[str, object]] = {"id_type": "BY_USER_ID"}
    differences = (
        Difference("the search for somebody to make the cohort with ends with the first hit", _first_hit),
        Difference("Amplitude's own ids are named as its documents name them, for the cohort and for its members", _by_id),
    )

    def test_the_person_that_a_cohort_was_made_with_is_no_member(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, name="New")
        bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5)
        assert isinstance(bench.fake, Fake)
        assert bench.fake.cohorts["cohort2"] == set()

    def test_without_a_cohort_nothing_is_sent(self, bench: Bench) -> None:
        target = replace(bench.target(), external_id=None)
        verdict = bench.destination.send([bench.record("u-1")], action="sync_cohort", settings=bench.settings, target=target, deadline_s=5)
        assert isinstance(verdict, Stop)
        assert bench.board is not None
        assert bench.board.requests == []
