import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, ListId, Record, Stop, Verdict
from engage_pipelines.destinations.display_video_360 import DisplayVideo360
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import Switchboard
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.display_video_360 import Fake

_LISTS = ("addedContactInfoList", "removedContactInfoList", "addedMobileDeviceIdList", "removedMobileDeviceIdList")


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _contacts(requests: list[Seen]) -> list[dict[str, Any]]:
    lists = [one["body"].get(name, {}) for one in requests if one["body"] for name in _LISTS]
    return [contact for listed in lists for contact in listed.get("contactInfos", [])]


def _in_lists(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for contact in _contacts(requests):
        contact |= {name: [contact[name]] for name in ("hashedEmails", "hashedPhoneNumbers", "zipCodes") if name in contact}
    return requests


def _whole_addresses(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    names = ("hashedFirstName", "hashedLastName", "countryCode", "zipCodes")
    for contact in _contacts(requests):
        if not all(name in contact for name in names):
            for name in names:
                contact.pop(name, None)
    return requests


def _no_consent_to_go(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        for name in _LISTS:
            if name.startswith("removed") and name in (one["body"] or {}):
                one["body"][name].pop("consent")
    return requests


def _normalised(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for theirs, ours in (("+1 (415) 555-0105", "+14155550105"), ("eve maria", "evemaria")):
        for one in requests:
            one["body"] = json.loads(json.dumps(one["body"]).replace(_hash(theirs), _hash(ours)))
    return requests


def _no_token_first(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if "oauth2" not in one["url"]]


def _only_what_may_be_said(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        (one["body"] or {}).pop("audienceSource", None)
    return requests


class TestDisplayVideo360(VendorConformance):
    destination = DisplayVideo360()
    differences = (
        Difference("addresses, numbers and postal codes are lists, as the API has them", _in_lists),
        Difference("half a postal address is not sent", _whole_addresses),
        Difference("a consent is said of those who come, not of those who go", _no_consent_to_go),
        Difference("numbers are hashed as E.164, names without spaces", _normalised),
        Difference("a token is bought when there is none or it is refused, not for every list", _no_token_first),
        Difference("what only the API may say of an audience is left out", _only_what_may_be_said),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return _hash((email or "").strip().lower())

    def test_a_consent_is_what_people_said_not_always_granted(self, bench: Bench, board: Switchboard) -> None:
        assert self._send(bench, bench.record("u-1")) == Accepted()
        consent = orjson.loads(board.requests[0].body)["addedContactInfoList"]["consent"]
        assert consent == {"adUserData": "CONSENT_STATUS_UNSPECIFIED", "adPersonalization": "CONSENT_STATUS_UNSPECIFIED"}

    def test_several_addresses_of_a_person_are_one_member_and_hashes_are_kept(self, bench: Bench, board: Switchboard) -> None:
        record = self._record(emails=["Ana@example.test", _hash("x").upper()], phoneNumbers="030 901820", countryCode="de")
        assert self._send(bench, record) == Accepted()
        (contact,) = orjson.loads(board.requests[0].body)["addedContactInfoList"]["contactInfos"]
        assert contact == {"hashedEmails": [_hash("ana@example.test"), _hash("x")], "hashedPhoneNumbers": [_hash("+4930901820")]}

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param({"emails": "ana at example.test"}, id="no address"),
            pytest.param({"phoneNumbers": "030 901820"}, id="a number of no country"),
            pytest.param({"firstName": "Ana", "lastName": "Costa"}, id="a name alone"),
        ],
    )
    def test_who_cannot_be_matched_is_rejected_alone(self, bench: Bench, payload: dict[str, str]) -> None:
        verdict = self._send(bench, self._record(**payload), bench.record("u-2"))
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert not any(value in verdict.rejected[0] for value in payload.values())
        assert list(bench.held()) == ["u-2"]

    def test_devices_are_kept_by_an_action_of_their_own(self, bench: Bench) -> None:
        said = {"audience_type": "CUSTOMER_MATCH_DEVICE_ID", "app_id": "12"}
        wanted = replace(bench.target(), external_id=None, name="Devices", list_settings=said)
        made = bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5)
        assert isinstance(made, ListId)
        target = replace(wanted, external_id=made.value)
        for entered, held in ((True, {"ab-1", "ab-2"}), (False, set[str]())):
            record = replace(self._record(mobileDeviceIds=["ab-1", "ab-2"]), entered=entered)
            sent = bench.destination.send([record], action="devices", settings=bench.settings, target=target, deadline_s=5)
            assert sent == Accepted()
            assert cast(Fake, bench.fake).members[made.value] == held
        assert bench.destination.find_list(settings=bench.settings, target=wanted, deadline_s=5) == made

    def test_what_is_missing_to_make_an_audience_is_said(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, list_settings={"audience_type": "CUSTOMER_MATCH_DEVICE_ID"})
        nobodys = bench.settings.model_copy(update={"advertiser_id": None})
        for settings, word in ((bench.settings, "app_id"), (nobodys, "advertiser_id")):
            verdict = bench.destination.create_list(settings=settings, target=wanted, deadline_s=5)
            assert isinstance(verdict, Stop)
            assert word in verdict.remedy

    def _record(self, **payload: object) -> Record:
        return Record("personas_1:1:i0", "email:somebody", True, orjson.dumps(payload))

    def _send(self, bench: Bench, *records: Record) -> Verdict:
        return bench.send(records)
