"""Connections under a deadline, to allowed addresses only: what everything that leaves by HTTP goes through.

A deadline holds for everything that a thread does inside `deadline(...)`: each wait on a socket is cut to what is left of it, so that
neither a slow name service nor an answer that trickles byte by byte outlives it. The address that is checked is the address that is
connected to, so a name that changes its mind in between gains nothing.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from engage_pipelines.destinations.http import Reach

_until: ContextVar[float] = ContextVar("until", default=float("inf"))

_NEAR = 0.95

_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_AddressInfo = tuple[int, int, int, str, Any]
SocketOption = tuple[int, int, int | bytes]
AT_ONCE: Sequence[SocketOption] = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


@contextmanager
def deadline(until: float) -> Generator[None]:
    """Everything that this thread does on the network inside is over at `until` (monotonic seconds), with TimeoutError if need be."""
    token = _until.set(until)
    try:
        yield
    finally:
        _until.reset(token)


def left_s(at_most: float | None = None) -> float:
    """Seconds until the deadline of this thread. Raises TimeoutError when it has passed."""
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the request has passed")
    return min(left, at_most if at_most is not None else 3600.0)


def limit_waits(sock: socket.socket) -> None:
    """Have the next wait of a socket end at the deadline, or up to a twentieth of what is left before it: saying so each time costs a call.

    Raises TimeoutError when the deadline has passed.
    """
    left, known = left_s(), sock.gettimeout()
    if known is None or not _NEAR * left <= known <= left:
        sock.settimeout(left * (1 + _NEAR) / 2)


class AddressRefusedError(OSError):
    """The name leads to an address that requests of this destination may not go to."""

    def __init__(self, address: str, kind: str, remedy: str) -> None:
        super().__init__(f"{address} is {kind}")
        self.address = address
        self.kind = kind
        self.remedy = remedy


def check_address(text: str, reach: Reach) -> None:
    """Nothing, if requests may go to the address. Raises AddressRefusedError otherwise."""
    address = _innermost(ipaddress.ip_address(text.partition("%")[0]))
    if address.is_link_local or address in _METADATA or address.is_multicast:
        raise AddressRefusedError(text, "a link-local, metadata or multicast address", "Set an address that a service can have.")
    if reach is Reach.PUBLIC and not address.is_global:
        remedy = "If the service is your own, turn on allow_private_addresses in the settings of the destination."
        raise AddressRefusedError(text, "a private address", remedy)


def _innermost(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def look_up(host: str, port: int) -> list[_AddressInfo]:
    """Addresses of a host, within the deadline; the system's own look-up knows none, hence the thread."""
    answers: SimpleQueue[list[_AddressInfo] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM))  # type: ignore[arg-type]
        except OSError as error:
            answers.put(error)
        except UnicodeError as error:
            answers.put(socket.gaierror(socket.EAI_NONAME, str(error)))

    Thread(target=ask, daemon=True, name="engage-look-up").start()
    try:
        answer = answers.get(timeout=left_s())
    except Empty:
        raise TimeoutError(f"{host} was not looked up in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


class _Deadlined(socket.socket):
    """A socket whose every wait ends at the deadline."""

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        limit_waits(self)
        return super().recv(*args, **kwargs)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        limit_waits(self)
        return super().recv_into(*args, **kwargs)

    def sendmsg(self, *args: Any, **kwargs: Any) -> int:
        limit_waits(self)
        return super().sendmsg(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        limit_waits(self)
        super().sendall(*args, **kwargs)


class DeadlinedTls(ssl.SSLSocket):
    """The same under TLS, the handshake included."""

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        limit_waits(self)
        return super().recv(*args, **kwargs)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        limit_waits(self)
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        limit_waits(self)
        return super().send(*args, **kwargs)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100 (the signature is the standard library's)
        limit_waits(self)
        super().do_handshake(block)


def connect(host: str, port: int, reach: Reach, *, at_most_s: float | None, options: Sequence[SocketOption] = AT_ONCE) -> socket.socket:
    """A connected socket, to the first of the host's addresses that takes it; all of them must be allowed. Raises OSError."""
    found = look_up(host, port)
    for info in found:
        check_address(info[4][0], reach)
    problem = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        sock = _Deadlined(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(left_s(at_most_s))
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem
