"""The way out: sends one request with `requests` and brings back the answer, or the verdict on why there is none.

Promises, whatever is at the other end: it is over by the deadline (looking up the name, connecting, the handshake, sending and a trickling
answer included); at most a megabyte of an answer is read; certificates are checked; one redirect is followed, on the same host and with
the same method and body; no address is connected to but one that was looked up and allowed. Connections are kept for the next request.
"""

import logging
import os
import socket
import time
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from threading import Lock
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from engage_pipelines.destinations.base import Backoff, Stop, Verdict
from engage_pipelines.destinations.http import Answer, Reach, Request
from engage_pipelines.destinations.sending.connections import AddressRefusedError, DeadlineAdapter, deadline

MAX_ANSWER_BYTES: Final = 1_000_000
CONNECT_TIMEOUT_S: Final = 10.0
USER_AGENT: Final = "engage-pipelines"

_CHUNK = 65_536
_MOVED = frozenset({301, 302, 303, 307, 308})

# its debug lines show whole paths with their queries, and there are vendors whose secret is a part of those
logging.getLogger("urllib3.connectionpool").addFilter(lambda line: line.levelno > logging.DEBUG)


def perform(request: Request, *, deadline_s: float, reach: Reach) -> Answer | Verdict:
    """The answer to a request, or Backoff or Stop when there is none. Raises nothing that the network can cause."""
    until = time.monotonic() + deadline_s
    kind = _kind(request, reach)
    session = _sessions.take(kind)
    try:
        with deadline(until):
            answer = _follow(session, request, until)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        session.close()
        return _why(error, request.place, deadline_s)
    except BaseException:
        session.close()
        raise
    _sessions.give_back(kind, session)
    return answer


def _follow(session: requests.Session, request: Request, until: float) -> Answer:
    answer = _once(session, request, request.url, until)
    moved_to = _moved_to(request.url, answer) if answer.status in _MOVED else None
    return answer if moved_to is None else _once(session, request, moved_to, until)


def _moved_to(url: str, answer: Answer) -> str | None:
    """Where a redirect leads, if it is on the same host: never into the open where the URL was not, nor to another port."""
    try:
        moved_to = urljoin(url, answer.headers.get("location", ""))
        one, two = urlsplit(url), urlsplit(moved_to)
        same_door = one.scheme == two.scheme and one.port == two.port
        now_safe = (one.scheme, two.scheme) == ("http", "https") and one.port in {None, 80} and two.port in {None, 443}
    except ValueError:
        return None
    return moved_to if one.hostname == two.hostname and (same_door or now_safe) else None


def _once(session: requests.Session, request: Request, url: str, until: float) -> Answer:
    left_s = max(until - time.monotonic(), 0.001)
    response = session.request(
        request.method,
        url,
        data=request.body,
        headers=dict(request.headers),
        timeout=(min(CONNECT_TIMEOUT_S, left_s), left_s),
        allow_redirects=False,
        stream=True,
    )
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


def _why(error: Exception, place: str, deadline_s: float) -> Verdict:
    """What a request without an answer means, in words that hold neither URL nor body."""
    causes = tuple(_chain(error))
    refused = next((cause for cause in causes if isinstance(cause, AddressRefusedError)), None)
    if refused is not None:
        return Stop(f"{place} is at {refused.address}, which is {refused.kind}: requests may not go there.", refused.remedy)
    certificate = next((cause for cause in causes if type(cause).__name__ == "SSLCertVerificationError"), None)
    if certificate is not None:
        problem = getattr(certificate, "verify_message", "") or "it cannot be trusted"
        return Stop(
            f"the certificate of {place} does not fit: {problem}", "Check the address, or give this machine the authority that signed it."
        )
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return Backoff(f"the proxy on the way to {place} cannot be used; check HTTPS_PROXY")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Backoff(f"the name of {place} cannot be looked up; check the address and this machine's name service")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Backoff(f"{place} refuses the connection; is it running and is the port right?")
    if any(isinstance(cause, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError) for cause in causes):
        return Backoff(f"{place} gave no answer within {deadline_s:g} s")
    if any(isinstance(cause, requests.exceptions.InvalidURL | requests.exceptions.InvalidHeader | UnicodeError) for cause in causes):
        return Stop(f"a request to {place} cannot be made of these settings.", "Check the address and the headers in the settings.")
    if any(isinstance(cause, ConnectionError) for cause in causes):
        return Backoff(f"{place} broke the connection off before it answered")
    return Backoff(f"{place} gave no answer that could be read ({type(causes[-1]).__name__})")


def _chain(error: BaseException) -> "list[BaseException]":
    """The error, and every error that it was made from."""
    found: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        at = todo.pop(0)
        if isinstance(at, BaseException) and not any(at is seen for seen in found):
            found.append(at)
            todo += [at.__cause__, at.__context__, getattr(at, "reason", None), *at.args]
    return found


_Kind = tuple[Reach, bool]


def _kind(request: Request, reach: Reach) -> _Kind:
    """What a session must be good for: where it may go, and whether without the proxies of this machine's environment.

    A proxy would connect to addresses that nobody here checked, and cannot reach this machine itself.
    """
    host = urlsplit(request.url).hostname or ""
    return reach, reach is Reach.PUBLIC or host == "localhost" or host.startswith("127.") or host == "::1"


class _Session(requests.Session):
    """Follows nothing by itself and remembers nothing of the last request, which may have been another destination's."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: redirects are `_follow`'s."""


def _new_session(kind: _Kind) -> requests.Session:
    reach, direct = kind
    session = _Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = not direct
    session.auth = _no_login_from_netrc
    session.headers.clear()
    session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter(reach))
    return session


def _no_login_from_netrc(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


class _Sessions:
    """Sessions with open connections, lent to one request at a time; a process that was forked starts with none."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, _Kind], list[requests.Session]] = {}
        self._lock = Lock()

    def take(self, kind: _Kind) -> requests.Session:
        with self._lock:
            idle = self._idle.get((os.getpid(), kind))
            if idle:
                return idle.pop()
        return _new_session(kind)

    def give_back(self, kind: _Kind, session: requests.Session) -> None:
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


def close_idle_connections() -> None:
    """Close every connection that no request uses; the next request opens its own."""
    _sessions.close()
