from collections.abc import Mapping
from typing import Any

from engage_pipelines.destinations.base import Accepted, Record
from engage_pipelines.destinations.braze_cohorts import BrazeCohorts
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance


def _made_once(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [request for request in requests if request["url"].endswith("/users")]


class TestBrazeCohorts(VendorConformance):
    destination = BrazeCohorts()
    differences = (Difference("the cohort is made when the connection is, not again with every batch", _made_once),)

    def test_who_has_nothing_to_be_known_by_is_refused_and_the_others_go(self, bench: Bench) -> None:
        nobody = Record("m", "anonymous_id:a", True, b'{"cohort_id": "cohort-1"}')
        verdict = bench.send([bench.record("u-1"), nobody])
        assert verdict == Accepted({1: "a cohort needs an external_id, a user_alias or a device_id"})
        assert bench.held() == {"u-1": True}
