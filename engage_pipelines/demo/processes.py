"""Processes that the demo starts and that are gone when it ends, whatever ends it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from engage_pipelines.domain.errors import StateError

STOP_WITHIN_S = 15.0


@contextmanager
def signals_as_exits() -> Generator[None]:
    """SIGTERM ends the program as Ctrl-C does: through every `finally`.

    Ctrl-C itself is listened to again: a shell starts its background jobs deaf to it, children inherit that, and Dagster takes SIGTERM
    for a Ctrl-C.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, leave), signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def dagster_daemon(root: Path, environment: Mapping[str, str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    """A Dagster daemon in a session of its own; at the end its whole process group is stopped, and killed if it does not stop.

    Raises StateError when it cannot be started from `root`, the folder of dagster.yaml and workspace.yaml.
    """
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (root / name).is_file():
            raise StateError(f"{root} holds no {name}.", "Run the demo from the project's folder, or set DAGSTER_HOME to it.")
    program = Path(sys.executable).with_name("dagster-daemon")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program, fixed words
            [str(program), "run", "--workspace", "workspace.yaml"],
            cwd=root,
            env={**environment, "DAGSTER_HOME": str(root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            stop_groups(process)


@contextmanager
def ended_together() -> Generator[list[subprocess.Popen[bytes]]]:
    """Processes that lead groups, added as they are started: at the end all are stopped at once, and what they said is let go."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        stop_groups(*started)
        for process in started:
            if process.stdout is not None:
                process.stdout.close()


def stop_groups(*processes: subprocess.Popen[bytes], within_s: float = STOP_WITHIN_S) -> None:
    """Stop processes that lead groups, and everything in the groups, all at once: killed are those still there after `within_s` seconds.

    Whoever asks once more meanwhile is not listened to: ending in the midst of it would leave children that nobody ends.
    """
    with _undisturbed():
        left = list(processes)
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = [process for process in left if _signal_group(process.pid, number)]
            deadline = time.monotonic() + within_s
            while left and time.monotonic() < deadline:
                time.sleep(0.05)
                for process in left:
                    process.poll()  # takes the exit code, so that the leader does not stay as a zombie in its own group
                left = [process for process in left if _signal_group(process.pid, 0)]
        for process in processes:
            process.wait()


@contextmanager
def _undisturbed() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
