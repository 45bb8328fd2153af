"""Sessions of `requests`, for what cannot go straight to its host: by way of a proxy, or to a URL that has to be put right first.

They have open connections, are lent to one request at a time, and know what is the same for every request to a URL. Connections are made
as all others are (`connections`): under a deadline, to allowed addresses only.
"""

import logging
import os
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from threading import Lock
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import check_header_validity
from urllib3 import PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from engage_pipelines.destinations.http import Answer, Reach, Request
from engage_pipelines.destinations.sending.connections import AddressRefusedError, DeadlinedTls, connect
from engage_pipelines.destinations.sending.direct import CONNECT_TIMEOUT_S, USER_AGENT
from engage_pipelines.destinations.sending.exchange import MAX_ANSWER_BYTES

_KNOWN_URLS = 100
_CHUNK = 65_536

Kind = tuple[Reach, bool]
"""What a session must be good for: where it may go, and whether without the proxies of this machine's environment."""

# its debug lines show whole paths with their queries, and there are vendors whose secret is a part of those
logging.getLogger("urllib3.connectionpool").addFilter(lambda line: line.levelno > logging.DEBUG)


class ProxyUnusableError(OSError):
    """The proxy on the way cannot be used."""


class NotARequestError(ValueError):
    """No request can be made of this URL or these headers."""


def ask(request: Request, url: str, kind: Kind, until: float) -> Answer:
    """The answer to a request. Raises OSError or ValueError when there is none, whatever `requests` and `urllib3` make of it."""
    session = _sessions.take(kind)
    try:
        answer = _once(session, request, url, until)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        session.close()
        raise _in_our_words(error) from error
    except BaseException:
        session.close()
        raise
    _sessions.give_back(kind, session)
    return answer


def close_idle_sessions() -> None:
    """Close every connection of a session that no request uses."""
    _sessions.close()


def _in_our_words(error: Exception) -> Exception:
    if isinstance(error, requests.exceptions.ProxyError):
        return ProxyUnusableError("the proxy cannot be used")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return TimeoutError("no answer in time")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidHeader):
        return NotARequestError("no request can be made of this")
    return OSError("no answer")


class _Session(requests.Session):
    """Follows nothing by itself and remembers nothing of the last request, which may have been another destination's.

    What is the same for every request to a URL (its parts, proxies, certificates) is worked out once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, str], tuple[requests.PreparedRequest, Mapping[str, Any]]] = {}

    def prepared(self, request: Request, url: str) -> tuple[requests.PreparedRequest, Mapping[str, Any]]:
        """The request as an adapter sends it, and with which proxies and certificates. Raises what `requests` raises for a bad one."""
        known = self._known.get((request.method, url))
        if known is None:
            blank = self.prepare_request(requests.Request(request.method, url))
            if len(self._known) >= _KNOWN_URLS:
                self._known.clear()
            known = self._known[request.method, url] = (blank, self.merge_environment_settings(blank.url, {}, True, None, None))
        blank, settings = known
        prepared = blank.copy()
        for header in request.headers.items():
            check_header_validity(header)
        prepared.headers.update(request.headers)
        prepared.body = request.body
        prepared.headers["Content-Length"] = str(len(request.body))
        return prepared, settings


def _once(session: _Session, request: Request, url: str, until: float) -> Answer:
    left_s = max(until - time.monotonic(), 0.001)
    prepared, settings = session.prepared(request, url)
    timeout = (min(CONNECT_TIMEOUT_S, left_s), left_s)
    response = session.get_adapter(prepared.url or url).send(prepared, timeout=timeout, **settings)
    with response:
        body, whole = _read(response)
        if not whole:
            response.raw.close()
        return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body, whole)


def _read(response: requests.Response) -> tuple[bytes, bool]:
    """The body as it came, up to the cap, and whether that is all of it: an answer that does not say where it ends may have broken off."""
    parts: list[bytes] = []
    size = 0
    try:
        while size <= MAX_ANSWER_BYTES:
            part: bytes = response.raw.read(_CHUNK, decode_content=False)
            if not part:
                return b"".join(parts), _says_where_it_ends(response)
            parts.append(part)
            size += len(part)
    except (urllib3.exceptions.HTTPError, OSError):
        pass
    return b"".join(parts)[:MAX_ANSWER_BYTES], False


def _says_where_it_ends(response: requests.Response) -> bool:
    """False for an answer that merely stopped, as one does whose connection was lost within the headers."""
    headers = response.headers
    by_close = headers.get("Connection", "").lower() == "close" or response.raw.version < 11
    by_length = "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()
    return by_length or by_close or response.status_code in {204, 304}


class _Sessions:
    """Sessions with open connections, lent to one request at a time; a process that was forked starts with none."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, Kind], list[_Session]] = {}
        self._lock = Lock()

    def take(self, kind: Kind) -> _Session:
        with self._lock:
            idle = self._idle.get((os.getpid(), kind))
            if idle:
                return idle.pop()
        return _new_session(kind)

    def give_back(self, kind: Kind, session: _Session) -> None:
        with self._lock:
            self._idle.setdefault((os.getpid(), kind), []).append(session)

    def close(self) -> None:
        with self._lock:
            idle = [session for sessions in self._idle.values() for session in sessions]
            self._idle.clear()
        for session in idle:
            with suppress(OSError):
                session.close()


_sessions: Final = _Sessions()


def _new_session(kind: Kind) -> _Session:
    reach, direct = kind
    session = _Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = not direct
    session.auth = _no_login_from_netrc
    session.headers.clear()
    session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, _DeadlineAdapter(reach))
    return session


def _no_login_from_netrc(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _connect(connection: HTTPConnection, reach: Reach) -> socket.socket:
    timeout = connection.timeout if isinstance(connection.timeout, int | float) else None
    try:
        return connect(connection.host, connection.port or 80, reach, at_most_s=timeout, options=[*(connection.socket_options or ())])
    except (TimeoutError, AddressRefusedError, socket.gaierror):
        raise
    except OSError as error:
        raise NewConnectionError(connection, "no address of the host takes the connection") from error


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


class _DeadlineAdapter(HTTPAdapter):
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
    context.sslsocket_class = DeadlinedTls
    return context
