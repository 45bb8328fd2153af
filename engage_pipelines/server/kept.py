"""What was read and rendered once and still holds: kept in memory, and given again as long as nothing was committed to the registry.

Each thing is kept with the mark of the database from before it was read, and given only while the mark is the same. So only what follows
from the tables alone may be kept: nothing that a clock, a file or the outside has a say in. Pages and lists may lag behind the syncs, which
commit several times a second: what this process committed is in them at once, what another did after LAG_S at the latest. Who somebody is
and what they may see never lags.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar, cast

from engage_pipelines.registry.watch import Watch

T = TypeVar("T")

MOST_BYTES = 4_000_000
LAG_S = 1.0
_TURNS = 64
_SMALL = 1_000


@dataclass(frozen=True, slots=True)
class _Entry:
    mark: Hashable
    own: int
    made_s: float
    value: Any
    size: int


class Kept:
    """Shared by all threads; what was asked for longest ago goes first when there is too much."""

    def __init__(self, watch: Watch, *, most_bytes: int = MOST_BYTES) -> None:
        self._watch = watch
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self._turns = [Lock() for _ in range(_TURNS)]

    def look(self, key: Hashable, make: Callable[[], T], *, size_of: Callable[[T], int] = lambda _value: _SMALL, lag_s: float = 0) -> T:
        """What `make` gave for the key since the last commit; made now when there is none. `make` must read the registry alone.

        With `lag_s`, what was made less than so many seconds ago is given though another process has committed since. Several that ask for
        the same at once wait for the one that makes it.
        """
        found = self._find(key, lag_s)
        if found is None:
            with self._turns[hash(key) % _TURNS]:
                found = self._find(key, lag_s) or self._make(key, make, size_of)
        return cast(T, found.value)

    def close(self) -> None:
        self._watch.close()

    def _find(self, key: Hashable, lag_s: float) -> _Entry | None:
        mark, own = self._watch.mark(), self._watch.own()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or (entry.mark != mark and (entry.own != own or time.monotonic() - entry.made_s >= lag_s)):
                return None
            self._entries.move_to_end(key)
            return entry

    def _make(self, key: Hashable, make: Callable[[], T], size_of: Callable[[T], int]) -> _Entry:
        mark, own, made_s = self._watch.mark(), self._watch.own(), time.monotonic()
        value = make()
        entry = _Entry(mark, own, made_s, value, size_of(value) + _SMALL)
        with self._lock:
            before = self._entries.pop(key, None)
            self._bytes += entry.size - (before.size if before else 0)
            self._entries[key] = entry
            while self._bytes > self._most_bytes:
                _key, gone = self._entries.popitem(last=False)
                self._bytes -= gone.size
        return entry
