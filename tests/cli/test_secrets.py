"""`engage secrets` and `engage completion`, as people type them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from engage_pipelines.cli.app import run
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.registry.change import open_registry
from engage_pipelines.registry.destinations import NewDestination, create_destination, list_destinations
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.settings import read_settings

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.setenv("ENGAGE_KEYS", OLD)
    monkeypatch.setenv("HOOK", "set")
    with open_registry(read_settings(), types=destination_types()).change() as change:
        space = ensure_space(change)
        settings = {"url": "https://hook.test", "signing_secret": "m4rked", "authorization": "env:HOOK"}
        create_destination(change, space, NewDestination("hook", "webhook", settings))
        create_destination(change, space, NewDestination("seg", "segment", {"write_key": "m4rked too"}))
    return tmp_path


def _listed(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    capsys.readouterr()
    assert run(["secrets", "list", "--output", "json"]) == 0
    text = capsys.readouterr().out
    assert "m4rked" not in text
    return [tuple(row.values()) for row in json.loads(text)]


def test_secrets_are_listed_by_reference_and_rotated_to_the_newest_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("ENGAGE_KEYS", f"{NEW},{OLD}")
    assert _listed(capsys) == [
        ("default/hook", "authorization", "env:HOOK", "ok"),
        ("default/hook", "signing_secret", "encrypted", "older key"),
        ("default/seg", "write_key", "encrypted", "older key"),
    ]
    assert run(["secrets", "rotate"]) == 0
    assert "Rotated the secrets of 2 destinations; 0 were" in capsys.readouterr().out
    monkeypatch.setenv("ENGAGE_KEYS", NEW)
    assert {state for *_, state in _listed(capsys)} == {"ok"}
    assert run(["secrets", "rotate", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rotated": 0, "already": 2, "failed": []}
    registry = open_registry(read_settings(), types=destination_types())
    with registry.database.read() as c:
        stored = list_destinations(c, c.exec_driver_sql("select id from space").scalar_one())
    resolved = registry.desk.resolve(registry.types["segment"], stored[1].settings)
    assert resolved.write_key.get_secret_value() == "m4rked too"


def test_rotation_goes_on_past_what_it_cannot_decrypt_and_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("ENGAGE_KEYS", NEW)
    assert run(["secrets", "rotate"]) == 1
    said = capsys.readouterr().err
    assert "default/hook: default/hook.signing_secret cannot be decrypted with ENGAGE_KEYS." in said
    assert "default/seg" in said
    monkeypatch.setenv("ENGAGE_KEYS", "")
    assert run(["secrets", "rotate"]) == 1
    assert 'Set ENGAGE_KEYS to "new,old".' in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(shell: str, capsys: pytest.CaptureFixture[str]):
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_ENGAGE_COMPLETE" in script
    assert "engage" in script


def test_shell_completes_commands_and_options(home: Path):
    asked = "import sys; from engage_pipelines.cli.app import main; main()"
    environment = {"_ENGAGE_COMPLETE": "bash_complete", "COMP_WORDS": "engage au", "COMP_CWORD": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=False, cwd=home)
    assert done.stdout.split() == ["plain,audience", "plain,audit"]
