"""A wish to stop, by SIGTERM or Ctrl-C, granted at the next batch boundary.

The ledger is true then, the lease is let go, and the rest stays owed.
"""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from engage_pipelines.domain.errors import EngageError

_LOOK_EVERY_S = 1.0


class StoppedError(EngageError):
    """The run was asked to stop and did; a later run goes on where it stands."""

    def __init__(self, where: str = "") -> None:
        super().__init__(f"The run was asked to stop{where}.", "The next run sends the rest.")


class PausedError(EngageError):
    """The work stops cleanly at a batch boundary: the destination asked for a pause or is left alone, or people paused the connection."""

    def __init__(self, what: str, remedy: str = "", *, until_us: int | None = None) -> None:
        super().__init__(what, remedy)
        self.until_us = until_us


class StopFlag:
    """Whether the process was asked to stop; one for all that a process does."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Wish for a stop at the next batch boundary."""
        self._asked.set()

    def check(self) -> None:
        """Raises StoppedError when a stop was asked for."""
        if self._asked.is_set():
            raise StoppedError

    def sleep(self, seconds: float, sleep: Callable[[float], None]) -> None:
        """Sleep in stretches, so that a stop is not waited for. Raises StoppedError."""
        left = max(seconds, 0.0)
        while True:
            self.check()
            sleep(min(left, _LOOK_EVERY_S))
            left -= _LOOK_EVERY_S
            if left <= 0:
                return

    @contextmanager
    def on_signals(self) -> Generator[None]:
        """Take SIGTERM and SIGINT as a wish to stop; one that came is raised again afterwards, so whoever asked sees the end that it knows.

        Signals belong to the main thread; in another one they are left alone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        came: list[int] = []

        def note(number: int, _frame: FrameType | None) -> None:
            came.append(number)
            self._asked.set()

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if came:
                self._asked.clear()
                signal.raise_signal(came[0])
