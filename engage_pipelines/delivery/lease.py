"""The lease of a connection: one owner at a time, with a fencing token in every write.

A lease lives `TTL_S` and is renewed every `HEARTBEAT_S` by a thread of its own, so that long planning keeps it. A request is begun only
when the lease outlives its deadline; whoever lets go leaves the lease standing until the deadline of its last unanswered request, so that
nothing of it can still be under way when the next owner begins.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from engage_pipelines.domain.errors import BusyError, LeaseLostError, StateError
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.tables import connection as connections

TTL_S = 60.0
HEARTBEAT_S = 15.0
REQUEST_DEADLINE_S = 30.0
SECOND_US = 1_000_000


def check_times(*, ttl_s: float = TTL_S, heartbeat_s: float = HEARTBEAT_S, deadline_s: float = REQUEST_DEADLINE_S) -> None:
    """Raise StateError unless a freshly renewed lease always outlives one request."""
    if ttl_s - heartbeat_s < deadline_s:
        raise StateError(
            f"A lease of {ttl_s:g} s renewed every {heartbeat_s:g} s does not outlive a request of {deadline_s:g} s.",
            "Shorten the request deadline.",
        )


class Lease:
    """The ownership of one connection, as a context manager; `acquire` makes it."""

    def __init__(self, database: Database, connection_id: str, token: int, until_us: int) -> None:
        self._database = database
        self._until_us = until_us
        self._unanswered_until_us = 0
        self._before_request_us = 0
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{connection_id}", daemon=True)
        self.connection_id = connection_id
        self.token = token

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        with self._database.write() as c:
            until = max(self._database.now_us(c), self._unanswered_until_us)
            c.execute(
                sa.update(connections)
                .where(connections.c.id == self.connection_id, connections.c.token == self.token)
                .values(lease_until=until, lease_owner=None)
            )

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """A transaction that is void when somebody else owns the connection by now. Raises LeaseLostError."""
        with self._database.write() as c:
            found = c.execute(sa.select(connections.c.token).where(connections.c.id == self.connection_id).with_for_update()).scalar()
            if found != self.token:
                raise LeaseLostError(f"Connection {self.connection_id} has another owner now.")
            yield c

    def begin_request(self, deadline_s: float) -> None:
        """Wait, if it must, until the lease outlives a request of that length, and note it as unanswered. Raises LeaseLostError."""
        with self._database.read() as c:
            now = self._database.now_us(c)
        deadline = now + round(deadline_s * SECOND_US)
        if self._lost or self._until_us < deadline:
            self._extend()
        self._before_request_us = self._unanswered_until_us
        self._unanswered_until_us = max(self._unanswered_until_us, deadline)

    def answered(self) -> None:
        """The last request begun has its answer; earlier ones without an answer may still take effect until their deadlines."""
        self._unanswered_until_us = self._before_request_us

    def quiet_at_us(self) -> int:
        """The instant from which nothing unanswered of this owner can still take effect."""
        return self._unanswered_until_us

    def _extend(self) -> None:
        with self.write() as c:
            until = self._database.now_us(c) + round(TTL_S * SECOND_US)
            c.execute(sa.update(connections).where(connections.c.id == self.connection_id).values(lease_until=until))
        self._until_us = until

    def _renew(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self._extend()
            except LeaseLostError:
                self._lost = True
                return
            except (StateError, BusyError):
                continue  # the database is away or busy: the lease still stands until its time


def acquire(database: Database, connection_id: str, owner: str, *, sleep: Callable[[float], None]) -> Lease:
    """Take the lease, waiting for one that a dead owner left. Raises BusyError when its owner renews it: somebody is at work."""
    check_times()
    first_seen: int | None = None
    while True:
        lease, until_us, wait_s = _try_to_take(database, connection_id, owner)
        if lease is not None:
            return lease
        if first_seen is not None and until_us > first_seen:
            raise BusyError("The connection is being worked on by another run.", "That run delivers what is owed; look at its progress.")
        first_seen = until_us
        sleep(min(wait_s, HEARTBEAT_S + 1))


def _try_to_take(database: Database, connection_id: str, owner: str) -> tuple[Lease | None, int, float]:
    """The lease, or until when another has it and how many seconds that is."""
    with database.write() as c:
        row = c.execute(
            sa.select(connections.c.token, connections.c.lease_until).where(connections.c.id == connection_id).with_for_update()
        ).one()
        now = database.now_us(c)
        if row.lease_until > now:
            return None, row.lease_until, (row.lease_until - now) / SECOND_US
        until = now + round(TTL_S * SECOND_US)
        c.execute(
            sa.update(connections)
            .where(connections.c.id == connection_id)
            .values(token=row.token + 1, lease_owner=owner, lease_until=until)
        )
    return Lease(database, connection_id, row.token + 1, until), until, 0.0
