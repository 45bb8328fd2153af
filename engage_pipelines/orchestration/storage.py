"""Dagster's storage, logs and artifacts, beside our own state: SQLite and folders under ENGAGE_HOME, or PostgreSQL by ENGAGE_DATABASE_URL.

dagster.yaml names these classes, so that one file serves every installation and `dagster dev` keeps its runs also without DAGSTER_HOME.
On PostgreSQL Dagster lives in a schema of its own: it brings tables called `alembic_version`, `jobs` and `runs`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from engage_pipelines.settings import Settings, read_settings

POSTGRES_SCHEMA = "dagster"


class EngageStorage(DagsterStorage, ConfigurableClass):
    """Chooses by the settings which storage of Dagster's there is; never made itself."""

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(  # pyright: ignore[reportIncompatibleMethodOverride] - what it makes is Dagster's own class, not itself
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterStorage[Any]:
        del config_value
        return open_storage(read_settings(), inst_data)


class EngageArtifacts(LocalArtifactStorage):
    """The folder for what runs leave behind, `ENGAGE_HOME/dagster`."""

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> LocalArtifactStorage:
        del config_value
        return cls(str(_folder(read_settings())), inst_data)


class EngageComputeLogs(LocalComputeLogManager):
    """The folder for what runs and sensor ticks print, `ENGAGE_HOME/dagster/logs`."""

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> LocalComputeLogManager:
        del config_value
        return cls(str(_folder(read_settings()) / "logs"), inst_data=inst_data)


def open_storage(settings: Settings, inst_data: ConfigurableClassData | None = None) -> DagsterStorage[Any]:
    """The storage that the settings ask for, its tables made when they are not there."""
    if not settings.database_url.startswith("postgres"):
        return DagsterSqliteStorage(str(_folder(settings)), inst_data)
    from dagster_postgres.storage import DagsterPostgresStorage  # noqa: PLC0415 - only who runs on PostgreSQL pays for its import

    url = sa.make_url(settings.database_url).set(drivername="postgresql+psycopg2")
    _make_schema(url)
    own = url.update_query_dict({"options": f"-csearch_path={POSTGRES_SCHEMA}"})
    return DagsterPostgresStorage(own.render_as_string(hide_password=False), inst_data=inst_data)


def _folder(settings: Settings) -> Path:
    settings.dagster_dir.mkdir(parents=True, exist_ok=True)
    return settings.dagster_dir


def _make_schema(url: sa.URL) -> None:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            # two processes that make it at once would collide inside CREATE SCHEMA IF NOT EXISTS
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305010926184612)")
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {POSTGRES_SCHEMA}")
    finally:
        engine.dispose()
