"""What is computed live: as soon as facts arrive, and otherwise only when time alone may have changed it.

Live may be what each new row alone decides: no windows, no funnels, nothing about accounts, in nothing that the definition refers to.
"""

import sqlalchemy as sa

from engage_pipelines.domain.computation import Computation
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.domain.query import needs_batch
from engage_pipelines.registry.cadence import LIVE
from engage_pipelines.registry.definitions import reached
from engage_pipelines.registry.lookup import Row

_REMEDY = "Give it a cadence: hourly, or a cron line such as */5 * * * *."


def check_live(c: sa.Connection, space: Row, cadence: str, new: Computation) -> None:
    """Raises ConfigurationError for a computation that is to be live and cannot be."""
    if cadence != LIVE:
        return
    if space.facts is not None:
        raise ConfigurationError(f"{new.key!r} cannot be live: facts in a warehouse do not say when they arrive.", _REMEDY)
    for key, definition in reached(c, space.id, new):
        who = f"{new.key!r}" if key == new.key else f"{new.key!r}, which refers to {key!r},"
        if definition is None:
            raise ConfigurationError(f"{who} cannot be live: a SELECT may look at anything.", _REMEDY)
        if needs_batch(definition):
            raise ConfigurationError(
                f"{who} cannot be live: it has a window of time, a funnel, a date told from now, or is about accounts.", _REMEDY
            )
