"""Audiences through their lives, suppressed profiles, and the log of changes, as people type them."""

import json
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.cli.app import run


class Say:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        said = self._capsys.readouterr()
        return said.err if code else said.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--output", "json"))


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGAGE_ACTOR", "ann")
    said = Say(capsys)
    said("audience", "create", "vips", "--query", "trait('plan') = 'paid'")
    return said


def test_flags_become_options_and_an_update_keeps_the_others(say: Say) -> None:
    say(
        "audience",
        "create",
        "new",
        "--query",
        "event('X').count() = 1",
        "--include-anonymous",
        "--filter-by",
        "email",
        "--backfill-days",
        "7",
    )
    say("audience", "update", "new", "--compute-when-connected")
    assert say.json("audience", "show", "new")["options"] == {
        "include_anonymous": True,
        "filter_by_external_ids": ["email"],
        "backfill_event_data_days": 7,
        "compute_without_destinations": False,
    }
    assert say.json("audience", "show", "new")["computing"] is False
    assert "has none" in say("audience", "compute", "new", code=2)
    assert say("audience", "compute", "--all").startswith("Asked for vips ")


def test_enable_disable_and_clone(say: Say) -> None:
    assert "is disabled." in say("audience", "disable", "vips")
    assert "is disabled already." in say("audience", "disable", "vips")
    assert "engage audience enable vips" in say("audience", "compute", "vips", code=2)
    say("audience", "enable", "vips")
    say("audience", "clone", "vips", "vips_too", "--include-anonymous")
    assert say.json("audience", "show", "vips_too")["options"] == {"include_anonymous": True}
    assert "Choose another key" in say("audience", "clone", "vips", "vips_too", code=1)


@pytest.mark.parametrize("noun", ["audience", "trait"])
def test_delete_ends_the_connections_and_the_key_is_never_used_again(say: Say, noun: str) -> None:
    query = "event('Order').count() > 1" if noun == "audience" else "event('Order').count()"
    say(noun, "create", "orders", "--query", query)
    say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://hook.test/x")
    say("connect", "orders", "hook")
    assert "--yes" in say(noun, "delete", "orders", code=2)
    assert "Disconnected: hook." in say(noun, "delete", "orders", "--yes")
    assert say.json("status") == []
    assert "never used again" in say(noun, "create", "orders", "--query", query, code=1)


def test_a_trait_is_switched_and_asked_for_as_an_audience_is(say: Say) -> None:
    say("trait", "create", "orders", "--query", "event('Order').count()")
    assert "is disabled." in say("trait", "disable", "orders")
    assert "engage trait enable orders" in say("trait", "compute", "orders", code=2)
    assert "There is no enabled trait." in say("trait", "compute", "--all", code=2)
    say("trait", "enable", "orders")
    assert say("trait", "compute", "--all").startswith("Asked for orders ")
    assert "compute" in [row["verb"] for row in say.json("audit", "orders")]


def test_audit_shows_who_changed_what_and_no_secret_and_no_person(say: Say) -> None:
    say("audience", "update", "vips", "--query", "trait('plan') = 'gold'")
    say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://hook.test/x", "--set", "signing_secret=env:HOOK")
    say("profile", "suppress", "u-1")
    entries = say.json("audit")
    assert [entry["verb"] for entry in entries] == ["suppress", "create", "update", "create", "create"]
    edit = entries[2]
    assert (edit["actor"], edit["before"]["definition"], edit["after"]["definition"]) == (
        "ann",
        "trait('plan') = 'paid'",
        "trait('plan') = 'gold'",
    )
    assert "u-1" not in json.dumps(entries)
    assert "definition: trait('plan') = 'paid' -> trait('plan') = 'gold'" in say("audit", "vips")
    assert len(say.json("audit", "vips", "--limit", "1")) == 1


def test_suppressed_profiles_are_listed_until_they_are_let_in_again(say: Say) -> None:
    say("profile", "suppress", "u-1")
    assert "already" in say("profile", "suppress", "u-1")
    say("profile", "suppress", "a@x.test", "--by", "email")
    assert [(row["identifier"], row["id"]) for row in say.json("profile", "list")] == [("user_id", "u-1"), ("email", "a@x.test")]
    say("profile", "unsuppress", "u-1")
    assert "engage profile list" in say("profile", "unsuppress", "u-1", code=1)
    assert "empty" in say("profile", "suppress", "", code=2)
