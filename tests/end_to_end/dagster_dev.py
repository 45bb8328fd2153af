"""`engage dev` for tests: started on a free port, and its whole tree gone afterwards."""

import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from engage_pipelines.demo.processes import stop_group
from tests.end_to_end.product import ENGAGE, ROOT, Product


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
            eventually(lambda: "Dagster UI:" in product.daemon_log(), 120, "the UI does not come up")
            yield
        finally:
            stop_group(process)


def eventually(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)
