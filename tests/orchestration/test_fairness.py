"""Ten destinations behind real HTTP servers, one that never answers and one that is slow: the other eight are not delayed.

What launches is the launcher's own choice of requests with its own tags; the queue is a stand-in that keeps the limits of dagster.yaml;
each run is a thread that does what the ops of a sync do.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._utils.tags import TagConcurrencyLimitsCounter

from engage_pipelines.delivery.runtime import patient_runtime
from engage_pipelines.delivery.send import Clock
from engage_pipelines.delivery.sync import Sync
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.ownership import LeaseTimes
from engage_pipelines.orchestration import translator
from engage_pipelines.registry import connections, destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import OwedSync, owed_sync_requests
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import system_clock_us
from engage_pipelines.settings import read_settings
from engage_pipelines.testing.local_server import LocalServer, Received, Reply
from tests.delivery.world import make_world

LIMITS = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())["concurrency"]["runs"]
WELL = [f"well{n}" for n in range(8)]
AUDIENCES = {"dead": 5, "slow": 5, **dict.fromkeys(WELL, 1)}
"""How many audiences are connected to each destination. The ones that take long come first in line, and could take every place."""
PEOPLE = {n: [f"user_id:u{n}"] for n in range(8)}
SLOW_S = 0.4
DEADLINE_S = 0.5


@dataclass
class Ground:
    """Ten servers, and what they were asked, by destination."""

    registry: Registry
    home: Path
    asked: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict[str, list[bytes]](list))
    first_answer_s: dict[str, float] = field(default_factory=dict[str, float])
    runs: dict[str, tuple[OwedSync, threading.Thread]] = field(default_factory=dict[str, tuple[OwedSync, threading.Thread]])
    most: Counter[str] = field(default_factory=Counter[str])
    stop: threading.Event = field(default_factory=threading.Event)

    def respond(self, key: str) -> Callable[[Received], Reply]:
        def answer(request: Received) -> Reply:
            self.asked[key].append(request.body)
            if key == "dead":
                return Reply(after_s=60)
            return Reply(after_s=SLOW_S if key == "slow" else 0)

        return answer

    def tick(self, began: float) -> None:
        """What the launcher would ask for now, through the queue: by priority, then as asked, within the limits."""
        self.runs = {key: run for key, run in self.runs.items() if run[1].is_alive()}
        with self.registry.database.read() as c:
            owed = owed_sync_requests(c, self.registry.database.now_us(c))
        running = [dg.DagsterRun("sync", tags=translator.sync_tags(one)) for one, _ in self.runs.values()]
        counter = TagConcurrencyLimitsCounter(LIMITS["tag_concurrency_limits"], running)
        for one in sorted(owed, key=lambda one: -int(translator.sync_tags(one).get("dagster/priority", "0"))):
            run = dg.DagsterRun("sync", tags=translator.sync_tags(one))
            if len(self.runs) >= LIMITS["max_concurrent_runs"] or counter.is_blocked(run) or translator.run_key(one) in self.runs:
                continue
            counter.update_counters_with_launched_item(run)
            thread = threading.Thread(target=self.work, args=(one, began), daemon=True)
            self.runs[translator.run_key(one)] = (one, thread)
            thread.start()
        at_once = Counter(one.destination for one, _ in self.runs.values())
        self.most |= at_once

    def work(self, one: OwedSync, began: float) -> None:
        """One run, in a thread."""
        made = patient_runtime(read_settings({"ENGAGE_HOME": str(self.home)}), self.registry)
        times = LeaseTimes(ttl_s=5, heartbeat_s=1, request_deadline_s=DEADLINE_S)
        runtime = replace(made, lease_times=times, clock=Clock(jitter=lambda longest: min(longest, 1.0)))
        make = lambda: Sync(runtime, one.connection_id, one.id, run_id=one.id, log=lambda _: None, attempt=one.attempt)  # noqa: E731
        try:
            make().plan()
            make().send("user")
            make().settle()
        except EngageError:
            return
        self.first_answer_s.setdefault(one.destination, time.monotonic() - began)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    world = make_world(tmp_path)
    world.registry.database._clock = system_clock_us
    registry = replace(world.registry, types=destination_types())
    ground = Ground(registry, tmp_path)
    with registry.database.write() as c:
        c.execute(sa.update(t.space).values(one_configuration_per_type="audience"))
        space = c.execute(sa.select(t.space)).one()
    with ExitStack() as stack:
        for key, number in AUDIENCES.items():
            url = stack.enter_context(LocalServer(ground.respond(key))).url
            given = {"url": url, "batch": False, "allow_private_addresses": True}
            with registry.change() as change:
                destinations.create_destination(change, space, destinations.NewDestination(key, "webhook", given))
            for audience in (f"{key}_{n}" for n in range(number)):
                world.audience(audience)
                world.publish(PEOPLE, key=audience)
                with registry.change() as change:
                    connections.connect(change, space, connections.NewConnection(audience, key))
        yield ground
    registry.database.close()


def test_of_ten_destinations_one_that_never_answers_and_a_slow_one_delay_none_of_the_others_with_runs_as_threads(ground: Ground):
    began = time.monotonic()
    while not set(WELL) <= ground.first_answer_s.keys():
        assert time.monotonic() - began < 120, ground.first_answer_s
        ground.tick(began)
        time.sleep(0.1)
    assert ground.asked["dead"]
    assert ground.most["dead"] <= 4
    assert ground.most["slow"] <= 4
    # a slow one alone takes 8 requests of 0.4 s for one audience, and there are five
    assert "dead" not in ground.first_answer_s
    # on a busy machine an answer can come too late, and the same bytes go again
    assert all(len(set(ground.asked[key])) == 8 for key in WELL)
    # the dead one is tried by one of its five connections once five requests in a row got no answer
    until = time.monotonic() + 60
    while time.monotonic() < until and len([1 for one, _ in ground.runs.values() if one.destination == "dead"]) != 1:
        ground.tick(began)
        time.sleep(0.1)
    assert len([1 for one, _ in ground.runs.values() if one.destination == "dead"]) == 1
