"""`engage dev` for tests: started on a free port, and its whole tree gone afterwards."""

import random
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from engage_pipelines.demo.processes import stop_groups
from tests.end_to_end.product import ENGAGE, ROOT, Product

STARTS_WITHIN_S = 200.0
"""Longer than `engage dev` itself waits, so that its own words are read."""
STOPS_WITHIN_S = 60.0
"""Longer than `engage dev` takes to end a Dagster that is deaf: killed in the midst of that it would leave children behind."""


def free_port() -> int:
    """A port below those that the system hands out by itself: one of those can be taken by any outgoing call before Dagster binds it."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@contextmanager
def engage_dev(product: Product, port: int) -> Generator[None]:
    product.home.mkdir(parents=True, exist_ok=True)
    with (product.home / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [str(ENGAGE), "dev", "--port", str(port)],
            cwd=ROOT,
            env=product.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_for_ui(product, process)
            yield
        finally:
            stop_groups(process, within_s=STOPS_WITHIN_S)


def _wait_for_ui(product: Product, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while "Dagster UI:" not in product.daemon_log():
        assert process.poll() is None, f"it ended by itself:\n{product.daemon_log()}"
        assert time.monotonic() < deadline, f"the UI does not come up:\n{product.daemon_log()}"
        time.sleep(0.5)


def eventually(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)
