"""The demo from start to end: its state, its processes, its exit code."""

import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from engage_pipelines.demo.processes import dagster_daemon, signals_as_exits
from engage_pipelines.demo.report import Sent, table
from engage_pipelines.demo.stage import WRITE_KEY, ReceiverStage, Stage
from engage_pipelines.demo.story import DAY_US, Demo
from engage_pipelines.demo.vendor import type_with_a_fake, vendor_stage
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.errors import BusyError, StateError
from engage_pipelines.registry.change import open_registry
from engage_pipelines.settings import Settings, child_environment
from engage_pipelines.testing.receiver import Receiver

MARK = "made-by-the-demo"
HOUR_US = 3_600_000_000


def run_demo(settings: Settings, root: Path, console: Console, *, destination: str | None = None) -> bool:
    """Tell the story; True when every destination holds what was computed. Whatever was started is gone afterwards.

    With a destination type, its fake vendor takes the receiver's place. Raises NotFoundError or UsageError when there is none, StateError
    when ENGAGE_HOME holds something that no demo made, or when a step fails, BusyError while another demo runs.
    """
    types = destination_types()
    type_ = None if destination is None else type_with_a_fake(destination, types)
    with _alone(settings.home):
        folder = _fresh_home(settings.home)
        with signals_as_exits(), _receiver_stage(settings) if type_ is None else vendor_stage(type_) as stage:
            return _run(settings, root, console, folder, stage)


@contextmanager
def _receiver_stage(settings: Settings) -> Generator[ReceiverStage]:
    with Receiver(write_key=WRITE_KEY) as receiver:
        yield ReceiverStage(settings, receiver)


def _run(settings: Settings, root: Path, console: Console, folder: Path, stage: Stage) -> bool:
    began = time.monotonic()
    end_us = time.time_ns() // 1000 // HOUR_US * HOUR_US - DAY_US
    registry = open_registry(settings, types=destination_types())
    demo = Demo(settings, registry, stage, folder, end_us, lambda line: console.print(line, highlight=False, markup=False))
    demo.prepare()
    # the daemon's children find the secrets in their environment, as they would in production
    environment = child_environment(ENGAGE_HOME=str(settings.home), **stage.environment)
    with dagster_daemon(root, environment, folder / "daemon.log") as daemon:
        agreed = _tell(demo, lambda: daemon.poll() is not None, console)
    registry.database.close()
    console.print(f"{'Everything agrees' if agreed else 'Something does NOT agree'}, after {time.monotonic() - began:.0f} s.")
    console.print("Look at it in the Dagster UI: make dev", highlight=False)
    return agreed


def _tell(demo: Demo, stopped: Callable[[], bool], console: Console) -> bool:
    demo.connect()
    demo.wait("the sensor's backfills", stopped)
    agreed, sent = _show(demo, "After the backfill", (), console)
    demo.next_day()
    demo.wait("the second day's syncs", stopped)
    agreed_again, _ = _show(demo, "After the second day: only changes travelled", sent, console)
    return agreed and agreed_again


def _show(demo: Demo, title: str, before: Sequence[Sent], console: Console) -> tuple[bool, list[Sent]]:
    shown, after = demo.report(before)
    console.print(table(title, shown))
    return all(line.agrees for line in shown), after


@contextmanager
def _alone(home: Path) -> Generator[None]:
    """Raises BusyError while another demo works on the same home."""
    home.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.with_name(f"{home.name}.demo.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"Another demo works on {home}.", "Wait for it, or set ENGAGE_HOME to another folder.") from None
    try:
        yield
    finally:
        lock.release()


def _fresh_home(home: Path) -> Path:
    """An empty home; only what an earlier demo made is thrown away. Gives the demo's own folder in it."""
    folder = home / MARK
    if home.exists() and any(home.iterdir()):
        if not folder.is_dir():
            raise StateError(f"{home} holds a state that no demo made.", "Set ENGAGE_HOME to another folder for the demo.")
        shutil.rmtree(home)
    folder.mkdir(parents=True)
    return folder
