"""Fixtures that every folder may use: a real PostgreSQL server for the session, and the two databases that the product runs on."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

# before anything of it is imported: the suites that are shipped there assert as tests do
pytest.register_assert_rewrite("engage_pipelines.testing")

from engage_pipelines.registry.database import Database  # noqa: E402 - see above
from engage_pipelines.registry.tables import metadata  # noqa: E402
from tests.own_postgres import own_server  # noqa: E402


def pytest_configure() -> None:
    """Listen to Ctrl-C: a run in the background is started deaf to it, and what the tests start would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL server of this session; the tests that need it are skipped when it cannot start."""
    with own_server("engage_tests") as server:
        # a server that dies with the session need not survive a power cut
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            server.handle.psql(f"ALTER SYSTEM SET {setting} = off;")
        server.handle.psql("SELECT pg_reload_conf();")
        yield server.url


@pytest.fixture(scope="session")
def _postgres_schema(postgres_server: str) -> str:
    database = Database(postgres_server, check_schema=False)
    database.upgrade()
    database.close()
    return postgres_server


@pytest.fixture
def postgres_url(_postgres_schema: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with our tables, all empty."""
    yield _postgres_schema
    engine = sa.create_engine(_normal(_postgres_schema), poolclass=sa.NullPool)
    with engine.begin() as connection:
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with our tables; copying it is a tenth of the work of making it."""
    file = tmp_path_factory.mktemp("template") / "engage.db"
    Database(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """The URL of an SQLite database with our tables, all empty."""
    shutil.copy(_sqlite_template, tmp_path / "engage.db")
    return f"sqlite:///{tmp_path / 'engage.db'}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of ours, once on SQLite and once on PostgreSQL."""
    opened = Database(request.getfixturevalue(f"{request.param}_url"))
    yield opened
    opened.close()


def _normal(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)
