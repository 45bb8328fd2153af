from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Bisect, Record
from engage_pipelines.destinations.http import Answer
from engage_pipelines.destinations.iterable import Iterable, read
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.iterable import Fake


def _one_as_many(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if "event" not in case or not case.get("mapping", {}).get("updateOnly"):
        return requests
    url = "https://api.iterable.com/api/users/bulkUpdate"
    return [{**one, "url": url, "body": {"users": [one["body"]], "updateOnly": True}} for one in requests]


class TestIterable(VendorConformance):
    destination = Iterable()
    differences = (Difference("that nobody is to be created counts for one user as for many", _one_as_many),)

    def test_nobody_is_created_where_the_mapping_says_so_and_who_goes_need_not_be_known(self, bench: Bench) -> None:
        for entered, refused in ((True, {0: "Iterable does not know this user, and none is to be made"}), (False, {})):
            body = orjson.dumps({"userId": "u-1", "dataFields": {"big_spenders": entered}, "updateOnly": True})
            assert bench.send([replace(bench.record("u-1", entered=entered), body=body)]) == Accepted(refused)
        assert isinstance(bench.fake, Fake)
        assert bench.fake.users == {}

    def test_a_user_that_is_refused_alone_is_refused_in_the_vendors_words(self, bench: Bench) -> None:
        bench.fake.refuse("u-1")
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Accepted)
        assert "Invalid userId" in verdict.rejected[0]

    def test_who_has_no_identifier_is_refused_alone(self, bench: Bench) -> None:
        nobody = Record("personas_1:1:i0", "anonymous_id:a-1", True, b'{"dataFields": {"big_spenders": true}}')
        assert bench.send([bench.record("u-1"), nobody]) == Accepted({1: "Iterable needs an email or a userId"})
        assert bench.held() == {"u-1": True}

    @pytest.mark.parametrize(
        ("said", "verdict"),
        [
            pytest.param(
                {"failCount": 1, "failedUpdates": {"forgottenEmails": ["ana@EXAMPLE.test"]}},
                Accepted({0: "the person asked Iterable to be forgotten"}),
                id="an address in another case",
            ),
            pytest.param(
                {"failCount": 1, "invalidUserIds": ["u-2"]},
                Accepted({1: "Iterable finds the user id not valid"}),
                id="as it said it before",
            ),
            pytest.param(
                {"failCount": 1},
                Bisect("the destination did not take 1 of 2 users, and does not say why"),
                id="nobody is named",
            ),
        ],
    )
    def test_whom_iterable_names_is_refused_alone(self, said: dict[str, Any], verdict: object) -> None:
        users = [{"email": "Ana@example.test"}, {"userId": "u-2"}]
        assert read(Answer(200, body=reply_json(said).body), users, expected=set()) == verdict
