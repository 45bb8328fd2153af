"""A fake LaunchDarkly: contexts of one kind and environment a request, a segment made when its first context comes."""

from collections.abc import Mapping

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, reply_json, route, sent_json

ENVIRONMENT = "client-side-1"


class Fake(FakeApi):
    """Contexts by segment."""

    login = (("authorization", "the-service-token"),)
    secrets = ("the-service-token",)

    def __init__(self) -> None:
        super().__init__()
        self.segments: dict[str, set[str]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-service-token", "client_id": ENVIRONMENT, "endpoint": url}

    @route("POST", "/api/v2/segment-targets/segment-audiences")
    def contexts(self, request: Received) -> Reply:
        sent = sent_json(request)
        if request.headers.get("ld-api-version") != "20240415":
            return reply_json({"code": "invalid_request", "message": "the version of the API is missing"}, 400)
        if sent.get("environmentId") != ENVIRONMENT or not sent.get("contextKind"):
            return reply_json({"code": "invalid_request", "message": "unknown environment or kind"}, 400)
        if any(one["userId"] == self.unwanted for one in sent["batch"]):
            return reply_json({"code": "invalid_request", "message": "a context key is not valid"}, 400)
        for one in sent["batch"]:
            segment = self.segments.setdefault(one["cohortId"], set())
            (segment.add if one["value"] else segment.discard)(one["userId"])
        return Reply(202, b"")

    @route("GET", "/api/v2/versions")
    def versions(self, request: Received) -> Reply:
        return reply_json({"validVersions": [20240415]})

    @route("HEAD", f"/sdk/goals/{ENVIRONMENT}")
    def goals(self, request: Received) -> Reply:
        return Reply(200, b"")

    def held(self) -> Mapping[str, bool]:
        return {key: True for segment in self.segments.values() for key in segment}
