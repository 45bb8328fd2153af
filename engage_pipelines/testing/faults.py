"""Faults on purpose, from a seed: what networks and vendors do to a request, so that a sender can be shown to bear it.

`Rates` says how often each fault strikes, each between 0 and 1; at most one strikes a request. Names in queries are those of the fields.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from engage_pipelines.testing.local_server import Received, Reply, Respond, Wire


@dataclass(frozen=True, slots=True)
class Rates:
    """How often which fault strikes, and how."""

    p503: float = 0.0
    """Overloaded, with Retry-After when `retry_after` is set."""
    p429: float = 0.0
    """Too many requests."""
    p_reset: float = 0.0
    """The connection is reset before the request is looked at."""
    p_ghost: float = 0.0
    """The request is taken and the answer is lost: the connection is reset."""
    p_half: float = 0.0
    """The request is taken and the answer breaks off within its headers."""
    p_slow: float = 0.0
    """The request is taken, the answer comes after `slow_s`."""
    p_late: float = 0.0
    """The request lies for `slow_s` before it is taken."""
    p_garbage: float = 0.0
    """Bytes that are no HTTP; the request was not taken."""
    p_endless: float = 0.0
    """The request is taken, the answer does not end."""
    p_redirect: float = 0.0
    """Sent on to the same place."""
    p_page: float = 0.0
    """200 with a login page; the request was not taken."""
    retry_after: float = 0.0
    """Seconds in the Retry-After of 503 and 429; 0 leaves it out."""
    retry_after_as_date: float = 0.0
    """1 writes it as a date."""
    slow_s: float = 0.2
    poison: str = ""
    """A request that holds this text is refused with 400, as a vendor does that cannot bear one of the records."""
    mode207: float = 0.0
    """1 makes the receiver take the rest of such a request and answer 207 with the records it refuses."""
    seed: int = 0

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "Rates":
        """The rates that a query names. Raises ValueError for a name that is none or a value that is no number."""
        known = {field.name: field.type for field in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"there is no fault {unknown[0]!r}; there are {', '.join(known)}")
        kinds: dict[str, Callable[[str], object]] = {"poison": str, "seed": int}
        return cls(**{name: kinds.get(name, float)(value) for name, value in values.items()})  # type: ignore[arg-type]


_CHANCES = tuple(field.name for field in fields(Rates) if field.name.startswith("p") and field.name != "poison")


class Faults:
    """Draws a fault for each request; thread-safe, and the same seed draws the same for the same order of requests."""

    def __init__(self, rates: Rates) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.set(rates)

    def set(self, rates: Rates) -> None:
        """From now on these rates, from the beginning of their seed."""
        with self._lock:
            self._rates = rates
            self._random = random.Random(rates.seed)  # noqa: S311 (chance that repeats, not secrecy)

    def counts(self) -> dict[str, int]:
        """How often each fault struck."""
        with self._lock:
            return dict(self._counts)

    def unwanted(self) -> bytes:
        """What a record may not hold that is to be refused by itself; empty when there is no such thing."""
        with self._lock:
            return self._rates.poison.encode() if self._rates.mode207 else b""

    def around(self, request: Received, respond: Respond) -> Reply:
        """The answer to a request, with whatever strikes it."""
        fault, rates = self._draw()
        if rates.poison and not rates.mode207 and rates.poison.encode() in request.body:
            fault = "poison"
        if fault:
            with self._lock:
                self._counts[fault] += 1
        return _struck(fault, rates, lambda: respond(request), request.path)

    def _draw(self) -> tuple[str, Rates]:
        with self._lock:
            rates = self._rates
            chances = [(name, getattr(rates, name)) for name in _CHANCES if getattr(rates, name)]
            at = self._random.random() if chances else 1.0
        for name, chance in chances:
            if at < chance:
                return name, rates
            at -= chance
        return "", rates


def _struck(fault: str, rates: Rates, take: Callable[[], Reply], path: str) -> Reply:
    match fault:
        case "":
            return take()
        case "poison":
            return Reply(400, b'{"success":false,"message":"the batch holds a record that cannot be taken"}')
        case "p503" | "p429":
            return Reply(int(fault[1:]), b'{"success":false,"message":"later"}', _retry_after(rates))
        case "p_reset":
            return Reply(wire=Wire.RESET)
        case "p_garbage":
            return Reply(wire=Wire.NOISE)
        case "p_redirect":
            return Reply(307, b"", {"Location": path})
        case "p_page":
            return Reply(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html"})
        case "p_late":
            time.sleep(rates.slow_s)
            return take()
        case _:
            return _taken(fault, rates, take())


def _taken(fault: str, rates: Rates, answer: Reply) -> Reply:
    """What comes back of the answer to a request that was taken."""
    if fault == "p_slow":
        return Reply(answer.status, answer.body, answer.headers, after_s=rates.slow_s)
    wire = {"p_endless": Wire.ENDLESS, "p_half": Wire.HALF_HEAD}.get(fault, Wire.RESET)
    return Reply(answer.status, answer.body, answer.headers, wire=wire)


def _retry_after(rates: Rates) -> dict[str, str]:
    if not rates.retry_after:
        return {}
    if not rates.retry_after_as_date:
        return {"Retry-After": f"{rates.retry_after:g}"}
    at = time.gmtime(time.time() + rates.retry_after)
    return {"Retry-After": time.strftime("%a, %d %b %Y %H:%M:%S GMT", at)}
