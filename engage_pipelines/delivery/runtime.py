"""What every sync needs: settings, the registry with its database and destination types, and time."""

from dataclasses import dataclass, field, replace

from engage_pipelines.delivery.send import Clock
from engage_pipelines.delivery.stopping import StopFlag
from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.domain.ownership import LeaseTimes
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database, Patience
from engage_pipelines.registry.types import find_type
from engage_pipelines.settings import Settings

DATABASE_MAY_BE_AWAY_S = 60.0
"""As long as a lease lives: nobody can take it while the database is away, and afterwards the token tells whether somebody did."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts that a process is wired from; `max_changes` bounds a generation."""

    settings: Settings
    registry: Registry
    clock: Clock = field(default_factory=Clock)
    max_changes: int = 1_000_000
    lease_times: LeaseTimes = field(default_factory=LeaseTimes)
    stop: StopFlag = field(default_factory=StopFlag)

    @property
    def database(self) -> Database:
        return self.registry.database

    def sleep(self, seconds: float) -> None:
        """Let time pass. Raises StoppedError when the process is asked to stop."""
        self.stop.sleep(seconds, self.clock.sleep)

    def type_of(self, key: str) -> DestinationType:
        """Raises NotFoundError for a type that is not installed here."""
        return find_type(self.registry.types, key)

    def now_us(self) -> int:
        """The clock that all processes share."""
        return self.database.ask(self.database.now_us)


def patient_runtime(settings: Settings, registry: Registry) -> Runtime:
    """The parts for a run, which rides out a database that is away for a while; a wish to stop ends the waiting."""
    clock, stop = Clock(), StopFlag()
    patience = Patience(DATABASE_MAY_BE_AWAY_S, lambda seconds: stop.sleep(seconds, clock.sleep), clock.monotonic)
    return Runtime(settings, replace(registry, database=registry.database.patient(patience)), clock, stop=stop)
