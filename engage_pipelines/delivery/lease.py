"""The lease of a connection: one owner at a time, with a fencing token in every write.

A lease is renewed by a thread of its own, so that long planning keeps it. A database that is away for a while is asked again until it is
there: meanwhile no request is begun, and afterwards the token says whether the connection is still ours. What may be done under a lease,
and what one leaves who lets go, is told by the rules in `domain.ownership`; here they meet the database. That an owner has just seen its
token before it begins a request (rule `seen`) is seen to by `pacing`, which looks at the connection's row before each.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

import sqlalchemy as sa

from engage_pipelines.delivery.own_clock import own_clock
from engage_pipelines.domain.errors import BusyError, LeaseLostError, StateError
from engage_pipelines.domain.ownership import SECOND_US, LeaseTimes, inherited, is_given_back, may_take, outlives, quiet_in_us
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.tables import connection as connections

T = TypeVar("T")

USUAL_TIMES = LeaseTimes()
CLOCK_HOLDS_S = 0.05
"""How long a look at the server's clock is carried on by the machine's own: a fast sender is spared a statement for each request."""
BEAT_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Owned:
    """What an owner wrote when it took a connection.

    `is_marked` says whether there was a name on the lease, `over_us` when the requests of whose name it was are over, if its clock is ours;
    `mine_over_us` is the same of the new owner.
    """

    connection_id: str
    token: int
    until_us: int
    is_marked: bool
    over_us: int | None
    mine_over_us: int


class Lease:
    """The ownership of one connection, as a context manager; `acquire` makes it. `monotonic` is the owner's own clock, in seconds."""

    def __init__(self, database: Database, owned: Owned, *, times: LeaseTimes, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._at_once = database.patient(None)
        self._monotonic = monotonic
        self._clock_seen = (0, float("-inf"))
        self._until_us = owned.until_us
        self._over_us = owned.mine_over_us
        self._unanswered = inherited(self._own_us(), times, is_marked=owned.is_marked, over_us=owned.over_us)
        self._requests = threading.Lock()
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{owned.connection_id}", daemon=True)
        self.connection_id = owned.connection_id
        self.token = owned.token
        self.times = times

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        # a lease that cannot be given back stands until its time; that must not hide what the work itself ended with
        with suppress(BusyError, StateError):
            self.let_go(self._database if error is None else self._at_once, given_back=is_given_back(self._unanswered, self._own_us()))

    def let_go(self, database: Database, *, given_back: bool) -> None:
        """End the lease, if it is still ours; the name stays on it unless it is given back (rule `marked`)."""
        mine = sa.and_(connections.c.id == self.connection_id, connections.c.token == self.token)
        name = {"lease_owner": None} if given_back else {}
        database.tell(lambda c: c.execute(sa.update(connections).where(mine).values(lease_until=database.now_us(c), **name)))

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """A transaction that is void when somebody else owns the connection by now. Raises LeaseLostError."""
        with self._fenced(self._database) as c:
            yield c

    def tell(self, body: Callable[[sa.Connection], T]) -> T:
        """The same for a body that comes to the same when it is repeated: a database that goes away in the middle of it is waited for."""

        def once() -> T:
            with self.write() as c:
                return body(c)

        return self._database.again(once)

    @contextmanager
    def _fenced(self, database: Database) -> Generator[sa.Connection]:
        with database.write() as c:
            found = c.execute(sa.select(connections.c.token).where(connections.c.id == self.connection_id).with_for_update()).scalar()
            if found != self.token:
                raise LeaseLostError(f"Connection {self.connection_id} has another owner now.")
            yield c

    def begin_request(self, deadline_s: float) -> int:
        """Wait, if it must, until the lease outlives a request of that length, and note it as unanswered; gives its deadline.

        Several may be under way, from several threads. Raises LeaseLostError.
        """
        with self._requests:
            length_us = round(deadline_s * SECOND_US)
            while (deadline := self._deadline(length_us)) is None:
                self._database.again(lambda: self.extend(self._database))
            self._unanswered = self._unanswered.begun(deadline)
        return deadline

    def _deadline(self, length_us: int) -> int | None:
        """The deadline of a request that begins now, None when the lease does not outlive it by both clocks."""
        if self._lost or not outlives(self._until_us, self._now_us() + length_us):
            return None
        deadline = self._own_us() + length_us
        return deadline if outlives(self._over_us, deadline) else None

    def answered(self, deadline_us: int) -> None:
        """The request of that deadline has its answer."""
        with self._requests:
            self._unanswered = self._unanswered.answered(deadline_us)

    def lost(self, deadline_us: int) -> None:
        """The request of that deadline got no answer: it may still take effect until then."""
        with self._requests:
            self._unanswered = self._unanswered.lost(deadline_us)

    @property
    def quiet_in_us(self) -> int:
        """How long requests without an answer may still take effect, by the owner's own clock."""
        return quiet_in_us(self._unanswered, self._own_us())

    def _own_us(self) -> int:
        return round(self._monotonic() * SECOND_US)

    def _now_us(self) -> int:
        """The shared clock, carried on from the last look at it for a moment."""
        if self._database.is_sqlite:
            return self._database.look_at_clock_us()
        seen_us, at = self._clock_seen
        age_s = time.monotonic() - at
        if age_s < CLOCK_HOLDS_S:
            return seen_us + round(age_s * SECOND_US)
        seen_us = self._database.look_at_clock_us()
        self._clock_seen = (seen_us, time.monotonic())
        return seen_us

    def extend(self, database: Database) -> None:
        """Renew the lease. Raises LeaseLostError."""
        over = self.times.renewed_until(self._own_us())
        with self._fenced(database) as c:
            until = self.times.renewed_until(database.now_us(c))
            mine = connections.c.id == self.connection_id
            c.execute(sa.update(connections).where(mine).values(lease_until=until, lease_over=over))
        self._until_us, self._over_us = until, over

    def _renew(self) -> None:
        wait_s = self.times.heartbeat_s
        while not self._stop.wait(wait_s):
            try:
                self.extend(self._at_once)
            except LeaseLostError:
                self._lost = True
                return
            except (StateError, BusyError):
                # the database is away or busy: the lease still stands until its time
                wait_s = min(BEAT_AGAIN_S, self.times.heartbeat_s)
            else:
                wait_s = self.times.heartbeat_s


def acquire(
    database: Database,
    connection_id: str,
    owner: str,
    *,
    sleep: Callable[[float], None],
    times: LeaseTimes = USUAL_TIMES,
    monotonic: Callable[[], float] = time.monotonic,
) -> Lease:
    """Take the lease, waiting for one that a dead owner left. Raises BusyError when its owner renews it: somebody is at work."""
    times.check()
    first_seen: tuple[int, int] | None = None
    began = monotonic()
    while True:
        watched_us = round((monotonic() - began) * SECOND_US) if first_seen else 0
        taking = Taking(database, connection_id, owner, times, watched_us, round(monotonic() * SECOND_US))
        owned = database.tell(taking)
        if owned is not None:
            return Lease(database, owned, times=times, monotonic=monotonic)
        if first_seen is not None and taking.found != first_seen:
            raise BusyError("The connection is being worked on by another run.", "That run delivers what is owed; look at its progress.")
        first_seen = taking.found
        sleep(min(taking.wait_s, times.heartbeat_s + 1))


@dataclass(slots=True)
class Taking:
    """One try to take the lease, which knows its own writing again where the answer to the commit was lost.

    Where another has it, `found` are its token and until when it stands, `wait_s` how long that is.
    """

    database: Database
    connection_id: str
    owner: str
    times: LeaseTimes
    watched_us: int
    own_us: int
    found: tuple[int, int] = (0, 0)
    wait_s: float = 0.0
    wrote: Owned | None = None
    clock: str | None = field(default_factory=own_clock)

    def __call__(self, c: sa.Connection) -> Owned | None:
        """What was written, or None when another has it."""
        mine, con = connections.c.id == self.connection_id, connections.c
        columns = (con.token, con.lease_until, con.lease_owner, con.lease_clock, con.lease_over)
        row = c.execute(sa.select(*columns).where(mine).with_for_update()).one()
        if self.wrote is not None and (self.wrote.token, self.wrote.until_us, self.owner) == tuple(row)[:3]:
            return self.wrote
        now = self.database.now_us(c)
        self.found, self.wait_s = (row.token, row.lease_until), (row.lease_until - now) / SECOND_US
        if not may_take(row.lease_until, now, watched_us=self.watched_us, times=self.times):
            return None
        over_us = row.lease_over if self.clock is not None and row.lease_clock == self.clock else None
        until, over = self.times.renewed_until(now), self.times.renewed_until(self.own_us)
        self.wrote = Owned(self.connection_id, row.token + 1, until, row.lease_owner is not None, over_us, over)
        of_lease = {"lease_owner": self.owner, "lease_until": until, "lease_clock": self.clock, "lease_over": over}
        c.execute(sa.update(connections).where(mine).values(token=self.wrote.token, **of_lease))
        return self.wrote
