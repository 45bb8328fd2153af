"""The composition root of Dagster: settings -> `defs`. `dagster dev`, `dg dev` and the daemon load this module."""

import dagster as dg

from engage_pipelines.orchestration.build import build_definitions
from engage_pipelines.orchestration.engine import engine_resource
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import read_settings


def _load() -> dg.Definitions:
    settings = read_settings()
    return build_definitions(settings, Database(settings.database_url), engine_resource)


defs = _load()
