"""Fixtures of the deliveries' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.registry.database.close()


@pytest.fixture
def connected(world: World) -> str:
    """The connection of an audience to a destination that takes whatever it is sent."""
    world.audience()
    world.destination()
    return world.connect().connection.id
