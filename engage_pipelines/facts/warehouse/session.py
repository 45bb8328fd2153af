"""A session on facts in a warehouse: who there is, read once into the relations of every session; definitions are asked of the warehouse.

Users, accounts, memberships and identifiers come over in chunks, and are numbered. Rows of events and traits stay where they are: the
relations event_rows and trait_rows are empty.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import duckdb
import pyarrow as pa

from engage_pipelines.domain.errors import ConflictError, EngageError
from engage_pipelines.domain.warehouse_mapping import WarehouseFacts
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import open_engine, state_errors
from engage_pipelines.facts.warehouse.catalog import Catalog
from engage_pipelines.facts.warehouse.dialects.postgres import PostgreSQL
from engage_pipelines.facts.warehouse.evaluation import InWarehouse
from engage_pipelines.facts.warehouse.marks import read_mark
from engage_pipelines.facts.warehouse.numbers import number_members
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.reading import Reader, open_reader
from engage_pipelines.facts.warehouse.rows import identifiers

UNKNOWN = "unknown-"
_TABLES = """
CREATE TEMP TABLE read_identifiers(key VARCHAR, kind VARCHAR, id VARCHAR, current BOOLEAN, first_at BIGINT, last_at BIGINT);
CREATE TEMP TABLE read_account_users(member VARCHAR, account VARCHAR);
CREATE TEMP TABLE event_rows(member BIGINT, event VARCHAR, ts BIGINT, message_id VARCHAR, properties VARCHAR, context VARCHAR,
    source VARCHAR, kind VARCHAR);
CREATE TEMP TABLE trait_rows(member BIGINT, key VARCHAR, ts BIGINT, message_id VARCHAR, value VARCHAR, level VARCHAR);
CREATE TEMP TABLE late_claims(member BIGINT, claimed_by BIGINT, anonymous_id VARCHAR, ts BIGINT);
CREATE TEMP TABLE event_names(name VARCHAR, rows BIGINT);
CREATE TEMP TABLE trait_keys(level VARCHAR, key VARCHAR);
"""
_KEYS = "SELECT key FROM read_identifiers UNION ALL SELECT member FROM read_account_users UNION ALL SELECT account FROM read_account_users"
_NUMBERED = """
CREATE TEMP TABLE identifiers AS
    SELECT n.member, i.kind, i.id, i.current, i.first_at, i.last_at FROM read_identifiers i JOIN numbers n ON n.key = i.key;
CREATE TEMP TABLE users AS SELECT DISTINCT member FROM identifiers WHERE kind IN ('user_id', 'email');
CREATE TEMP TABLE accounts AS SELECT DISTINCT member FROM identifiers WHERE kind = 'group_id';
CREATE TEMP TABLE account_users AS
    SELECT a.member AS account, u.member FROM read_account_users r
    JOIN numbers u ON u.key = r.member JOIN numbers a ON a.key = r.account SEMI JOIN users s ON s.member = u.member;
CREATE TEMP TABLE subjects_known AS
    SELECT member AS subject, CASE key[1] WHEN 'u' THEN 'user' WHEN 'a' THEN 'anonymous' ELSE 'account' END AS kind, key[3:] AS id,
        0::BIGINT AS first_at, 0::BIGINT AS last_at FROM numbers;
DROP TABLE read_identifiers;
DROP TABLE read_account_users;
"""
_CHAINED = "SELECT 1 FROM ({merges}) a JOIN ({merges}) b ON b.user_id = a.into_id LIMIT 1"


@dataclass(frozen=True, slots=True)
class Home:
    """Where the facts of a space are, with the login."""

    facts: WarehouseFacts
    url: str

    def __repr__(self) -> str:
        return f"Home({self.facts.url})"

    def open_reader(self) -> Reader:
        """Connect. Raises StateError, or ConfigurationError for a URL that is not one of PostgreSQL."""
        return open_reader(self.url, timeout_s=self.facts.timeout_s)


def open_warehouse_session(home: Home, facts_dir: Path, space: str, *, at_us: int, with_visitors: bool = False) -> FactsSession:
    """The facts of a space as of an instant; with visitors also those whom anonymous ids of events alone tell of.

    Raises StateError when they cannot be read, ConfigurationError for a mapping that does not fit.
    """
    folder = facts_dir / space / "warehouse"
    with state_errors(folder):
        reader = home.open_reader()
        try:
            warehouse = Warehouse(home.facts, PostgreSQL(), Catalog(home.facts, reader.tables()), at_us)
            check_merges(reader, warehouse)
            folder.mkdir(parents=True, exist_ok=True)
            db = open_engine(folder / "spill" / token_hex(8))
        except BaseException:
            reader.close()
            raise
        try:
            mark = read_mark(reader, warehouse)
            _read_people(db, reader, warehouse, folder, with_visitors=with_visitors)
            is_empty = not db.execute("SELECT 1 FROM identifiers LIMIT 1").fetchall()
        except BaseException:
            db.close()
            reader.close()
            raise
        # where there is no mark another word each time, so that everything is evaluated
        fingerprint = "" if is_empty else mark or no_mark()
        return FactsSession(db, at_us, fingerprint, elsewhere=InWarehouse(reader, warehouse, with_visitors, mark is not None))


def read_fingerprint(home: Home) -> str:
    """The fingerprint that a session opened now would have if there is anybody; one that no session had when that cannot be told."""
    try:
        with closing(home.open_reader()) as reader:
            warehouse = Warehouse(home.facts, PostgreSQL(), Catalog(home.facts, reader.tables()), 0)
            return read_mark(reader, warehouse) or no_mark()
    except EngageError:
        # whoever opens the session is told what is wrong
        return no_mark()


def no_mark() -> str:
    """A fingerprint of facts of which nobody can tell whether they moved: never equal to another."""
    return f"{UNKNOWN}{token_hex(8)}"


def check_merges(reader: Reader, warehouse: Warehouse) -> None:
    """Raises ConflictError when a user id that stays was merged itself: where such a chain ends is not ours to guess."""
    if warehouse.has_merges and reader.rows(_CHAINED.format(merges=warehouse.merges())):
        raise ConflictError(
            "The mapped merges have chains: a user id that stays is itself merged into another.", "Map a view that gives the last one."
        )


def _read_people(db: duckdb.DuckDBPyConnection, reader: Reader, warehouse: Warehouse, folder: Path, *, with_visitors: bool) -> None:
    db.execute(_TABLES)
    shared = ", ".join(f"{name} AS ({query})" for name, query in warehouse.shared)
    with_ = f"WITH {shared} " if shared else ""
    held = identifiers(warehouse, with_visitors=with_visitors)
    for query, table in ((held, "read_identifiers"), (warehouse.account_users(), "read_account_users")):
        for rows in reader.chunks(f"{with_}{query}"):
            _append(db, table, rows)
    for _, event in warehouse.facts.tables.event_tables:
        if event is not None:
            db.execute("INSERT INTO event_names VALUES (?, 1)", [event])
    number_members(db, _KEYS, folder)
    db.execute(_NUMBERED)


def _append(db: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    names = [name for name, *_ in db.execute(f"DESCRIBE {table}").fetchall()]
    db.register("read_rows", pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))
    try:
        db.execute(f"INSERT INTO {table} SELECT * FROM read_rows")
    finally:
        db.unregister("read_rows")
