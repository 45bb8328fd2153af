"""The work resource as it runs in production: it wires the rooms that compute and deliver."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from engage_pipelines.computing.compute import compute_audiences
from engage_pipelines.delivery.runtime import Runtime, patient_runtime
from engage_pipelines.delivery.sync import Level, LevelReport, Sync, SyncPlan, SyncReport
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.errors import BusyError, EngageError, NotFoundError, StateError
from engage_pipelines.orchestration.work import Computed, Place, Run
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import Ended, finish_attempt, start_attempt
from engage_pipelines.registry.change import open_registry
from engage_pipelines.registry.database_errors import DatabaseAwayError
from engage_pipelines.settings import Settings


class Engine:
    """One process's engine; its calls are those of `work.Work`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._database = runtime.database

    def compute(self, space: str, keys: Sequence[str], run: Run) -> Sequence[Computed]:
        if run.attempt is None:
            return self._compute(space, keys, run)
        request_id, attempt = run.attempt
        database = self._database
        if not database.tell(lambda c: start_attempt(c, request_id, attempt=attempt, run_id=run.id, now=database.now_us(c))):
            run.log(f"request={request_id} attempt={attempt} is settled already: nothing to compute")
            return []
        with self._telling(request_id, attempt):
            results = self._compute(space, keys, run)
        self._finish(request_id, attempt, ended_computing(results))
        return results

    def plan(self, place: Place, run: Run) -> SyncPlan:
        return self._sync(place, run).plan()

    def send(self, place: Place, level: Level, run: Run) -> LevelReport:
        return self._sync(place, run).send(level)

    def settle(self, place: Place, run: Run) -> SyncReport:
        return self._sync(place, run).settle()

    def _compute(self, space: str, keys: Sequence[str], run: Run) -> Sequence[Computed]:
        return compute_audiences(self._runtime.settings, self._runtime.registry, space, keys, log=run.log)

    def _sync(self, place: Place, run: Run) -> Sync:
        connection_id = self._database.ask(lambda c: find_connection(c, place))
        request_id, attempt = run.attempt or (None, None)
        return Sync(self._runtime, connection_id, request_id, run_id=run.id, log=run.log, attempt=attempt)

    @contextmanager
    def _telling(self, request_id: str, attempt: int) -> Generator[None]:
        """Run the body; an attempt that it fails is told to the registry.

        When the registry cannot be told, whoever knows that the run is over finishes the attempt; the failure itself goes on its way.
        """
        try:
            yield
        except DatabaseAwayError as error:
            with suppress(BusyError, StateError), self._database.patient(None).write() as c:
                ended = Ended("failed", error.what, error.remedy)
                finish_attempt(c, request_id, attempt=attempt, ended=ended, now=self._database.now_us(c))
            raise
        except EngageError as error:
            how = "failed" if isinstance(error, BusyError | StateError) else "fatal"
            self._finish(request_id, attempt, Ended(how, error.what, error.remedy))
            raise
        except Exception as error:
            self._finish(request_id, attempt, Ended("failed", f"An internal error, {type(error).__name__}.", "See its run in Dagster."))
            raise

    def _finish(self, request_id: str, attempt: int, ended: Ended) -> None:
        self._database.tell(lambda c: finish_attempt(c, request_id, attempt=attempt, ended=ended, now=self._database.now_us(c)))


def ended_computing(results: Sequence[Computed]) -> Ended:
    """What waiting can mend is tried again; a definition that cannot be evaluated waits for its author."""
    errors = [(result.key, result.error) for result in results if result.state == "failed" and result.error is not None]
    if not errors:
        return Ended("done")
    how = "failed" if any(isinstance(error, BusyError | StateError) for _, error in errors) else "fatal"
    return Ended(how, " ".join(f"{key}: {error}" for key, error in errors))


def find_connection(c: sa.Connection, place: Place) -> str:
    """The id of the live connection of an audience with a destination. Raises NotFoundError."""
    con, com, dst, spa = t.connection.c, t.computation.c, t.destination.c, t.space.c
    query = (
        sa.select(con.id)
        .join(t.computation, con.computation_id == com.id)
        .join(t.destination, con.destination_id == dst.id)
        .join(t.space, com.space_id == spa.id)
        .where(spa.key == place.space, com.key == place.audience, dst.key == place.destination, con.removed_at.is_(None))
    )
    found = c.execute(query).scalars().first()
    if found is None:
        raise NotFoundError(
            f"Audience {place.audience!r} is not connected to destination {place.destination!r} any more.", "Connect it again to send it."
        )
    return found


def open_engine(settings: Settings) -> Engine:
    """An engine on the state that the settings name."""
    # types keep these as class variables, which pyright does not take for properties of a protocol
    types = destination_types()
    return Engine(patient_runtime(settings, open_registry(settings, types=types)))
