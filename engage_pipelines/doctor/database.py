"""The database of registry and ledger: which one it is, whether it answers, and whether its tables fit."""

import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from engage_pipelines.doctor.findings import Finding, State, fail, ok, warn
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.registry import schema
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings

CLOCKS_APART_US = 10_000_000


def open_database(settings: Settings) -> tuple[Database | None, list[Finding]]:
    """The database when it can be looked into, and what was found; an SQLite file that is not there yet is not made."""
    file = _sqlite_file(settings.database_url)
    if file is not None and not file.exists():
        return None, [ok("database", f"SQLite, {file}: the first command makes it")]
    try:
        database = Database(settings.database_url, check_schema=False)
        findings = list(_look(database))
    except EngageError as error:
        return None, [fail("database", error.what, error.remedy)]
    if any(finding.state is State.FAIL for finding in findings):
        database.close()
        return None, findings
    return database, findings


def _sqlite_file(url: str) -> Path | None:
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        return None
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _look(database: Database) -> Iterator[Finding]:
    name = database.name.removeprefix("The database ")
    with database.read() as c:
        revision = schema.revision_of(c)
        version = str(c.exec_driver_sql("SELECT sqlite_version()" if database.is_sqlite else "SHOW server_version").scalar_one())
        apart_us = abs(database.now_us(c) - time.time_ns() // 1000)
    kind = f"SQLite {version}" if database.is_sqlite else f"PostgreSQL {version.split(maxsplit=1)[0]}"
    if not schema.is_current(revision, database.name):
        have = "has no tables of ours yet" if revision is None else f"has tables of revision {revision}, this version needs {schema.HEAD}"
        yield fail("database", f"{kind} at {name} {have}.", "Run `engage db upgrade`; back it up before.")
        return
    yield ok("database", f"{kind} at {name} keeps registry, ledger and Dagster's runs; its tables are current ({revision})")
    if apart_us > CLOCKS_APART_US:
        yield warn("clock", f"The clocks of this machine and the database are {apart_us / 1e6:.0f} s apart.", "Set both by NTP.")
