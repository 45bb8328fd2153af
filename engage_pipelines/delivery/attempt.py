"""The attempt that a run makes at a sync request: begun, told how it ended, and what is owed after it."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.delivery.state import Skipped
from engage_pipelines.delivery.stopping import PausedError
from engage_pipelines.domain.errors import BusyError, EngageError, StateError, SyncStoppedError
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import Ended, adopt_sync, finish_attempt, start_attempt
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.requests import Stamp, owe_sync


@dataclass(frozen=True, slots=True)
class Left:
    """What a run leaves on its connection: members without an identifier, how long to rest, and what to say (None: what was said stays)."""

    skipped: Skipped
    rest_s: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run's attempt; what it knows lies in the request's row, so that the next op of the run finds it there.

    `number` is the attempt that the run was launched for: a run that comes late, when that one is over, has nothing to do. Without it the
    run takes the one that is owed now.
    """

    registry: Registry
    connection_id: str
    request_id: str | None
    run_id: str
    number: int | None = None

    def begin(self) -> None:
        """Say that the run is at it. Raises BusyError when another run is, or the attempt is over."""
        self.registry.database.again(self._begin)

    def _begin(self) -> None:
        with self.registry.database.write() as c:
            now = self.registry.database.now_us(c)
            if self.request_id is None:
                # what this run adopted already is not adopted twice
                if self._row(c) is None:
                    adopt_sync(c, self.connection_id, run_id=self.run_id, stamp=self._stamp(now))
                return
            number = self.number
            if number is None:
                number = c.execute(sa.select(t.sync_request.c.attempt).where(t.sync_request.c.id == self.request_id)).scalar_one()
            if not start_attempt(c, self.request_id, attempt=number, run_id=self.run_id, now=now):
                raise BusyError(
                    "The attempt that this run was launched for is over, or another run has it.",
                    "There is nothing to do: what is owed goes out with a later run.",
                )

    @contextmanager
    def told(self) -> Generator[None]:
        """Run the body; when it fails, the request says so, and the connection too if waiting cannot mend it.

        When the database cannot be told, whoever knows that the run is over finishes the attempt; the failure itself goes on its way.
        """
        try:
            yield
        except EngageError as error:
            with suppress(BusyError, StateError), self.registry.database.patient(None).write() as c:
                self._finish(c, _ended(error, self.registry.database.now_us(c)))
            raise

    def end(self, *, more_owed: bool, retry_at_us: int | None, left: "Left") -> None:
        """Settle the request, or owe it again at once; records of unknown fate are owed again at their time."""
        self.registry.database.again(lambda: self._end(more_owed=more_owed, retry_at_us=retry_at_us, left=left))

    def _end(self, *, more_owed: bool, retry_at_us: int | None, left: "Left") -> None:
        with self.registry.database.write() as c:
            now = self.registry.database.now_us(c)
            values: dict[str, object] = {"skipped": left.skipped.members, "skipped_of": left.skipped.of}
            if left.note is not None:
                values["note"] = left.note or None
            if left.rest_s and not more_owed:
                values["rest_until"] = now + left.rest_s * SECOND_US
            c.execute(sa.update(t.connection).where(t.connection.c.id == self.connection_id).values(values))
            self._finish(c, Ended("yielded" if more_owed else "done"))
            if retry_at_us is not None and not more_owed and not self._is_wanted(c):
                request_id = owe_sync(c, self.connection_id, "sync", self._stamp(now))
                c.execute(sa.update(t.sync_request).where(t.sync_request.c.id == request_id).values(not_before=max(retry_at_us, now)))

    def failures(self) -> int:
        """How many attempts failed before this one."""
        row = self.registry.database.ask(self._row)
        return row.failures if row else 0

    def began_at_us(self, c: sa.Connection) -> int:
        """When the run began."""
        row = self._row(c)
        return int(row.started_at or 0) if row else 0

    def _is_wanted(self, c: sa.Connection) -> bool:
        """Whether somebody asked for a sync meanwhile: that one goes at once, and owes again at its end what has to wait."""
        r = t.sync_request.c
        waiting = sa.and_(r.connection_id == self.connection_id, r.state == "owed", r.started_at.is_(None))
        return c.execute(sa.select(r.id).where(waiting)).first() is not None

    def _row(self, c: sa.Connection) -> sa.Row[tuple[object, ...]] | None:
        r = t.sync_request.c
        query = sa.select(t.sync_request).where(r.connection_id == self.connection_id, r.run_id == self.run_id, r.state == "owed")
        return c.execute(query).first()

    def _finish(self, c: sa.Connection, ended: Ended) -> None:
        row = self._row(c)
        if row is not None:
            finish_attempt(c, row.id, attempt=row.attempt, ended=ended, now=self.registry.database.now_us(c))

    def _stamp(self, now: int) -> Stamp:
        return Stamp(now=now, actor="a run started by hand", new_id=self.registry.new_id)


def _ended(error: EngageError, now_us: int) -> Ended:
    if isinstance(error, SyncStoppedError):
        return Ended("fatal", error.what, error.remedy)
    until_us = error.until_us if isinstance(error, PausedError) else None
    if until_us is None:
        return Ended("failed", error.what, error.remedy)
    # the destination wants or needs to be left alone: nothing was tried in vain, so that the back-off does not grow
    return Ended("waits", error.what, error.remedy, retry_after_s=max(until_us - now_us, 0) / SECOND_US)
