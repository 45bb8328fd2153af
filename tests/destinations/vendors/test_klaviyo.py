from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import orjson

from engage_pipelines.destinations.base import Accepted, Bisect, ListId, Record, Stop, Verdict
from engage_pipelines.destinations.klaviyo import Klaviyo
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.klaviyo import Fake


def _searches(requests: list[Seen]) -> list[Seen]:
    return [one for one in requests if one["method"] == "GET" and one["url"].endswith("/profiles/")]


def _all_of_them(case: Any, requests: list[Seen]) -> list[Seen]:
    for one in _searches(requests):
        one["query"].append(("page[size]", "100"))
    return requests


def _as_they_are(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    events = case.get("events") or [case.get("event", {})]
    emails = [str(event["context"]["traits"]["email"]) for event in events if event.get("context", {}).get("traits", {}).get("email")]
    known = {"external_id": [event["userId"] for event in events if "userId" in event], "email": emails}
    for one in _searches(requests):
        for at, (name, value) in enumerate(one["query"]):
            kind = value.removeprefix("any(").partition(",")[0]
            if kind in known or kind == "phone_number":
                values = known.get(kind) or orjson.loads(value.partition(",")[2].removesuffix(")").replace('" ', '"+'))
                one["query"][at] = (name, f"any({kind},[{_listed(list(dict.fromkeys(values)))}])")
    return requests


def _listed(values: list[str]) -> str:
    return ",".join(f'"{value}"' for value in values)


def _lower_case(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in _searches(requests):
        for at, (name, value) in enumerate(one["query"]):
            if value.startswith("any(email,"):
                emails = orjson.loads(value.removeprefix("any(email,").removesuffix(")"))
                one["query"][at] = (name, f"any(email,[{_listed(list(dict.fromkeys(two for e in emails for two in (e, e.lower()))))}])")
    return requests


def _properties(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if case.get("action") == "upsertProfile":
        traits = {event["traits"].get("email"): event["traits"] for event in case.get("events") or [case["event"]]}
        for one in requests:
            data = one["body"]["data"]
            profiles = data["attributes"]["profiles"]["data"] if "profiles" in data["attributes"] else [data]
            for profile in profiles:
                profile["attributes"]["properties"] = traits[profile["attributes"]["email"]]
    return requests


def _one_left(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    job = requests[0]["body"]["data"] if len(requests) == 1 and requests[0]["url"].endswith("/profile-bulk-import-jobs/") else None
    profiles = job["attributes"]["profiles"]["data"] if job else []
    if job is None or len(profiles) != 1:
        return requests
    made = {**requests[0], "url": "https://a.klaviyo.com/api/profiles/", "body": {"data": profiles[0]}}
    lists = job.get("relationships", {}).get("lists", {}).get("data", [])
    place = "https://a.klaviyo.com/api/lists/{}/relationships/profiles/"
    return [made, *({**made, "url": place.format(one["id"]), "body": {"data": [{"type": "profile", "id": "P1"}]}} for one in lists)]


def _up_to_date(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if not requests:
        return requests
    made, joined = requests[0], requests[-1]
    attributes = made["body"]["data"]["attributes"] if made["url"].endswith("/profiles/") and made["body"] else {}
    says_more = any(value for name, value in attributes.items() if name not in {"email", "phone_number", "external_id"})
    if case.get("action") != "addProfileToList" or joined["body"]["data"] != [{"type": "profile", "id": "P9"}] or not says_more:
        return requests
    changed = {"data": {"type": "profile", "attributes": attributes, "id": "P9"}}
    return [made, {**made, "method": "PATCH", "url": made["url"] + "P9", "body": changed}, joined]


class TestKlaviyo(VendorConformance):
    destination = Klaviyo()
    differences = (
        Difference("who is left alone of a batch goes as anybody alone does, and no job is made", _one_left),
        Difference("a hundred profiles are asked for where Klaviyo names twenty, or the others would never leave", _all_of_them),
        Difference("a plus is not taken for a space, and nothing is cut at a #", _as_they_are),
        Difference("an address is looked for in lower case too", _lower_case),
        Difference("a profile gets the traits, the membership among them", _properties),
        Difference("a profile that is there already gets what is new of it, as it does in an import", _up_to_date),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return str(email).lower()

    def test_everybody_leaves_however_many_they_are(self, bench: Bench) -> None:
        people = [f"u-{number}" for number in range(250)]
        bench.deliver([bench.record(person) for person in people])
        assert len(bench.held()) == 250
        bench.deliver([bench.record(person, entered=False) for person in people])
        assert bench.held() == {}
        assert len(self._klaviyo(bench).profiles) == 250

    def test_who_leaves_under_an_address_in_another_case_leaves(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1", email="Ana@Example.test")])
        bench.deliver([bench.record("u-1", email="ANA@example.test", entered=False)])
        assert bench.held() == {}

    def test_who_leaves_and_is_not_known_is_not_made(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1", entered=False), bench.record("u-2", entered=False)])
        assert self._klaviyo(bench).profiles == {}
        assert bench.board is not None
        assert [request.method for request in bench.board.requests] == ["GET"]

    def test_a_profile_that_is_there_already_gets_what_is_new(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1")])
        body = {"email": "u-1@example.test", "first_name": "Ana"}
        assert self._send(bench, "add_to_list", body) == Accepted()
        assert self._klaviyo(bench).profiles == {"PROFILE1": {"email": "u-1@example.test", "location": {}, "first_name": "Ana"}}

    def test_a_profile_gets_the_membership_as_a_property_where_a_mapping_says_so(self, bench: Bench) -> None:
        body = {"external_id": "u-1", "properties": {"big_spenders": False}}
        for _ in range(2):
            assert self._send(bench, "upsert_profile", body, entered=False) == Accepted()
        assert self._send(bench, "upsert_profile", body, {**body, "external_id": "u-2"}) == Accepted()
        assert [one["properties"] for one in self._klaviyo(bench).profiles.values()] == [{"big_spenders": False}] * 2
        assert bench.held() == {}

    def test_a_profile_that_klaviyo_names_is_left_out_and_the_others_go_at_once(self, bench: Bench) -> None:
        bench.fake.refuse("u-1@example.test")
        assert bench.send([bench.record(f"u-{number}") for number in range(3)]) == Accepted({1: "Invalid email address"})
        assert bench.board is not None
        assert len(bench.board.requests) == 2

    def test_identifiers_that_cannot_be_used_are_refused_alone_and_without_their_value(self, bench: Bench) -> None:
        good, number, long = {"email": "a@example.test"}, {"phone_number": "555"}, {"external_id": "x" * 256}
        verdict = self._send(bench, "add_to_list", good, number, long, {"first_name": "Ana"})
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [1, 2, 3]
        assert "555" not in verdict.rejected[1]

    def test_a_number_of_a_country_is_written_as_one_of_the_world(self, bench: Bench) -> None:
        self._send(bench, "add_to_list", {"email": "a@example.test", "phone_number": "(415) 555-0105", "country_code": "US"})
        assert self._klaviyo(bench).profiles["PROFILE1"]["phone_number"] == "+14155550105"

    def test_a_list_that_was_chosen_is_used_and_one_that_is_not_there_is_said(self, bench: Bench) -> None:
        for chosen, found in (("LIST1", ListId("LIST1")), ("LIST9", None)):
            target = replace(bench.target(), external_id=None, list_settings={"listId": chosen})
            assert bench.destination.find_list(settings=bench.settings, target=target, deadline_s=5) == found
        made = bench.destination.create_list(settings=bench.settings, target=target, deadline_s=5)
        assert isinstance(made, Stop)
        assert "LIST9" in made.reason

    def test_a_list_is_found_by_its_name(self, bench: Bench) -> None:
        target = replace(bench.target(), external_id=None)
        assert bench.destination.find_list(settings=bench.settings, target=target, deadline_s=5) == ListId("LIST1")

    def test_a_list_that_is_gone_stops_the_sync(self, bench: Bench) -> None:
        for people in ("u-1",), ("u-1", "u-2"):
            target = replace(bench.target(), external_id="GONE")
            records = [bench.record(person) for person in people]
            verdict = bench.destination.send(records, action="add_to_list", settings=bench.settings, target=target, deadline_s=5)
            assert isinstance(verdict, Stop), verdict

    def _send(self, bench: Bench, action: str, *bodies: dict[str, Any], entered: bool = True) -> Verdict:
        records = [Record(f"personas_1:{at}:i0", f"user_id:u-{at}", entered, orjson.dumps(body)) for at, body in enumerate(bodies)]
        verdict = bench.destination.send(records, action=action, settings=bench.settings, target=bench.target(), deadline_s=5)
        assert not isinstance(verdict, Bisect)
        return verdict

    def _klaviyo(self, bench: Bench) -> Fake:
        return cast(Fake, bench.fake)
