"""Sends a table of people to a collector by the product's own path: generation, ledger, sender. The table stands for what a plan leaves.

    STATE=/tmp/state python benchmarks/deliver_table.py N URL

Each of the N rows becomes an Identify with the e-mail address and the membership of an audience, posted to URL/v1/batch. State lies in the
folder STATE: a run that was killed is gone on with by the next one with the same STATE. ENGAGE_DATABASE_URL puts registry and ledger on
PostgreSQL. TABLES is a folder with `N.duckdb` (a table `users` with `user_id`, `email` and a dense `seq`); without one the same table is
made here. ALONE=1 sends each record by itself, as a webhook to URL. TIMES=1 says where the time went.
"""

# ruff: noqa: E402 (what is imported comes after what makes imports light)
import os
import resource
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from engage_pipelines.settings import Settings, leave, read_settings, start_lightly

start_lightly()  # as the command `engage` does, which also ends by `leave`

import sqlalchemy as sa

from engage_pipelines.delivery import generation as generations
from engage_pipelines.delivery import state
from engage_pipelines.delivery.generation import Hands
from engage_pipelines.delivery.lease import acquire
from engage_pipelines.delivery.plan import Planned, Planner, connect
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.state import ExceptionRow
from engage_pipelines.delivery.work import Work, open_work
from engage_pipelines.destinations.segment import Segment
from engage_pipelines.destinations.webhook import Webhook
from engage_pipelines.domain.ownership import LeaseTimes
from engage_pipelines.domain.protocol import Range, ReplicaState, Step, next_step, settled_by
from engage_pipelines.registry import connections, destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.spaces import NewSpace, create_space

KEY = "vips"
AT_US = 1_795_000_000_000_000
LEASE = LeaseTimes(ttl_s=12.0, heartbeat_s=1.5, request_deadline_s=10.0)
MADE = "select 'user_' || lpad(i::varchar, 9, '0') as user_id, 'person' || i || '@example.com' as email, i + 1 as seq from range({n}) t(i)"
Tell = Callable[[str], None]


class TablePlanner(Planner):
    """Leaves rows of the table in `owed`, where a planner over versions leaves who differs."""

    table: str = ""

    def plan(self, replica: ReplicaState, step: Step, exceptions: Sequence[ExceptionRow], *, now_us: int, limit: int | None) -> Planned:
        span = step.range
        people = f"select 'user_id:' || user_id as address, seq as member, email from ({self.table})"
        beyond = f"from ({people}) where address >= '{span.lo}'" if span.lo else f"from ({people})"
        ((rows,),) = self.db.execute(f"select count(*) {beyond}").fetchall()
        count = min(rows, limit or rows)
        self.db.execute(
            f"""create or replace table owed as select address, true as value, false as again, member, email, '' as superseded
                {beyond} order by address {"" if count == rows else f"limit {count}"}"""
        )
        if count < rows:
            ((last,),) = self.db.execute("select max(address) from owed").fetchall()
            span = Range(span.lo, f"{last}!")
        return Planned(settled_by(replica, step, span), count)


def main() -> None:
    began = time.monotonic()
    rows, url = int(sys.argv[1]), sys.argv[2].rstrip("/")
    environment = os.environ  # noqa: TID251 (a program of its own, with variables of its own)
    home = Path(environment["STATE"]).resolve()
    database = {"ENGAGE_DATABASE_URL": environment.get("ENGAGE_DATABASE_URL", "")}
    settings = read_settings({"ENGAGE_HOME": str(home), "ENGAGE_ACTOR": "benchmark", **database})
    if database["ENGAGE_DATABASE_URL"]:
        Database(settings.database_url, check_schema=False).upgrade()
    registry = open_registry(settings, types={Segment.key: Segment(), Webhook.key: Webhook()})
    runtime = Runtime(settings, registry, lease_times=LEASE)

    def tell(text: str) -> None:
        if environment.get("TIMES"):
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{time.monotonic() - began:7.3f} s {time.process_time():7.3f} s of CPU {peak_mb:4} MB  {text}", flush=True)

    tell("the registry is open")
    secret = settings.home / "write_key"
    kind: tuple[str, dict[str, object]] = ("segment", {"write_key": f"file:{secret}", "endpoint": url})
    if environment.get("ALONE"):
        kind = ("webhook", {"url": url, "batch": False, "allow_private_addresses": True, "max_in_flight": 16})
    connection_id = _connected(registry, settings, *kind)
    tell("connected")
    given = Path(environment.get("TABLES") or home) / f"{rows}.duckdb"
    with acquire(registry.database, connection_id, "benchmark", sleep=time.sleep, times=LEASE) as lease:
        work = open_work(runtime, connection_id)
        _deliver(Hands(work, lease, tell, planner=partial(_planner, given, rows)))
    tell("done")
    registry.database.close()


def _deliver(hands: Hands) -> None:
    """What a run does: go on with what was left open, then step by step what is owed."""
    work, database = hands.work, hands.work.runtime.database
    with database.read() as c:
        left = state.unsettled_generation(c, work.connection.id)
    if left is not None and left.state == "planning":
        generations.give_up(hands, left)
    elif left is not None:
        generations.deliver(hands, left, "user")
        generations.settle(hands, left, "user")
    offered: set[Step] = set()
    while True:
        with database.read() as c:
            replicas = work.replicas(c)
        found = next_step("user", replicas, work.aim, offered)
        if found is None:
            return
        offered.add(found[1])
        generation = generations.start(hands, *found)
        if generation is not None:
            generations.deliver(hands, generation, "user")
            hands.log(f"sent {generation.id}")
            generations.settle(hands, generation, "user")


@contextmanager
def _planner(given: Path, rows: int, work: Work, level: str) -> Generator[TablePlanner]:
    with connect(work.folder / f".planning-{work.connection.id}") as db:
        planner = TablePlanner(db, work.chain, work.counted(level))
        planner.table = MADE.format(n=rows)
        if given.is_file():
            db.execute(f"attach '{given}' as given (read_only)")
            planner.table = "select user_id, email, seq from given.users"
        yield planner


def _connected(registry: Registry, settings: Settings, type_key: str, given: dict[str, object]) -> str:
    """The connection of an audience in its first version; it is made on the first run, in a space of its own for each STATE."""
    known = settings.home / "connection"
    if known.exists():
        return known.read_text()
    secret = settings.home / "write_key"
    secret.write_text("key")
    secret.chmod(0o600)
    with registry.change() as change:
        space = create_space(change, NewSpace(f"bench_{os.getpid()}_{time.time_ns()}"))
        audience = {"space_id": space.id, "key": KEY, "name": KEY, "level": "user", "kind": "audience", "cadence": "manual"}
        made = change.insert(t.computation, "aud", {**audience, "definition": "trait('plan') = 'pro'", "options": {}})
        new = destinations.NewDestination(key="crm", type=type_key, name="CRM", settings=given)
        destinations.create_destination(change, space, new)
        connected = connections.connect(change, space, connections.NewConnection(KEY, "crm", calls=("identify",)))
        version = {"computation_id": made.id, "n": 1, "state": "published", "evaluated_at": AT_US, "created_at": AT_US}
        change.c.execute(sa.insert(t.version).values(**version, definition=made.definition, is_full=True))
        change.c.execute(sa.update(t.computation).where(t.computation.c.id == made.id).values(current_version=1))
    aside = known.with_suffix(".aside")
    aside.write_text(connected.connection.id)
    aside.rename(known)
    return str(connected.connection.id)


if __name__ == "__main__":
    main()
    leave(0)
