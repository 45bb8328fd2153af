from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("engage_pipelines.testing")

from engage_pipelines.destinations.sending.transport import close_idle_connections  # noqa: E402 (after the registration)


@pytest.fixture(autouse=True)
def _no_connection_outlives_its_test() -> Iterator[None]:
    yield
    close_idle_connections()
