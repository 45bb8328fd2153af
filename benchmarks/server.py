"""The server with 500 audiences, 10 connections each and one audience of a million members: how fast it answers, and what it costs.

    python benchmarks/server.py [--audiences 500] [--members 1000000] [--rounds 40]

Rows are written straight into the registry as the product writes them; the million members lie in the files of a version. 20 clients in a
process of their own ask over HTTP on loopback, so on two cores they take from the server what they use; the processor's time of the server
is what `a core` means. Each page is asked for while nothing changes, and while another process commits a few times a second as a sync does.
Limits: lists and overviews in 100 ms at the 95th percentile, 300 API reads a second per core, 200 MB, definitions
loaded in 5 CPU-seconds, an idle tick of the sensor in 1 s.
"""

import argparse
import http.client
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import sqlalchemy as sa

from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import Level
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.connections import NewConnection, connect
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.tokens import NewToken, Role, create_token
from engage_pipelines.settings import Settings, child_environment, read_settings
from engage_pipelines.snapshots.compare import compare
from engage_pipelines.snapshots.rows import Chain
from engage_pipelines.snapshots.write import write

CLIENTS = 20
CONNECTIONS = 10
COMMITS_PER_S = 4
LIMIT_MS, LIMIT_READS, LIMIT_MB, LIMIT_LOAD_S, LIMIT_TICK_S = 100.0, 300.0, 200.0, 5.0, 1.0
_LOAD = "import engage_pipelines.definitions as d; d.defs.get_repository_def().get_all_jobs()"
_TICK = """
import time
import dagster as dg
from dagster import DagsterInstance, build_sensor_context
from engage_pipelines.definitions import defs
repository = defs.get_repository_def()
sensor = repository.get_sensor_def("launch_what_is_owed")
with DagsterInstance.ephemeral() as instance:
    cursor = None
    for _ in range(4):
        context = build_sensor_context(instance=instance, repository_def=repository, cursor=cursor)
        began = time.monotonic()
        data = sensor.evaluate_tick(context)
        took = time.monotonic() - began
        cursor = data.cursor or cursor
        for request in data.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    print(took, data.skip_message)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audiences", type=int, default=500)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings({**os.environ, "ENGAGE_HOME": folder, "ENGAGE_SPACE": "main"})  # noqa: TID251 - a benchmark starts processes
        token = _prepare(settings, words.audiences, words.members)
        print(
            f"{words.audiences} audiences, {CONNECTIONS} connections each, one audience of {words.members:,} members, {CLIENTS} clients\n"
        )
        print("| | measured | limit | of it |\n|---|---|---|---|")
        _serve(settings, token, words.rounds)
        environment = child_environment(ENGAGE_HOME=folder)
        _line("definitions load, CPU-s", _cpu_s([sys.executable, "-W", "ignore", "-c", _LOAD], environment), LIMIT_LOAD_S)
        words_of_tick = [sys.executable, "-W", "ignore", "-c", _TICK]
        ended = subprocess.run(words_of_tick, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - our own words
        took, said = ended.stdout.strip().splitlines()[-1].split(" ", 1)
        _line(f"idle tick of the sensor, s ({said})", float(took), LIMIT_TICK_S)


# ---- the server


def _serve(settings: Settings, token: str, rounds: int) -> None:
    words = [sys.executable, "-c", "from engage_pipelines.cli import main; main()", "serve", "--port", "0"]
    environment = child_environment(ENGAGE_HOME=str(settings.home))
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own words
        assert process.stdout is not None
        url = process.stdout.readline().split()[1].rstrip("/")
        space = "/api/spaces/main"
        pages = {
            "API list of 100 audiences": [f"{space}/audiences?pagination.count=100"],
            "API one audience": [f"{space}/audiences/audience_{n}" for n in range(0, 200, 7)],
            "API connections of an audience": [f"{space}/audiences/audience_{n}/destination-connections" for n in range(0, 200, 7)],
            "console list of audiences": ["/s/main/audiences"],
            "console overview of an audience": [f"/s/main/audiences/audience_{n}" for n in range(0, 200, 7)],
        }
        try:
            for name, paths in pages.items():
                _measure(name, (process.pid, url, token), paths, rounds)
            with _sync_beside(settings):
                for name, paths in pages.items():
                    _measure(f"{name}, a sync beside it", (process.pid, url, token), paths, rounds)
            _line("memory of the server at its most, MB", _peak_mb(process.pid), LIMIT_MB)
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def _sync_beside(settings: Settings) -> Generator[None]:
    """Another process that counts records as sent, as a sync does after each group of answers."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply_async(_commit_on, (settings.database_url,))
        yield
        pool.terminate()


def _commit_on(url: str) -> None:
    database = Database(url)
    while True:
        with database.write() as c:
            c.execute(sa.update(t.connection).where(t.connection.c.id == "con_audience_9_0").values(sent=t.connection.c.sent + 1))
        time.sleep(1 / COMMITS_PER_S)


def _measure(name: str, server: tuple[int, str, str], paths: Sequence[str], rounds: int) -> None:
    pid, url, token = server
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(_ask, (url, token, list(paths), 2))  # compiled templates, cached definitions
        before = _used_s(pid)
        took = pool.apply(_ask, (url, token, list(paths), rounds))
        used = _used_s(pid) - before
    _line(f"{name}: 95th percentile, ms", 1_000 * sorted(took)[int(0.95 * len(took))], LIMIT_MS)
    if name.startswith("API"):
        rate = len(took) / used
        print(f"| {name}: reads a second per core | {rate:,.0f} | {LIMIT_READS:,.0f} | {LIMIT_READS / rate:.2f} |", flush=True)


def _ask(url: str, token: str, paths: list[str], rounds: int) -> list[float]:
    """Seconds of every request of 20 clients that each ask `rounds` times, one request after the other."""

    def client(number: int) -> list[float]:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        found: list[float] = []
        for n in range(rounds):
            began = time.monotonic()
            connection.request("GET", paths[(number + n) % len(paths)], headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, (answer.status, paths[0])
            found.append(time.monotonic() - began)
        connection.close()
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for found in pool.map(client, range(CLIENTS)) for one in found]


def _line(name: str, value: float, limit: float) -> None:
    print(f"| {name} | {value:,.1f} | {limit:g} | {value / limit:.2f} |", flush=True)


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _cpu_s(words: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, env=environment, check=True, capture_output=True)  # noqa: S603 - our own words
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- what there is


def _prepare(settings: Settings, audiences: int, members: int) -> str:
    """The registry, and the secret of a token that reads it."""
    registry = open_registry(settings, types=destination_types())
    with registry.change() as change:
        space = create_space(change, NewSpace("main", one_configuration_per_type="audience"))
        for n in range(CONNECTIONS):
            url = {"url": f"https://example.com/hook/{n}"}
            create_destination(change, space, NewDestination(f"hook_{n}", "webhook", url))
        for n in range(audiences):
            query = f"event('Event {n % 10}').within({n % 30 + 1} days).count() >= {n % 3 + 1}"
            create_audience(change, space, NewAudience(f"audience_{n}", level=Level.USER, definition=query))
        connect(change, space, NewConnection("audience_0", "hook_0"))
        token = create_token(change, NewToken("benchmark", Role.READER)).secret
    _copy_connections(registry)
    _publish(registry, settings, members)
    registry.database.close()
    return token


def _copy_connections(registry: Registry) -> None:
    """Every audience with every destination, each with what connecting makes: a base, a replica, a preset; nothing is owed any more."""
    with registry.database.write() as c:
        made = {table: dict(c.execute(sa.select(table)).mappings().one()) for table in (t.connection, t.mapping, t.replica, t.base)}
        computations = c.execute(sa.select(t.computation.c.id, t.computation.c.key)).all()
        destinations = list(c.execute(sa.select(t.destination.c.id)).scalars())
        pairs = [(of, to, f"con_{of.key}_{n}") for of in computations for n, to in enumerate(destinations)]
        pairs = [pair for pair in pairs if (pair[0].key, pair[1]) != ("audience_0", made[t.connection]["destination_id"])]
        rows = [{**made[t.connection], "id": id_, "computation_id": of.id, "destination_id": to, "sent": 1_000} for of, to, id_ in pairs]
        c.execute(t.connection.insert(), rows)
        trigger = 'type = "identify" and context.personas.computation_key = "{key}"'
        mappings = [
            {**made[t.mapping], "id": f"map{id_}", "destination_id": to, "connection_id": id_, "name": f"Membership of people: {of.key}",
             "trigger": trigger.replace("{key}", of.key)}
            for of, to, id_ in pairs
        ]  # fmt: skip
        c.execute(t.mapping.insert(), mappings)
        c.execute(t.replica.insert(), [{**made[t.replica], "connection_id": id_} for _of, _to, id_ in pairs])
        c.execute(t.base.insert(), [{**made[t.base], "connection_id": id_} for _of, _to, id_ in pairs])
        for table in (t.sync_request, t.compute_request):
            c.execute(sa.update(table).values(state="done"))


def _publish(registry: Registry, settings: Settings, members: int) -> None:
    """A version of every audience; that of the first is on disk, with every member."""
    folder = settings.snapshots_dir / "main" / "audience_0"
    fresh = f"""select 'user' as level, 'user_id:u' || i as address, i::bigint as member, true as current, true as sole,
        1::smallint as first_order, 1::smallint as last_order from range({members}) r(i)"""
    with duckdb.connect() as db:
        chain = Chain(folder, ())
        found = compare(db, chain, fresh, level="user")
        write(chain, 1, found, is_full=True)
    with registry.database.write() as c:
        for row in c.execute(sa.select(t.computation)).all():
            size = members if row.key == "audience_0" else 2_000
            values = {"state": "published", "evaluated_at": row.created_at, "definition": row.definition, "size": size, "users": size}
            c.execute(
                t.version.insert().values(
                    computation_id=row.id, n=1, entered=size, exited=0, is_full=True, created_at=row.created_at, **values
                )
            )
        c.execute(sa.update(t.computation).values(current_version=1, checked_at=t.computation.c.created_at))
        c.execute(sa.update(t.base).values(version=1, exits_version=1))


if __name__ == "__main__":
    main()
