"""Requests that go straight to their host, over connections that are kept for the next one: how nearly everything is sent.

A request that needs more (a proxy of this machine's environment, a URL with anything unusual in it) goes by way of `sessions`.
"""

import os
import re
import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock
from typing import Final

from engage_pipelines.destinations.http import Answer, Reach, Request
from engage_pipelines.destinations.sending.connections import DeadlinedTls, connect
from engage_pipelines.destinations.sending.exchange import Raw, exchange

USER_AGENT: Final = "engage-pipelines"
CONNECT_TIMEOUT_S: Final = 10.0

_MOST_IDLE = 64
_USUAL_URL = re.compile(
    r"""(?P<scheme>https?)://(?P<host>[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?
        (?P<target>(?:/(?!\.)[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)""",
    re.VERBOSE,
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[^\s\x00][^\r\n\x00]*)?")
_USUAL_HEADERS: Mapping[str, str] = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}


class HeaderRefusedError(ValueError):
    """A header that HTTP does not allow."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: the door, and what is asked for behind it."""

    is_tls: bool
    host: str
    port: int
    target: str
    authority: str


@lru_cache(maxsize=256)
def place_of(url: str) -> Place | None:
    """None for a URL with anything in it that has to be looked at more closely: a login, letters of other scripts, dots for folders."""
    found = _USUAL_URL.fullmatch(url)
    if found is None or not 0 < (port := int(found["port"] or (443 if found["scheme"] == "https" else 80))) < 65_536:
        return None
    target = found["target"]
    authority = found["host"] if found["port"] is None or port == (443 if found["scheme"] == "https" else 80) else f"{found['host']}:{port}"
    return Place(found["scheme"] == "https", found["host"], port, target if target.startswith("/") else f"/{target}", authority)


def ask(request: Request, place: Place, reach: Reach) -> Answer:
    """The answer to a request. Raises OSError when there is none, ValueError for headers that cannot be sent."""
    head = _head(request, place)
    door = (place.is_tls, place.host, place.port, reach)
    sock = _kept.take(door) or _opened(place, reach)
    try:
        raw = exchange(sock, head, request.body, method=request.method)
    except BaseException:
        sock.close()
        raise
    if raw.keeps:
        _kept.give_back(door, sock)
    else:
        sock.close()
    return _answer(raw)


def _answer(raw: Raw) -> Answer:
    return Answer(raw.status, raw.headers, raw.body, raw.whole)


def _head(request: Request, place: Place) -> bytes:
    """The first line and the headers; the request's own come in place of the usual ones of the same name."""
    for name, value in request.headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HeaderRefusedError("a header holds what no header may hold")
    own = {name.lower() for name in request.headers}
    usual = {"Host": place.authority, **_USUAL_HEADERS}
    headers = {name: value for name, value in usual.items() if name.lower() not in own} | dict(request.headers)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
    head = f"{request.method} {place.target} HTTP/1.1\r\n{lines}Content-Length: {len(request.body)}\r\n\r\n"
    return head.encode("latin-1")


def _opened(place: Place, reach: Reach) -> socket.socket:
    sock = connect(place.host, place.port, reach, at_most_s=CONNECT_TIMEOUT_S)
    if not place.is_tls:
        return sock
    try:
        return tls_context().wrap_socket(sock, server_hostname=place.host.strip("[]"))
    except BaseException:
        sock.close()
        raise


@cache
def tls_context() -> ssl.SSLContext:
    """One for all connections: reading the authorities takes longer than a handshake."""
    import certifi  # noqa: PLC0415 (what `requests` trusts, and brings; only with TLS)

    context = ssl.create_default_context(cafile=certifi.where())
    context.sslsocket_class = DeadlinedTls
    context.set_alpn_protocols(["http/1.1"])
    return context


Door = tuple[bool, str, int, Reach]


class _Kept:
    """Open connections that no request uses, by where they lead; a process that was forked starts with none."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, Door], list[socket.socket]] = {}
        self._lock = Lock()

    def take(self, door: Door) -> socket.socket | None:
        """A connection that the other side still holds open, None when there is none."""
        while True:
            with self._lock:
                idle = self._idle.get((os.getpid(), door))
                if not idle:
                    return None
                sock = idle.pop()
            if _is_quiet(sock):
                return sock
            sock.close()

    def give_back(self, door: Door, sock: socket.socket) -> None:
        with self._lock:
            mine = self._idle.setdefault((os.getpid(), door), [])
            mine.append(sock)
            if sum(map(len, self._idle.values())) <= _MOST_IDLE:
                return
            oldest = next(idle for idle in self._idle.values() if idle)
            surplus = oldest.pop(0)
        surplus.close()

    def close(self) -> None:
        with self._lock:
            idle = [sock for socks in self._idle.values() for sock in socks]
            self._idle.clear()
        for sock in idle:
            with suppress(OSError):
                sock.close()


def _is_quiet(sock: socket.socket) -> bool:
    """False when the other side closed the connection, or sent what nobody asked for."""
    watch = select.poll()
    watch.register(sock, select.POLLIN)
    return not watch.poll(0)


_kept: Final = _Kept()


def close_kept_connections() -> None:
    """Close every connection that no request uses."""
    _kept.close()
