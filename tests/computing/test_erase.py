"""Erasing a person: the exits first, then nothing of it is left in our files and tables, and everybody else is as before."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.computing import erase as erasing
from engage_pipelines.domain.errors import StateError
from tests.computing.desk import Desk

SECRETS = ("u-secret", "vis-secret", "old-secret@x.test", "new-secret@x.test", "Secret Street")
PERSON: list[dict[str, Any]] = [
    {
        "type": "identify",
        "userId": "u-secret",
        "traits": {"plan": "paid", "email": "old-secret@x.test"},
        "timestamp": "2025-01-01T00:00:00Z",
    },
    {
        "type": "identify",
        "userId": "u-secret",
        "anonymousId": "vis-secret",
        "traits": {"email": "new-secret@x.test", "home": "Secret Street"},
    },
    {"type": "track", "event": "Order", "anonymousId": "vis-secret", "properties": {"to": "Secret Street"}},
    {"type": "group", "groupId": "acme", "userId": "u-secret", "traits": {"tier": "gold"}},
]
OTHERS: list[dict[str, Any]] = [
    {"type": "identify", "userId": "u2", "anonymousId": "vis2", "traits": {"plan": "paid", "email": "two@x.test"}},
    {"type": "track", "event": "Order", "userId": "u2"},
    {"type": "group", "groupId": "acme", "userId": "u2"},
]


@pytest.fixture
def told(desk: Desk) -> Desk:
    """A person who is in two audiences, one of them sent."""
    desk.ingest(*PERSON, *OTHERS)
    assert desk.say("audience", "create", "vips", "--query", "trait('plan') = 'paid'") == 0
    assert desk.say("audience", "create", "gold", "--type", "ACCOUNTS", "--query", "trait('tier') = 'gold'") == 0
    desk.say("destination", "create", "list", "--type", "csv_file", "--set", "path=lists/{audience}.csv", "--set", "changes=true")
    desk.compute()
    assert desk.say("connect", "vips", "list") == 0
    desk.sync()
    return desk


def erase(desk: Desk, *flags: str) -> int:
    return desk.say("profile", "erase", "u-secret", "--yes", *flags)


def found(desk: Desk) -> list[str]:
    return desk.traces_of(SECRETS)


def test_the_exits_come_first(told: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert erase(told) == 1
    said = capsys.readouterr().err
    assert "audience vips is yet to be computed" in said
    assert "audience gold is yet to be computed" in said
    told.compute()
    assert erase(told) == 1
    assert "the exits of vips -> list are yet to be sent" in capsys.readouterr().err
    told.sync()
    assert erase(told) == 0
    (*_, last) = sorted((told.settings.files_dir / "lists").rglob("*.csv"))
    assert "remove,user_id:u-secret" in last.read_text(encoding="utf-8")


def test_nothing_of_the_person_is_left_and_everybody_else_is_as_before(told: Desk) -> None:
    erase(told)
    told.compute()
    told.sync()
    others = told.addresses("vips")
    assert found(told)
    assert erase(told) == 0
    assert found(told) == []
    assert told.addresses("vips") == others == ["email:two@x.test", "user_id:u2"]
    assert told.addresses("vips", 1) == others
    assert {one.state for one in told.compute()} == {"unchanged"}
    assert told.rows("suppression") == []
    assert [row.verb for row in told.rows("audit")][-1] == "erase"


def test_the_same_calls_taken_in_again_do_not_bring_the_person_back(told: Desk) -> None:
    assert erase(told, "--without-exits") == 0
    told.calls = 0
    told.ingest(*PERSON)
    assert found(told) == []


def test_what_died_half_way_is_done_by_the_same_command_again(told: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise StateError("The disk is full.", "Free some space.")

    with monkeypatch.context() as broken:
        broken.setattr(erasing, "erase_facts", full)
        assert erase(told, "--without-exits") == 1
    assert found(told)
    assert erase(told, "--without-exits") == 0
    assert found(told) == []
    assert erase(told, "--without-exits") == 0


def test_a_paused_connection_is_named(told: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    told.say("disconnect", "vips", "list", "--pause")
    erase(told)
    told.compute()
    assert erase(told) == 1
    assert "vips -> list is paused: mend or remove it" in capsys.readouterr().err
    told.say("disconnect", "vips", "list", "--remove")
    assert erase(told) == 0
    assert found(told) == []


def test_a_disabled_audience_is_named_and_a_deleted_one_is_erased_from_too(told: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    told.say("audience", "disable", "vips")
    erase(told)
    told.compute("gold")
    assert erase(told) == 1
    assert "audience vips holds it and is not computed" in capsys.readouterr().err
    told.say("audience", "delete", "vips", "--yes")
    assert erase(told) == 0
    assert found(told) == []


def test_an_email_of_several_profiles_names_none_of_them(told: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    told.ingest({"type": "identify", "userId": "u3", "traits": {"email": "two@x.test"}})
    assert told.say("profile", "erase", "two@x.test", "--by", "email", "--yes") == 1
    assert "2 profiles hold that email" in capsys.readouterr().err


def test_bounds_and_refusals_of_the_person_leave_the_tables(told: Desk) -> None:
    (connection,) = told.rows("connection")
    with sqlite3.connect(told.settings.home / "engage.db") as db:
        db.execute("update generation set lo = 'user_id:u-secret', hi = 'user_id:u-secret'")
        db.execute(
            "insert into exception (connection_id, replica, address, part, kind, value, message_id, generation, seq, reason, attempts,"
            " created_at) values (?, 'users', 'user_id:u-secret', 'i0', 'rejected', 1, 'm', 1, 0, 'bad u-secret', 1, 0)",
            [connection.id],
        )
        spaces = [row.id for row in told.rows("space")]
        for key in ("old-secret@x.test", "two@x.test"):
            db.execute("insert into messaging_subscription values (?, 'EMAIL', ?, 'SUBSCRIBED', '{}', 0)", [spaces[0], key])
    db.close()
    assert erase(told, "--without-exits") == 0
    assert found(told) == []
    assert [row.key for row in told.rows("messaging_subscription")] == ["two@x.test"]


def test_there_must_be_a_terminal_or_a_yes(told: Desk) -> None:
    assert told.say("profile", "erase", "u-secret") == 2


def test_versions_read_while_they_are_rewritten_never_show_the_person_again(told: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    told.say("profile", "suppress", "u-secret")
    told.compute()
    from engage_pipelines.snapshots import erase as files

    rewrite, seen = files.erase_rows, []

    def watched(path: Path, condition: str) -> int:
        taken = rewrite(path, condition)
        seen.append("user_id:u-secret" in told.addresses("vips"))
        return taken

    monkeypatch.setattr(files, "erase_rows", watched)
    assert erase(told, "--without-exits") == 0
    assert seen
    assert not any(seen)
