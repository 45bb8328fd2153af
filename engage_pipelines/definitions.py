"""The composition root of Dagster: settings -> `defs`. `dagster dev`, `dg dev` and the daemon load this module."""

import dagster as dg

from engage_pipelines.orchestration.build import build_definitions
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import give_memory_back, read_settings


@dg.resource(description="Computes audiences and syncs connections, on the state that ENGAGE_HOME and ENGAGE_DATABASE_URL name.")
def engine(_: dg.InitResourceContext) -> object:
    give_memory_back()
    # a run alone pays for its imports: DuckDB, Arrow and the destinations
    from engage_pipelines.orchestration.engine import open_engine  # noqa: PLC0415

    return open_engine(read_settings())


def _load() -> dg.Definitions:
    settings = read_settings()
    return build_definitions(settings, Database(settings.database_url), engine)


defs = _load()
