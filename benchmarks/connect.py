"""How long from connecting a destination to its first record accepted, beside the floor: a no-op run launched by an equal sensor.

    python benchmarks/connect.py [--tries 20]

Limit: a median of at most 3 s above the floor's median, both measured in turn in one run of one daemon.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engage_pipelines.demo.processes import dagster_daemon
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.connections import NewConnection, connect, remove
from engage_pipelines.registry.destinations import NewDestination, create_destination, find_destination
from engage_pipelines.registry.lookup import find_audience
from engage_pipelines.registry.spaces import NewSpace, create_space, find_space
from engage_pipelines.registry.status import list_status
from engage_pipelines.settings import child_environment, read_settings
from engage_pipelines.testing.receiver import Receiver

ROOT = Path(__file__).parents[1]
KEY = "write-key-of-the-benchmark"
LIMIT_S = 3.0
WORKSPACE = """load_from:
  - python_module: {{module_name: engage_pipelines.definitions, location_name: engage_pipelines}}
  - python_file: {{relative_path: {floor}, location_name: floor}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=5)
    tries = parser.parse_args().tries
    with tempfile.TemporaryDirectory() as folder, Receiver(write_key=KEY) as receiver:
        settings = read_settings({**os.environ, "ENGAGE_HOME": folder})  # noqa: TID251 - a benchmark starts processes of its own
        registry = open_registry(settings, types=destination_types())
        _prepare(registry, receiver, settings.facts_dir, Path(folder))
        (Path(folder) / "floor").mkdir()
        root = Path(folder) / "root"
        root.mkdir()
        (root / "workspace.yaml").write_text(WORKSPACE.format(floor=ROOT / "benchmarks" / "floor" / "location.py"))
        (root / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
        with dagster_daemon(root, child_environment(ENGAGE_HOME=folder, CONNECT_KEY=KEY), Path(folder) / "daemon.log"):
            _until(lambda: _version(registry) is not None, 180)
            floor, ours = [], []
            for number in range(tries):
                floor.append(_floor(Path(folder) / "floor", f"try-{number}"))
                ours.append(_connect(registry, receiver))
                print(f"try {number + 1}: floor {floor[-1]:.1f} s, connect {ours[-1]:.1f} s", flush=True)
    above = statistics.median(ours) - statistics.median(floor)
    print("\n| | median s | min s | max s |\n|---|---|---|---|")
    print(_line("no-op run (floor)", floor))
    print(_line("connect to first record accepted", ours))
    print(f"above the floor: {above:.1f} s, limit {LIMIT_S:g} s, {above / LIMIT_S:.2f} of it")


def _prepare(registry: Registry, receiver: Receiver, facts_dir: Path, folder: Path) -> None:
    calls = folder / "calls.jsonl"
    common = {"type": "identify", "timestamp": "2026-01-01T00:00:00Z"}
    lines = ({**common, "messageId": f"m{n}", "userId": f"u{n}", "traits": {"n": n}} for n in range(1000))
    calls.write_text("\n".join(json.dumps(line) for line in lines))
    ingest([str(calls)], facts_dir=facts_dir, space="default", now_us=0)
    with registry.change() as change:
        space = create_space(change, NewSpace("default"))
        create_audience(change, space, NewAudience("everyone", Level.USER, "trait('n') >= 0", cadence="manual"))
        settings = {"write_key": "env:CONNECT_KEY", "endpoint": receiver.url}
        create_destination(change, space, NewDestination(key="crm", type="segment", settings=settings))


def _version(registry: Registry) -> int | None:
    with registry.database.read() as c:
        return find_audience(c, find_space(c).id, "everyone").current_version


def _floor(folder: Path, name: str) -> float:
    began = time.time()
    (folder / f"{name}.asked").touch()
    started = folder / f"{name}.started"
    _until(lambda: started.exists() and bool(started.read_text()), 120)
    time.sleep(2)  # the run's process ends before the next try begins
    return float(started.read_text()) - began


def _connect(registry: Registry, receiver: Receiver) -> float:
    receiver.reset()
    began = time.time()
    with registry.change() as change:
        connect(change, find_space(change.c), NewConnection("everyone", "crm", ("identify",)))
    _until(lambda: bool(receiver.state()["calls"]), 120)
    took = time.time() - began
    _until(lambda: _settled(registry), 120)
    with registry.change() as change:
        space = find_space(change.c)
        remove(change, space, find_audience(change.c, space.id, "everyone"), find_destination(change.c, space.id, "crm"))
    time.sleep(2)
    return took


def _settled(registry: Registry) -> bool:
    with registry.database.read() as c:
        return all(row.sync_status == "Up to date" for row in list_status(c, find_space(c).id))


def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("the daemon does not get there in time")
        time.sleep(0.02)


def _line(name: str, seconds: list[float]) -> str:
    return f"| {name} | {statistics.median(seconds):.1f} | {min(seconds):.1f} | {max(seconds):.1f} |"


if __name__ == "__main__":
    main()
