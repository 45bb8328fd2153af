"""`engage audience export`: the members of a version as a CSV or Parquet file."""

import sys
from pathlib import Path

import click
import duckdb

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.output import note
from engage_pipelines.computing.export import write_csv
from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_members import identifiers_sql, members_sql, reading
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import InputError, UsageError


@click.command()
@click.argument("key")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), help="What FILE's ending says, else csv.")
@click.option("--version", "n", type=click.IntRange(1), help="This version instead of the current one.")
@click.option("--users", is_flag=True, help="Of an audience of accounts, the users of the matching accounts.")
@click.option("--identifiers", is_flag=True, help="One row per identifier instead of one per member.")
@click.option("--raw", is_flag=True, help="CSV for machines: cells that a spreadsheet would run as a formula get no apostrophe.")
@click.option("--force", is_flag=True, help="Replace FILE.")
def export(key: str, file: Path | None, *, kind: str | None, n: int | None, users: bool, identifiers: bool, raw: bool, force: bool) -> None:
    """Write the members of the audience KEY to FILE, or as CSV to standard output.

    One row per member: user_id, email and anonymous_id, or group_id; the one seen first where a member has several of a kind.
    """
    as_parquet = (kind or (file.suffix[1:].lower() if file else "csv")) == "parquet"
    if file is None and as_parquet:
        raise UsageError("Parquet needs a FILE.", f"Name one: engage audience export {key} members.parquet")
    if file is not None:
        _check_file(file, force=force)
    history = open_desk().history(key)
    version = history.version(n)
    level = Level.USER if users else history.level
    query = (identifiers_sql if identifiers else members_sql)(history, version.n, level)
    rows = _export(history, query, file, as_parquet=as_parquet, raw=raw)
    note(f"{rows:,} rows of version {version.n}{f' are in {file}' if file else ''}.")


def _check_file(file: Path, *, force: bool) -> None:
    if not file.absolute().parent.is_dir():
        raise InputError(f"There is no folder {file.absolute().parent}.", "Make it first.")
    if file.is_dir():
        raise InputError(f"{file} is a folder.", "Name a file.")
    if file.exists() and not force:
        raise UsageError(f"{file} is there already.", "Take another name, or replace it with --force.")


def _export(history: History, query: str, file: Path | None, *, as_parquet: bool, raw: bool) -> int:
    """How many rows were written; a file is put in place when it is whole."""
    if file is None:
        with reading(history) as db:
            return write_csv(db, query, sys.stdout, raw=raw)
    aside = file.with_name(f".{file.name}.part")
    try:
        with reading(history) as db:
            if as_parquet:
                rows = _write_parquet(db, query, aside)
            else:
                with aside.open("w", encoding="utf-8", newline="") as out:
                    rows = write_csv(db, query, out, raw=raw)
        aside.replace(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}.", "See to its folder and to free space.") from error
    finally:
        aside.unlink(missing_ok=True)
    return rows


def _write_parquet(db: duckdb.DuckDBPyConnection, query: str, file: Path) -> int:
    target = str(file).replace("'", "''")
    found = db.execute(f"copy (select * exclude (member) from ({query})) to '{target}' (format parquet, compression zstd)")
    return int(found.fetchall()[0][0])
