"""Versions that are published from what moved alone are those that looking at everyone gives, row by row."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from engage_pipelines.computing import evaluation, publish
from engage_pipelines.computing.compute import Computed, compute_audiences
from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.incremental import Limits
from engage_pipelines.registry import audiences
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.snapshots.rows import Chain
from engage_pipelines.testing.plain_calls import SPACE, instant, take_in
from engage_pipelines.testing.plain_facts import Facts
from engage_pipelines.testing.random_definitions import AT_US, HOUR_US, facts
from engage_pipelines.testing.random_histories import Call, calls_of
from tests.delivery.world import World, make_world

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200"))
_AUDIENCES = (
    ("recent", Level.USER, "event('A').within(24 hours).count() >= 1 OR NOT event('B').count() >= 2"),
    ("known", Level.USER, "trait('t').exists() OR event('A').count() >= 1"),
    ("companies", Level.ACCOUNT, "ANY (event('A').within(48 hours).count() >= 1) OR trait('t').exists()"),
)
_STEPS_US = (1, HOUR_US, 24 * HOUR_US)


@dataclass
class _Product:
    world: World

    def create(self) -> None:
        for key, level, definition in _AUDIENCES:
            new = audiences.NewAudience(key, level, definition, options={"compute_without_destinations": True})
            with self.world.registry.change() as change:
                audiences.create_audience(change, self.world.space, new)

    def step(self, calls: list[Call], at_us: int, *, suppress: str | None) -> list[Computed]:
        settings_ = self.world.runtime.settings
        if calls:
            take_in(settings_.facts_dir, calls)
        with self.world.registry.database.write() as c:
            c.execute(sa.update(t.space).values(evaluate_at=at_us))
            if suppress:
                space_id = c.execute(sa.select(t.space.c.id)).scalar_one()
                c.execute(sa.insert(t.suppression).values(space_id=space_id, kind="user_id", id=suppress, actor="x", at=at_us))
        keys = [key for key, _, _ in _AUDIENCES]
        return compute_audiences(settings_, self.world.registry, SPACE, keys, log=lambda _: None)

    def rows(self, key: str) -> list[tuple[object, ...]]:
        with self.world.registry.database.read() as c:
            computation_id = c.execute(sa.select(t.computation.c.id).where(t.computation.c.key == key)).scalar_one()
            versions = published_versions(c, computation_id)
        chain = Chain.of(self.world.runtime.settings.snapshots_dir / SPACE / key, versions)
        with duckdb.connect() as db:
            return sorted(db.execute(chain.rows(versions[-1][0] if versions else 0)).fetchall())


@settings(
    max_examples=max(1, EXAMPLES // 200),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(given_facts=facts(), seed=st.integers(0, 2**32))
def test_versions_are_the_same_row_by_row(given_facts: Facts, seed: int) -> None:
    random = Random(seed)
    calls = calls_of(given_facts, seed)
    cuts = [0, *sorted(random.randint(0, len(calls)) for _ in range(4)), len(calls)]
    at_us = AT_US - 26 * HOUR_US
    with _pair() as pair:
        for begin, end in pairwise(cuts):
            at_us += random.choice(_STEPS_US)
            pair.step(calls[begin:end], at_us, suppress=f"u{begin}" if random.random() < 0.2 else None)
        event("compared some members" if pair.counted else "compared everyone")


_RENAMING: tuple[dict[str, Any], ...] = (
    {"type": "identify", "userId": "u1", "traits": {"email": "two@x.test"}},
    {"type": "identify", "userId": "u1", "traits": {"email": "one@x.test"}},
    {"type": "identify", "userId": "u1", "traits": {"email": None}},
    {"type": "track", "event": "C", "userId": "u1"},
    {"type": "identify", "anonymousId": "a9", "userId": "u3"},
    {"type": "alias", "previousId": "u2", "userId": "u1"},
    {"type": "alias", "previousId": "old", "userId": "u4"},
    {"type": "track", "event": "C", "anonymousId": "old"},
)


def test_other_identifiers_of_the_same_members_are_published() -> None:
    start: list[dict[str, Any]] = [{"type": "track", "event": "A", "userId": f"u{number}"} for number in range(1, 5)]
    start += [{"type": "identify", "userId": "u1", "traits": {"email": "one@x.test"}}]
    start += [{"type": "identify", "anonymousId": "a9", "traits": {"email": "nine@x.test", "t": 1}}]
    with _pair() as pair:
        for number, calls in enumerate((start, *([each] for each in _RENAMING))):
            at_us = AT_US + number
            pair.step([_stamped(call, f"s{number}-{place}", at_us) for place, call in enumerate(calls)], at_us)
        assert pair.counted >= len(_RENAMING) * 2


def _stamped(call: dict[str, Any], message_id: str, at_us: int) -> Call:
    return {"messageId": message_id, "timestamp": instant(at_us), **call}


@dataclass
class _Pair:
    """Two of the product with the same facts: one goes on, the other asks everyone; `counted` comparisons were of some members."""

    patch: pytest.MonkeyPatch
    going: _Product
    asking: _Product
    counted: int = 0

    def step(self, calls: list[Call], at_us: int, *, suppress: str | None = None) -> None:
        self.patch.setattr(evaluation, "WORTH_FROM", 0)
        found = self.going.step(calls, at_us, suppress=suppress)
        self.patch.setattr(evaluation, "WORTH_FROM", 10**9)
        assert found == self.asking.step(calls, at_us, suppress=suppress)
        for key, _, _ in _AUDIENCES:
            assert self.going.rows(key) == self.asking.rows(key)


@contextmanager
def _pair() -> Generator[_Pair]:
    ordinary = publish.compare_some
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        going, asking = (_Product(make_world(_made(Path(folder) / name))) for name in ("one", "other"))
        pair = _Pair(patch, going, asking)

        def counting(*given: Any, **named: Any) -> Any:
            pair.counted += 1
            return ordinary(*given, **named)

        patch.setattr(publish, "compare_some", counting)
        patch.setattr(evaluation, "LIMITS", Limits(shelved_from=5, most=1.0))
        for product in (pair.going, pair.asking):
            product.create()
        yield pair
        for product in (pair.going, pair.asking):
            product.world.registry.database.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
