"""The examination: what it says of an installation that is well, and of each thing that is not."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.cli.app import run
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.doctor import place
from engage_pipelines.doctor.examine import examine
from engage_pipelines.doctor.findings import Finding, State
from engage_pipelines.domain.computation import Level
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.connections import NewConnection, connect
from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.settings import VARIABLES, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Installation:
    settings: Settings
    registry: Registry
    root: Path = ROOT

    def findings(self, *checks: str) -> list[Finding]:
        return [one for one in examine(self.settings, self.root) if not checks or one.check in checks]

    def troubles(self, *checks: str) -> list[tuple[str, str, str]]:
        """What is not well, as state, words and remedy."""
        return [(str(one.state), one.what, one.remedy) for one in self.findings(*checks) if one.state is not State.OK]

    def write(self, statement: sa.Executable) -> None:
        with self.registry.database.write() as c:
            c.execute(statement)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """One audience connected to a webhook, whose daemon beats."""
    for name in [name for name in os.environ if name.startswith("ENGAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOOK_SECRET", "very-secret")
    settings = read_settings({"ENGAGE_HOME": str(tmp_path / "home"), "ENGAGE_ACTOR": "test"})
    registry = open_registry(settings, types=destination_types())
    with registry.change() as change:
        space = ensure_space(change)
        create_audience(change, space, NewAudience("vips", Level.USER, "trait('plan') = 'paid'"))
        hook = {"url": "https://hook.test/x", "signing_secret": "env:HOOK_SECRET"}
        create_destination(change, space, NewDestination("hook", "webhook", hook))
        connect(change, space, NewConnection("vips", "hook"))
    beat(settings, 10)
    yield Installation(settings, registry)
    registry.database.close()


def beat(settings: Settings, age_s: float, *daemons: str) -> None:
    """A table of heartbeats as Dagster has it."""
    folder = settings.dagster_dir / "history"
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "runs.db") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS daemon_heartbeats (daemon_type TEXT, timestamp TIMESTAMP)")
        connection.execute("DELETE FROM daemon_heartbeats")
        at = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%d %H:%M:%S.%f")
        names = daemons or ("SENSOR", "QUEUED_RUN_COORDINATOR", "SCHEDULER")
        connection.executemany("INSERT INTO daemon_heartbeats VALUES (?, ?)", [(name, at) for name in names])
    connection.close()


def test_an_installation_that_is_well_says_ok_to_everything(installation: Installation):
    found = installation.findings()
    assert [one for one in found if one.state is not State.OK] == []
    assert {one.check for one in found} == {
        "python", "settings", "home", "files", "disk", "database", "facts", "destinations", "audiences", "mappings", "connections",
        "leftovers", "dagster", "daemon",
    }  # fmt: skip
    assert "very-secret" not in repr(found)
    assert next(one for one in found if one.check == "database").what.startswith("SQLite 3.")


def test_before_the_first_command_nothing_is_made_and_nothing_fails(tmp_path: Path):
    settings = read_settings({"ENGAGE_HOME": str(tmp_path / "home")})
    states = {one.check: one.state for one in examine(settings, ROOT)}
    assert State.FAIL not in states.values()
    assert states["daemon"] is State.WARN
    assert not (tmp_path / "home").exists()


def test_a_variable_that_nothing_reads_is_named_with_the_nearest(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENGAGE_DATABASE_ULR", "x")
    assert installation.troubles("settings") == [
        ("warn", "ENGAGE_DATABASE_ULR is set, and nothing reads it.", "Did you mean 'ENGAGE_DATABASE_URL'?")
    ]


def test_a_variable_that_a_destination_takes_its_secret_from_is_known(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENGAGE_HOOK_SECRET", "x")
    row = {"url": "https://hook.test/x", "signing_secret": "env:ENGAGE_HOOK_SECRET"}
    installation.write(sa.update(t.destination).values(settings=row))
    assert installation.troubles("settings") == []


def test_keys_that_are_none_are_refused(installation: Installation):
    installation.settings = replace(installation.settings, keys=("not a key",))
    assert [(state, what) for state, what, _ in installation.troubles("settings")] == [
        ("fail", "ENGAGE_KEYS holds something that is not a Fernet key.")
    ]


def test_every_variable_of_the_settings_is_documented_and_known():
    from engage_pipelines import settings

    assert settings.__doc__ is not None
    assert [line.split("|")[1].strip() for line in settings.__doc__.splitlines() if line.startswith("| ENGAGE_")] == list(VARIABLES)


def test_locks_that_do_not_hold_between_processes_are_found(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(place, "_SECOND_PROCESS", "print('free new')")
    assert [(state, what) for state, what, _ in installation.troubles("files")] == [
        ("fail", "A lock of one process does not hold back another.")
    ]
    assert not list(installation.settings.home.glob(".doctor-*"))


def test_a_rename_that_another_process_does_not_see_is_found(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(place, "_SECOND_PROCESS", "print('held old')")
    assert [state for state, _, _ in installation.troubles("files")] == ["fail"]


def test_little_room_is_warned_of(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(place, "LITTLE_SPACE", 1e18)
    assert [state for state, _, _ in installation.troubles("disk")] == ["warn"]


@pytest.mark.parametrize(
    ("url", "what", "remedy"),
    [
        pytest.param("sqlite:///{home}/broken.db", "not a database of ours", "Restore it", id="a file that is no database"),
        pytest.param("postgresql://nobody@127.0.0.1:1/x", "does not answer", "Check ENGAGE_DATABASE_URL", id="a server that is not there"),
        pytest.param("mysql://a@b/c", "names 'mysql'", "Use SQLite or PostgreSQL", id="another database"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_with_the_remedy(installation: Installation, url: str, what: str, remedy: str):
    (installation.settings.home / "broken.db").write_text("this is no database, whatever its name says")
    installation.settings = replace(installation.settings, database_url=url.format(home=installation.settings.home))
    ((state, said, to_do),) = installation.troubles("database")
    assert (state, what in said, remedy in to_do) == ("fail", True, True)


def test_a_schema_that_is_not_there_asks_for_the_upgrade(installation: Installation, tmp_path: Path):
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE other (x)").connection.close()
    installation.settings = replace(installation.settings, database_url=f"sqlite:///{tmp_path}/empty.db")
    ((state, _, remedy),) = installation.troubles("database")
    assert (state, "engage db upgrade" in remedy) == ("fail", True)


@pytest.mark.postgres
def test_postgresql_is_named_with_its_version(installation: Installation, postgres_url: str):
    installation.settings = replace(installation.settings, database_url=postgres_url)
    (database,) = installation.findings("database")
    assert (database.state, database.what.startswith("PostgreSQL 1")) == (State.OK, True)
    # Dagster has kept nothing there yet; what it keeps in the files of another installation does not count
    assert [finding.state for finding in installation.findings("daemon")] == [State.WARN]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param("{", "cannot be read", id="a broken manifest"),
        pytest.param('{"format": 99}', "format 99", id="a manifest of a later version"),
    ],
)
def test_facts_that_cannot_be_read_are_found(installation: Installation, content: str, what: str):
    folder = installation.settings.facts_dir / "default"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(content)
    ((state, said, _),) = installation.troubles("facts")
    assert (state, what in said) == ("fail", True)


def test_a_file_of_the_facts_that_is_gone_is_named(installation: Installation, tmp_path: Path):
    calls = tmp_path / "calls.jsonl"
    call = {"type": "identify", "userId": "u1", "traits": {"plan": "paid"}, "messageId": "1", "timestamp": "2026-01-01T00:00:00Z"}
    calls.write_text(json.dumps(call))
    from engage_pipelines.facts.ingest import ingest

    ingest([str(calls)], facts_dir=installation.settings.facts_dir, space="default", now_us=1_800_000_000_000_000)
    assert installation.troubles("facts") == []
    (lost, *_) = (installation.settings.facts_dir / "default").glob("traits-*.parquet")
    lost.unlink()
    ((state, said, _),) = installation.troubles("facts")
    assert (state, lost.name in said) == ("fail", True)


@pytest.mark.parametrize(
    ("change", "check", "state", "words"),
    [
        pytest.param(
            sa.update(t.destination).values(settings={"url": "https://hook.test/x", "signing_secret": "env:GONE"}),
            "destinations", "fail", "env:GONE, which is not set", id="a secret that is not there",
        ),
        pytest.param(
            sa.update(t.destination).values(settings={"url": "https://hook.test/x", "signing_secret": "env:GONE"}, enabled=False),
            "destinations", "warn", "env:GONE", id="a secret of a disabled destination",
        ),
        pytest.param(sa.update(t.destination).values(type="webhok"), "destinations", "fail", "Did you mean 'webhook'", id="no such type"),
        pytest.param(
            sa.update(t.destination).values(settings={"uri": 5}), "destinations", "fail", "do not fit", id="settings that do not fit"
        ),
        pytest.param(
            sa.update(t.computation).values(definition="trait('plan') ="), "audiences", "fail", "line 1", id="a broken definition"
        ),
        pytest.param(
            sa.update(t.computation).values(last_error="out of memory"), "audiences", "warn", "out of memory", id="a failed evaluation"
        ),
        pytest.param(sa.update(t.mapping).values(trigger="type ="), "mappings", "fail", "Membership of people", id="a broken trigger"),
        pytest.param(sa.update(t.mapping).values(action="nothing"), "mappings", "fail", "no action 'nothing'", id="no such action"),
        pytest.param(
            sa.update(t.mapping).values(fields={"a": {"@pth": "$.x"}}), "mappings", "fail", "@pth", id="a mapping with an unknown word"
        ),
        pytest.param(
            sa.update(t.connection).values(state="stopped", error="401", remedy="Set another key."),
            "connections", "fail", "engage sync vips hook", id="a stopped connection",
        ),
        pytest.param(
            sa.update(t.connection).values(state="awaiting_mapping"), "connections", "warn", "nothing is delivered", id="no mapping"
        ),
    ],
)  # fmt: skip
def test_what_people_configured_and_that_does_not_work_is_named(
    installation: Installation, change: sa.Executable, check: str, state: str, words: str
):
    installation.write(change)
    found = installation.troubles(check)
    assert [one[0] for one in found] == [state]
    assert words in " ".join(found[0])


def test_records_that_failed_and_held_versions_are_told_of(installation: Installation):
    with installation.registry.database.read() as c:
        con, com = c.execute(sa.select(t.connection.c.id)).scalar_one(), c.execute(sa.select(t.computation.c.id)).scalar_one()
    failed = {"connection_id": con, "replica": "users", "address": "user_id:u1", "part": "i0", "kind": "rejected", "value": True}
    rest: dict[str, Any] = {"message_id": "m", "generation": 1, "seq": 0, "reason": "no", "attempts": 1, "created_at": 1}
    installation.write(sa.insert(t.exception).values({**failed, **rest}))
    held = {"computation_id": com, "n": 2, "state": "held", "evaluated_at": 1, "definition": "", "created_at": 1}
    installation.write(sa.insert(t.version).values(held))
    assert [(state, what) for state, what, _ in installation.troubles()] == [
        ("warn", "A version of 'vips' is held: nothing of it is sent."),
        ("warn", "vips -> hook keeps 1 record that failed."),
    ]


def test_files_that_nobody_needs_are_counted_and_swept(installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    folder = installation.settings.generations_dir
    (folder / ".planning-con_x").mkdir(parents=True)
    (folder / "1.parquet").write_bytes(b"x" * 1000)
    (folder / "7.parquet").write_bytes(b"x")
    os.utime(folder / ".planning-con_x", (0, 0))
    with installation.registry.database.read() as c:
        con = c.execute(sa.select(t.connection.c.id)).scalar_one()
    row = {"connection_id": con, "replica": "users", "lo": "", "target": 1, "current_when_planned": 1, "sends_exits": True}
    installation.write(sa.insert(t.generation).values(**row, resync_no=0, mapping_revisions={}, state="settled", kind="sync", planned_at=1))
    ((state, what, remedy),) = installation.troubles("leftovers")
    assert (state, "2 files" in what, remedy) == ("warn", True, "engage doctor --sweep")
    monkeypatch.setenv("ENGAGE_HOME", str(installation.settings.home))
    assert run(["doctor", "--sweep", "--root", str(ROOT)]) == 0
    assert "Removed 2 files" in capsys.readouterr().err
    # a number that the registry does not know may be another installation's, or a later one's after a restore: it stays
    assert [path.name for path in folder.iterdir()] == ["7.parquet"]


def test_a_daemon_that_stopped_is_told_of(installation: Installation):
    beat(installation.settings, 3 * 3600)
    assert installation.troubles("daemon") == [
        (
            "warn",
            "The Dagster daemon wrote its last heartbeat 3 h ago: nothing is computed or sent.",
            "Start it: engage dev, or dagster-daemon run.",
        )
    ]
    beat(installation.settings, 5, "SCHEDULER")
    assert "without SENSOR" in installation.troubles("daemon")[0][1]


@pytest.mark.parametrize(
    ("dagster_yaml", "state", "words"),
    [
        pytest.param(None, "warn", "holds no dagster.yaml", id="no file"),
        pytest.param("storage: [", "fail", "cannot be read", id="a broken file"),
        pytest.param(
            "storage: {custom: {module: engage_pipelines.orchestration.storage, class: EngageStorag}}",
            "fail", "the class EngageStorag", id="a class that is not there",
        ),
        pytest.param(
            "storage: {custom: {module: engage_pipelines.storage, class: EngageStorage}}",
            "fail", "the module engage_pipelines.storage", id="a module that is not there",
        ),
    ],
)  # fmt: skip
def test_files_of_dagster_are_read_without_it(installation: Installation, tmp_path: Path, dagster_yaml: str | None, state: str, words: str):
    installation.root = tmp_path / "root"
    installation.root.mkdir()
    (installation.root / "workspace.yaml").write_text((ROOT / "workspace.yaml").read_text())
    if dagster_yaml is not None:
        (installation.root / "dagster.yaml").write_text(dagster_yaml)
    ((said_state, what, _),) = installation.troubles("dagster")
    assert (said_state, words in what) == (state, True)


def test_a_look_that_breaks_does_not_end_the_examination(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    def broken(_settings: Settings) -> Iterator[Finding]:
        raise RuntimeError("something nobody thought of")

    monkeypatch.setattr("engage_pipelines.doctor.examine.look_at_facts", broken)
    assert [(state, "something nobody thought of" in what) for state, what, _ in installation.troubles()] == [("fail", True)]
    assert installation.findings("daemon")


def test_the_command_exits_with_1_on_a_failure_alone_and_speaks_json(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ENGAGE_HOME", str(installation.settings.home))
    words = ["doctor", "--root", str(ROOT)]
    installation.write(sa.update(t.connection).values(state="awaiting_mapping"))
    assert run(words) == 0
    assert "\nwarn  connections   vips -> hook awaits a mapping" in capsys.readouterr().out
    installation.write(sa.update(t.connection).values(state="stopped"))
    with pytest.raises(SystemExit, match="1"):
        run([*words, "--output", "json"])
    found = json.loads(capsys.readouterr().out)
    assert {tuple(one) for one in found} == {("check", "state", "what", "remedy")}
    assert [one["check"] for one in found if one["state"] == "fail"] == ["connections"]


def test_the_command_imports_no_dagster(installation: Installation):
    code = "import sys; from engage_pipelines.cli.app import run; run(['doctor']); print('dagster' in sys.modules)"
    environment = {**os.environ, "ENGAGE_HOME": str(installation.settings.home), "DAGSTER_HOME": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "False"
