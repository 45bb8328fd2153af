"""Reloading: a code location that was loaded with other audiences than there are now asks the webserver to load it again.

Only the webserver can do it, and there may be none (a daemon alone): then nothing happens, and the requests of new audiences wait for the
next start. Asked from a thread, since the answer comes from a process that replaces the one that asks.
"""

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

log = logging.getLogger(__name__)

_MUTATION = "mutation Reload($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) { __typename } }"
_ANSWER_WAIT_S = 60


class Reloader:
    """Asks the webserver at `url` to reload a location; at most once in `gap_s`, sooner only when nobody was there."""

    def __init__(self, url: str, *, gap_s: float = 15.0, retry_s: float = 4.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._gap_s = gap_s
        self._retry_s = retry_s
        self._clock = clock
        self._not_before = 0.0
        self._lock = threading.Lock()

    def ask(self, location: str) -> threading.Thread | None:
        """Ask in a thread, which is returned; None when it was asked a moment ago."""
        with self._lock:
            if self._clock() < self._not_before:
                return None
            self._not_before = self._clock() + self._gap_s
        thread = threading.Thread(target=self._post, args=(location,), name="reload-definitions", daemon=True)
        thread.start()
        return thread

    def _post(self, location: str) -> None:
        try:
            post_reload(self._url, location)
        except (urllib.error.URLError, OSError, ValueError) as error:
            log.debug("reload of definitions not possible url=%s reason=%s", self._url, error)
            with self._lock:
                self._not_before = self._clock() + self._retry_s


def post_reload(url: str, location: str) -> str:
    """Ask once; returns the type of the webserver's answer, `WorkspaceLocationEntry` when it was done."""
    body = json.dumps({"query": _MUTATION, "variables": {"name": location}}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 - the operator's own URL
    with urllib.request.urlopen(request, timeout=_ANSWER_WAIT_S) as response:  # noqa: S310
        answer = json.load(response)
    return str(answer["data"]["reloadRepositoryLocation"]["__typename"])
