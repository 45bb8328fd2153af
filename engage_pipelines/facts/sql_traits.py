"""SQL traits: one SELECT over the facts of a space, a row per user or account, each column beside the id a trait.

| rule | what happens |
|---|---|
| the id | a column user_id, anonymous_id or email for users, group_id for accounts; never user_id and anonymous_id |
| beside it | one to 24 more columns, each a number or a text, with names that traits can have |
| no id, or one twice | refused, with the numbers of the rows |
| an id that nobody has | the row is left out, and a warning says how many were |
| more than 16 KB in a row | the row is left out, and a warning says how many were |
| more than 25 million rows | refused |

The value of a member is an object of the columns, in the order of their names; a column that it had before is null.
Source of the limits: segment.com/docs/unify/Traits/sql-traits.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from engage_pipelines.domain.computation import Level, TraitComputation, check_key
from engage_pipelines.domain.errors import ConfigurationError, SelectError, StateError
from engage_pipelines.facts.session import SELECT_S, FactsSession
from engage_pipelines.facts.sql_values import number_json, quote_text, text_json
from engage_pipelines.facts.store import encode_manifest

MOST_ROWS = 25_000_000
MOST_COLUMNS = 25
MOST_BYTES = 16 * 1024
_GRACE_S = 30.0
"""How long the process may take beside its SELECT, until it is ended from outside."""
_ID_COLUMNS = {Level.USER: ("user_id", "anonymous_id", "email"), Level.ACCOUNT: ("group_id",)}
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_STRANGE = {Level.USER: ("group_id",), Level.ACCOUNT: ("user_id", "anonymous_id")}
_PRESENT = {"email": " AND current"}
_SHOWN = 5
_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"malloc", b"OutOfMemory")


@dataclass(frozen=True, slots=True)
class Selected:
    """What a SELECT came to: `rows` is SQL over the session for member and value, an object as JSON text."""

    rows: str
    warnings: tuple[str, ...]


def run_select(session: FactsSession, sql: str, *, seconds: float = SELECT_S, most_rows: int = MOST_ROWS) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """The rows of a SELECT, from a process of its own. Raises SelectError for the author, StateError for the operator."""
    source = session.source
    if source is None or source.manifest is None:
        raise StateError("SQL traits need facts that were ingested.", "Take the events in with `engage ingest`.")
    request = {
        "facts_dir": str(source.folder.parent.absolute()),
        "space": source.folder.name,
        "at_us": session.at_us,
        "manifest": encode_manifest(source.manifest).decode(),
        "sql": sql,
        "seconds": seconds,
        "most_rows": most_rows,
    }
    command = [sys.executable, "-m", "engage_pipelines.facts.sql_child"]
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(  # noqa: S603 - our own module, whatever the SELECT says
            command, input=json.dumps(request).encode(), capture_output=True, env=environment, timeout=seconds + _GRACE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SelectError(f"the SELECT took longer than {seconds:g} s.", "Make it simpler.") from None
    if done.returncode == 0:
        return pa.ipc.open_stream(done.stdout).read_all()
    raise _refusal(done)


def _refusal(done: subprocess.CompletedProcess[bytes]) -> SelectError | StateError:
    try:
        words = json.loads(done.stdout)
    except ValueError:
        # an engine that is denied memory ends by a signal, or Python tells of it
        if done.returncode < 0 or any(word in done.stderr for word in _OUT_OF_MEMORY):
            return SelectError("the SELECT needs more memory than it may have.", "Make it simpler, or narrow it down.")
        return StateError(f"The process of the SELECT ended with exit code {done.returncode} and no answer.", "Try again, or report it.")
    return (StateError if words["is_ours"] else SelectError)(words["what"], words["remedy"])


def select_values(session: FactsSession, trait: TraitComputation, keep: Callable[[str], str]) -> Selected:
    """The values that a trait's SELECT gives to members; `keep` keeps the rows of a query beyond this call, and gives SQL for them.

    Raises SelectError for rows that cannot be values.
    """
    table = run_select(session, trait.definition, seconds=session.select_s)
    names = table.column_names
    id_column = _id_column(names, trait.level)
    _check_names(names, id_column)
    numbers = pa.array(np.arange(1, table.num_rows + 1))
    plain = pa.Table.from_arrays([*table.columns, numbers], names=[*(f"c{place}" for place in range(len(names))), "n"])
    session.connection.register("selected", plain)
    try:
        return _values(session.connection, names, id_column, keep, former=trait.former_columns)
    finally:
        session.connection.unregister("selected")


def _id_column(names: Sequence[str], level: Level) -> str:
    possible = _ID_COLUMNS[level]
    found = [name for name in possible if name in names]
    if not found:
        words = " or ".join(possible)
        raise SelectError(f"the SELECT has no column {words}.", f"A trait of {level}s needs one: name it with AS {possible[0]}.")
    if {"user_id", "anonymous_id"} <= {*found}:
        raise SelectError("the SELECT has both user_id and anonymous_id.", "Leave one of them out.")
    strange = next((name for name in _STRANGE[level] if name in names), None)
    if strange is not None:
        raise SelectError(f"the SELECT has a column {strange}, and the trait is one of {level}s.", "Leave it out.")
    return found[0]


def _check_names(names: Sequence[str], id_column: str) -> None:
    if len(names) > MOST_COLUMNS:
        raise SelectError(f"the SELECT has {len(names)} columns; at most {MOST_COLUMNS} fit.", "Make several traits of it.")
    if len(names) == 1:
        raise SelectError(f"the SELECT has the column {id_column} alone.", "Add a column with a value.")
    for name in names:
        if list(names).count(name) > 1:
            raise SelectError(f"the SELECT has several columns {name!r}.", "Give each a name of its own, with AS.")
        try:
            check_key(name, "the name of a column")
        except ConfigurationError as error:
            raise SelectError(error.what, f"Give it one with AS. {error.remedy}") from None


def _values(
    db: duckdb.DuckDBPyConnection, names: Sequence[str], id_column: str, keep: Callable[[str], str], *, former: Sequence[str]
) -> Selected:
    kinds = {name: str(row[1]) for name, row in zip(names, db.execute("DESCRIBE selected").fetchall(), strict=False)}
    columns = {name: f"c{place}" for place, name in enumerate(names)}
    ids = _id_sql(columns[id_column], kinds[id_column], id_column)
    _refuse_rows(db, f"SELECT n FROM selected WHERE {ids} IS NULL OR {ids} = ''", f"have no {id_column}")
    twice = f"SELECT n FROM selected WHERE {ids} IN (SELECT {ids} FROM selected GROUP BY 1 HAVING count(*) > 1) ORDER BY {ids}, n"
    _refuse_rows(db, twice, f"have a {id_column} that is there more than once")
    told = {name: _json_sql(columns[name], kinds[name], name) for name in names if name != id_column}
    told |= {name: quote_text("null") for name in former if name not in told}
    # in the order of their names, so that a value stays the same when the SELECT lists its columns otherwise
    listed = " || ',' || ".join(f"{quote_text(json.dumps(name) + ':')} || {told[name]}" for name in sorted(told))
    of_kind = f"SELECT DISTINCT member, id FROM identifiers WHERE kind = {quote_text(id_column)}{_PRESENT.get(id_column, '')}"
    found = keep(f"""SELECT n, i.member, '{{' || {listed} || '}}' AS value FROM selected s LEFT JOIN ({of_kind}) i ON i.id = {ids}""")
    same = f"SELECT n FROM ({found}) WHERE member IN (SELECT member FROM ({found}) GROUP BY 1 HAVING count(*) > 1) ORDER BY member, n"
    _refuse_rows(db, same, "are of profiles that are there more than once")
    unknown, large = db.execute(
        f"SELECT count(*) FILTER (member IS NULL), count(*) FILTER (member IS NOT NULL AND strlen(value) > {MOST_BYTES}) FROM ({found})"
    ).fetchall()[0]
    warnings = [f"{unknown:,} rows have a {id_column} that no profile has; they are left out."] if unknown else []
    if large:
        warnings.append(f"{large:,} rows are larger than {MOST_BYTES // 1024} KB; they are left out.")
    return Selected(f"SELECT member, value FROM ({found}) WHERE member IS NOT NULL AND strlen(value) <= {MOST_BYTES}", tuple(warnings))


def _id_sql(column: str, kind: str, name: str) -> str:
    if kind != "VARCHAR" and kind not in _WHOLE:
        raise SelectError(f"column {name!r} is of type {kind}, which is no id.", f"Write CAST(... AS VARCHAR) AS {name}.")
    return f"CAST({column} AS VARCHAR)"


def _json_sql(column: str, kind: str, name: str) -> str:
    """A value as JSON text, null where there is none: numbers that are not finite are none."""
    if kind == "VARCHAR":
        text = text_json(column)
    elif kind in _WHOLE:
        text = f"CAST({column} AS VARCHAR)"
    elif kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        number = f"CAST({column} AS DOUBLE)"
        text = f"CASE WHEN isfinite({number}) THEN {number_json(number)} END"
    else:
        raise SelectError(f"column {name!r} is of type {kind}, which is neither text nor number.", f"Write CAST(... AS VARCHAR) AS {name}.")
    return f"coalesce({text}, 'null')"


def _refuse_rows(db: duckdb.DuckDBPyConnection, query: str, what: str) -> None:
    """Raises SelectError with the numbers of some rows: ids would say who somebody is, wherever the message is shown."""
    rows = [row[0] for row in db.execute(f"{query} LIMIT {_SHOWN + 1}").fetchall()]
    if rows:
        more = " and others" if len(rows) > _SHOWN else ""
        raise SelectError(
            f"rows of the SELECT {what}: {', '.join(f'{n:,}' for n in rows[:_SHOWN])}{more}.",
            "Give one row per id: group by it, and leave nulls out.",
        )
