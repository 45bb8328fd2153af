"""`engage mapping duplicate` and `engage mapping test`: the exact request, shown or sent for real."""

import json
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.cli.app import run
from engage_pipelines.testing.local_server import LocalServer, Received, Reply


class Say:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        assert run(words) == code, self._capsys.readouterr()
        said = self._capsys.readouterr()
        return said.err if code else said.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--output", "json"))


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.setenv("HOOK", "m4rked")
    said = Say(capsys)
    said("audience", "create", "vips", "--query", "trait('plan') = 'paid'")
    return said


def test_copy_is_switched_off_and_has_a_name_of_its_own(say: Say):
    say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://hook.test/x")
    say("connect", "vips", "hook")
    say("mapping", "duplicate", "hook", "Membership of people: vips")
    rows = {row["name"]: (row["enabled"], row["preset"]) for row in say.json("mapping", "list", "hook")}
    assert rows == {"Membership of people: vips": (True, True), "Membership of people: vips (copy)": (False, False)}
    assert "already" in say("mapping", "duplicate", "hook", "Membership of people: vips", code=1)


def test_request_is_shown_with_its_secrets_masked_and_nothing_is_sent(say: Say):
    given = ["--set", "url=https://hook.test/x", "--set", "authorization=env:HOOK"]
    say("destination", "create", "hook", "--type", "webhook", *given)
    assert "has no mapping 'x'" in say("mapping", "test", "hook", "x", code=1)
    say("connect", "vips", "hook")
    entry, left = say.json("mapping", "test", "hook", "Membership of people: vips")
    assert (entry["call"], entry["entered"], left["entered"]) == ("identify", True, False)
    [request] = entry["requests"]
    assert (request["method"], request["url"]) == ("POST", "https://hook.test/x")
    assert request["headers"] == {"Content-Type": "application/json", "Authorization": "••••••••"}
    assert json.loads(request["body"])[0]["traits"]["vips"] is True
    assert "m4rked" not in say("mapping", "test", "hook", "Membership of people: vips")


def test_requests_of_a_conversation_are_shown_too(say: Say):
    given = ["--set", "api_key=env:HOOK", "--set", "endpoint=https://rest.iad-01.braze.com"]
    say("destination", "create", "braze", "--type", "braze", *given)
    say("connect", "vips", "braze")
    name = say.json("mapping", "list", "braze")[0]["name"]
    entry = say.json("mapping", "test", "braze", name)[0]
    assert entry["requests"][0]["url"] == "https://rest.iad-01.braze.com/users/track"
    assert entry["requests"][0]["headers"]["Authorization"] == "••••••••"
    assert "HOOK" not in json.dumps(entry["requests"])


def test_sending_for_real_sends_the_entry_and_the_exit_and_says_what_was_answered(say: Say):
    bodies: list[Any] = []

    def answer(received: Received) -> Reply:
        assert received.headers["authorization"] == "m4rked"
        bodies.append(json.loads(received.body)[0]["traits"]["vips"])
        return Reply(200, b"{}") if len(bodies) == 1 else Reply(400, b'{"message": "not like this"}')

    with LocalServer(answer) as server:
        given = ["--set", f"url={server.url}", "--set", "allow_private_addresses=true", "--set", "authorization=env:HOOK"]
        say("destination", "create", "hook", "--type", "webhook", *given)
        say("connect", "vips", "hook")
        trials = say.json("mapping", "test", "hook", "Membership of people: vips", "--send")
    assert bodies == [True, False]
    assert [one["answer"].partition(":")[0] for one in trials] == ["accepted", "refused"]
    assert "not like this" in trials[1]["answer"]
