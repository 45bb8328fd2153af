"""Taking events away: which ones, what stays, and the command that asks first."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engage_pipelines.cli.events import events
from engage_pipelines.cli.ingest import ingest
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.facts.delete import Doomed, count_events, delete_events
from engage_pipelines.facts.session import open_session
from engage_pipelines.facts.store import read_manifest
from engage_pipelines.testing.plain_calls import SPACE, instant, take_in, write_calls

_SECOND = 1_000_000


def _calls() -> list[dict[str, Any]]:
    named = [("Ran", 1), ("Ran", 2), ("Jumped", 2), ("Ran", 3), ("Jumped", 4)]
    calls: list[dict[str, Any]] = [
        {"type": "track", "event": event, "userId": "u1", "messageId": f"m{number}", "timestamp": instant(at * _SECOND)}
        for number, (event, at) in enumerate(named)
    ]
    return [*calls, {"type": "identify", "userId": "u1", "messageId": "i", "timestamp": instant(9 * _SECOND), "traits": {"plan": "a"}}]


def _left(facts_dir: Path) -> list[str]:
    with open_session(facts_dir, SPACE, at_us=2**60) as session:
        return [row[0] for row in session.connection.execute("SELECT message_id FROM event_rows ORDER BY 1").fetchall()]


@pytest.mark.parametrize(
    ("doomed", "left"),
    [
        pytest.param(Doomed(before_us=2 * _SECOND), ["m1", "m2", "m3", "m4"], id="before leaves out its instant"),
        pytest.param(Doomed(from_us=2 * _SECOND), ["m0"], id="after takes in its instant"),
        pytest.param(Doomed(event="Ran"), ["m2", "m4"], id="one name"),
        pytest.param(Doomed(event="Ran", from_us=2 * _SECOND, before_us=3 * _SECOND), ["m0", "m2", "m3", "m4"], id="all at once"),
        pytest.param(Doomed(event="it's none"), ["m0", "m1", "m2", "m3", "m4"], id="an unknown name"),
    ],
)
def test_only_events_that_meet_every_condition_go(tmp_path: Path, doomed: Doomed, left: list[str]) -> None:
    take_in(tmp_path, _calls())
    counted = sum(count_events(tmp_path, SPACE, doomed).values())
    assert delete_events(tmp_path, SPACE, doomed) == counted == 5 - len(left)
    assert _left(tmp_path) == left


def test_only_files_that_hold_such_events_are_written_again(tmp_path: Path) -> None:
    take_in(tmp_path, _calls()[:2])
    take_in(tmp_path, _calls()[2:])
    before = read_manifest(tmp_path / SPACE)
    delete_events(tmp_path, SPACE, Doomed(event="Jumped"))
    after = read_manifest(tmp_path / SPACE)
    assert after.id != before.id
    assert after.files("events")[0] == before.files("events")[0]
    assert after.files("traits") == before.files("traits")
    assert set(after.retired) == {before.files("events")[1], before.files("messages")[1]}


def test_a_session_opened_before_still_reads_what_was_there(tmp_path: Path) -> None:
    take_in(tmp_path, _calls())
    with open_session(tmp_path, SPACE, at_us=2**60) as session:
        delete_events(tmp_path, SPACE, Doomed(before_us=2**60))
        assert session.connection.execute("SELECT count(*) FROM event_rows").fetchall() == [(5,)]
    assert _left(tmp_path) == []


def test_rows_stay_in_order_after_some_are_gone(tmp_path: Path) -> None:
    take_in(tmp_path, _calls())
    delete_events(tmp_path, SPACE, Doomed(event="Ran", before_us=2 * _SECOND))
    (name,) = read_manifest(tmp_path / SPACE).files("events")
    with open_session(tmp_path, SPACE, at_us=0) as session:
        rows = session.connection.execute(f"SELECT event, ts FROM read_parquet('{tmp_path / SPACE / name}')").fetchall()
    assert rows == sorted(rows)


def test_deleting_from_nothing_is_nothing(tmp_path: Path) -> None:
    assert count_events(tmp_path, SPACE, Doomed(event="Ran")) == {}
    assert delete_events(tmp_path, SPACE, Doomed(event="Ran")) == 0


def test_saying_nothing_would_take_everything_and_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Doomed()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.delenv("ENGAGE_SPACE", raising=False)
    take_in(tmp_path / "facts", _calls())
    return tmp_path


def _run(*words: str) -> Result:
    return CliRunner().invoke(events, ["delete", *words])


def test_the_command_shows_what_goes_and_needs_a_terminal_to_ask(home: Path) -> None:
    result = _run("--event", "Ran")
    assert result.exit_code == 2
    assert "Ran             3" in result.output
    assert "add --yes" in result.output
    assert len(_left(home / "facts")) == 5


def test_the_command_deletes_with_yes(home: Path) -> None:
    assert "Deleted 3 events." in _run("--event", "Ran", "--yes").output
    assert _left(home / "facts") == ["m2", "m4"]


def test_the_command_speaks_json(home: Path) -> None:
    result = _run("--after", "1970-01-01T00:00:02Z", "--yes", "--output", "json")
    assert json.loads(result.stdout) == {"deleted": 4, "events": {"Jumped": 2, "Ran": 2}}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "at least one of --before, --after and --event", id="no condition"),
        pytest.param(["--before", "yesterday"], "is no ISO 8601 instant", id="an instant in words"),
    ],
)
def test_words_that_do_not_fit_are_a_usage_error(home: Path, words: list[str], says: str) -> None:
    result = _run(*words)
    assert result.exit_code == 2
    assert says in result.output


def test_the_ingest_command_counts_and_names_the_rejects(home: Path) -> None:
    path = write_calls(home / "more.jsonl", [{"type": "page", "userId": "u9"}, {"type": "page"}])
    result = CliRunner().invoke(ingest, [str(path), "--output", "json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (told["read"], told["new"], told["rejected"]) == (1, 1, 1)
    assert Path(told["rejects_path"]).parent == home / "facts" / SPACE / "rejects"
    assert "New 0, duplicates 1" in CliRunner().invoke(ingest, [str(path)]).output


def test_the_ingest_command_fails_when_every_line_is_refused(home: Path) -> None:
    path = write_calls(home / "more.jsonl", [{"type": "page"}])
    result = CliRunner().invoke(ingest, [str(path)])
    assert result.exit_code == 1
    assert "Rejected 1 line;" in result.output


def test_the_ingest_command_reads_standard_input(home: Path) -> None:
    result = CliRunner().invoke(ingest, ["-", "--output", "json"], input='{"type":"page","userId":"u9"}\n')
    assert json.loads(result.stdout)["new"] == 1
