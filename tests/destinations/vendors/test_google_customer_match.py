import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, ListId, Record, Stop, Verdict
from engage_pipelines.destinations.google_customer_match import GoogleCustomerMatch
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.google_customer_match import Fake

Expect = Callable[[Mapping[str, Any], list[Seen]], list[Seen]]
Identifiers = Callable[[Any], Any]


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


_BERLIN = _hash("+4930901820")


def _events(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    return case.get("events") or ([case["event"]] if "event" in case else [])


def _direction(case: Mapping[str, Any]) -> str:
    event = _events(case)[0]
    said: dict[str, Any] = event["traits" if event["type"] == "identify" else "properties"]
    return "create" if said["big_spenders"] else "remove"


def _by_membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    """Of an Identify the reference makes no operation; in the mode `add` it adds those who left."""
    if not _events(case):
        return requests
    does = _direction(case)
    filled = [one for one in requests if one["url"].endswith(":addOperations")]
    for one in filled:
        one["body"]["operations"] = [{does: data} for operation in one["body"]["operations"] for data in operation.values()]
    if filled:
        return requests
    job = requests[0]["url"].replace(":create", "/5")
    addresses = [event["traits"]["email"] for event in _events(case)]
    operations = [{does: {"userIdentifiers": [{"hashedEmail": _hash(address)}]}} for address in addresses]
    body = {"operations": operations, "enablePartialFailure": True}
    return [requests[0], {**requests[0], "url": f"{job}:addOperations", "body": body}, {**requests[0], "url": f"{job}:run", "body": None}]


def _one_by_one_too(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["body"] and one["body"].pop("enable_warnings", None):
            one["body"]["enablePartialFailure"] = True
    return requests


def _no_consent_to_go(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["url"].endswith("Jobs:create") and _direction(case) == "remove":
            one["body"]["job"]["customerMatchUserListMetadata"].pop("consent")
    return requests


def _identifiers(change: Identifiers) -> Expect:
    def expect(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
        for one in requests:
            for operation in (one["body"] or {}).get("operations", []):
                for data in operation.values():
                    if "userIdentifiers" in data:
                        data["userIdentifiers"] = change(data["userIdentifiers"])
        return requests

    return expect


def _listed(identifiers: Any) -> Any:
    return cast(Any, identifiers) if isinstance(identifiers, list) else [identifiers]


def _is_whole(identifier: Mapping[str, Any]) -> bool:
    return all(identifier["addressInfo"].values()) if "addressInfo" in identifier else True


def _renamed(identifiers: Any) -> Any:
    said = json.dumps(identifiers)
    for theirs, ours in (("Eve", "eve"), ("Muñoz", "muñoz")):
        said = said.replace(_hash(theirs), _hash(ours))
    return json.loads(said)


def _gmail(identifiers: Any) -> Any:
    said = json.dumps(identifiers)
    return json.loads(said.replace(_hash("evem.smith+news@gmail.com"), _hash("evemsmith@gmail.com")))


def _no_token_first(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if "oauth2" not in one["url"]]


def _by_number(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if "query" in (one["body"] or {}):
            one["body"]["query"] = one["body"]["query"].replace("where", "WHERE").replace("'77'", "77")
    return requests


class TestGoogleCustomerMatch(VendorConformance):
    destination = GoogleCustomerMatch()
    differences = (
        Difference("the membership decides who is added and who is removed, in every sync mode and for every call", _by_membership),
        Difference("one person alone is refused alone, as in a batch", _one_by_one_too),
        Difference("a consent is said of those who come, not of those who go", _no_consent_to_go),
        Difference("identifiers are a list for every kind of list", _identifiers(_listed)),
        Difference("half a postal address is not sent", _identifiers(lambda them: [one for one in them if _is_whole(one)])),
        Difference("names are hashed in lower case", _identifiers(_renamed)),
        Difference("every dot, and what follows a plus, means nothing in a Gmail address", _identifiers(_gmail)),
        Difference("a token is bought when there is none or it is refused, not for every list", _no_token_first),
        Difference("a list is looked for by its number", _by_number),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return _hash((email or "").strip().lower())

    def test_nobody_who_left_is_added_in_the_mode_add(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1"), bench.record("u-2")])
        body = {"email": "u-1@example.test", "__segment_internal_sync_mode": "add"}
        assert self._send(bench, _record(False, **body)) == Accepted()
        assert bench.held() == {"u-2": True}

    def test_those_who_denied_their_consent_are_not_added_but_may_go(self, bench: Bench, board: Switchboard) -> None:
        denied = {"email": "u-1@example.test", "ad_user_data_consent_state": "DENIED"}
        verdict = self._send(bench, _record(True, **denied))
        assert isinstance(verdict, Accepted)
        assert "consent" in verdict.rejected[0]
        assert board.requests == []
        bench.deliver([bench.record("u-1")])
        assert self._send(bench, _record(False, **denied)) == Accepted()
        assert bench.held() == {}

    def test_the_consent_of_one_person_is_not_laid_on_another(self, bench: Bench) -> None:
        given = _record(True, email="a@example.test", ad_user_data_consent_state="GRANTED")
        unsaid = _record(True, email="b@example.test")
        assert self._send(bench, given, unsaid) == Accepted()
        assert [job.consent["adUserData"] for job in self._vendor(bench).jobs.values() if job.consent] == ["GRANTED", "UNSPECIFIED"]

    @pytest.mark.parametrize(
        ("payload", "identifier"),
        [
            pytest.param({"email": _hash("x").upper()}, {"hashedEmail": _hash("x")}, id="an address that is hashed already is kept"),
            pytest.param({"phone": "+49 30 901820"}, {"hashedPhoneNumber": _BERLIN}, id="a phone number keeps its plus"),
            pytest.param(
                {"phone": "030 901820", "phone_country_code": "+49"},
                {"hashedPhoneNumber": _BERLIN},
                id="a calling code beside",
            ),
            pytest.param({"phone": "030 901820", "country_code": "de"}, {"hashedPhoneNumber": _BERLIN}, id="a country beside it"),
        ],
    )
    def test_people_are_matched_by(self, bench: Bench, board: Switchboard, payload: dict[str, str], identifier: dict[str, str]) -> None:
        assert self._send(bench, _record(True, **payload)) == Accepted()
        (operation,) = orjson.loads(board.requests[1].body)["operations"]
        assert operation == {"create": {"userIdentifiers": [identifier]}}

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param({"phone": "030 901820"}, id="a number of no country is not taken for an American one"),
            pytest.param({"email": "ana at example.test"}, id="no address"),
            pytest.param({"first_name": "Ana", "last_name": "Costa"}, id="a name alone"),
        ],
    )
    def test_who_cannot_be_matched_is_rejected_alone(self, bench: Bench, payload: dict[str, str]) -> None:
        verdict = self._send(bench, _record(True, **payload), bench.record("u-2"))
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert not any(value in verdict.rejected[0] for value in payload.values())
        assert bench.held() == {"u-2": True}

    def test_a_list_by_crm_id_takes_the_user_id(self, bench: Bench) -> None:
        target = replace(bench.target(), list_settings={"external_id_type": "CRM_ID"})
        records = [_record(True, crm_id="u-1"), _record(True, email="ana@example.test")]
        verdict = bench.destination.send(records, action="user_list", settings=bench.settings, target=target, deadline_s=5)
        assert isinstance(verdict, Accepted)
        assert "crm_id" in verdict.rejected[1]
        assert bench.held() == {"u-1": True}

    def test_a_job_of_which_every_operation_was_refused_is_not_run(self, bench: Bench, board: Switchboard) -> None:
        bench.fake.refuse(bench.identity("u-1"))
        assert isinstance(self._send(bench, bench.record("u-1")), Accepted)
        assert not any(request.path.endswith(":run") for request in board.requests)

    def test_two_jobs_at_once_about_a_list_are_tried_again(self, bench: Bench, board: Switchboard) -> None:
        errors = [{"errorCode": {"databaseError": "CONCURRENT_MODIFICATION"}, "message": "again"}]
        board.reply_with(reply_json({"error": {"code": 400, "details": [{"errors": errors}]}}, 400))
        assert isinstance(self._send(bench, bench.record("u-1")), Backoff)

    def test_a_list_of_devices_names_their_app(self, bench: Bench) -> None:
        for settings, kind in (({}, Stop), ({"app_id": "12"}, ListId)):
            said = {"external_id_type": "MOBILE_ADVERTISING_ID", "membership_days": 30, **settings}
            target = replace(bench.target(), external_id=None, list_settings=said)
            assert isinstance(bench.destination.create_list(settings=bench.settings, target=target, deadline_s=5), kind)
        (new,) = self._vendor(bench).made
        assert new["crmBasedUserList"] == {"uploadKeyType": "MOBILE_ADVERTISING_ID", "appId": "12"}
        assert new["membershipLifeSpan"] == "30"

    def test_a_name_with_a_quote_is_looked_for_as_it_is(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, name="Ana's \\ list")
        made = bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5)
        assert bench.destination.find_list(settings=bench.settings, target=wanted, deadline_s=5) == made

    def _send(self, bench: Bench, *records: Record) -> Verdict:
        return bench.send(records)

    def _vendor(self, bench: Bench) -> Fake:
        return cast(Fake, bench.fake)


def _record(entered: bool, **payload: str) -> Record:
    return Record("personas_1:1:i0", "email:somebody", entered, orjson.dumps(payload))
