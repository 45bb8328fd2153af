"""A fake Slack: one incoming webhook that takes messages, and says in a word what is wrong with one."""

import re
from collections.abc import Mapping

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeApi, route, sent_json

HOOK = "/services/T0/B0/the-secret-part"


class Fake(FakeApi):
    """Messages in the order in which they came."""

    secrets = (HOOK,)

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def settings(self, url: str) -> Mapping[str, object]:
        return {"webhook_url": url + HOOK}

    def unauthorised(self) -> Reply:
        return Reply(403, b"invalid_token")

    @route("POST", "/.*")
    def post(self, request: Received) -> Reply:
        if request.path != HOOK:
            return Reply(404, b"no_service")
        text = sent_json(request).get("text")
        if not text:
            return Reply(400, b"no_text")
        if self.unwanted and self.unwanted in text:
            return Reply(400, b"invalid_payload")
        self.messages.append(text)
        return Reply(200, b"ok")

    def takings(self) -> object:
        return list(self.messages)

    def held(self) -> Mapping[str, bool]:
        found = (re.fullmatch(r"(.*) (entered|left) \S+", message, re.DOTALL) for message in self.messages)
        return {match[1]: match[2] == "entered" for match in found if match}
