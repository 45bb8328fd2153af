import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Stop, Target
from engage_pipelines.destinations.webhook import SIGNATURE_HEADER, Webhook
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import KEY, Bench
from engage_pipelines.testing.conformance import DestinationConformance
from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import FakeVendor, Switchboard

SECRET = "the-signing-secret"
TARGET = Target("main", KEY, "user", 1)


def is_signed(request: Received) -> bool:
    """As a service written in ten lines would check it."""
    stamps = dict(part.split("=", 1) for part in request.headers[SIGNATURE_HEADER.lower()].split(","))
    expected = hmac.new(SECRET.encode(), stamps["t"].encode() + b"." + request.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, stamps["v1"])


class OwnService(FakeVendor):
    """A service that checks the signature and answers 207 when it refuses somebody."""

    def __init__(self) -> None:
        self.members: dict[str, bool] = {}
        self.refused = ""

    def respond(self, request: Received) -> Reply:
        if not is_signed(request) or request.headers["authorization"] != "Bearer the-token":
            return Reply(401, b"{}")
        body = orjson.loads(request.body)
        payloads: list[Any] = body if isinstance(body, list) else [body]
        refused = [index for index, payload in enumerate(payloads) if payload["userId"] == self.refused]
        for payload in payloads:
            if payload["userId"] != self.refused:
                self.members[payload["userId"]] = payload["traits"][KEY]
        if refused:
            return Reply(207, orjson.dumps({"rejected": [{"index": index, "reason": "we do not know them"} for index in refused]}))
        return Reply(200, b"ok", {"Content-Type": "text/plain"})

    def held(self) -> Mapping[str, bool]:
        return dict(self.members)

    def refuse(self, user_id: str) -> bool:
        self.refused = user_id
        return True


class TestWebhook(DestinationConformance):
    destination = Webhook()
    secrets = (SECRET, "Bearer the-token")

    def vendor(self) -> FakeVendor:
        return OwnService()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {
            "url": f"{url}/hook?token=in-the-address",
            "signing_secret": SECRET,
            "authorization": "Bearer the-token",
            "allow_private_addresses": True,
        }

    def test_many_payloads_are_one_array(self, bench: Bench, board: Switchboard) -> None:
        records = [bench.record("u-1"), bench.record("u-2")]
        bench.send(records)
        (request,) = board.requests
        assert request.path == "/hook?token=in-the-address"
        assert request.body == b"[" + records[0].body + b"," + records[1].body + b"]"
        assert is_signed(request)

    def test_the_query_of_the_address_is_in_no_message(self, bench: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(500))
        assert "in-the-address" not in repr((bench.send([bench.record("u-1")]), bench.settings))

    def test_a_path_that_nothing_takes_stops(self, bench: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(404, b"{}"))
        assert isinstance(bench.send([bench.record("u-1")]), Stop)


class TestWebhookOneByOne(TestWebhook):
    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {**super().settings(url, folder), "batch": False}

    def test_many_payloads_are_one_array(self, bench: Bench, board: Switchboard) -> None:
        """With batching off each payload is a body of its own."""
        record = bench.record("u-1")
        assert bench.send([record]) == Accepted()
        assert board.requests[0].body == record.body
        assert is_signed(board.requests[0])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "192.168.0.1", "169.254.169.254", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"]
)
def test_no_private_address_is_asked_unless_the_operator_allows_it(host: str) -> None:
    settings = Webhook().configure({"url": f"http://{host}:9/"}, files_dir=Path())
    verdict = Webhook().test(settings)
    assert isinstance(verdict, Stop)
    assert "may not go there" in verdict.reason


def test_the_metadata_address_is_not_asked_even_then() -> None:
    settings = Webhook().configure({"url": "http://169.254.169.254/latest", "allow_private_addresses": True}, files_dir=Path())
    assert isinstance(Webhook().test(settings), Stop)


@pytest.mark.parametrize("url", ["ftp://x", "x", "http://", "http://user:pw@example.test/", "http://example.test/\nX: y", "http://a b/"])
def test_an_address_that_cannot_be_used_is_refused_when_it_is_set(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url") as refusal:
        Webhook().configure({"url": url}, files_dir=Path())
    assert "pw" not in str(refusal.value)


def test_a_header_that_cannot_be_sent_stops() -> None:
    given = {"url": "http://127.0.0.1:9/", "authorization": "Bearer a\nX-Evil: b", "allow_private_addresses": True}
    verdict = Webhook().test(Webhook().configure(given, files_dir=Path()))
    assert isinstance(verdict, Stop)
    assert "Evil" not in repr(verdict)
