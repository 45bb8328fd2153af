"""Audiences whose inputs did not move are not evaluated, and nothing is missed by that."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.computing.compute import Computed, compute_audiences
from engage_pipelines.domain.computation import Level
from engage_pipelines.registry import audiences
from engage_pipelines.registry import tables as t
from engage_pipelines.testing.plain_calls import instant, take_in
from tests.delivery.world import World, make_world

DAY_US = 86_400_000_000
NOW_US = 1_700_000_000_000_000


@dataclass
class Asked:
    """A world in which it is noted what evaluations log."""

    world: World
    said: list[str] = field(default_factory=list)

    def create(self, key: str, definition: str, level: Level = Level.USER) -> None:
        with self.world.registry.change() as change:
            audiences.create_audience(
                change, self.world.space, audiences.NewAudience(key, level, definition, options={"compute_without_destinations": True})
            )

    def track(self, number: int, at_us: int, user: str = "u", event: str = "E") -> None:
        call = {"type": "track", "event": event, "userId": user, "messageId": f"m{number}", "timestamp": instant(at_us)}
        take_in(self.world.runtime.settings.facts_dir, [call])

    def compute(self, at_us: int, *keys: str) -> list[Computed]:
        with self.world.registry.database.write() as c:
            c.execute(sa.update(t.space).values(evaluate_at=at_us))
        settings = self.world.runtime.settings
        return compute_audiences(settings, self.world.registry, "default", keys or ("a",), log=self.said.append)

    def state(self, at_us: int) -> tuple[str, int | None, int]:
        """What became of the audience, its size, and how often everyone was asked for that."""
        self.said.clear()
        (computed,) = self.compute(at_us)
        return computed.state, computed.size, sum("evaluated=whole" in line for line in self.said)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(make_world(tmp_path))
    yield made
    made.world.registry.database.close()


def test_the_same_inputs_are_not_opened_again(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("a", "event('E').count() >= 1")
    assert asked.state(NOW_US) == ("published", 1, 1)
    assert asked.state(NOW_US) == ("unchanged", 1, 0)
    assert asked.state(NOW_US + 100 * DAY_US) == ("unchanged", 1, 0)


def test_new_facts_are_looked_at(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("a", "event('E').count() >= 1")
    asked.state(NOW_US)
    asked.track(2, NOW_US, user="v")
    assert asked.state(NOW_US) == ("published", 2, 1)


def test_a_window_is_looked_at_when_its_first_row_leaves_it_and_not_before(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("a", "event('E').within(7 days).count() >= 1")
    assert asked.state(NOW_US) == ("published", 1, 1)
    assert asked.state(NOW_US + 7 * DAY_US) == ("unchanged", 1, 0)
    assert asked.state(NOW_US + 7 * DAY_US + 1) == ("published", 0, 1)


def test_a_row_that_is_to_enter_a_window_is_waited_for(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("a", "event('E').between(1 day, 2 days).count() >= 1")
    assert asked.state(NOW_US) == ("published", 0, 1)
    assert asked.state(NOW_US + DAY_US - 1) == ("unchanged", 0, 0)
    assert asked.state(NOW_US + DAY_US) == ("published", 1, 1)
    assert asked.state(NOW_US + 2 * DAY_US) == ("unchanged", 1, 0)
    assert asked.state(NOW_US + 2 * DAY_US + 1) == ("published", 0, 1)


def test_facts_of_later_instants_are_seen_when_they_come(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.track(2, NOW_US + DAY_US, user="v")
    asked.create("a", "event('E').count() >= 1")
    assert asked.state(NOW_US) == ("published", 1, 1)
    assert asked.state(NOW_US + DAY_US - 1) == ("unchanged", 1, 0)
    assert asked.state(NOW_US + DAY_US) == ("published", 2, 1)


def test_dates_that_are_told_from_now_are_always_looked_at(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("a", "trait('signup').within_last(7 days)")
    asked.state(NOW_US)
    assert asked.state(NOW_US + 1) == ("unchanged", 0, 1)


def test_an_audience_moves_with_those_that_it_refers_to(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("b", "event('E').within(1 day).count() >= 1")
    asked.create("a", "NOT trait('b') = true")
    assert asked.state(NOW_US) == ("published", 0, 1)
    assert asked.state(NOW_US + DAY_US) == ("unchanged", 0, 0)
    assert asked.state(NOW_US + DAY_US + 1) == ("published", 1, 1)


def test_one_that_moved_does_not_open_the_facts_for_the_others(asked: Asked) -> None:
    asked.track(1, NOW_US)
    asked.create("a", "event('E').count() >= 1")
    asked.create("b", "event('E').within(1 day).count() >= 1")
    asked.compute(NOW_US, "a", "b")
    later = asked.compute(NOW_US + 2 * DAY_US, "b", "a")
    assert [(each.key, each.state) for each in later] == [("b", "published"), ("a", "unchanged")]
