"""What every sync needs: settings, the database, the catalogue of destination types, and time."""

from collections.abc import Callable
from dataclasses import dataclass, field

from engage_pipelines.delivery.send import Clock
from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """The parts that a process is wired from; `type_of` raises NotFoundError for a type that nobody installed."""

    settings: Settings
    database: Database
    type_of: Callable[[str], DestinationType]
    clock: Clock = field(default_factory=Clock)
    max_changes: int = 1_000_000

    def now_us(self) -> int:
        """The clock that all processes share."""
        with self.database.read() as c:
            return self.database.now_us(c)
