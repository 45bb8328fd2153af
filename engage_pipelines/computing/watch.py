"""Watching for arrivals: what is computed live is evaluated by one warm process as soon as facts come, without a run for each evaluation.

One process watches a home at a time. It holds a lock meanwhile, and the sensor that asks for what is live leaves it to whoever holds that.
What fails is asked for as a request, so that it is tried again as every other.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from engage_pipelines.computing.arrivals import find_due
from engage_pipelines.computing.compute import Computed, compute_audiences
from engage_pipelines.domain.errors import BusyError, EngageError
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.requests import Stamp, owe_compute
from engage_pipelines.settings import Settings

ACTOR = "watch"
_LOCK = "watch.lock"
_PATIENCE_S = 3.0
"""How long the lock is waited for: the sensor tries it for a moment now and then."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look led to, and the facts by space to remember until the next."""

    computed: Sequence[Computed]
    facts: Mapping[str, str]


@contextmanager
def watching(home: Path) -> Generator[None]:
    """Sole right to compute what is live. Raises BusyError when another process has it."""
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / _LOCK, timeout=_PATIENCE_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"Another process watches {str(home)!r} already.", "One is enough; end it first to start another.") from error
    try:
        yield
    finally:
        lock.release()


def is_watched(home: Path) -> bool:
    """Whether some process on this machine watches now."""
    if not (home / _LOCK).exists():
        return False
    lock = FileLock(home / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def compute_arrivals(settings: Settings, registry: Registry, before: Mapping[str, str], *, log: Callable[[str], None]) -> Looked:
    """Look once, and compute what is due; `before` are the facts by space at the last look."""
    due, facts = find_due(settings, registry.database, before)
    computed: list[Computed] = []
    for space, rows in due.items():
        try:
            found = compute_audiences(settings, registry, space, [one.key for one in rows], log=log)
        except EngageError as error:
            log(f"space={space} state=failed error={error.what}")
            _ask_for(registry, rows)
            continue
        failed = {each.key for each in found if each.state == "failed"}
        _ask_for(registry, [one for one in rows if one.key in failed])
        computed += found
    return Looked(computed, facts)


def _ask_for(registry: Registry, rows: Sequence[Row]) -> None:
    if rows:
        with registry.database.write() as c:
            owe_compute(c, rows[0].space_id, [one.id for one in rows], Stamp(registry.database.now_us(c), ACTOR))
