"""The previews that a server evaluates: in turn, by one thread, each remembered by this process until a few hundred newer ones came."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from engage_pipelines.domain.errors import EngageError, UsageError

MOST_KEPT = 300
MOST_WAITING = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """What an evaluation found."""

    size: int
    sample: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A preview that someone asked for; `failure` is None while it runs and when it went well."""

    id: str
    space_id: str
    audience_type: str
    query: str
    found: Measured | None = None
    failure: str | None = None


class Previews:
    """The previews of this process; share it between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="preview")

    def ask(self, preview: Kept, measure: Callable[[], Measured]) -> None:
        """Have it evaluated from now on. Raises UsageError when too many wait already."""
        with self._lock:
            running = sum(one.found is None and one.failure is None for one in self._kept.values())
            if running >= MOST_WAITING:
                raise UsageError(f"{running} previews are being evaluated already.", "Wait for one of them.")
            self._kept[preview.id] = preview
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        future = self._pool.submit(measure)
        future.add_done_callback(lambda done: self._settle(preview, done))

    def find(self, preview_id: str) -> Kept | None:
        with self._lock:
            return self._kept.get(preview_id)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _settle(self, preview: Kept, done: "Future[Measured]") -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            settled = replace(preview, found=done.result())
        else:
            told = str(error) if isinstance(error, EngageError) else "The evaluation failed; the server's log says where."
            settled = replace(preview, failure=told)
        with self._lock:
            if preview.id in self._kept:
                self._kept[preview.id] = settled
