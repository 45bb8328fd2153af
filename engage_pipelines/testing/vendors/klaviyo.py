"""A fake Klaviyo: profiles, 409 with the id of one that is there, imports of 10,000, lists, look-ups that name 20 unless asked for more."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json, sent_query

MOST_IMPORTED, MOST_REMOVED, MOST_FOUND, USUALLY_FOUND = 10_000, 1_000, 100, 20


class Fake(FakeApi):
    """Profiles by their number, known by e-mail address (in lower case, as Klaviyo keeps it), phone number or external id."""

    login = (("authorization", "Klaviyo-API-Key the-api-key"), ("revision", "2025-01-15"))
    secrets = ("the-api-key",)
    list_id = "LIST1"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"LIST1": "Big spenders"}
        self.lists: dict[str, set[str]] = {"LIST1": set()}
        self.profiles: dict[str, dict[str, Any]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-api-key", "endpoint": url}

    @route("GET", "/api/accounts/")
    def accounts(self, request: Received) -> Reply:
        return reply_json({"data": [{"type": "account", "id": "AbC123"}]})

    @route("GET", "/api/lists")
    def lists_there(self, request: Received) -> Reply:
        wanted = orjson.loads(re.fullmatch(r"equals\(name,(.*)\)", sent_query(request)["filter"])[1])  # type: ignore[index]
        return reply_json({"data": [{"type": "list", "id": one} for one, name in self.names.items() if name == wanted]})

    @route("POST", "/api/lists")
    def make_list(self, request: Received) -> Reply:
        made = f"LIST{len(self.names) + 1}"
        self.names[made] = sent_json(request)["data"]["attributes"]["name"]
        self.lists[made] = set()
        return reply_json({"data": {"type": "list", "id": made}}, 201)

    @route("GET", "/api/lists/([^/]+)")
    def one_list(self, request: Received, list_id: str) -> Reply:
        return reply_json({"data": {"type": "list", "id": list_id}}) if list_id in self.lists else _problem(404, "no such list")

    @route("POST", "/api/profiles/")
    def make(self, request: Received) -> Reply:
        attributes = sent_json(request)["data"]["attributes"]
        problem = self._wrong(attributes)
        if problem:
            return _problem(400, problem)
        known = self._known(attributes)
        if known:
            errors = [{"detail": "A profile already exists", "meta": {"duplicate_profile_id": known}}]
            return reply_json({"errors": errors}, 409)
        return reply_json({"data": {"type": "profile", "id": self._keep(attributes)}}, 201)

    @route("PATCH", "/api/profiles/([^/]+)")
    def change(self, request: Received, profile: str) -> Reply:
        if profile not in self.profiles:
            return _problem(404, "no such profile")
        self._keep(sent_json(request)["data"]["attributes"])
        return reply_json({"data": {"type": "profile", "id": profile}})

    @route("POST", "/api/profile-bulk-import-jobs/")
    def take_many(self, request: Received) -> Reply:
        job = sent_json(request)["data"]
        profiles = [profile["attributes"] for profile in job["attributes"]["profiles"]["data"]]
        lists = [one["id"] for one in job.get("relationships", {}).get("lists", {}).get("data", [])]
        if len(profiles) > MOST_IMPORTED:
            return _problem(413, "too many profiles")
        wrong = [(at, problem) for at, profile in enumerate(profiles) if (problem := self._wrong(profile))]
        if wrong:
            pointers = [{"detail": said, "source": {"pointer": f"/data/attributes/profiles/data/{at}/attributes"}} for at, said in wrong]
            return reply_json({"errors": pointers}, 400)
        if any(one not in self.lists for one in lists):
            return _problem(404, "no such list")
        for profile in profiles:
            profile_id = self._keep(profile)
            for one in lists:
                self.lists[one].add(profile_id)
        return reply_json({"data": {"type": "profile-bulk-import-job", "id": "job1"}}, 202)

    @route("GET", "/api/profiles/")
    def find(self, request: Received) -> Reply:
        asked = sent_query(request)
        found = re.fullmatch(r"any\((\w+),(\[.*\])\)", asked["filter"])
        assert found is not None
        wanted = set(orjson.loads(found[2]))
        size = int(asked.get("page[size]", USUALLY_FOUND))
        if size > MOST_FOUND:
            return _problem(400, "page[size] is at most 100")
        ids = [number for number, profile in self.profiles.items() if profile.get(found[1]) in wanted]
        return reply_json({"data": [{"type": "profile", "id": number} for number in ids[:size]]})

    @route("POST", "/api/lists/([^/]+)/relationships/profiles/")
    def join(self, request: Received, list_id: str) -> Reply:
        if list_id not in self.lists:
            return _problem(404, "no such list")
        self.lists[list_id] |= {one["id"] for one in sent_json(request)["data"]}
        return Reply(204)

    @route("DELETE", "/api/lists/([^/]+)/relationships/profiles/")
    def leave(self, request: Received, list_id: str) -> Reply:
        members = {one["id"] for one in sent_json(request)["data"]}
        if not members or len(members) > MOST_REMOVED:
            return _problem(400, "between 1 and 1,000 profiles")
        self.lists[list_id] -= members
        return Reply(204)

    def _wrong(self, profile: dict[str, Any]) -> str:
        if not any(profile.get(kind) for kind in ("email", "phone_number", "external_id")):
            return "One of email, phone_number or external_id is needed"
        return "Invalid email address" if profile.get("email") == self.unwanted else ""

    def _known(self, profile: dict[str, Any]) -> str | None:
        kept = _kept(profile)
        for kind in ("external_id", "email", "phone_number"):
            for number, one in self.profiles.items():
                if kept.get(kind) and one.get(kind) == kept[kind]:
                    return number
        return None

    def _keep(self, profile: dict[str, Any]) -> str:
        number = self._known(profile) or f"PROFILE{len(self.profiles) + 1}"
        self.profiles.setdefault(number, {}).update(_kept(profile))
        return number

    def held(self) -> Mapping[str, bool]:
        return {self.profiles[number]["email"]: True for number in self.lists["LIST1"]}


def _kept(profile: dict[str, Any]) -> dict[str, Any]:
    return {**profile, "email": profile["email"].lower()} if profile.get("email") else profile


def _problem(status: int, said: str) -> Reply:
    return reply_json({"errors": [{"detail": said}]}, status)
