"""Fake vendors for tests of destination types: what a vendor must be able to do, and a switchboard that lets it fail on command."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping

from engage_pipelines.testing.local_server import LocalServer, Received, Reply


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


class Switchboard:
    """A server in front of a fake vendor: notes every request, and gives the replies that were put in line before the vendor is asked."""

    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor
        self.requests: list[Received] = []
        self._next: deque[Reply] = deque()
        self._always: Reply | None = None
        self.server = LocalServer(self._respond)

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
