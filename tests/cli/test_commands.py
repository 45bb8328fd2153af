"""The command line: what it prints, where, and with which exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa

from engage_pipelines.cli.app import COMMANDS, run
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.tables import computation, connection, sync_request, version

CALLS = [
    {"type": "identify", "userId": "u1", "traits": {"plan": "paid"}},
    {"type": "identify", "userId": "u2", "traits": {"plan": "free"}},
    {"type": "group", "userId": "u1", "groupId": "acme", "traits": {"tier": "business"}},
]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Engage = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def say(home: Path, capsys: pytest.CaptureFixture[str]) -> Engage:
    """Run a command in this process, in a home of its own."""

    def say_it(*arguments: str) -> Said:
        code = run(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return say_it


@pytest.fixture
def connected(say: Engage) -> Engage:
    assert say("audience", "create", "vips", "--query", "trait('plan') = 'paid'").code == 0
    assert say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://hook.test/x").code == 0
    assert say("connect", "vips", "hook").code == 0
    return say


def _change(home: Path, statement: sa.Executable) -> None:
    database = Database(f"sqlite:///{home / 'engage.db'}")
    with database.write() as c:
        c.execute(statement)
    database.close()


def test_every_command_named_can_be_loaded_and_says_what_it_is_for() -> None:
    for name in COMMANDS:
        command = COMMANDS[name].load()
        assert command.name == name
        assert command.help


def test_looking_imports_nothing_heavy(home: Path) -> None:
    heavy = "dagster duckdb pandas numpy pyarrow pydantic lark requests rich yaml sqlalchemy.dialects.postgresql"
    look = "import sys; from engage_pipelines.cli.app import run; code = run(['status', '--output', 'json'])"
    code = f"{look}; print(sorted(sys.modules.keys() & set({heavy!r}.split())), code)"
    Database(f"sqlite:///{home / 'engage.db'}").close()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split("\n")[-2] == "[] 0", ended.stderr


def test_lists_load_neither_an_engine_nor_what_sending_needs(connected: Engage, home: Path) -> None:
    lists = ("audience", "destination", "source", "space", "trait", "deadletter", "token")
    heavy = "dagster duckdb pandas numpy pyarrow lark requests rich yaml engage_pipelines.destinations.base"
    code = (
        "import sys; from engage_pipelines.cli.app import run\n"
        f"codes = [run([name, 'list', '--output', 'json']) for name in {lists!r}]\n"
        f"print(sorted(sys.modules.keys() & set({heavy!r}.split())), codes)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split("\n")[-2] == f"[] {[0] * len(lists)}", ended.stderr


def test_status_is_a_list_of_rows_with_stable_names(connected: Engage) -> None:
    assert connected("status", "--output", "json").json == [
        {
            "audience": "vips",
            "destination": "hook",
            "status": "Connected",
            "sync_status": "Waiting",
            "members": None,
            "sent": 0,
            "dead": 0,
            "last_sync_at": None,
            "run_id": None,
            "progress": None,
            "note": None,
            "pace": [],
        }
    ]
    assert "vips" in connected("status", "vips").out
    assert connected("status", "vip").code == 1


def test_status_of_nothing_is_an_empty_list(say: Engage) -> None:
    assert say("status", "--output", "json").json == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("audience", "create", "vips", "--query", "trait('plan') ="), 1, "line 1, column", id="a broken query"),
        pytest.param(("audience", "create", "v ips", "--query", "trait('a') = 1"), 1, "not a legal key", id="an illegal key"),
        pytest.param(("connect", "vips", "hook", "--bogus"), 2, "No such option", id="an option that is none"),
        pytest.param(("disconnect", "vips", "hook"), 2, "--pause", id="two meanings"),
        pytest.param(("destination", "create", "x", "--type", "webhok"), 1, "Did you mean 'webhook'", id="a misspelt type"),
        pytest.param(
            ("destination", "create", "x", "--type", "webhook", "--set", "signing_secret=abc"), 2, "env:NAME", id="a secret as an argument"
        ),
        pytest.param(
            ("audience", "preview", "--query", "trait('a') = 1", "--at", "yesterday"), 1, "not an instant", id="an instant that is none"
        ),
        pytest.param(("audience", "preview"), 2, "--query", id="a preview of nothing"),
        pytest.param(("apply", "nowhere"), 1, "neither a folder nor a file", id="a folder that is none"),
        pytest.param(("nonsense",), 2, "No such command", id="a command that is none"),
    ],
)
def test_mistake_is_told_on_stderr_with_its_exit_code(say: Engage, arguments: tuple[str, ...], code: int, words: str) -> None:
    say("space", "create", "default")
    said = say(*arguments)
    assert (said.code, said.out) == (code, "")
    assert words in said.err
    assert "Traceback" not in said.err


def test_connecting_shows_what_will_be_sent(say: Engage) -> None:
    say("audience", "create", "accounts", "--type", "ACCOUNTS", "--query", "trait('tier') = 'business'")
    say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://hook.test/x")
    said = say("connect", "accounts", "hook", "--group", "--identify")
    assert "Group and Identify calls; every member is owed" in said.out
    assert said.out.count("mapping on:") == 2
    assert {row["name"] for row in say("mapping", "list", "hook", "--output", "json").json} == {
        "Membership of accounts: accounts",
        "Membership of people: accounts",
    }


def test_connection_without_an_enabled_mapping_says_that_nothing_is_delivered(connected: Engage) -> None:
    connected("mapping", "disable", "hook", "Membership of people: vips")
    assert connected("status", "--output", "json").json[0]["status"] == "Awaiting mapping"
    waited = connected("sync", "vips", "hook", "--wait")
    assert waited.code == 1
    assert "awaits a mapping" in waited.err


def test_pause_resume_and_remove(connected: Engage) -> None:
    assert connected("disconnect", "vips", "hook", "--pause").code == 0
    assert connected("status", "--output", "json").json[0]["status"] == "Disconnected"
    assert "Resumed" in connected("connect", "vips", "hook").out
    assert connected("disconnect", "vips", "hook", "--remove").code == 0
    assert connected("status", "--output", "json").json == []


def test_waiting_ends_when_the_request_is_settled(connected: Engage, home: Path) -> None:
    _change(home, sync_request.update().values(state="done"))
    _change(home, connection.update().values(sent=12))
    asked = connected("resync", "vips", "hook")
    assert asked.code == 0
    _change(home, sync_request.update().where(sync_request.c.kind == "resync").values(state="done"))
    from engage_pipelines.cli.waiting import wait_for_sync

    database = Database(f"sqlite:///{home / 'engage.db'}")
    with database.read() as c:
        request_id = c.execute(sa.select(sync_request.c.id).where(sync_request.c.kind == "resync")).scalar_one()
    wait_for_sync(database, request_id)
    database.close()


def test_waiting_fails_when_the_connection_is_stopped(connected: Engage, home: Path) -> None:
    _change(home, connection.update().values(state="stopped", error="401 from the service", remedy="Set another key."))
    from engage_pipelines.cli.waiting import wait_for_sync
    from engage_pipelines.domain.errors import SyncStoppedError

    database = Database(f"sqlite:///{home / 'engage.db'}")
    with database.read() as c:
        request_id = c.execute(sa.select(sync_request.c.id)).scalar_one()
    with pytest.raises(SyncStoppedError, match="401"):
        wait_for_sync(database, request_id)
    database.close()
    assert connected("status", "--output", "json").json[0]["sync_status"] == "Stopped"


def test_members_and_held_versions_show_in_the_status(connected: Engage, home: Path) -> None:
    of = connected("audience", "show", "vips", "--output", "json").json["id"]
    for n, state in ((1, "published"), (2, "held")):
        row = {"computation_id": of, "n": n, "state": state, "evaluated_at": n, "definition": "", "size": 1284, "created_at": n}
        _change(home, version.insert().values(row))
    _change(home, computation.update().values(current_version=1))
    _change(home, sync_request.update().values(state="done"))
    (row,) = connected("status", "--output", "json").json
    assert (row["members"], row["sync_status"]) == (1284, "Held")
    assert "1,284" in connected("audience", "list").out


def test_import_from_a_source_and_the_second_of_a_type(say: Engage) -> None:
    say("source", "create", "website")
    say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://hook.test/x", "--source", "website")
    assert "imported from website/hook" in say("destination", "import", "website/hook").out
    second = say("destination", "create", "other", "--type", "webhook", "--set", "url=https://other.test/x")
    assert second.code == 1
    assert "'hook' (imported from website/hook)" in second.err


def test_destination_settings_are_shown_with_references_and_updated_one_by_one(say: Engage) -> None:
    say("destination", "create", "hook", "--type", "webhook", "--set", "url=https://a.test/x", "--set", "signing_secret=env:HOOK_SECRET")
    assert say("destination", "update", "hook", "--set", "url=https://b.test/x").code == 0
    shown = say("destination", "show", "hook", "--output", "json").json
    assert shown["settings"] == {"url": "https://b.test/x", "signing_secret": "env:HOOK_SECRET"}
    tested = say("destination", "test", "hook")
    assert tested.code == 1
    assert "env:HOOK_SECRET, which is not set" in tested.err


def test_every_type_of_the_catalogue_is_shown(say: Engage) -> None:
    assert {row["type"] for row in say("destination", "catalog", "--output", "json").json} >= {"segment", "webhook", "csv_file"}


def test_configuration_is_applied_and_says_so_once(say: Engage, tmp_path: Path) -> None:
    (tmp_path / "engage.yaml").write_text("audiences: [{key: vips, definition: trait('plan') = 'paid'}]")
    assert "created   audience vips" in say("apply", str(tmp_path)).out
    assert say("apply", str(tmp_path)).out == "Nothing changed: 1 unchanged.\n"
    refused = say("audience", "update", "vips", "--name", "Other")
    assert refused.code == 1
    assert "engage.yaml" in refused.err


def test_database_is_upgraded_or_said_to_be_up_to_date(say: Engage) -> None:
    assert "is upgraded" in say("db", "upgrade").out
    assert "is up to date" in say("db", "upgrade").out


@pytest.fixture
def facts(say: Engage, tmp_path: Path) -> Engage:
    lines = [json.dumps({**call, "messageId": f"m{n}", "timestamp": "2026-01-01T00:00:00Z"}) for n, call in enumerate(CALLS)]
    lines.append(
        json.dumps(
            {
                "type": "identify",
                "anonymousId": "a1",
                "messageId": "m9",
                "timestamp": "2026-01-01T00:00:00Z",
                "traits": {"email": "z@x.test", "plan": "paid"},
            }
        )
    )
    (tmp_path / "calls.jsonl").write_text("\n".join(lines))
    assert say("ingest", str(tmp_path / "calls.jsonl")).code == 0
    return say


def test_preview_counts_and_lists_people_and_accounts(facts: Engage) -> None:
    preview = ("audience", "preview", "--output", "json")
    assert facts(*preview, "--query", "trait('plan') = 'paid'").json == {"count": 2}
    people = facts(*preview, "--query", "trait('plan') = 'paid'", "--type", "USERS", "--members")
    assert people.json == {"count": 2, "members": ["u1", "z@x.test"]}
    accounts = facts(*preview, "--query", "trait('tier') = 'business'", "--type", "ACCOUNTS", "--members")
    assert accounts.json == {"count": 1, "members": ["acme"]}
    before = facts(*preview, "--query", "trait('plan') = 'paid'", "--at", "2025-12-31T00:00:00Z")
    assert before.json == {"count": 0}


def test_preview_warns_of_names_that_were_never_seen(facts: Engage) -> None:
    said = facts("audience", "preview", "--query", "trait('pln') = 'paid'", "--output", "json")
    assert said.json == {"count": 0}
    assert "pln" in said.err
    assert "plan" in said.err


def test_preview_reads_other_audiences_and_the_instant_of_the_space(facts: Engage) -> None:
    facts("audience", "create", "paid", "--query", "trait('plan') = 'paid'")
    said = facts("audience", "preview", "--query", "NOT trait('paid') = true", "--members", "--output", "json")
    assert said.json == {"count": 1, "members": ["u2"]}
    assert facts("audience", "preview", "paid", "--output", "json").json == {"count": 2}
    facts("space", "set", "--evaluate-at", "2025-12-31T00:00:00Z")
    assert facts("audience", "preview", "paid", "--output", "json").json == {"count": 0}


def test_example_of_the_documentation_can_be_applied(say: Engage, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    (tmp_path / "engage.yaml").write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    applied = say("apply", str(tmp_path))
    assert applied.code == 0, applied.err
    assert {row["status"] for row in say("status", "--output", "json").json} == {"Connected"}
    assert "Nothing changed" in say("apply", str(tmp_path)).out


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["audience", "create", "vips", "--query", "trait('plan') = 'paid'", "--name", "VIP\x07s"], id="an audience"),
        pytest.param(["trait", "create", "spend", "--query", "event('Paid').count()", "--name", "Spend\x1b[2J"], id="a trait"),
        pytest.param(["space", "create", "b2b", "--name", "B\x002B"], id="a space"),
    ],
)
def test_a_name_with_a_control_character_is_refused_and_nothing_is_written(say: Engage, words: list[str]) -> None:
    said = say(*words)
    assert (said.code, "holds a control character" in said.err) == (1, True)
    assert "\x07" not in said.err + said.out
    assert "\x1b" not in said.err + said.out


def test_the_page_on_the_command_line_names_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    lines = page.splitlines()
    assert [name for name in COMMANDS if f"`{name}`" not in page and f"`{name} " not in page] == []
    for noun in ("audience", "trait", "destination", "mapping"):
        (line,) = (line for line in lines if f"`{noun} " in line and line.startswith(f"| {noun}s |"))
        group = COMMANDS[noun].load()
        assert isinstance(group, click.Group)
        missing = [name for name in group.list_commands(click.Context(group)) if f"`{name}`" not in line and f"`{noun} {name}`" not in line]
        assert missing == []
