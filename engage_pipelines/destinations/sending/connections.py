"""Connections under a deadline, to allowed addresses only: what `transport` puts below `requests`.

A deadline holds for everything that a thread does inside `deadline(...)`: each wait on a socket is cut to what is left of it, so that
neither a slow name service nor an answer that trickles byte by byte outlives it. The address that is checked is the address that is
connected to, so a name that changes its mind in between gains nothing.
"""

import ipaddress
import socket
import ssl
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from engage_pipelines.destinations.http import Reach

_until: ContextVar[float] = ContextVar("until", default=float("inf"))

_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_AddressInfo = tuple[int, int, int, str, Any]


@contextmanager
def deadline(until: float) -> Generator[None]:
    """Everything that this thread does on the network inside is over at `until` (monotonic seconds), with TimeoutError if need be."""
    token = _until.set(until)
    try:
        yield
    finally:
        _until.reset(token)


def _left_s(at_most: float | None = None) -> float:
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline of the request has passed")
    return min(left, at_most if at_most is not None else 3600.0)


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
        answer = answers.get(timeout=_left_s())
    except Empty:
        raise TimeoutError(f"{host} was not looked up in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


class _Deadlined(socket.socket):
    """A socket whose every wait ends at the deadline."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(_left_s())
        super().sendall(*args, **kwargs)


class _DeadlinedTls(ssl.SSLSocket):
    """The same under TLS, the handshake included."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s())
        return super().send(*args, **kwargs)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100 (the signature is the standard library's)
        self.settimeout(_left_s())
        super().do_handshake(block)


def _connect(connection: HTTPConnection, reach: Reach) -> socket.socket:
    """A connected socket, to the first of the host's addresses that takes it; all of them must be allowed."""
    found = look_up(connection.host, connection.port or 80)
    for info in found:
        check_address(info[4][0], reach)
    problem: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        sock = _Deadlined(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(_left_s(connection.timeout if isinstance(connection.timeout, int | float) else None))
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            sys.audit("http.client.connect", connection, connection.host, connection.port)
            return sock
    if isinstance(problem, TimeoutError):
        raise problem
    raise NewConnectionError(connection, "no address of the host takes the connection") from problem


def _pool_classes(reach: Reach) -> dict[str, Any]:
    """Pools whose connections are made by `_connect`."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, reach)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, reach)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain  # pyright: ignore[reportAssignmentType] (urllib3's own classes do not fit its protocol either)

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls  # pyright: ignore[reportAssignmentType]

    return {"http": PlainPool, "https": TlsPool}


class DeadlineAdapter(HTTPAdapter):
    """Hands requests to connections under a deadline; retries nothing by itself."""

    def __init__(self, reach: Reach) -> None:
        self._pools = _pool_classes(reach)
        super().__init__(pool_connections=16, pool_maxsize=4, max_retries=Retry(0, read=False))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_tls_context(), **kwargs)
        self._use_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=_tls_context(), **kwargs)
        self._use_pools(manager)
        return manager

    def _use_pools(self, manager: PoolManager) -> None:
        manager.pool_classes_by_scheme = self._pools


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = _DeadlinedTls
    return context
