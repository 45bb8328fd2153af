"""The whole examination, in the order in which one thing rests on another; quick, without Dagster, and changing nothing."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.doctor.configured import (
    look_at_audiences,
    look_at_connections,
    look_at_destinations,
    look_at_mappings,
    secret_names,
)
from engage_pipelines.doctor.dagster_state import look_at_daemon, look_at_files
from engage_pipelines.doctor.database import open_database
from engage_pipelines.doctor.facts import look_at_facts
from engage_pipelines.doctor.findings import Finding, fail
from engage_pipelines.doctor.leftovers import look_at_leftovers
from engage_pipelines.doctor.place import look_at_home, look_at_python, look_at_settings
from engage_pipelines.doctor.warehouse import look_at_warehouses
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.settings import Settings


def examine(settings: Settings, root: Path) -> Iterator[Finding]:
    """Everything there is to say about the installation; `root` is the folder of dagster.yaml and workspace.yaml."""
    database, about_database = open_database(settings)
    try:
        yield look_at_python()
        yield from _safely("settings", lambda: look_at_settings(settings, _secrets(database)))
        yield from _safely("home", lambda: look_at_home(settings))
        yield from about_database
        yield from _safely("facts", lambda: look_at_facts(settings))
        if database is not None:
            yield from _safely("registry", lambda: _look_into(settings, database))
        yield from _safely("dagster", lambda: look_at_files(root))
        yield from _safely("daemon", lambda: [look_at_daemon(settings, database)])
    finally:
        if database is not None:
            database.close()


def _look_into(settings: Settings, database: Database) -> Iterator[Finding]:
    types, desk = destination_types(), SettingsDesk(Vault(settings.keys), settings.files_dir)
    with database.read() as c:
        yield from look_at_destinations(c, types, desk)
        yield from look_at_audiences(c)
        yield from look_at_mappings(c, types)
        yield from look_at_connections(c)
        yield from look_at_warehouses(c, settings)
    yield look_at_leftovers(settings, database)


def _secrets(database: Database | None) -> set[str]:
    if database is None:
        return set()
    with database.read() as c:
        return secret_names(c)


def _safely(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What was found; a look that fails is a finding too, and does not end the examination."""
    try:
        yield from look()
    except EngageError as error:
        yield fail(check, error.what, error.remedy)
    except Exception as error:  # noqa: BLE001, RUF100 - whatever is broken here, the rest is still to be looked at
        yield fail(check, f"Looking at it failed: {type(error).__name__}: {error}.", "Report this.")
