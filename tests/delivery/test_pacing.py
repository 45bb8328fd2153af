"""The pace at which a destination is sent to: limits, requests to slow down, and destinations that give no answer."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.delivery.lease import acquire
from engage_pipelines.delivery.pacing import Pacing
from engage_pipelines.delivery.send import NoAnswerError
from engage_pipelines.delivery.stopping import PausedError
from engage_pipelines.destinations.base import Accepted, Action, Backoff, Limits, Pause
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import owed_sync_requests
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.status import list_status
from tests.delivery.world import Recorder, World

TEN = {n: [f"user_id:u{n}"] for n in range(10)}


@pytest.fixture
def connected(world: World) -> str:
    world.runtime = replace(world.runtime, max_changes=1_000)
    world.audience()
    world.destination()
    return world.connect().connection.id


@pytest.fixture
def second(world: World, connected: str) -> str:
    """Another connection of the same destination."""
    world.audience("lapsed")
    return world.connect("lapsed").connection.id


def set_rate(world: World, rate: float) -> None:
    with world.registry.database.write() as c:
        c.execute(sa.update(t.destination).values(max_requests_per_s=rate))


def pace(world: World) -> Any:
    rows = world.rows(t.pace)
    return rows[0] if rows else None


def launched(world: World) -> list[str]:
    with world.registry.database.read() as c:
        return [one.connection_id for one in owed_sync_requests(c, world.time.now_us)]


def test_requests_begin_no_faster_than_the_operator_allows(world: World, connected: str):
    set_rate(world, 0.5)
    world.publish(TEN)
    at: list[int] = []
    world.recorder.script = lambda _batch: (at.append(world.time.now_us), Accepted())[1]
    world.sync_until_done(connected)
    gaps = [(b - a) / 1e6 for a, b in itertools.pairwise(at)]
    assert len(gaps) == 4
    assert all(1.9 <= gap <= 2.3 for gap in gaps), gaps


def test_each_action_goes_at_its_own_pace_with_its_own_number_under_way(world: World, monkeypatch: pytest.MonkeyPatch):
    """Identify calls go as the type allows, Track calls to an endpoint that takes one at a time, two a second."""
    usual = replace(world.recorder.limits, max_in_flight=3)
    slow = Action("one", "One", frozenset({"track"}), {"@path": "$."}, limits=Limits(max_batch_records=1, requests_per_s=2))
    monkeypatch.setattr(Recorder, "limits", usual)
    monkeypatch.setattr(Recorder, "actions", (*Recorder.actions, slow))
    monkeypatch.setattr(Recorder, "presets", tuple(replace(one, action="one") if one.call == "track" else one for one in Recorder.presets))
    world.runtime = replace(world.runtime, max_changes=1_000)
    world.audience()
    world.destination()
    connection_id = world.connect(calls=("identify", "track")).connection.id
    world.publish(TEN)
    begun: dict[str, list[int]] = {"identify": [], "track": []}
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()
    first_three = threading.Barrier(3)

    def script(batch: list[dict[str, Any]]) -> Accepted:
        call = batch[0]["type"]
        begun[call].append(world.time.now_us)
        under_way[call] += 1
        most[call] = max(most[call], under_way[call])
        if call == "identify" and len(begun[call]) <= 3:
            first_three.wait(60)
        under_way[call] -= 1
        return Accepted()

    world.recorder.script = script
    world.sync(connection_id)
    gaps = {call: [(b - a) / 1e6 for a, b in itertools.pairwise(at)] for call, at in begun.items()}
    assert (len(gaps["identify"]), len(gaps["track"])) == (4, 9)
    assert max(gaps["identify"]) < 0.3, gaps
    assert min(gaps["track"]) > 0.4, gaps
    assert (most["identify"], most["track"]) == (3, 1)


def test_without_a_limit_no_row_is_written_and_few_looks_are_taken(world: World, connected: str):
    world.publish({n: [f"user_id:u{n}"] for n in range(200)})
    looks: list[str] = []
    sa.event.listen(world.registry.database._engine, "before_cursor_execute", lambda *a: looks.append(a[2]))
    world.sync_until_done(connected)
    assert world.rows(t.pace) == []
    asked = [one for one in looks if "paused_until" in one and "pace" in one and "next_at" in one and "sync_request" not in one]
    assert len(world.recorder.batches) == 100
    assert 1 <= len(asked) <= len(world.recorder.batches) / 5


def test_a_destination_that_asks_to_slow_down_is_sent_to_slower_and_faster_again_by_and_by(world: World, connected: str):
    world.publish(TEN)
    answers = iter([Accepted(), Accepted(), Pause(1.0)])
    world.recorder.script = lambda _batch: next(answers, Accepted())
    world.sync_until_done(connected)
    slowed = pace(world)
    assert 0 < slowed.slowed_to < slowed.usual_rate
    with world.registry.database.read() as c:
        (row,) = list_status(c, world.space.id, now_us=world.time.now_us)
    assert row.pace[-1].startswith("slowed to ")
    world.publish({n: [f"user_id:v{n}"] for n in range(90)})
    world.sync_until_done(connected)
    assert pace(world).slowed_to is None


def test_two_connections_of_one_destination_share_its_pace_evenly(world: World, connected: str, second: str):
    set_rate(world, 80.0)
    database = Database(world.runtime.settings.database_url)
    counts = dict.fromkeys((connected, second), 0)
    destination_id = world.rows(t.destination)[0].id
    until = time.monotonic() + 1.5

    def send(connection_id: str) -> None:
        with acquire(database, connection_id, connection_id, sleep=time.sleep) as lease:
            gate = Pacing(database, lease, destination_id, monotonic=time.monotonic, sleep=time.sleep)
            while time.monotonic() < until:
                gate.wait_until_allowed(1000.0)
                counts[connection_id] += 1

    threads = [threading.Thread(target=send, args=(one,)) for one in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert sum(counts.values()) <= 80 * 1.6 + 2 * 8 + 8
    assert sum(counts.values()) >= 40, counts
    assert min(counts.values()) >= 0.6 * max(counts.values()), counts


def test_a_pause_takes_effect_before_the_next_request_of_another_process(world: World, connected: str):
    world.publish(TEN)
    sent = 0

    def someone_pauses(_batch):
        nonlocal sent
        sent += 1
        if sent == 2:
            with world.registry.database.write() as c:
                c.execute(sa.update(t.connection).values(state="paused"))
            world.time.sleep(0.1)
        return Accepted()

    world.recorder.script = someone_pauses
    with pytest.raises(PausedError, match="paused"):
        world.sync(connected)
    assert sent == 2


def test_a_destination_without_answers_is_tried_by_one_connection_and_launched_for_no_other(world: World, connected: str, second: str):
    world.publish(TEN)
    world.publish(TEN, key="lapsed")
    asked: list[str] = []

    def no_answer(batch):
        asked.append(batch[0]["context"]["personas"]["computation_key"])
        if len(asked) == 6:
            # now the other one begins, in another process
            with pytest.raises(PausedError, match="5 times in a row"):
                world.sync(second, run_id="other")
            assert launched(world) == []
        return Backoff("refused")

    world.recorder.script = no_answer
    world.time.sleep(1)
    with pytest.raises(NoAnswerError, match="8 tries"):
        world.sync(connected, run_id="one")
    assert asked == ["vips"] * 8
    other = next(row for row in world.owed() if row.connection_id == second)
    assert (other.failures, other.attempt) == (0, 2)
    with world.registry.database.read() as c:
        rows = list_status(c, world.space.id, now_us=world.time.now_us)
    assert all("in a row: the next try is at" in row.pace[0] for row in rows)


def test_after_a_rest_one_is_launched_and_its_answer_lets_all_go(world: World, connected: str, second: str):
    world.publish(TEN)
    world.publish(TEN, key="lapsed")
    world.recorder.script = lambda _batch: Backoff("refused")
    with pytest.raises(NoAnswerError):
        world.sync(connected, run_id="one")
    assert launched(world) == []
    world.time.sleep(20)
    assert launched(world) == [second]
    world.time.sleep(60)
    assert len(launched(world)) == 1, "one of them tries, not both"
    world.recorder.script = lambda _batch: Accepted()
    world.sync_until_done(second)
    assert pace(world).failures == 0
    assert launched(world) == [connected]
    world.sync_until_done(connected)


def test_waiting_for_others_does_not_bring_a_batch_nearer_to_being_taken_apart(world: World, connected: str, second: str):
    world.publish(TEN)
    world.publish(TEN, key="lapsed")
    world.recorder.script = lambda _batch: Backoff("refused")
    with pytest.raises(NoAnswerError):
        world.sync(connected, run_id="one")
    with world.registry.database.write() as c:
        c.execute(sa.update(t.pace).values(tried_by=connected, tried_until=world.time.now_us + 120_000_000))
    for number in range(5):
        with pytest.raises(PausedError):
            world.sync(second, run_id=f"waits-{number}")
    other = next(row for row in world.owed() if row.connection_id == second)
    assert (other.failures, other.attempt) == (0, 6)
    assert not any("lapsed" in str(body) for body in world.recorder.bodies)


def test_a_batch_that_alone_gets_no_answer_is_taken_apart_as_promised_while_it_is_left_alone(world: World, connected: str):
    world.publish(TEN)
    world.recorder.script = lambda batch: Backoff("ill") if any(r["userId"] == "u0" for r in batch) else Accepted()
    for number in range(3):
        with pytest.raises(NoAnswerError):
            world.sync(connected, run_id=f"run-{number}")
        assert pace(world).failures >= 5
        world.time.sleep(3_600)
    report = world.sync(connected, run_id="fourth")
    assert report.waiting == 1
    assert len(world.recorder.members()) == 9
    assert pace(world).failures == 0


def test_who_asks_by_hand_has_it_tried_at_once(world: World, connected: str):
    from engage_pipelines.domain.connection import RequestKind
    from engage_pipelines.registry.requests import Stamp, request_sync

    world.publish(TEN)
    world.recorder.script = lambda _batch: Backoff("refused")
    with pytest.raises(NoAnswerError):
        world.sync(connected)
    with world.registry.database.write() as c:
        c.execute(sa.update(t.sync_request).values(not_before=0))
    assert launched(world) == []
    with world.registry.database.write() as c:
        request_sync(c, world.rows(t.connection)[0], RequestKind.SYNC, Stamp(world.time.now_us, "test"))
    assert launched(world) == [connected]
