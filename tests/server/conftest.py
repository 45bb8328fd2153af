"""A server for each test, and one event loop that all of them are asked on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.server.world import World, make_database, open_world


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that worlds copy; making one takes longer than most tests."""
    return make_database(tmp_path_factory.mktemp("made"))


@pytest.fixture
def world(tmp_path: Path, portal: BlockingPortal, made: Path) -> Iterator[World]:
    yield from open_world(tmp_path, portal, made)
