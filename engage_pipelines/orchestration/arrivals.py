"""The sensor of what is computed live: it asks for computations when facts arrive, and starts nothing; the launcher does that.

Its cursor says by space which facts were there at the last look. A tick that was cut off before Dagster kept it asks once more than needed,
and a computation whose inputs did not move costs nothing.
"""

import json
from dataclasses import dataclass

import dagster as dg

from engage_pipelines.orchestration import translator
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings

INTERVAL_S = 1


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Where the facts are, and where it is asked."""

    settings: Settings
    database: Database

    def tick(self, context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """One look; nothing is launched."""
        # reads Parquet's manifests by a module that brings DuckDB, which loading the definitions needs not
        from engage_pipelines.computing.arrivals import ask_for_arrivals  # noqa: PLC0415
        from engage_pipelines.computing.watch import is_watched  # noqa: PLC0415 - the same

        if is_watched(self.settings.home):
            return dg.SensorResult(skip_reason="`engage watch` computes what is live.", cursor=context.cursor)
        asked = ask_for_arrivals(self.settings, self.database, json.loads(context.cursor or "{}"))
        words = [f"Facts or time moved in {space}: {count} asked for." for space, count in asked.told.items()]
        return dg.SensorResult(skip_reason=" ".join(words) or "Nothing arrived.", cursor=json.dumps(asked.facts, sort_keys=True))


def arrivals_sensor(arrivals: Arrivals) -> dg.SensorDefinition:
    """The sensor, running from the first start on."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return arrivals.tick(context)

    return dg.SensorDefinition(
        name=translator.ARRIVALS,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        evaluation_fn=evaluate,
        description="Asks for what is computed live as soon as facts arrive; the launcher starts the runs.",
    )
