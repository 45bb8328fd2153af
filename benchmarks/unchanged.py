"""What a sync costs that owes nothing, by size of the audience, beyond opening the database: a process each, the fastest of several.

    python benchmarks/unchanged.py [--sizes 100000 1000000] [--tries 7]

The aim is at most 50 ms, whatever the size. The version is a real one, published by the product; the connection begins with it, so that
nothing was ever owed. A sync is everything that a run does: plan, accounts, users, settle.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial

import duckdb

from engage_pipelines.settings import Settings, read_settings

KEY = "vips"
ROWS = """select 'user' as level, 'user_id:user_' || lpad(i::varchar, 9, '0') as address, i + 1 as member, true as current,
    i % 100 = 0 as sole, 1::smallint as first_order, 1::smallint as last_order from range({n}) t(i)"""


def main() -> None:
    """Publish, sync once, then time syncs that find nothing to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--tries", type=int, default=7)
    arguments = parser.parse_args()
    print("  members  first sync ms  unchanged ms  CPU ms")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as home:
            connection_id = _publish(_settings(home), size)
            (first, _), *others = [_sync(home, connection_id, number) for number in range(arguments.tries + 1)]
            wall, cpu = (min(column) for column in zip(*others, strict=True))
        print(f"{size:9}  {first:13.0f}  {wall:12.0f}  {cpu:6.0f}", flush=True)


def _settings(home: str) -> Settings:
    return read_settings({"ENGAGE_HOME": home, "ENGAGE_ACTOR": "benchmark"})


def _publish(settings: Settings, size: int) -> str:
    from engage_pipelines.computing.publish import Evaluation, publish  # noqa: PLC0415 (a sync does not pay for it)
    from engage_pipelines.destinations.webhook import Webhook  # noqa: PLC0415
    from engage_pipelines.domain.computation import Level  # noqa: PLC0415
    from engage_pipelines.registry import audiences, connections, destinations  # noqa: PLC0415
    from engage_pipelines.registry.change import open_registry  # noqa: PLC0415
    from engage_pipelines.registry.requests import Stamp, after_publish  # noqa: PLC0415
    from engage_pipelines.registry.spaces import NewSpace, create_space  # noqa: PLC0415

    registry, at_us = open_registry(settings, types={Webhook.key: Webhook()}), 1_795_000_000_000_000
    with registry.change() as change:
        space = create_space(change, NewSpace("default"))
        of = audiences.create_audience(change, space, audiences.NewAudience(KEY, Level.USER, "trait('plan') = 'pro'"))
        new = destinations.NewDestination(key="crm", type="webhook", name="CRM", settings={"url": "https://example.com"})
        destinations.create_destination(change, space, new)
    with duckdb.connect() as db:
        publish(
            db,
            registry.database,
            settings.snapshots_dir / space.key / KEY,
            Evaluation(of.id, of.level, of.definition, at_us, "", False, ROWS.format(n=size)),
            tell_connections=lambda c, id_, n: after_publish(c, id_, n, Stamp(at_us, "benchmark")),
        )
    with registry.change() as change:
        connected = connections.connect(change, space, connections.NewConnection(KEY, "crm", calls=("identify",), backfill=False))
    registry.database.close()
    return str(connected.connection.id)


def _sync(home: str, connection_id: str, number: int) -> tuple[float, float]:
    """Milliseconds and those of CPU that the sync took in a process of its own."""
    words = [sys.executable, __file__, "--one", home, connection_id, f"run-{number}"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout  # noqa: S603 (our own)
    wall, cpu = said.split()[-2:]
    return float(wall), float(cpu)


def one(home: str, connection_id: str, run_id: str) -> None:
    """The sync of one process, timed from where the registry is open."""
    from engage_pipelines.delivery.runtime import patient_runtime  # noqa: PLC0415
    from engage_pipelines.delivery.sync import Sync  # noqa: PLC0415
    from engage_pipelines.destinations.webhook import Webhook  # noqa: PLC0415
    from engage_pipelines.registry.change import open_registry  # noqa: PLC0415

    settings = _settings(home)
    registry = open_registry(settings, types={Webhook.key: Webhook()})
    with registry.database.read():
        pass
    runtime = patient_runtime(settings, registry)
    began, began_cpu = time.monotonic(), time.process_time()
    make = partial(Sync, runtime, connection_id, None, run_id=run_id, log=_quiet)
    assert not any(make().plan().owed.values())
    make().send("account")
    make().send("user")
    assert not make().settle().more_owed
    print(1000 * (time.monotonic() - began), 1000 * (time.process_time() - began_cpu))


def _quiet(_text: str) -> None:
    pass


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main()
