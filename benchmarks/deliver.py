"""How fast records go out, beside what people write by hand and beside what Python can do at all, in one run.

    python benchmarks/deliver.py [--sizes 100000 1000000] [--alone 600] [--database postgresql://...]

| line | what it sends |
|---|---|
| ours | a table by the product's path (`deliver_table.py`), start-up included; again with the ledger on PostgreSQL when there is one |
| requests loop | rows as dicts, `requests.Session`, JSON in batches of 100, no ledger, no retry |
| Python socket | the same bodies as ours, built beforehand, over one raw connection: nothing in Python is faster |
| one by one | a request for each record, with 50 ms until each answer |
| unchanged | a sync that owes nothing, beyond start-up |

All send to a sink in a process of its own, which counts the records and drops them. Figures on a shared machine drift: compare those of one
run, and CPU per record.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

TABLE = Path(__file__).with_name("deliver_table.py")
ROWS = "select 'user_' || lpad(i::varchar, 9, '0') as user_id, 'person' || i || '@example.com' as email from range({n}) t(i)"
LATENCY_S = 0.05
RECORD = (
    b'{"type":"identify","messageId":"personas_1:%d:i0","timestamp":"2026-11-18T13:20:00.000Z","originalTimestamp":"2026-11-18T13:20:00.000Z",'
    b'"sentAt":"2026-11-18T13:20:00.000Z","receivedAt":"2026-11-18T13:20:00.000Z","version":2,"userId":"user_%09d",'
    b'"integrations":{"All":false,"CRM":true},"context":{"personas":{"computation_class":"audience","computation_id":"aud_0123456789abcdefghijkl",'
    b'"computation_key":"vips","namespace":"spa_0123456789abcdefghijkl","space_id":"spa_0123456789abcdefghijkl"}},'
    b'"traits":{"email":"person%d@example.com","vips":true}}'
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one sender came to."""

    name: str
    records: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    said: str = ""

    @property
    def per_s(self) -> float:
        return self.records / self.wall_s


# ---- the sink


def serve() -> None:
    """Count the records of every request and drop them; a path below /slow is answered after 50 ms."""
    counts: dict[int, int] = {}
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_answer_all, args=(connection, counts), daemon=True).start()


def _answer_all(connection: socket.socket, counts: dict[int, int]) -> None:
    me, held = threading.get_ident(), bytearray()
    with connection:
        while True:
            while (end := held.find(b"\r\n\r\n")) < 0:
                part = connection.recv(1 << 20)
                if not part:
                    return
                held += part
            head, body = bytes(held[:end]), held[end + 4 :]
            if head.startswith(b"GET"):
                answer = str(sum(counts.values())).encode()
            else:
                found = re.search(rb"(?i)content-length: *(\d+)", head)
                length = int(found[1]) if found else 0
                while len(body) < length:
                    body += connection.recv(1 << 20)
                counts[me] = counts.get(me, 0) + body.count(b'"messageId"')
                if b" /slow" in head:
                    time.sleep(LATENCY_S)
                answer = b'{"success":true}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            held = bytearray()


# ---- what people write by hand, and the limit


def requests_loop(rows: int, url: str) -> None:
    """Rows as dicts in batches of 100, or one by one below /slow."""
    import requests  # noqa: PLC0415 (its import is part of what is measured)

    size = 1 if "/slow" in url else 100
    session, batch = requests.Session(), []
    for number, (user_id, email) in enumerate(_rows(rows)):
        batch.append({"type": "identify", "userId": user_id, "messageId": f"loop:{number}", "traits": {"email": email, "vips": True}})
        if len(batch) == size:
            session.post(url, json={"batch": batch}, timeout=10).raise_for_status()
            batch.clear()
    if batch:
        session.post(url, json={"batch": batch}, timeout=10).raise_for_status()


def _rows(rows: int) -> Iterator[tuple[str, str]]:
    with duckdb.connect() as db:
        cursor = db.execute(ROWS.format(n=rows))
        while found := cursor.fetchmany(5_000):
            yield from found


def write_bodies(rows: int, path: Path) -> None:
    """The bodies that ours sends, each with its length before it."""
    with path.open("wb") as file:
        for start in range(0, rows, 850):
            body = b'{"batch":[%s]}' % b",".join(RECORD % (n, n, n) for n in range(start, min(start + 850, rows)))
            file.write(len(body).to_bytes(4, "little") + body)


def raw_socket(path: str, url: str) -> None:
    """Post the bodies of a file over one connection."""
    port = urlsplit(url).port
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection, Path(path).open("rb") as file:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while length := int.from_bytes(file.read(4), "little"):
            connection.sendall(head % length)
            connection.sendall(file.read(length))
            while not connection.recv(65_536).endswith(b"}"):
                pass


# ---- measuring


class Sink:
    """The sink as a process, in a `with` block."""

    def __enter__(self) -> "Sink":
        self._process = subprocess.Popen([sys.executable, __file__, "--sink"], stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def count(self) -> int:
        with socket.create_connection(("127.0.0.1", int(self.url.rsplit(":", 1)[1]))) as connection:
            connection.sendall(b"GET /count HTTP/1.1\r\n\r\n")
            return int(connection.recv(65_536).rsplit(b"\r\n", 1)[1])


def measure(name: str, records: int, words: list[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a sender to its end; it fails when the sender does."""
    began = time.monotonic()
    inherited = dict(os.environ)  # noqa: TID251 (a program of its own)
    # with bytecode, as an installed package has it
    environment = {**inherited, "PYTHONDONTWRITEBYTECODE": "", **(environment or {})}
    process = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise SystemExit(f"{name} failed")
    return Run(name, records, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, said)


def ours(name: str, records: int, url: str, state: Path, **environment: str) -> Run:
    state.mkdir(exist_ok=True)
    return measure(name, records, [str(TABLE), str(records), url], {"STATE": str(state), "TIMES": "1", **environment})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--alone", type=int, default=600, help="records that go one by one")
    parser.add_argument("--database", help="a PostgreSQL URL for the ledger")
    arguments = parser.parse_args()
    print(f"{'records':>9}  {'sender':22} {'records/s':>10} {'of socket':>9} {'x loop':>7} {'CPU us':>7} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        with Sink() as sink:
            ours("first run, which writes bytecode", 1_000, sink.url, Path(folder) / "first")
        for size in arguments.sizes:
            _compare(_of_size(size, Path(folder), arguments.database))
        _compare(_one_by_one(arguments.alone, Path(folder)), per_record=False)


def _of_size(size: int, folder: Path, database: str | None) -> list[Run]:
    bodies, state = folder / "bodies", folder / f"{size}"
    write_bodies(size, bodies)
    with Sink() as sink:
        runs = [
            measure("requests loop", size, [__file__, "--loop", str(size), f"{sink.url}/v1/batch"]),
            measure("Python socket", size, [__file__, "--socket", str(bodies), sink.url]),
            ours("ours", size, sink.url, state),
        ]
        if database:
            runs.append(ours("ours on PostgreSQL", size, sink.url, folder / f"{size}-pg", ENGAGE_DATABASE_URL=database))
        taken = sink.count()
        again = ours("unchanged", size, sink.url, state)
        if (taken, sink.count()) != (size * len(runs), taken):
            raise SystemExit(f"the sink has {taken} records of {size * len(runs)}, and {sink.count()} after a sync that owed nothing")
    connected, done = (float(line.split()[0]) for line in again.said.splitlines()[-2:])
    print(f"{size:9}  {'unchanged':22} {1000 * (done - connected):.0f} ms beyond start-up")
    return runs


def _one_by_one(count: int, folder: Path) -> list[Run]:
    with Sink() as sink:
        return [
            measure("loop, one by one", count // 6, [__file__, "--loop", str(count // 6), f"{sink.url}/slow"]),
            ours("ours, one by one", count, f"{sink.url}/slow", folder / "alone", ALONE="1"),
        ]


def _compare(runs: list[Run], *, per_record: bool = True) -> None:
    loop = runs[0].per_s
    limit = next((run.per_s for run in runs if run.name == "Python socket"), None)
    for run in runs:
        share = f"{run.per_s / limit:9.0%}" if limit else " " * 9
        cpu = f"{run.cpu_s / run.records * 1e6:7.1f}" if per_record else " " * 7
        print(f"{run.records:9}  {run.name:22} {run.per_s:10.0f} {share} {run.per_s / loop:7.1f} {cpu} {run.peak_mb:8.0f}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--sink"]:
            serve()
        case ["--loop", rows, url]:
            requests_loop(int(rows), url)
        case ["--socket", path, url]:
            raw_socket(path, url)
        case _:
            main()
