"""Sessions of `requests` with open connections, lent to one request at a time, and what is the same for every request to a URL."""

import os
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.utils import check_header_validity

from engage_pipelines.destinations.http import Reach, Request
from engage_pipelines.destinations.sending.connections import DeadlineAdapter

USER_AGENT: Final = "engage-pipelines"

_KNOWN_URLS = 100

Kind = tuple[Reach, bool]


def kind_of(request: Request, reach: Reach) -> Kind:
    """What a session must be good for: where it may go, and whether without the proxies of this machine's environment.

    A proxy would connect to addresses that nobody here checked, and cannot reach this machine itself.
    """
    host = urlsplit(request.url).hostname or ""
    return reach, reach is Reach.PUBLIC or host == "localhost" or host.startswith("127.") or host == "::1"


class Session(requests.Session):
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


def _new_session(kind: Kind) -> Session:
    reach, direct = kind
    session = Session()
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
        self._idle: dict[tuple[int, Kind], list[Session]] = {}
        self._lock = Lock()

    def take(self, kind: Kind) -> Session:
        with self._lock:
            idle = self._idle.get((os.getpid(), kind))
            if idle:
                return idle.pop()
        return _new_session(kind)

    def give_back(self, kind: Kind, session: Session) -> None:
        with self._lock:
            self._idle.setdefault((os.getpid(), kind), []).append(session)

    def close(self) -> None:
        with self._lock:
            idle = [session for sessions in self._idle.values() for session in sessions]
            self._idle.clear()
        for session in idle:
            with suppress(OSError):
                session.close()


sessions: Final = _Sessions()


def close_idle_connections() -> None:
    """Close every connection that no request uses; the next request opens its own."""
    sessions.close()
