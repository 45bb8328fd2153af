"""The gate before every request: whether the connection may send now, at what pace, and what answers mean for all who send there.

What it knows lies in the destination's row (`registry.paces`), so that it holds for every process; the rules are those of `domain.pacing`.
The row is looked at before a request unless that was done within `LOOK_EVERY_S`: a request that takes longer than this, and there are few
others, is always preceded by a look, while a fast sender is spared a statement for each. A pause therefore takes effect before the next
request, or a tenth of a second after it was asked for; that is less than a request which has just left takes to arrive, and nothing but
people's patience rests on it: what must not be sent twice or too late is guarded by the lease.
Permissions are taken only where there is a limit, and above `domain.pacing.HIGH_RATE` several at once.
"""

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from engage_pipelines.delivery.lease import Lease
from engage_pipelines.delivery.stopping import PausedError
from engage_pipelines.destinations.base import Backoff, Pause, Stop, Verdict
from engage_pipelines.domain import pacing
from engage_pipelines.domain.errors import BusyError, LeaseLostError, StateError
from engage_pipelines.domain.ownership import SEEN_FOR_S
from engage_pipelines.domain.pacing import SECOND_US, effective_rate
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.database_errors import DatabaseAwayError
from engage_pipelines.registry.paces import (
    Allowance,
    change_pace,
    ensure_pace,
    owners_at_work,
    read_allowance,
    read_paces,
    take_permissions,
)
from engage_pipelines.registry.tables import destination as destinations

LOOK_EVERY_S = 0.05
LONGEST_WAIT_IN_RUN_S = 60.0
LONGEST_REST_IN_RUN_S = 15.0
"""A run that only waits for others' answers ends and gives its place to one that can work; starting it again costs about as much."""
LOOK_AGAIN_S = 5.0
_MEASURED_OVER_S = 10.0


class Pacing:
    """The gate of one connection; `usual_rate` is what the type declares for the action that a request is of.

    One thread at a time may be in it, but `sleep` may let others in: whoever slept looks at everything again.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        destination_id: str,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._database = database
        self._lease = lease
        self._destination_id = destination_id
        self._monotonic = monotonic
        self._sleep = sleep
        self._seen: tuple[Allowance, float] | None = None
        self._permissions: deque[int] = deque()
        self._permitted_for: float | None = None
        self._begun: deque[float] = deque(maxlen=200)
        self._begun_us = 0

    def wait_until_allowed(self, usual_rate: float | None) -> None:
        """Hold back as long as the row says so.

        Raises PausedError when people paused the connection or the wait is long: the run ends at a batch boundary.
        """
        began = self._monotonic()
        while True:
            seen = self._look()
            if seen.token != self._lease.token:
                raise LeaseLostError(f"Connection {self._lease.connection_id} has another owner now.")
            if seen.state not in {"active", "leaving"}:
                raise PausedError(f"The connection is {seen.state}: the sync stopped at a batch boundary.", "Resume it to send the rest.")
            if (
                not (self._is_paused(seen) or self._is_left_alone(seen, began) or self._is_early(seen, usual_rate, began))
                and self._is_fresh()
            ):
                break
        self._begun.append(self._monotonic())
        self._begun_us = self._now_us()

    def pause(self, after_s: float, usual_rate: float | None) -> None:
        """The destination asked everyone to wait, and to come slower afterwards."""
        seen, measured, begun = self._look(), self._measured(), self._begun_us
        usual = effective_rate(usual_rate, seen.most_per_s)

        def body(c: sa.Connection) -> None:
            now = self._database.now_us(c)
            until = now + round(max(after_s, 0.001) * SECOND_US)
            c.execute(
                sa.update(destinations)
                .where(destinations.c.id == self._destination_id, sa.func.coalesce(destinations.c.paused_until, 0) < until)
                .values(paused_until=until)
            )
            current = measured * max(owners_at_work(c, self._destination_id, now), 1)
            change_pace(c, self._destination_id, lambda pace: pacing.slowed(pace, current=current, usual=usual, begun_us=begun, now_us=now))

        # repeated, it finds a pace that was slowed down since the request began
        self._lease.tell(body)
        self._seen = None
        self._permissions.clear()

    def heard(self, verdict: Verdict) -> None:
        """What the last request got, written when it changes something for all; a wish for a pause is told by `pause`."""
        if isinstance(verdict, Pause):
            return
        try:
            self._note(verdict)
        except (DatabaseAwayError, BusyError):
            # what stops the sync is told in any case; the next run finds the pace as it was
            if not isinstance(verdict, Stop):
                raise

    def _note(self, verdict: Verdict) -> None:
        is_usable = not isinstance(verdict, Backoff)
        pace = self._look().pace
        if is_usable and not pace.failures and not pacing.may_be_raised(pace, self._now_us()):
            return

        def body(c: sa.Connection) -> None:
            now = self._database.now_us(c)
            if is_usable:
                change_pace(c, self._destination_id, lambda found: pacing.answered(found, now))
            else:
                change_pace(c, self._destination_id, lambda found: pacing.failed(found, self._lease.connection_id, now))

        self._database.tell(body)
        self._seen = None

    def _look(self) -> Allowance:
        """The row, read anew when that was too long ago."""
        if self._seen is None or self._monotonic() - self._seen[1] >= LOOK_EVERY_S:
            self._seen = (read_allowance(self._database, self._lease.connection_id), self._monotonic())
        return self._seen[0]

    def _is_fresh(self) -> bool:
        """Whether the token was seen a moment ago; the database may have taken long to give a permission."""
        return self._seen is not None and self._monotonic() - self._seen[1] < SEEN_FOR_S / 2

    def _now_us(self) -> int:
        """The shared clock, carried on from the last look."""
        if self._seen is None:
            self._look()
        assert self._seen is not None
        seen, at = self._seen
        return seen.now_us + round((self._monotonic() - at) * SECOND_US)

    def _is_paused(self, seen: Allowance) -> bool:
        """Whether the destination asked for a pause; then some of it was waited for."""
        wait_s = (seen.paused_until_us - self._now_us()) / SECOND_US
        if wait_s <= 0:
            return False
        if wait_s > LONGEST_WAIT_IN_RUN_S:
            raise PausedError(
                f"The destination asks everyone to wait for {wait_s:.0f} s.", "It is tried again then.", until_us=seen.paused_until_us
            )
        self._sleep(wait_s)
        return True

    def _is_left_alone(self, seen: Allowance, began: float) -> bool:
        """Whether another connection is the one that tries, or none may yet; if this one may, it is the one from here on."""
        if not seen.pace.is_left_alone or seen.pace.tried_by == self._lease.connection_id:
            return False
        until_us = pacing.held_until_us(seen.pace, self._lease.connection_id, self._now_us())
        if until_us is None:
            self._claim()
            return True
        wait_s = (until_us - self._now_us()) / SECOND_US
        if wait_s + self._monotonic() - began > LONGEST_REST_IN_RUN_S:
            # it is launched when it may try, which an answer to another connection makes sooner
            raise PausedError(
                f"The destination gave no usable answer {seen.pace.failures} times in a row: one connection tries, the others wait.",
                "It is tried again by itself.",
                until_us=self._now_us() + round(min(wait_s, LOOK_AGAIN_S) * SECOND_US),
            )
        self._sleep(wait_s)
        return True

    def _claim(self) -> None:
        me = self._lease.connection_id

        def body(c: sa.Connection) -> None:
            now = self._database.now_us(c)
            change_pace(
                c,
                self._destination_id,
                lambda pace: pacing.trying(pace, me, now) if pace.is_left_alone and pacing.may_try(pace, me, now) else pace,
            )

        self._database.tell(body)
        self._seen = None

    def _is_early(self, seen: Allowance, usual_rate: float | None, began: float) -> bool:
        """Whether the pace asked for a wait; False when there is no limit, or a permission holds now and is used."""
        rate = effective_rate(usual_rate, seen.most_per_s, seen.pace.slowed_to)
        if rate is None:
            return False
        if usual_rate != self._permitted_for:
            # those that are left were taken for another action
            self._permissions.clear()
            self._permitted_for = usual_rate
        if not self._permissions and not self._take(rate, began):
            return True
        wait_s = (self._permissions[0] - self._now_us()) / SECOND_US
        if wait_s > 0:
            self._sleep(wait_s)
            return True
        self._permissions.popleft()
        return False

    def _take(self, rate: float, began: float) -> bool:
        """Get the next permissions; False when others hold so many that it has to come back, after a wait."""
        count = pacing.block_size(rate)
        begins = take_permissions(self._database, self._destination_id, rate=rate, count=count)
        if begins is None and not self._has_row():
            begins = take_permissions(self._database, self._destination_id, rate=rate, count=count)
        if begins is not None:
            self._permissions.extend(begins + n * pacing.interval_us(rate) for n in range(count))
            return True
        if self._monotonic() - began > LONGEST_WAIT_IN_RUN_S:
            raise PausedError(
                f"The pace of the destination, {rate:g} requests a second, is used up by its other connections.",
                "It is tried again by itself.",
                until_us=self._now_us() + round(LONGEST_WAIT_IN_RUN_S * SECOND_US),
            )
        self._sleep(max(pacing.interval_us(rate) / SECOND_US, LOOK_EVERY_S))
        return False

    def _has_row(self) -> bool:
        """Whether the row was there; it is now."""
        found = self._destination_id in self._database.ask(lambda c: read_paces(c, [self._destination_id]))
        if not found:
            self._database.tell(lambda c: ensure_pace(c, self._destination_id))
        return found

    def _measured(self) -> float:
        """Requests a second that this connection began lately."""
        now = self._monotonic()
        lately = [at for at in self._begun if now - at <= _MEASURED_OVER_S]
        return len(lately) / max(now - lately[0], 1.0) if lately else 1.0


@contextmanager
def gives_way(database: Database, connection_id: str, destination_id: str) -> Generator[None]:
    """Run the body, the work of a run; a connection that alone tried a destination, without an answer, lets the next one try after a rest.

    When the database cannot be told, the next one may try after a while all the same.
    """
    try:
        yield
    finally:
        with suppress(BusyError, StateError):
            _give_up_trying(database, connection_id, destination_id)


def _give_up_trying(database: Database, connection_id: str, destination_id: str) -> None:
    with database.read() as c:
        pace = read_paces(c, [destination_id]).get(destination_id)
    if pace is not None and pace.tried_by == connection_id:
        with database.write() as c:
            now = database.now_us(c)
            change_pace(c, destination_id, lambda found: pacing.gave_up(found, connection_id, now))
