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
from engage_pipelines.snapshots.rows import COLUMNS, NO_ROWS, Chain

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


def compare(connection: duckdb.DuckDBPyConnection, chain: Chain, fresh: str, *, level: str) -> Difference:
    """Compare `fresh` (SQL giving the version columns) with the newest version of the chain.

    Leaves `fresh_rows` and `changed_rows` as temporary tables in the connection, for `write`. An address that its owner no longer has
    stays, as not current, while the owner is a member: vendors merge people, so what was once told of it is still theirs.
    """
    before = chain.rows(chain.versions[-1].n) if chain.versions else NO_ROWS
    run = connection.execute
    run(f"create or replace temp table rows_before as {before}")
    run(f"create or replace temp table fresh_only as select {COLUMNS} from ({fresh})")
    run(f"""create or replace temp table fresh_rows as
        select {COLUMNS} from fresh_only
        union all
        select b.level, b.address, b.member, false as current, b.sole, b.first_order, b.last_order from rows_before b
        where exists (select 1 from fresh_only f where f.level = b.level and f.member = b.member)
          and not exists (select 1 from fresh_only f
              where f.level = b.level and f.member = b.member and f.address = b.address and f.sole = b.sole)""")
    run(f"""create or replace temp table changed_rows as
        select {COLUMNS}, sum(sign)::tinyint as sign from (
            select {COLUMNS}, 1 as sign from fresh_rows union all select {COLUMNS}, -1 from rows_before)
        group by {COLUMNS} having sum(sign) <> 0""")
    members = "select distinct member from {0} where level = $1"
    (counts,) = run(
        f"""with old as ({members.format("rows_before")}), new as ({members.format("fresh_rows")})
        select (select count(*) from new), (select count(distinct member) from fresh_rows where level = 'user'),
               (select count(*) from new anti join old using (member)), (select count(*) from old anti join new using (member)),
               (select count(*) from changed_rows),
               (select coalesce(printf('%032x', bit_xor(md5_number(concat_ws('|', {COLUMNS})))), '') from fresh_rows)""",
        [level],
    ).fetchall()
    return Difference(*counts)


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
    """Put the tables that `compare` left behind on disk as version `n`, by rename. Raises StateError when the disk refuses."""
    aside = chain.folder / f".writing-{n}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        if is_full:
            _copy(connection, f"select {COLUMNS} from fresh_rows", aside / "full.parquet")
        if chain.versions:
            _copy(connection, f"select {COLUMNS}, sign from changed_rows", aside / "changes.parquet")
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
