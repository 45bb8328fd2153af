"""`engage status`: how far a sync is, and why a destination is not sent to as usual."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.cli.app import run
from engage_pipelines.cli.status import Rates, duration_words, progress_words
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database, system_clock_us
from engage_pipelines.registry.status import Progress, StatusRow

ROW = StatusRow("vips", "crm", "Connected", "Syncing", 10, 0, 0, None, None, None, None)


def looked(done: int) -> StatusRow:
    return replace(ROW, progress=Progress(7, done, 10_000, per_s=100.0, left_s=(10_000 - done) / 100.0))


def test_while_someone_watches_the_rate_is_that_between_two_looks():
    clock = iter([0.0, 2.0, 4.0])
    rates = Rates(lambda: next(clock))
    assert rates.since_last_look(looked(1_000)).progress == looked(1_000).progress
    second = rates.since_last_look(looked(2_000)).progress
    assert second is not None
    assert (second.per_s, second.left_s) == (500.0, 16.0)
    third = rates.since_last_look(looked(2_000)).progress
    assert third is not None
    assert (third.per_s, third.left_s) == (0.0, None)
    assert rates.since_last_look(ROW) == ROW


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        pytest.param(Progress(7, 1_200, 10_000, 350.2, 25.1), "1,200 of 10,000 sent, 350/s, 25 s left", id="under way"),
        pytest.param(Progress(7, 2, 10_000, 0.25, 39_992.0), "2 of 10,000 sent, 0.2/s, 11 h left", id="slow"),
        pytest.param(Progress(7, 0, 10_000, None, None), "0 of 10,000 sent", id="just begun"),
        pytest.param(Progress(7, 5, 10_000, 0.0, None), "5 of 10,000 sent, 0/s", id="standing still"),
    ],
)
def test_progress_is_told_in_words(progress: Progress, words: str):
    assert progress_words(progress) == words


def test_durations_are_told_in_the_unit_that_fits():
    assert [duration_words(s) for s in (0.4, 119, 120, 7199, 7200)] == ["0 s", "119 s", "2 min", "120 min", "2 h"]


def test_a_running_sync_and_a_slowed_destination_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    monkeypatch.setenv("ENGAGE_FILES_DIR", str(tmp_path / "files"))
    for words in (
        ("audience", "create", "vips", "--query", "trait('plan') = 'paid'"),
        ("destination", "create", "crm", "--type", "csv_file", "--set", "path=vips.csv", "--max-requests-per-s", "5"),
        ("connect", "vips", "crm"),
    ):
        assert run(words) == 0, capsys.readouterr().err
    database = Database(f"sqlite:///{tmp_path / 'engage.db'}")
    with database.write() as c:
        connection_id, destination_id = c.execute(sa.select(t.connection.c.id, t.connection.c.destination_id)).one()
        values = {"replica": "users", "lo": "", "target": 1, "current_when_planned": 1, "sends_exits": True, "resync_no": 0}
        since = system_clock_us() - 1_000_000_000
        c.execute(
            sa.insert(t.generation).values(
                id=7, connection_id=connection_id, mapping_revisions={}, state="open", kind="backfill", records=10_000, planned_at=since,
                **values,
            )
        )  # fmt: skip
        ranges = [(0, 599), (800, 1_199)]
        c.execute(sa.insert(t.ledger), [{"generation": 7, "lo": lo, "hi": hi, "answer": "delivered", "attempts": 1} for lo, hi in ranges])
        c.execute(sa.update(t.sync_request).values(started_at=since, run_id="run"))
        c.execute(sa.update(t.connection).values(note="The list has 10 members; CRM uses it from 100 on."))
        c.execute(sa.insert(t.pace).values(destination_id=destination_id, slowed_to=2.5, usual_rate=5.0))
    database.close()
    capsys.readouterr()
    assert run(["status"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"vips -> crm: 1,000 of 10,000 sent, 1\.0/s, 3 h left", said)
    assert "crm: slowed to 2.5 requests a second after it asked for a pause, rising to 5" in said
    assert "vips -> crm: The list has 10 members; CRM uses it from 100 on." in said
    assert run(["status", "--output", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["note"] == "The list has 10 members; CRM uses it from 100 on."
    assert run(["destination", "show", "crm"]) == 0
    shown = capsys.readouterr().out
    assert "requests per s      2.5" in shown
    assert "max requests per s  5" in shown
    assert "slowed to 2.5" in shown
    assert run(["destination", "update", "crm", "--max-requests-per-s", "-1"]) == 2
    assert "-1 requests a second is no pace" in capsys.readouterr().err
