from collections.abc import Mapping
from pathlib import Path

import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, Stop
from engage_pipelines.destinations.http import Answer
from engage_pipelines.destinations.segment import Segment
from engage_pipelines.testing.bench import KEY, Bench
from engage_pipelines.testing.conformance import DestinationConformance
from engage_pipelines.testing.faults import Rates
from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.receiver import Receiver
from engage_pipelines.testing.vendor import FakeVendor, Switchboard


class Collector(FakeVendor):
    """The local receiver as a fake vendor."""

    def __init__(self) -> None:
        self.receiver = Receiver(write_key="the-write-key")

    def respond(self, request: Received) -> Reply:
        return self.receiver.respond(request)

    def held(self) -> Mapping[str, bool]:
        return {user: traits[KEY] for user, traits in self.receiver.state()["users"].items()}

    def refuse(self, user_id: str) -> bool:
        self.receiver.faults.set(Rates(poison=f'"{user_id}"'))
        return True

    def takings(self) -> object:
        state = self.receiver.state()
        return state["users"], state["calls"], state["inversions"]


class TestSegment(DestinationConformance):
    destination = Segment()
    secrets = ("the-write-key",)

    def vendor(self) -> FakeVendor:
        return Collector()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"write_key": "the-write-key", "endpoint": url}

    def test_the_request_is_the_records_as_they_are_under_basic_login(self, bench: Bench, board: Switchboard) -> None:
        records = [bench.record("u-1"), bench.record("u-2", entered=False)]
        bench.send(records)
        (request,) = board.requests
        assert (request.method, request.path) == ("POST", "/v1/batch")
        assert request.headers["authorization"] == "Basic dGhlLXdyaXRlLWtleTo="
        assert request.body == b'{"batch":[' + records[0].body + b"," + records[1].body + b"]}"

    def test_a_single_record_that_the_collector_refuses_is_rejected_with_its_words(self, bench: Bench) -> None:
        verdict = bench.send([bench.record("")])
        assert isinstance(verdict, Accepted)
        assert "neither userId nor anonymousId" in verdict.rejected[0]

    def test_full_batches_are_within_what_the_receiver_takes(self, bench: Bench) -> None:
        assert bench.deliver([bench.record(f"u-{number}", email="a@b.test") for number in range(1_200)]) == {}
        assert len(bench.held()) == 1_200


READ = [
    pytest.param(b"", Accepted, id="nothing"),
    pytest.param(b"OK", Accepted, id="OK, as RudderStack says"),
    pytest.param(b'"OK"', Accepted, id="OK as JSON"),
    pytest.param(b'{"ok":true}', Accepted, id="ok, as Jitsu says"),
    pytest.param(b'{"success":true}', Accepted, id="success, as Segment says"),
    pytest.param(b'{"success":false,"message":"no"}', Backoff, id="an error inside"),
    pytest.param(b'{"error":"quota"}', Backoff, id="an error instead"),
    pytest.param(b"\x00\xff\x13", Backoff, id="garbage"),
    pytest.param(b'{"succ', Backoff, id="half an answer"),
    pytest.param(b"<html>", Backoff, id="a web page"),
    pytest.param(b'{"rejected":[{"index":9,"reason":"x"}]}', Backoff, id="a refused record that was not sent"),
]


@pytest.mark.parametrize(("body", "expected"), READ)
def test_a_200_confirms_only_what_it_says(body: bytes, expected: type) -> None:
    assert isinstance(Segment().read(Answer(200, {}, body), [object(), object()], place="p", now_s=0), expected)  # type: ignore[list-item]


def test_a_wrong_path_stops_even_with_a_single_record() -> None:
    verdict = Segment().read(Answer(404), [object()], place="p", now_s=0)  # type: ignore[list-item]
    assert isinstance(verdict, Stop)
    assert "endpoint" in verdict.remedy


def test_a_refused_batch_is_halved() -> None:
    assert isinstance(Segment().read(Answer(400), [object(), object()], place="p", now_s=0), Bisect)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        pytest.param("destination", {"All": False, "My Segment": True}, id="this destination alone"),
        pytest.param("all", {"All": True}, id="everything"),
    ],
)
def test_the_integrations_object_follows_the_setting(setting: str, expected: Mapping[str, bool]) -> None:
    settings = Segment().configure({"write_key": "k", "integrations": setting}, files_dir=Path())
    assert Segment().integrations(settings, "My Segment") == expected
