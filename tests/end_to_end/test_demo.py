"""The demo: it agrees, and whatever ends it, nothing that it started is left."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.end_to_end.product import ENGAGE, ROOT, Product

pytestmark = [pytest.mark.daemon, pytest.mark.slow]


def start(product: Product, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(ENGAGE), "demo"], cwd=ROOT, env=product.environment, stdout=output, stderr=output, start_new_session=True
        )


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that have this home in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"ENGAGE_HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_the_demo_agrees_and_leaves_no_process(tmp_path: Path):
    product = Product(tmp_path / "home")
    said = product.engage("demo", timeout=300)
    assert "Everything agrees" in said
    assert re.search(r"at_risk_accounts.*Group \+\d+ -\d+", said)
    assert processes_of(product.home) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see what is left")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="Ctrl-C")])
def test_a_demo_that_is_ended_takes_its_processes_along(tmp_path: Path, number: signal.Signals):
    product, log = Product(tmp_path / "home"), tmp_path / "demo.log"
    demo = start(product, log)
    deadline = time.monotonic() + 90
    while "engage connect" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    while len(processes_of(product.home)) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(processes_of(product.home)) > 1
    demo.send_signal(number)
    assert demo.wait(timeout=60) != 0
    assert processes_of(product.home) == []


def test_a_second_demo_on_the_same_home_is_refused(tmp_path: Path):
    product, log = Product(tmp_path / "home"), tmp_path / "demo.log"
    demo = start(product, log)
    try:
        deadline = time.monotonic() + 60
        while not (product.home / "made-by-the-demo").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "Another demo works on" in product.engage("demo", code=1)
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(timeout=60)


def test_a_home_that_no_demo_made_is_left_alone(tmp_path: Path):
    product = Product(tmp_path / "home")
    product.home.mkdir()
    (product.home / "precious").write_text("mine")
    assert "no demo made" in product.engage("demo", code=1)
    assert (product.home / "precious").read_text() == "mine"
