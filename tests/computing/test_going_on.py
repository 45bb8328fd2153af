"""Computing again goes on from what the last evaluation kept, and publishes what asking everyone would."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.computing import evaluation
from engage_pipelines.computing.compute import Computed, compute_audiences
from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.compaction import compact
from engage_pipelines.facts.delete import Doomed, delete_events
from engage_pipelines.facts.erase import erase_facts, find_person
from engage_pipelines.facts.incremental import Limits
from engage_pipelines.facts.store import read_manifest, writing
from engage_pipelines.registry import audiences
from engage_pipelines.registry import tables as t
from engage_pipelines.testing.plain_calls import SPACE, instant, take_in
from tests.delivery.world import World, make_world

DAY_US = 86_400_000_000
NOW_US = 1_700_000_000_000_000


@dataclass
class Going:
    """A world in which every evaluation is kept; `said` is what they logged."""

    world: World
    said: list[str] = field(default_factory=list)
    calls: int = 0

    @property
    def facts(self) -> Path:
        return self.world.runtime.settings.facts_dir

    def create(self, key: str, definition: str, level: Level = Level.USER) -> None:
        with self.world.registry.change() as change:
            new = audiences.NewAudience(key, level, definition, options={"compute_without_destinations": True})
            audiences.create_audience(change, self.world.space, new)

    def edit(self, key: str, definition: str) -> None:
        with self.world.registry.database.write() as c:
            c.execute(sa.update(t.computation).where(t.computation.c.key == key).values(definition=definition))

    def track(self, *users: str, at_us: int = NOW_US, event: str = "E") -> None:
        self.take_in(*({"type": "track", "event": event, "userId": user, "properties": {"total": 5}} for user in users), at_us=at_us)

    def take_in(self, *calls: dict[str, Any], at_us: int = NOW_US) -> None:
        self.calls += 1
        stamped = [{"messageId": f"m{self.calls}-{n}", "timestamp": instant(at_us), **call} for n, call in enumerate(calls)]
        take_in(self.facts, stamped)

    def compute(self, at_us: int, *keys: str) -> list[Computed]:
        with self.world.registry.database.write() as c:
            c.execute(sa.update(t.space).values(evaluate_at=at_us))
        settings = self.world.runtime.settings
        return compute_audiences(settings, self.world.registry, SPACE, keys or ("a",), log=self.said.append)

    def size(self, at_us: int) -> tuple[int | None, bool]:
        """The size of the audience now, and whether the evaluation went on from a kept one."""
        self.said.clear()
        (computed,) = self.compute(at_us)
        assert computed.error is None
        return computed.size, "evaluated=whole" not in " ".join(self.said)


@pytest.fixture
def going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Going]:
    made = Going(make_world(tmp_path))
    monkeypatch.setattr(evaluation, "WORTH_FROM", 1)
    monkeypatch.setattr(evaluation, "LIMITS", Limits(shelved_from=2, most=1.0))
    yield made
    made.world.registry.database.close()


def test_new_events_and_new_people_are_added_to_what_was_kept(going: Going) -> None:
    going.create("a", "event('E').count() >= 2")
    going.track("u", "v")
    assert going.size(NOW_US) == (0, False)
    going.track("u", "w", at_us=NOW_US + 1)
    assert going.size(NOW_US + 1) == (1, True)
    going.track("v", "w", at_us=NOW_US - DAY_US)
    assert going.size(NOW_US + 2) == (3, True)


def test_rows_that_leave_a_window_are_found_without_new_facts(going: Going) -> None:
    going.create("a", "event('E').within(7 days).count() >= 1")
    going.track("u", at_us=NOW_US)
    going.track("v", at_us=NOW_US + DAY_US)
    assert going.size(NOW_US + 2 * DAY_US) == (2, False)
    assert going.size(NOW_US + 7 * DAY_US + 1) == (1, True)
    assert going.size(NOW_US + 8 * DAY_US + 1) == (0, True)


def test_what_a_late_link_moves_is_asked_again(going: Going) -> None:
    going.create("a", "event('E').count() >= 2")
    going.track("u")
    going.take_in({"type": "track", "event": "E", "anonymousId": "x"})
    assert going.size(NOW_US) == (0, False)
    going.take_in({"type": "identify", "anonymousId": "x", "userId": "u", "traits": {}})
    assert going.size(NOW_US + 1) == (1, True)
    going.take_in({"type": "alias", "previousId": "u", "userId": "v"})
    assert going.size(NOW_US + 2) == (1, True)


def test_traits_and_edited_definitions_count_as_they_are_now(going: Going) -> None:
    going.create("a", "trait('plan') = 'pro' AND event('E').count() >= 1")
    going.track("u", "v")
    going.take_in({"type": "identify", "userId": "u", "traits": {"plan": "pro"}})
    assert going.size(NOW_US) == (1, False)
    going.take_in({"type": "identify", "userId": "v", "traits": {"plan": "pro"}}, at_us=NOW_US + 1)
    assert going.size(NOW_US + 1) == (2, True)
    going.edit("a", "trait('plan') = 'pro' AND NOT event('E').sum(property('total')) >= 6")
    going.track("u", at_us=NOW_US + 2)
    assert going.size(NOW_US + 2) == (1, True)


def test_suppressed_people_stay_out(going: Going) -> None:
    going.create("a", "event('E').count() >= 1")
    going.track("u", "v")
    assert going.size(NOW_US) == (2, False)
    with going.world.registry.database.write() as c:
        space_id = c.execute(sa.select(t.space.c.id)).scalar_one()
        c.execute(sa.insert(t.suppression).values(space_id=space_id, kind="user_id", id="u", actor="x", at=NOW_US))
    going.track("u", "w", at_us=NOW_US + 1)
    assert going.size(NOW_US + 1) == (2, True)


def _merge_files(going: Going) -> None:
    with writing(going.facts / SPACE) as write:
        compact(write, max_files=1, left_alone=0)
        write.commit()


def test_merged_files_are_gone_on_from_with_what_came_before_they_were_merged(going: Going) -> None:
    going.create("a", "event('E').within(7 days).count() >= 2 AND trait('plan') = 'pro'")
    going.take_in(*({"type": "identify", "userId": user, "traits": {"plan": "pro"}} for user in ("u", "v", "w")))
    going.track("u", "v")
    assert going.size(NOW_US) == (0, False)
    going.track("u", at_us=NOW_US - DAY_US)
    _merge_files(going)
    going.track("w", "w", at_us=NOW_US - DAY_US)
    going.take_in({"type": "identify", "anonymousId": "x", "userId": "v", "traits": {}})
    going.track("v", "v")
    _merge_files(going)
    assert going.size(NOW_US + 1) == (3, True)
    _merge_files(going)
    assert going.size(NOW_US + 6 * DAY_US + 1) == (1, True)


def test_files_merged_so_long_ago_that_they_are_gone_start_anew(going: Going) -> None:
    going.create("a", "event('E').count() >= 2")
    going.track("u", "v")
    assert going.size(NOW_US) == (0, False)
    going.track("u")
    _merge_files(going)
    retired = read_manifest(going.facts / SPACE).retired
    for name in retired:
        (going.facts / SPACE / name).unlink()
    assert going.size(NOW_US + 1) == (1, False)


def test_deleted_events_start_anew(going: Going) -> None:
    going.create("a", "event('E').count() >= 1")
    going.track("u", "v")
    going.track("v", event="F")
    assert going.size(NOW_US) == (2, False)
    delete_events(going.facts, SPACE, Doomed(event="F"))
    assert going.size(NOW_US + 1) == (2, False)


def test_an_erased_person_leaves_nothing_that_was_derived(going: Going) -> None:
    going.create("a", "event('E').count() >= 1")
    going.track("u", "v")
    assert going.size(NOW_US) == (2, False)
    going.track("w", at_us=NOW_US + 1)
    assert going.size(NOW_US + 1) == (3, True)
    erase_facts(going.facts, SPACE, find_person(going.facts, SPACE, "user_id", "u"))
    named = {path.stem for path in (going.facts / SPACE).glob("events-*.parquet")}
    assert {path.name for path in (going.facts / SPACE / "shelf").glob("*")} <= named
    assert not (going.facts / SPACE / "kept").exists()
    assert going.size(NOW_US + 2) == (2, False)


@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), pytest.param(b"\x99" * 400, id="of something else")])
def test_a_broken_file_of_what_was_kept_costs_an_evaluation_and_nothing_else(going: Going, content: bytes) -> None:
    going.create("a", "event('E').count() >= 1")
    going.track("u")
    assert going.size(NOW_US) == (1, False)
    (kept,) = (going.facts / SPACE / "kept").iterdir()
    kept.write_bytes(content)
    going.track("v", at_us=NOW_US + 1)
    assert going.size(NOW_US + 1) == (2, False)
    going.track("w", at_us=NOW_US + 2)
    assert going.size(NOW_US + 2) == (3, True)
