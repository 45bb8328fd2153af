"""The process in which people's own SELECTs run: it opens the facts, locks everything else, answers one SELECT and ends.

It has an environment without secrets, a bound on its memory, and a database engine that reaches no file, no network, no extension and no
Python value: facts are Arrow datasets and tables, registered before external access is switched off and the configuration is locked. The
request comes on stdin as JSON; the answer goes to stdout: an Arrow stream, or with exit code 1 JSON with the reason why there is none.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from engage_pipelines.domain.errors import EngageError
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.facts.store import TABLES, decode_manifest, leave_out_faulty

MEMORY = "512MB"
MOST_BYTES = 2_000_000_000
"""What the process may allocate: values that the engine makes on the way do not count against its own limit."""
BATCH_ROWS = 100_000

# in this order: with the first still set, a statement could spill into a folder of its choice; after the last, none can be set again
LOCKS = (
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_TYPES = {"BIGINT": pa.int64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_()}
_RAW = ("events", "traits")
_PEOPLE = {
    "users": """
        SELECT u.member, s.id AS user_id, e.id AS email FROM users u
        LEFT JOIN subjects_known s ON s.subject = u.member AND s.kind = 'user'
        LEFT JOIN (SELECT member, min(id) AS id FROM identifiers WHERE kind = 'email' AND current GROUP BY member) e
            ON e.member = u.member""",
    "accounts": "SELECT a.member, s.id AS group_id FROM accounts a JOIN subjects_known s ON s.subject = a.member",
    "account_members": "SELECT account, member FROM account_users",
    "identifiers_seen": "SELECT member, kind, id, current, first_at, last_at FROM identifiers",
}
_VIEWS = {
    "account_users": """
        SELECT l.account, a.group_id, l.member, u.user_id FROM account_members l
        JOIN accounts a ON a.member = l.account LEFT JOIN users u ON u.member = l.member""",
    "identifiers": """
        SELECT member, kind, id, current, make_timestamp(first_at) AS first_at, make_timestamp(last_at) AS last_at FROM identifiers_seen""",
    "events": """
        SELECT e.member, u.user_id, e.event, make_timestamp(e.ts) AS "timestamp", e.message_id, e.kind,
               CAST(e.properties AS JSON) AS properties, CAST(e.context AS JSON) AS context, e.source
        FROM (SELECT coalesce(m.member, r.subject) AS member, r.* FROM raw_events r LEFT JOIN merged m ON m.subject = r.subject
              WHERE r.ts <= {at}) e LEFT JOIN users u ON u.member = e.member""",
    "traits": """
        SELECT t.member, u.user_id, a.group_id, t.level, t.key, CAST(t.value AS JSON) AS value, make_timestamp(t.ts) AS set_at
        FROM (SELECT coalesce(m.member, r.subject) AS member, r.* FROM raw_traits r LEFT JOIN merged m ON m.subject = r.subject
              WHERE r.ts <= {at}
              QUALIFY row_number() OVER (PARTITION BY coalesce(m.member, r.subject), r.key ORDER BY r.ts DESC, r.message_id DESC) = 1) t
        LEFT JOIN users u ON u.member = t.member LEFT JOIN accounts a ON a.member = t.member WHERE t.value <> 'null'""",
    "evaluation": "SELECT make_timestamp({at}) AS evaluated_at",
}


class RefusalError(Exception):
    """Why a SELECT has no answer; `is_ours` when it is the facts that could not be read."""

    def __init__(self, what: str, remedy: str, *, is_ours: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.is_ours = is_ours


def locked(session: FactsSession, folder: Path) -> duckdb.DuckDBPyConnection:
    """An engine with the facts of the session and nothing else in reach, whose configuration nobody can change."""
    engine = duckdb.connect(
        config={
            "memory_limit": MEMORY,
            "threads": 2,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        }
    )
    leave_out_faulty(engine)
    for name, query in _PEOPLE.items():
        # not copied into tables of the engine, which a statement could write to
        engine.register(name, session.connection.sql(query).to_arrow_table())
    engine.register("merged", session.connection.sql(f"SELECT subject, member FROM {session.merged_subjects}").to_arrow_table())
    for table in _RAW:
        engine.register(f"raw_{table}", _rows(session, folder, table))
    for name, query in _VIEWS.items():
        engine.execute(f"CREATE VIEW {name} AS {query.format(at=session.at_us)}")
    for statement in LOCKS:
        engine.execute(statement)
    return engine


def _rows(session: FactsSession, folder: Path, table: str) -> Any:
    schema = pa.schema([(column.rsplit(" ", 1)[0].strip('"'), _TYPES[column.rsplit(" ", 1)[1]]) for column in TABLES[table].split(", ")])
    manifest = session.source.manifest if session.source else None
    files = manifest.files(table) if manifest else ()
    return ds.dataset([str(folder / name) for name in files], schema=schema, format="parquet") if files else schema.empty_table()


def check_statement(sql: str) -> None:
    """Raises RefusalError unless it is exactly one SELECT."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise RefusalError(f"the SELECT cannot be read: {first_line(error)}", "See docs/traits.md for the tables there are.") from None
    if len(statements) != 1:
        raise RefusalError(f"{len(statements)} statements were given.", "Write one SELECT.")
    if statements[0].type is not duckdb.StatementType.SELECT:
        raise RefusalError(f"the statement is no SELECT but {str(statements[0].type).rpartition('.')[2]}.", "Write one SELECT.")


def select(engine: duckdb.DuckDBPyConnection, sql: str, *, seconds: float, most_rows: int) -> pa.Table:  # pyright: ignore[reportUnknownParameterType]
    """What a SELECT gives, interrupted after so many seconds. Raises RefusalError."""
    check_statement(sql)
    timer = threading.Timer(seconds, engine.interrupt)
    timer.daemon = True
    timer.start()
    batches: list[pa.RecordBatch] = []
    rows = 0
    try:
        reader = engine.sql(sql).to_arrow_reader(BATCH_ROWS)
        schema = reader.schema
        for batch in reader:
            batches.append(batch)
            rows += batch.num_rows
            if rows > most_rows:
                raise RefusalError(f"the SELECT gives more than {most_rows:,} rows.", "Narrow it down.")
    except (duckdb.InterruptException, KeyboardInterrupt):
        raise RefusalError(f"the SELECT took longer than {seconds:g} s.", "Make it simpler.") from None
    except (duckdb.OutOfMemoryException, MemoryError):
        raise RefusalError("the SELECT needs more memory than it may have.", "Make it simpler, or narrow it down.") from None
    except (duckdb.Error, RuntimeError, pa.ArrowException) as error:
        if "interrupt" in str(error).lower():
            raise RefusalError(f"the SELECT took longer than {seconds:g} s.", "Make it simpler.") from None
        raise RefusalError(f"the SELECT failed: {first_line(error)}", "See docs/traits.md for the tables there are.") from None
    finally:
        timer.cancel()
    return pa.Table.from_batches(batches, schema)


def first_line(error: BaseException) -> str:
    """What went wrong, without the place in the text; with the names that there are, where one is misspelt."""
    first, *others = str(error).splitlines() or [""]
    near = next((line for line in others if line.startswith(("Candidate", "Did you mean"))), "")
    return f"{first} {near}".strip()


def main() -> int:
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    try:
        home = Path(request["facts_dir"])
        manifest = decode_manifest(request["manifest"])
        with open_session(home, request["space"], at_us=request["at_us"], manifest=manifest) as session:
            engine = locked(session, home / request["space"])
        found = select(engine, request["sql"], seconds=request["seconds"], most_rows=request["most_rows"])
        with pa.ipc.new_stream(sys.stdout.buffer, found.schema) as stream:
            stream.write_table(found)
    except RefusalError as refusal:
        return _refuse(refusal)
    except EngageError as error:
        return _refuse(RefusalError(error.what, error.remedy, is_ours=True))
    return 0


def _refuse(refusal: RefusalError) -> int:
    json.dump({"what": refusal.what, "remedy": refusal.remedy, "is_ours": refusal.is_ours}, sys.stdout)
    return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # the answer is out: taking an engine with threads apart could only spoil it
    os._exit(code)
