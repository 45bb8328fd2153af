"""A fake service behind a webhook: it checks the signature of what it is sent, and keeps who is said to be in."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json

_SECRET = "the-signing-secret"  # noqa: S105 (of nobody)


class Fake(FakeApi):
    """People by user id, and how often each record came."""

    secrets = (_SECRET,)

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, bool] = {}
        self.times: dict[str, int] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"url": f"{url}/hook", "signing_secret": _SECRET, "allow_private_addresses": True}

    @route("POST", "/hook")
    def take(self, request: Received) -> Reply:
        if not _is_signed(request):
            return Reply(401, b'{"message": "the signature is not valid"}')
        records: list[dict[str, Any]] = sent_json(request)
        refused = [at for at, record in enumerate(records) if record["userId"] == self.unwanted]
        for at, record in enumerate(records):
            self.times[record["messageId"]] = self.times.get(record["messageId"], 0) + 1
            if at not in refused:
                self.people[record["userId"]] = record["traits"][KEY]
        rejected = [{"index": at, "reason": "this person is blocked"} for at in refused]
        return reply_json({"rejected": rejected}, 207 if refused else 200)

    def held(self) -> Mapping[str, bool]:
        return dict(self.people)

    def takings(self) -> object:
        return dict(self.people), dict(self.times)


def _is_signed(request: Received) -> bool:
    said = [part.partition("=") for part in request.headers.get("x-engage-signature", "").split(",")]
    parts = {name: value for name, _, value in said}
    expected = hmac.new(_SECRET.encode(), f"{parts.get('t', '')}.".encode() + request.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(parts.get("v1", ""), expected)
