"""Watching: what is live is computed as soon as facts come, by one process at a time, and what fails is asked for like everything else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.computing.watch import Looked, compute_arrivals, is_watched, watching
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import BusyError
from engage_pipelines.registry import audiences
from engage_pipelines.registry import tables as t
from engage_pipelines.testing.plain_calls import instant, take_in
from tests.delivery.world import World, make_world

NOW_US = 1_700_000_000_000_000
PATIENCE_S = 120.0
ENGAGE = Path(sys.executable).with_name("engage")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.registry.database.close()


def _audience(world: World, key: str, cadence: str = "live") -> None:
    with world.registry.change() as change:
        new = audiences.NewAudience(
            key, Level.USER, "event('E').count() >= 1", cadence=cadence, options={"compute_without_destinations": True}
        )
        audiences.create_audience(change, world.space, new)


def _track(world: World, number: int) -> None:
    call = {"type": "track", "event": "E", "userId": f"u{number}", "messageId": f"m{number}", "timestamp": instant(NOW_US)}
    take_in(world.runtime.settings.facts_dir, [call])


def _look(world: World, before: dict[str, str]) -> Looked:
    return compute_arrivals(world.runtime.settings, world.registry, before, log=lambda _: None)


def _requests(world: World) -> int:
    with world.registry.database.read() as c:
        query = sa.select(sa.func.count()).select_from(t.compute_request).where(t.compute_request.c.state == "owed")
        return c.execute(query.where(t.compute_request.c.requested_by == "watch")).scalar_one()


def _nothing_waits(world: World) -> None:
    with world.registry.database.write() as c:
        c.execute(sa.update(t.compute_request).values(state="done"))


def test_each_arrival_is_computed_once_and_only_for_what_is_live(world: World) -> None:
    _audience(world, "live_one")
    _audience(world, "hourly_one", cadence="hourly")
    _nothing_waits(world)
    _track(world, 1)
    first = _look(world, {})
    assert [(each.key, each.state, each.size) for each in first.computed] == [("live_one", "published", 1)]
    assert _look(world, dict(first.facts)).computed == []
    _track(world, 2)
    assert [each.size for each in _look(world, dict(first.facts)).computed] == [2]
    assert _requests(world) == 0


def test_what_cannot_be_computed_is_asked_for_like_everything_else(world: World) -> None:
    _audience(world, "broken")
    _nothing_waits(world)
    _track(world, 1)
    with world.registry.database.write() as c:
        c.execute(sa.update(t.computation).values(definition="trait("))
    looked = _look(world, {})
    assert [each.state for each in looked.computed] == ["failed"]
    assert _requests(world) == 1
    assert _look(world, dict(looked.facts)).computed == []
    assert _requests(world) == 1


def test_one_process_watches_at_a_time(tmp_path: Path) -> None:
    assert not is_watched(tmp_path)
    with watching(tmp_path):
        assert is_watched(tmp_path)
        with pytest.raises(BusyError, match="watches"), watching(tmp_path):
            pass
    assert not is_watched(tmp_path)


def test_the_command_computes_on_arrival_and_ends_cleanly_when_asked(world: World) -> None:
    _audience(world, "live_one")
    _nothing_waits(world)
    settings = world.runtime.settings
    environment = {**os.environ, "ENGAGE_HOME": str(settings.home), "ENGAGE_DATABASE_URL": settings.database_url}
    command = [str(ENGAGE), "watch", "--every", "0.2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            for number in (1, 2):
                _track(world, number)
                _wait_for_size(world, number, process)
        finally:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors
    assert not is_watched(settings.home)


def _wait_for_size(world: World, size: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + PATIENCE_S
    query = sa.select(sa.func.max(t.version.c.size)).where(t.version.c.state == "published")
    while True:
        with world.registry.database.read() as c:
            if c.execute(query).scalar() == size:
                return
        assert process.poll() is None, "the command ended"
        assert time.monotonic() < until, "nothing was published"
        time.sleep(0.1)
