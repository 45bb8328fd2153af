"""`engage serve` and `engage token`: what is said when it is ready, what is refused, and that it ends in good order."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.cli.app import run
from engage_pipelines.demo.processes import ended_together

_MAIN = [sys.executable, "-c", "from engage_pipelines.cli import main; main()"]


@pytest.fixture
def engage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process; gives its exit code and what it said on stdout and stderr."""
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))

    def command(*words: str) -> tuple[int, str, str]:
        code = run(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_it_says_one_line_when_ready_and_ends_when_asked(tmp_path: Path, engage: Any) -> None:
    made = json.loads(engage("token", "create", "--role", "admin", "--output", "json")[1])
    environment = {**os.environ, "ENGAGE_HOME": str(tmp_path)}
    words = [*_MAIN, "serve", "--port", "0"]
    with ended_together() as started, (tmp_path / "stderr").open("w+") as stderr:
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        found = re.fullmatch(r"Console: (http://127\.0\.0\.1:\d+)/  API: \1/api\n", process.stdout.readline())
        assert found
        asked = urllib.request.Request(f"{found[1]}/api/spaces", headers={"Authorization": f"Bearer {made['token']}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert json.load(answer)["data"]["spaces"] == []
        process.terminate()
        assert process.wait(60) == 0
        assert (process.stdout.read(), (tmp_path / "stderr").read_text()) == ("", "")


def test_a_taken_port_is_refused_in_words(engage: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, said = engage("serve", "--port", str(port))
    assert code == 1
    assert f"Port {port} of 127.0.0.1 is taken." in said


def test_a_free_port_is_taken_instead_when_that_is_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = [*_MAIN, "serve", "--port", str(port), "--else-free"]
        environment = {**os.environ, "ENGAGE_HOME": str(tmp_path)}
        with ended_together() as started:
            process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
            started.append(process)
            assert process.stdout is not None
            found = re.match(r"Console: http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
    assert found
    assert int(found[1]) != port


@pytest.mark.parametrize(
    ("login", "words"),
    [
        pytest.param("", "asks nobody to log in", id="no login"),
        pytest.param("required", "no token to log in with", id="no token"),
        pytest.param("perhaps", "Write local or required", id="a setting that is none"),
    ],
)
def test_another_address_takes_a_login_and_somebody_who_can(engage: Any, monkeypatch: pytest.MonkeyPatch, login: str, words: str) -> None:
    monkeypatch.setenv("ENGAGE_CONSOLE_LOGIN", login)
    code, _, said = engage("serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 1
    assert words in said


def test_tokens_are_made_listed_and_revoked(engage: Any) -> None:
    words = ("token", "create", "--role", "reader", "--name", "ci", "--members", "--expires-in", "90d", "--output", "json")
    made = json.loads(engage(*words)[1])
    assert (made["name"], made["role"], made["members"]) == ("ci", "reader", True)
    listed = engage("token", "list", "--output", "json")[1]
    assert made["token"] not in listed
    assert [one["id"] for one in json.loads(listed)] == [made["id"]]
    assert engage("token", "revoke", made["id"])[0] == 0
    assert json.loads(engage("token", "list", "--output", "json")[1])[0]["revoked_at"]
    assert engage("token", "revoke", "tok_none")[0] == 1
    assert engage("token", "create", "--role", "reader", "--expires-in", "soon")[0] == 2
