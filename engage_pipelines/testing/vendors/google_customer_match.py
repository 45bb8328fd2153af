"""A fake Google Ads with customer lists: jobs that are made, filled and run; entries and exits in one job are refused, so is a bad hash."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json

_CUSTOMER = "/v21/customers/1234567890"


@dataclass
class _Job:
    list_id: str
    consent: dict[str, str] | None
    operations: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Fake(FakeApi):
    """Lists by id, people by the hash of their e-mail address or by what else they were named by."""

    login = (("developer-token", "the-developer-token"), ("login-customer-id", "1112223333"))
    secrets = ("the-client-secret", "the-refresh-token", "the-developer-token")
    token_path = "/token"  # noqa: S105 (a path)
    list_id = "77"

    def __init__(self) -> None:
        super().__init__()
        self.names = {"77": "Big spenders"}
        self.lists: dict[str, set[str]] = {"77": set()}
        self.jobs: dict[str, _Job] = {}
        self.made: list[dict[str, Any]] = []

    def settings(self, url: str) -> Mapping[str, object]:
        return {
            "client_id": "the-client",
            "client_secret": "the-client-secret",
            "refresh_token": "the-refresh-token",
            "developer_token": "the-developer-token",
            "customer_id": "123-456-7890",
            "login_customer_id": "111-222-3333",
            "endpoint": url,
        }

    @route("POST", f"{_CUSTOMER}/googleAds:search")
    def search(self, request: Received) -> Reply:
        query = sent_json(request)["query"]
        if "FROM user_list" not in query:
            return reply_json({"results": [{"customer": {"id": "1234567890"}}]})
        name, id_ = (re.search(pattern, query) for pattern in (r"user_list\.name = '(.*)' AND", r"user_list\.id = (\d+)"))
        found = [
            {"userList": {"id": one, "name": called}}
            for one, called in self.names.items()
            if (id_ and one == id_[1]) or (name and called == re.sub(r"\\(.)", r"\1", name[1]))
        ]
        return reply_json({"results": found} if found else {})

    @route("POST", f"{_CUSTOMER}/userLists:mutate")
    def make(self, request: Received) -> Reply:
        new = sent_json(request)["operations"][0]["create"]
        made = str(77 + len(self.names))
        self.made.append(new)
        self.names[made] = new["name"]
        self.lists[made] = set()
        return reply_json({"results": [{"resourceName": f"customers/1234567890/userLists/{made}"}]})

    @route("POST", f"{_CUSTOMER}/offlineUserDataJobs:create")
    def job(self, request: Received) -> Reply:
        metadata = sent_json(request)["job"]["customerMatchUserListMetadata"]
        list_id, consent = metadata["userList"].rsplit("/", 1)[-1], metadata.get("consent")
        if list_id not in self.lists:
            return _error("The user list ID provided for the job is invalid.", "INVALID_USER_LIST_ID")
        if consent and "DENIED" in consent.values():
            return _error("The customer did not accept the terms.", "CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS")
        name = f"customers/1234567890/offlineUserDataJobs/{len(self.jobs) + 1}"
        self.jobs[name] = _Job(list_id, consent)
        return reply_json({"resourceName": name})

    @route("POST", r"/v21/(customers/1234567890/offlineUserDataJobs/\d+):addOperations")
    def fill(self, request: Received, name: str) -> Reply:
        operations = sent_json(request)["operations"]
        kinds = {kind for operation in operations for kind in operation}
        if len(kinds) > 1:
            return _error("Mixing creation and removal of offline data in the same job is not allowed.", "CONFLICTING_OPERATION")
        errors: list[dict[str, Any]] = []
        for index, operation in enumerate(operations):
            ((kind, data),) = operation.items()
            who = [str(next(iter(one.values()))) for one in data["userIdentifiers"]]
            if (
                not who
                or self.unwanted in who
                or any("hashed" in key and len(value) != 64 for one in data["userIdentifiers"] for key, value in one.items())
            ):
                errors.append(_problem("The SHA256 encoded value is malformed.", "INVALID_SHA256_FORMAT", index))
            else:
                self.jobs[name].operations.append((kind, who[0]))
        return reply_json(
            {"partialFailureError": {"code": 3, "message": "bad operations", "details": [{"errors": errors}]}} if errors else {}
        )

    @route("POST", r"/v21/(customers/1234567890/offlineUserDataJobs/\d+):run")
    def run(self, request: Received, name: str) -> Reply:
        job = self.jobs[name]
        for kind, who in job.operations:
            (self.lists[job.list_id].add if kind == "create" else self.lists[job.list_id].discard)(who)
        return reply_json({"name": f"{name}/operation"})

    def held(self) -> Mapping[str, bool]:
        return dict.fromkeys(self.lists["77"], True)


def _problem(message: str, code: str, index: int | None = None) -> dict[str, Any]:
    problem: dict[str, Any] = {"errorCode": {"offlineUserDataJobError": code}, "message": message}
    # an index of 0 is the default of its type, and Google's JSON leaves it out
    place = {"fieldName": "operations"} | ({"index": index} if index else {})
    return problem if index is None else problem | {"location": {"fieldPathElements": [place, {"fieldName": "create"}]}}


def _error(message: str, code: str) -> Reply:
    error = {"code": 400, "message": "Request contains an invalid argument.", "details": [{"errors": [_problem(message, code)]}]}
    return reply_json({"error": error}, 400)
