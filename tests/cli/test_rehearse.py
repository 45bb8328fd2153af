"""`engage connect --dry-run`: what it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engage_pipelines.cli.app import run
from tests.delivery.world import World, make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    made = make_world(tmp_path)
    made.audience()
    made.destination()
    # the command line knows the types that are installed, and the world's recorder is none of them
    monkeypatch.setattr("engage_pipelines.cli.connect.open_registry", lambda: made.registry)
    yield made
    made.registry.database.close()


def test_calls_requests_presets_and_those_left_out_are_told(world: World, capsys: pytest.CaptureFixture[str]):
    world.publish({n: [f"user_id:u{n}"] for n in range(1, 6)} | {6: ["email:only@x.test"]})
    assert run(["connect", "vips", "crm", "--identify", "--track", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Would connect vips -> crm with Identify and Track calls; nothing is written.",
        '  mapping on: identify: vips  when type = "identify" and context.personas.computation_key = "vips"',
        '  mapping on: track: vips  when type = "track" and context.personas.computation_key = "vips"',
        "  5 Identify and 5 Track calls for those who enter",
        "  about 6 requests, each of at most 2 calls and 4,000,000 bytes",
        "  left out: 1 user without an identifier that it can match by",
    ]
    assert run(["status", "--output", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_an_audience_that_was_not_computed_refers_to_the_preview(world: World, capsys: pytest.CaptureFixture[str]):
    assert run(["connect", "vips", "crm", "--dry-run"]) == 0
    assert "engage audience preview vips" in capsys.readouterr().out


def test_without_backfill_nothing_is_owed(world: World, capsys: pytest.CaptureFixture[str]):
    world.publish({1: ["user_id:u1"]})
    assert run(["connect", "vips", "crm", "--no-backfill", "--dry-run"]) == 0
    assert "nothing is owed now, only later changes are sent" in capsys.readouterr().out
