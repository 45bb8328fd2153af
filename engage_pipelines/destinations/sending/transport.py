"""The way out: sends one request and brings back the answer, or the verdict on why there is none.

Promises, whatever is at the other end: it is over by the deadline (looking up the name, connecting, the handshake, sending and a trickling
answer included); at most a megabyte of an answer is read; certificates are checked; one redirect is followed, on the same host and with
the same method and body; no address is connected to but one that was looked up and allowed. Connections are kept for the next request.
"""

import atexit
import socket
import sys
import time
from typing import Any
from urllib.parse import urljoin, urlsplit

from engage_pipelines.destinations.base import Backoff, Stop, Verdict
from engage_pipelines.destinations.http import Answer, Reach, Request
from engage_pipelines.destinations.sending import direct
from engage_pipelines.destinations.sending.connections import AddressRefusedError, deadline
from engage_pipelines.settings import names_a_way_for_http

_MOVED = frozenset({301, 302, 303, 307, 308})


def perform(request: Request, *, deadline_s: float, reach: Reach) -> Answer | Verdict:
    """The answer to a request, or Backoff or Stop when there is none. Raises nothing that the network can cause."""
    until = time.monotonic() + deadline_s
    try:
        with deadline(until):
            return _follow(request, reach, until)
    except (OSError, ValueError) as error:
        return _why(error, request.place, deadline_s)


@atexit.register
def close_idle_connections() -> None:
    """Close every connection that no request uses; the next request opens its own. At the end of the process it is done by itself."""
    direct.close_kept_connections()
    sessions = sys.modules.get("engage_pipelines.destinations.sending.sessions")
    if sessions is not None:
        sessions.close_idle_sessions()


def _follow(request: Request, reach: Reach, until: float) -> Answer:
    answer = _once(request, request.url, reach, until)
    moved_to = _moved_to(request.url, answer) if answer.status in _MOVED else None
    return answer if moved_to is None else _once(request, moved_to, reach, until)


def _once(request: Request, url: str, reach: Reach, until: float) -> Answer:
    place = direct.place_of(url)
    is_direct = _goes_directly(url, reach)
    if place is not None and (is_direct or not names_a_way_for_http()):
        return direct.ask(request, place, reach)
    from engage_pipelines.destinations.sending import sessions  # noqa: PLC0415 (heavy, and seldom needed)

    return sessions.ask(request, url, (reach, is_direct), until)


def _goes_directly(url: str, reach: Reach) -> bool:
    """Whether by no proxy: one would connect to addresses that nobody here checked, and cannot reach this machine itself."""
    host = urlsplit(url).hostname or ""
    return reach is Reach.PUBLIC or host == "localhost" or host.startswith("127.") or host == "::1"


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


def _why(error: Exception, place: str, deadline_s: float) -> Verdict:
    """What a request without an answer means, in words that hold neither URL nor body."""
    causes = tuple(_chain(error))
    names = {type(cause).__name__ for cause in causes}
    refused = next((cause for cause in causes if isinstance(cause, AddressRefusedError)), None)
    if refused is not None:
        return Stop(f"{place} is at {refused.address}, which is {refused.kind}: requests may not go there.", refused.remedy)
    certificate = next((cause for cause in causes if type(cause).__name__ == "SSLCertVerificationError"), None)
    if certificate is not None:
        problem = getattr(certificate, "verify_message", "") or "it cannot be trusted"
        return Stop(
            f"the certificate of {place} does not fit: {problem}", "Check the address, or give this machine the authority that signed it."
        )
    if "ProxyUnusableError" in names:
        return Backoff(f"the proxy on the way to {place} cannot be used; check HTTPS_PROXY")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Backoff(f"the name of {place} cannot be looked up; check the address and this machine's name service")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Backoff(f"{place} refuses the connection; is it running and is the port right?")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Backoff(f"{place} gave no answer within {deadline_s:g} s")
    if any(isinstance(cause, UnicodeError) for cause in causes) or names & {"HeaderRefusedError", "NotARequestError"}:
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
