"""Fake vendors for tests of destination types: what a vendor must be able to do, and a switchboard that lets it fail on command.

`FakeVendor` is the least; `FakeApi` is one for a vendor's API: paths with a method each, a login that is checked, OAuth 2 with tokens that
expire, a pace that is kept, people who are refused. A fake vendor of ours is in `testing/vendors/<type>.py` and is called `Fake`.
"""

import importlib
import importlib.util
import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import orjson

from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.testing.local_server import LocalServer, Received, Reply

_Handler = TypeVar("_Handler", bound=Callable[..., Reply])

KEY = "big_spenders"
"""The audience that the conformance suite sends."""


class FakeVendor(ABC):
    """A vendor as its documents say it behaves; it is asked from several threads, but by one at a time."""

    @abstractmethod
    def respond(self, request: Received) -> Reply:
        """Take a request, and answer as the vendor does."""

    @abstractmethod
    def held(self) -> Mapping[str, bool]:
        """By user id who is a member. True and False for a user property; who is not on a user list is not in it."""

    def refuse(self, user_id: str) -> bool:
        """From now on refuse what is about this person, as the vendor refuses a bad record. False when it knows no such thing."""
        return False

    def takings(self) -> object:
        """Everything that would show a repeat; the members by default."""
        return dict(self.held())


def route(method: str, pattern: str) -> Callable[[_Handler], _Handler]:
    """Marks a method of a `FakeApi` as what answers this method and path; groups of the pattern become its arguments."""

    def mark(handler: _Handler) -> _Handler:
        handler.route = (method, re.compile(pattern))  # type: ignore[attr-defined]
        return handler

    return mark


class FakeApi(FakeVendor):
    """A vendor's API: routes, a login, a pace, a token endpoint.

    A subclass says which headers a request must carry (`login`), and has a method for each route:

        class Fake(FakeApi):
            login = (("authorization", "Bearer the-token"),)

            @route("POST", "/contacts")
            def contacts(self, request: Received) -> Reply: ...

    `access` is the access token that counts now, for types with OAuth 2; `expire()` makes another one count from now on.
    """

    login: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Headers that every request must carry, names in lower case."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """Every secret that `settings` holds."""
    token_path: ClassVar[str] = ""
    """Where tokens are bought; empty for a vendor without OAuth 2."""
    list_id: ClassVar[str | None] = None
    """A list that is there already, for types that create lists."""
    requests_per_s: ClassVar[float | None] = None

    def __init__(self) -> None:
        self.unwanted = ""
        self.access = "access-token-0" if self.token_path else ""
        self.refresh_works = True
        self._bought = 0
        self._window: deque[float] = deque()
        found = (getattr(type(self), name) for name in dir(type(self)))
        self._routes = [(*handler.route, handler) for handler in found if hasattr(handler, "route")]

    @abstractmethod
    def settings(self, url: str) -> Mapping[str, object]:
        """Settings of a destination at this vendor, whose address is `url`."""

    def respond(self, request: Received) -> Reply:
        path = urlsplit(request.path).path
        if self.token_path and path == self.token_path:
            return self._sell_token()
        if not self._lets_in(request):
            return self.unauthorised()
        if self._too_fast():
            return Reply(429, b"{}", {"Retry-After": "1"})
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match and method == request.method:
                return handler(self, request, *match.groups())
        return Reply(404, b"{}")

    def unauthorised(self) -> Reply:
        """What a request without a valid login gets."""
        return Reply(401, b'{"message": "the credentials are not valid"}')

    def refuse(self, user_id: str) -> bool:
        self.unwanted = user_id
        return True

    def expire(self) -> None:
        """The access token that was handed out counts no more."""
        self._bought += 1
        self.access = f"access-token-{self._bought}"

    def _sell_token(self) -> Reply:
        if not self.refresh_works:
            return Reply(400, b'{"error": "invalid_grant"}')
        return reply_json({"access_token": self.access, "token_type": "Bearer", "expires_in": 3600})

    def _lets_in(self, request: Received) -> bool:
        if self.access and request.headers.get("authorization") != f"Bearer {self.access}":
            return False
        return all(request.headers.get(name) == value for name, value in self.login)

    def _too_fast(self) -> bool:
        if self.requests_per_s is None:
            return False
        now = time.monotonic()
        while self._window and self._window[0] < now - 1:
            self._window.popleft()
        self._window.append(now)
        return len(self._window) > self.requests_per_s


def reply_json(body: object, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, orjson.dumps(body))


def sent_json(request: Received) -> Any:
    """The JSON that was sent."""
    return orjson.loads(request.body)


def sent_form(request: Received) -> dict[str, str]:
    """The form that was sent."""
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def sent_query(request: Received) -> dict[str, str]:
    """The parameters in the query of a request."""
    return dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))


def fake_vendor(key: str) -> FakeApi:
    """A fresh fake of the vendor of that destination type. Raises NotFoundError when there is none."""
    name = f"{__package__}.vendors.{key}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", key) or importlib.util.find_spec(name) is None:
        raise NotFoundError(f"there is no fake vendor for destination type {key[:80]!r}.", "Use a type of engage_pipelines itself.")
    return cast(FakeApi, importlib.import_module(name).Fake())


class Switchboard:
    """A server in front of a fake vendor: notes every request, and gives the replies that were put in line before the vendor is asked."""

    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor
        self.requests: list[Received] = []
        self._next: deque[Reply] = deque()
        self._always: Reply | None = None
        self.server = LocalServer(self._respond, notices_end_within_s=0.002)

    def reply_with(self, *replies: Reply) -> None:
        """The next requests get these replies, one each, and do not reach the vendor."""
        self._next.extend(replies)

    def always_reply_with(self, reply: Reply | None) -> None:
        """From now on every request gets this reply; None asks the vendor again."""
        self._always = reply

    def _respond(self, request: Received) -> Reply:
        self.requests.append(request)
        if self._next:
            return self._next.popleft()
        return self._always if self._always is not None else self.vendor.respond(request)
