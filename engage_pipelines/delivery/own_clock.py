"""Which clock `time.monotonic` reads: processes that name the same one may compare what they read.

On Linux it counts from the start of the machine, for every process alike but those in a time namespace of their own.
Source: clock_gettime(2), time_namespaces(7), random(4).
"""

from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/time")


@cache
def own_clock() -> str | None:
    """A name of the clock, another one after each start of the machine; None where it cannot be told."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return None
    try:
        return f"{boot} {_NAMESPACE.readlink()}"
    except OSError:
        # a kernel that knows no such namespaces
        return boot
