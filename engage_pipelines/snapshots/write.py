"""Writing a version: fresh members are compared with the version before, and what differs is put on disk beside it, whole or not at all.

The caller reserves the number and flips the pointer in the registry; until then nobody reads the folder. A folder that was written for a
number that was never published is an orphan, and `sweep` takes it away.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb

from engage_pipelines.domain.errors import StateError
from engage_pipelines.snapshots.rows import COLUMNS, Chain

FULL_WHEN_CHANGES_EXCEED = 0.1
"""A full snapshot is written when the changes since the last full one outgrow this share of it."""

ROW_GROUP = 122_880


@dataclass(frozen=True, slots=True)
class Difference:
    """How the fresh members differ from the version before; counts of members are at the computation's own level."""

    size: int
    users: int
    entered: int
    exited: int
    changed_rows: int
    digest: str
    updated: int = 0
    """Members that have another value than before; of audiences none."""


def compare(connection: duckdb.DuckDBPyConnection, chain: Chain, fresh: str, *, level: str) -> Difference:
    """Compare `fresh` (SQL giving the version columns) with the newest version of the chain.

    Leaves `fresh_rows` and `changed_rows` as temporary relations in the connection, for `write`. An address that its owner no longer has
    stays, as not current, while the owner is a member: vendors merge people, so what was once told of it is still theirs. Its value is
    the one that its owner has now.
    """
    run, columns = connection.execute, chain.columns
    for name in ("rows_before", "fresh_only", "fresh_rows", "changed_rows", "leaving", "kept", "kept_now"):
        run(f"drop view if exists {name}" if _is_view(connection, name) else f"drop table if exists {name}")
    run(f"create temp table fresh_only as select {columns} from ({fresh})")
    if not chain.versions:
        run(f"create temp view rows_before as {chain.no_rows}")
        _same_as_fresh(connection, columns, changed=f"select {columns}, 1::tinyint as sign from fresh_only")
        fingerprint = _fingerprint(connection, "fresh_only", columns)
        size, users = _counts(connection, level)
        return Difference(size, users, size, 0, fingerprint.rows, fingerprint.digest)
    run(f"create temp table rows_before as {chain.rows(chain.versions[-1].n)}")
    fingerprint = _fingerprint(connection, "fresh_only", columns)
    size, users = _counts(connection, level)
    if fingerprint == _fingerprint(connection, "rows_before", columns):
        _same_as_fresh(connection, columns, changed=f"select {columns}, 0::tinyint as sign from fresh_only limit 0")
        return Difference(size, users, 0, 0, 0, fingerprint.digest)
    _difference(connection, chain)
    entered, exited, changed = run(_MOVED, [level, level]).fetchall()[0]
    updated = int(run(_UPDATED, [level]).fetchall()[0][0]) if chain.has_values else 0
    return Difference(size, users, entered, exited, changed, _fingerprint(connection, "fresh_rows", columns).digest, updated)


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """How many rows, and what two sums over their hashes say: the same for the same rows in any order."""

    rows: int
    digest: str


def _fingerprint(connection: duckdb.DuckDBPyConnection, table: str, columns: str) -> _Fingerprint:
    hashes = f"select hash({columns}) as h, hash(member, address, {columns}) as g from {table}"
    query = f"select count(*), coalesce(bit_xor(h), 0), coalesce(sum(g), 0)::varchar from ({hashes})"
    rows, mixed, total = connection.execute(query).fetchall()[0]
    return _Fingerprint(rows, f"{mixed:016x}{int(total) % 2**64:016x}")


def _counts(connection: duckdb.DuckDBPyConnection, level: str) -> tuple[int, int]:
    """Members at the level of the computation, and users."""
    found = dict(connection.execute("select level, count(distinct member) from fresh_only group by 1").fetchall())
    return found.get(level, 0), found.get("user", 0)


def _same_as_fresh(connection: duckdb.DuckDBPyConnection, columns: str, *, changed: str) -> None:
    connection.execute(f"create temp view fresh_rows as select {columns} from fresh_only")
    connection.execute(f"create temp view changed_rows as {changed}")


_MOVED = """with old as (select distinct member from leaving where level = $1), new as (
        select distinct member from changed_rows where level = $1 and sign > 0)
    select (select count(*) from new where member not in (select member from rows_before where level = $2)),
           (select count(*) from old where member not in (select member from fresh_only where level = $2)),
           (select count(*) from changed_rows)"""


_UPDATED = """select count(distinct n.member) from changed_rows n join changed_rows o using (level, member)
    where n.level = $1 and n.sign > 0 and o.sign < 0 and n.value <> o.value"""


def _difference(connection: duckdb.DuckDBPyConnection, chain: Chain) -> None:
    """What differs, from the rows that are on one side alone; most are on both."""
    run, columns = connection.execute, chain.columns
    run(f"create temp table leaving as select {columns} from rows_before anti join fresh_only using ({columns})")
    run(f"""create temp table kept as select {columns} from leaving l
        where exists (select 1 from fresh_only f where f.level = l.level and f.member = l.member)
          and not exists (select 1 from fresh_only f
              where f.level = l.level and f.member = l.member and f.address = l.address and f.sole = l.sole)""")
    stays = f"select {columns.replace('current', 'false as current')} from kept"
    if chain.has_values:
        present = "(select level, member, any_value(value) as value from fresh_only group by all)"
        stays = f"select {COLUMNS.replace('current', 'false as current')}, p.value from kept k join {present} p using (level, member)"
    run(f"create temp table kept_now as {stays}")
    run(f"""create temp table changed_rows as
        select {columns}, 1::tinyint as sign from fresh_only anti join rows_before using ({columns})
        union all select {columns}, 1 from kept_now anti join rows_before using ({columns})
        union all select {columns}, -1 from leaving anti join kept_now using ({columns})""")
    run(f"create temp view fresh_rows as select {columns} from fresh_only union all select {columns} from kept_now")


def _is_view(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    return bool(connection.execute("select 1 from duckdb_views() where view_name = $1 and temporary", [name]).fetchall())


def wants_full(chain: Chain, changed_rows: int, connection: duckdb.DuckDBPyConnection) -> bool:
    """True when the changes since the last full snapshot, with these, outgrow a tenth of it."""
    fulls = [version.n for version in chain.versions if version.is_full]
    if not fulls:
        return True
    since, whole = (
        connection.execute(f"select count(*) from ({rows})").fetchall()[0][0]
        for rows in (chain.changes(fulls[-1], chain.versions[-1].n), chain.rows(fulls[-1]))
    )
    return changed_rows + since > FULL_WHEN_CHANGES_EXCEED * whole


def write(connection: duckdb.DuckDBPyConnection, chain: Chain, n: int, *, is_full: bool) -> None:
    """Put the relations that `compare` left behind on disk as version `n`, by rename. Raises StateError when the disk refuses."""
    aside = chain.folder / f".writing-{n}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        columns = chain.columns
        if is_full:
            _copy(connection, f"select {columns} from fresh_rows", aside / "full.parquet")
        if chain.versions:
            _copy(connection, f"select {columns}, sign from changed_rows", aside / "changes.parquet")
        aside.rename(chain.folder / str(n))
    except (OSError, duckdb.IOException) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StateError(
            f"Version {n} of {chain.folder.name} could not be written: {error}.", "Free disk space below ENGAGE_HOME and compute it again."
        ) from error


def sweep(folder: Path, known: Collection[int]) -> None:
    """Remove folders of numbers that the registry does not know, left by a process that died while it wrote."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith(".writing-") or (entry.name.isdigit() and int(entry.name) not in known):
            shutil.rmtree(entry, ignore_errors=True)


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    target = str(path).replace("'", "''")
    connection.execute(
        f"copy (select * from ({query}) order by level, address, member) to '{target}'"
        f" (format parquet, compression zstd, row_group_size {ROW_GROUP})"
    )
