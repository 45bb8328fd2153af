from collections.abc import Iterator

import pytest

from engage_pipelines.destinations.sending.transport import close_idle_connections


@pytest.fixture(autouse=True)
def _no_connection_outlives_its_test() -> Iterator[None]:
    yield
    close_idle_connections()
