import base64
import gzip
import http.client
import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from engage_pipelines.testing.faults import Faults, Rates
from engage_pipelines.testing.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(write_key="key") as receiver:
        yield receiver


def identify(user: str, number: int = 0, **traits: object) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "messageId": f"{user}-{number}", "timestamp": f"2026-01-{number + 1:02}", "traits": traits}


def post(receiver: Receiver, body: object, *, path: str = "/v1/batch", key: str = "key", **headers: str) -> tuple[int, dict[str, Any]]:
    host = receiver.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    login = base64.b64encode(f"{key}:".encode()).decode()
    connection.request("POST", path, raw, {"Authorization": f"Basic {login}", **headers})
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, json.loads(text)


def batch(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"batch": list(calls)}


def test_it_holds_traits_by_user_and_account_and_counts_calls(receiver: Receiver) -> None:
    group = {"type": "group", "groupId": "g", "anonymousId": "a", "messageId": "m1", "traits": {"vip": True}}
    track = {
        "type": "track",
        "event": "Audience Entered",
        "userId": "u",
        "messageId": "m2",
        "properties": {"audience_key": "vip", "vip": True},
    }
    assert post(receiver, batch(identify("u", vip=True), group, track)) == (200, {"success": True})
    state = receiver.state()
    assert (state["users"], state["accounts"], state["tracked"]) == ({"u": {"vip": True}}, {"g": {"vip": True}}, {"u": {"vip": True}})
    assert (state["calls"], state["events"]) == ({"identify": 1, "group": 1, "track": 1}, {"Audience Entered": 1})
    assert receiver.members("vip") == receiver.members("vip", level="tracked") == {"u"}
    with urllib.request.urlopen(f"{receiver.url}/_state") as answer:
        assert json.load(answer) == state


def test_a_repeated_message_is_dropped_and_counted(receiver: Receiver) -> None:
    for vip in (True, False):
        post(receiver, batch(identify("u", vip=vip)))
    state = receiver.state()
    assert state["users"] == {"u": {"vip": True}}
    assert (state["duplicates"], state["requests"]) == (1, 2)


def test_an_older_call_that_comes_later_does_its_harm_and_is_counted(receiver: Receiver) -> None:
    post(receiver, batch(identify("u", 2, vip=True), identify("u", 1, vip=False), identify("other", 1, vip=False)))
    assert receiver.state()["users"]["u"] == {"vip": False}
    assert receiver.state()["inversions"] == 1


def test_a_batch_above_2500_calls_is_confirmed_and_dropped(receiver: Receiver) -> None:
    assert post(receiver, batch(*(identify("u", 0) for _ in range(2_501))))[0] == 200
    state = receiver.state()
    assert (state["dropped"], state["users"]) == (2_501, {})


REFUSED = [
    pytest.param(identify(""), "neither userId nor anonymousId", id="nobody"),
    pytest.param({"type": "group", "groupId": "g", "messageId": "m"}, "neither userId nor anonymousId", id="a Group without a user"),
    pytest.param({"type": "group", "userId": "u"}, "no groupId", id="a Group without a group"),
    pytest.param({"type": "track", "userId": "u"}, "no event", id="a Track without an event"),
    pytest.param({"type": "wave", "userId": "u"}, "unknown type", id="an unknown type"),
    pytest.param({"userId": "u"}, "unknown type", id="no type"),
    pytest.param(identify("u", pad="x" * 33_000), "larger than 32 KB", id="a large call"),
    pytest.param({**identify("u"), "messageId": "x" * 101}, "too long", id="a long messageId"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_a_batch_with_a_bad_call_is_refused_as_a_whole(receiver: Receiver, call: dict[str, Any], words: str) -> None:
    status, answer = post(receiver, batch(identify("good"), call))
    assert status == 400
    assert words in answer["message"]
    assert receiver.state()["users"] == {}
    assert receiver.state()["refused_requests"] == 1


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        pytest.param({"batch": []}, {"key": "other"}, 401, id="another key"),
        pytest.param({"batch": []}, {"key": ""}, 401, id="no key"),
        pytest.param({"batch": []}, {"path": "/v2/batch"}, 404, id="another path"),
        pytest.param(b"{", {}, 400, id="half a body"),
        pytest.param(b"[]", {}, 400, id="no batch"),
        pytest.param({"batch": [1]}, {}, 400, id="a call that is no object"),
        pytest.param({"batch": ["x" * 500_001]}, {}, 400, id="more than 500 KB"),
        pytest.param({"batch": []}, {}, 200, id="an empty batch"),
    ],
)
def test_requests_are_refused_as_segment_refuses_them(receiver: Receiver, body: object, options: dict[str, str], status: int) -> None:
    assert post(receiver, body, **options)[0] == status  # type: ignore[arg-type]


def test_compressed_requests_and_single_calls_are_taken(receiver: Receiver) -> None:
    packed = gzip.compress(json.dumps(batch(identify("u", vip=True))).encode())
    assert post(receiver, packed, **{"Content-Encoding": "gzip"})[0] == 200
    assert post(receiver, {"userId": "v", "traits": {"vip": True}}, path="/v1/identify")[0] == 200
    assert receiver.members("vip") == {"u", "v"}


def test_many_threads_lose_nothing(receiver: Receiver) -> None:
    def send(worker: int) -> None:
        for number in range(10):
            post(receiver, batch(*(identify(f"{worker}-{number}-{item}", vip=True) for item in range(20))))

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.members("vip")) == receiver.state()["calls"]["identify"] == 1_600


def test_it_runs_as_a_program_prints_its_url_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "engage_pipelines.testing.receiver", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/_state") as answer:
            assert json.load(answer)["requests"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_the_same_seed_strikes_the_same_requests() -> None:
    def struck(seed: int) -> list[int]:
        faults = Faults(Rates(p503=0.3, p429=0.2, seed=seed))
        with Receiver(faults=faults) as receiver:
            return [post(receiver, batch(identify("u", number)))[0] for number in range(40)]

    assert struck(1) == struck(1) != struck(2)
    assert set(struck(1)) == {200, 429, 503}


def test_unwanted_calls_can_be_refused_one_by_one(receiver: Receiver) -> None:
    receiver.faults.set(Rates(poison='"bad"', mode207=1))
    status, answer = post(receiver, batch(identify("good", vip=True), identify("bad", vip=True)))
    assert (status, [item["index"] for item in answer["rejected"]]) == (207, [1])
    assert receiver.members("vip") == {"good"}


def test_a_ghost_takes_the_batch_and_loses_the_answer(receiver: Receiver) -> None:
    receiver.faults.set(Rates(p_ghost=1))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(receiver, batch(identify("u", vip=True)))
    assert receiver.members("vip") == {"u"}
    assert receiver.state()["faults"] == {"p_ghost": 1}


def test_faults_are_set_over_http_and_unknown_ones_refused(receiver: Receiver) -> None:
    assert post(receiver, b"", path="/_fault?p503=1&retry_after=3")[0] == 200
    assert post(receiver, batch(identify("u")))[0] == 503
    status, answer = post(receiver, b"", path="/_fault?p504=1")
    assert status == 400
    assert "p503" in answer["message"]
    assert post(receiver, b"", path="/_fault")[0] == 200
    assert post(receiver, batch(identify("u")))[0] == 200
    post(receiver, b"", path="/_reset")
    assert receiver.state()["users"] == {}
