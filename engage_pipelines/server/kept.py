"""What was read and rendered once and still holds: kept in memory, and given again as long as nothing was committed to the registry.

Nothing here is ever old: each thing is kept with the mark of the database from before it was read, and given only while the mark is the
same. So only what follows from the tables alone may be kept: nothing that a clock, a file or the outside has a say in.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar, cast

from engage_pipelines.registry.watch import Watch

T = TypeVar("T")

MOST_BYTES = 4_000_000
_TURNS = 64
_SMALL = 1_000


@dataclass(frozen=True, slots=True)
class _Entry:
    mark: Hashable
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

    def look(self, key: Hashable, make: Callable[[], T], *, size_of: Callable[[T], int] = lambda _value: _SMALL) -> T:
        """What `make` gave for the key since the last commit; made now when there is none. `make` must read the registry alone.

        Several that ask for the same at once wait for the one that makes it.
        """
        found = self._find(key)
        if found is None:
            with self._turns[hash(key) % _TURNS]:
                found = self._find(key) or self._make(key, make, size_of)
        return cast(T, found.value)

    def close(self) -> None:
        self._watch.close()

    def _find(self, key: Hashable) -> _Entry | None:
        mark = self._watch.mark()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.mark != mark:
                return None
            self._entries.move_to_end(key)
            return entry

    def _make(self, key: Hashable, make: Callable[[], T], size_of: Callable[[T], int]) -> _Entry:
        mark = self._watch.mark()
        value = make()
        entry = _Entry(mark, value, size_of(value) + _SMALL)
        with self._lock:
            before = self._entries.pop(key, None)
            self._bytes += entry.size - (before.size if before else 0)
            self._entries[key] = entry
            while self._bytes > self._most_bytes:
                _key, gone = self._entries.popitem(last=False)
                self._bytes -= gone.size
        return entry
