"""A PostgreSQL database that plays the warehouse of people: their tables, and a login that may do more than it should."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.computing.desk import Desk
from tests.facts.warehouse.shop import TABLES


@pytest.fixture(scope="session")
def warehouse_url(postgres_server: str) -> str:
    """The URL of a database of its own on the server of the session."""
    connection = psycopg2.connect(postgres_server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS people_warehouse")
        cursor.execute("CREATE DATABASE people_warehouse")
    connection.close()
    return postgres_server.replace("/engage_tests", "/people_warehouse")


@pytest.fixture
def cursor(warehouse_url: str) -> Iterator[Any]:
    """The owner of the tables at work; every table goes afterwards."""
    connection = psycopg2.connect(warehouse_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET client_min_messages = warning; SET jit = off")
        yield cursor
        cursor.execute("DROP SCHEMA IF EXISTS shop CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    connection.close()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cursor: Any, warehouse_url: str) -> Desk:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_KEYS", "ENGAGE_SPACE", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHOP_URL", warehouse_url)
    monkeypatch.chdir(tmp_path)
    cursor.execute(TABLES)
    return Desk(tmp_path)
