"""The way out: sends one request with `requests` and brings back the answer, or the verdict on why there is none.

Promises, whatever is at the other end: it is over by the deadline (looking up the name, connecting, the handshake, sending and a trickling
answer included); at most a megabyte of an answer is read; certificates are checked; one redirect is followed, on the same host and with
the same method and body; no address is connected to but one that was looked up and allowed. Connections are kept for the next request.
"""

import logging
import socket
import time
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from engage_pipelines.destinations.base import Backoff, Stop, Verdict
from engage_pipelines.destinations.http import Answer, Reach, Request
from engage_pipelines.destinations.sending.connections import AddressRefusedError, deadline
from engage_pipelines.destinations.sending.sessions import Session, kind_of, sessions

MAX_ANSWER_BYTES: Final = 1_000_000
CONNECT_TIMEOUT_S: Final = 10.0

_CHUNK = 65_536
_MOVED = frozenset({301, 302, 303, 307, 308})

# its debug lines show whole paths with their queries, and there are vendors whose secret is a part of those
logging.getLogger("urllib3.connectionpool").addFilter(lambda line: line.levelno > logging.DEBUG)


def perform(request: Request, *, deadline_s: float, reach: Reach) -> Answer | Verdict:
    """The answer to a request, or Backoff or Stop when there is none. Raises nothing that the network can cause."""
    until = time.monotonic() + deadline_s
    kind = kind_of(request, reach)
    session = sessions.take(kind)
    try:
        with deadline(until):
            answer = _follow(session, request, until)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        session.close()
        return _why(error, request.place, deadline_s)
    except BaseException:
        session.close()
        raise
    sessions.give_back(kind, session)
    return answer


def _follow(session: Session, request: Request, until: float) -> Answer:
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


def _once(session: Session, request: Request, url: str, until: float) -> Answer:
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
