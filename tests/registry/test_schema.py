"""Migrations and tables say the same; a schema that does not fit is refused or mended."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from engage_pipelines.domain.errors import StateError
from engage_pipelines.registry import schema
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.indexes import metadata


def test_new_database_has_exactly_the_tables_of_the_metadata_and_nothing_to_migrate(database: Database) -> None:
    with database.write() as connection:
        schema.migrate(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert (context.get_current_revision(), compare_metadata(context, metadata)) == (schema.HEAD, [])


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_migrations_make_exactly_the_tables_of_the_metadata(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bare = f"sqlite:///{tmp_path / 'bare.db'}"
    if kind == "postgres":
        bare = _new_postgres_database(request.getfixturevalue("postgres_server"), "migrated")
    with Database(bare, check_schema=False).write() as connection:
        schema.migrate(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_revisions_named_in_the_code_are_the_revisions_of_the_scripts() -> None:
    scripts = ScriptDirectory("engage_pipelines.registry:migrations" and str(schema.__file__).replace("schema.py", "migrations"))
    assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == schema.REVISIONS


def test_generation_numbers_are_never_given_out_twice_on_sqlite(sqlite_url: str) -> None:
    with Database(sqlite_url).read() as connection:
        made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'generation'").scalar_one()
    assert "AUTOINCREMENT" in made


def test_newer_schema_is_refused(database: Database, request: pytest.FixtureRequest) -> None:
    try:
        _set_revision(database, "9999")
        with pytest.raises(StateError, match="Install the newer version"):
            Database(_url_of(database))
    finally:
        _set_revision(database, schema.HEAD)


@pytest.mark.postgres
def test_postgres_without_tables_names_the_command_that_makes_them(postgres_server: str) -> None:
    bare = _new_postgres_database(postgres_server, "bare")
    with pytest.raises(StateError, match="engage db upgrade"):
        Database(bare)
    unchecked = Database(bare, check_schema=False)
    assert unchecked.upgrade() is True
    assert unchecked.upgrade() is False
    unchecked.close()
    Database(bare).close()


def _new_postgres_database(server: str, name: str) -> str:
    url = sa.make_url(server).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return url.set(database=name).render_as_string(hide_password=False)


def _set_revision(database: Database, revision: str) -> None:
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


def _url_of(database: Database) -> str:
    return database._engine.url.render_as_string(hide_password=False)
