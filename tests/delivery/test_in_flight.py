"""Several requests under way: how many, about whom, and what ends them."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engage_pipelines.delivery.acknowledging import MOST_WAITING, Acknowledger, joined
from engage_pipelines.delivery.batches import Cutter, answered, pending, runs_of
from engage_pipelines.delivery.generation_file import GenerationWriter, rows_of
from engage_pipelines.delivery.in_flight import AbandonedError, InFlight, Ways
from engage_pipelines.delivery.rows import Batch, FrozenRecord
from engage_pipelines.delivery.state import LedgerRow
from engage_pipelines.destinations.base import Accepted, Backoff, Limits, Stop
from engage_pipelines.domain.errors import SyncStoppedError
from engage_pipelines.registry import tables as t
from tests.delivery.world import World


def record(seq: int, lane: str = "m@1+", part: str = "i0", size: int = 2) -> FrozenRecord:
    return FrozenRecord(seq, f"user_id:u{seq}", True, part, "identify", lane, "send", f"personas_1:{seq}:{part}", b"x" * size)


def batches(tmp_path: Path, records: Sequence[FrozenRecord], limits: Limits, refused: list | None = None) -> list[Batch]:
    with GenerationWriter(tmp_path / "1.parquet") as writer:
        for one in records:
            writer.add(one)
    told: list[Any] = [] if refused is None else refused
    return list(Cutter(lambda _action: limits, lambda *what: told.append(what)).batches(rows_of(tmp_path / "1.parquet")))


def sizes(found: list[Batch]) -> list[int]:
    return [len(batch) for batch in found]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param(Limits(max_batch_records=3), [3, 3, 1], id="by records"),
        pytest.param(Limits(max_batch_bytes=22), [2, 2, 2, 1], id="by bytes, one more for each"),
        pytest.param(Limits(max_batch_bytes=21), [1] * 7, id="a byte too few for two"),
        pytest.param(Limits(max_batch_bytes=5), [1] * 7, id="less than one record"),
        pytest.param(Limits(), [7], id="all at once"),
    ],
)
def test_batches_are_filled_to_the_limits(tmp_path: Path, limits: Limits, expected: list[int]):
    found = batches(tmp_path, [record(seq, size=10) for seq in range(7)], limits)
    assert sizes(found) == expected
    assert [int(seq) for batch in found for seq in batch.seqs] == list(range(7))


def test_records_of_different_lanes_share_no_batch_and_too_large_ones_go_into_none(tmp_path: Path):
    refused: list[tuple[int, int, int]] = []
    records = [record(0), record(1, size=9), record(2), record(3, lane="m@1-"), record(4)]
    found = batches(tmp_path, records, Limits(max_record_bytes=8), refused)
    assert [batch.seqs.tolist() for batch in found] == [[0, 2], [3], [4]]
    assert refused == [(1, 9, 8)]


def test_a_batch_is_a_sequence_of_records_and_joins_their_bodies(tmp_path: Path):
    (batch,) = batches(tmp_path, [record(seq, size=seq) for seq in range(4)], Limits())
    assert [one.body for one in batch] == [b"", b"x", b"xx", b"xxx"]
    assert (batch[3].message_id, batch[-1].address, len(batch[1:3])) == ("personas_1:3:i0", "user_id:u3", 2)
    assert batch.joined(b",", b"[", b"]") == b"[,x,xx,xxx]"
    assert batch.cut(1, 3).seqs.tolist() == [1, 2]
    assert batch.weight == (6, 3)


def test_what_the_ledger_answers_is_not_pending(tmp_path: Path):
    ledger = [LedgerRow(1, 2, "delivered", None, 1), LedgerRow(5, 5, "rejected", "no", 1)]
    assert answered(range(7), ledger).tolist() == [False, True, True, False, False, True, False]
    batches(tmp_path, [record(seq) for seq in range(7)], Limits())
    assert [rows.seqs.tolist() for rows in pending(rows_of(tmp_path / "1.parquet"), ledger)] == [[0, 3, 4, 6]]
    assert runs_of(pa.array([0, 3, 4, 6]).to_numpy()) == [(0, 0), (3, 4), (6, 6)]


def test_neighbouring_answers_that_say_the_same_become_one_row():
    rows = [LedgerRow(2, 3, "delivered", None, 1), LedgerRow(0, 1, "delivered", None, 1), LedgerRow(4, 4, "delivered", None, 2)]
    assert joined(rows) == [LedgerRow(0, 3, "delivered", None, 1), LedgerRow(4, 4, "delivered", None, 2)]


def test_answers_are_written_together_and_all_of_them_by_the_end():
    written: list[list[LedgerRow]] = []
    with Acknowledger(lambda rows: written.append(list(rows))) as ledger:
        for seq in range(50):
            ledger.add([LedgerRow(seq, seq, "delivered", None, 1)])
    assert [(row.lo, row.hi) for rows in written for row in rows][-1][1] == 49
    assert len(written) < 10


def test_who_sends_waits_for_a_ledger_that_is_slow():
    free, written = threading.Event(), []

    def write(rows: Sequence[LedgerRow]) -> None:
        assert free.wait(60)
        written.extend(rows)

    added: list[int] = []
    unwritten: list[int] = []

    def add_all() -> None:
        with Acknowledger(write) as ledger:
            for seq in range(0, 200, 2):
                ledger.add([LedgerRow(seq, seq, "delivered", None, 1)])
                added.append(seq)
                unwritten.append(len(added) - len(written))

    thread = threading.Thread(target=add_all)
    thread.start()
    deadline = time.monotonic() + 60
    while len(added) < MOST_WAITING and time.monotonic() < deadline:
        time.sleep(0.005)
    free.set()
    thread.join()
    assert max(unwritten) <= 2 * MOST_WAITING
    assert [row.lo for row in written] == list(range(0, 200, 2))


def test_a_ledger_that_cannot_be_written_stops_who_sends():
    def fail(_rows: Sequence[LedgerRow]) -> None:
        raise OSError("the database is gone")

    def add_for_long() -> None:
        with Acknowledger(fail) as ledger:
            for _ in range(100):
                ledger.add([LedgerRow(0, 0, "delivered", None, 1)])
                time.sleep(0.01)

    with pytest.raises(OSError, match="gone"):
        add_for_long()


def test_batches_of_one_lane_and_part_are_under_way_together_and_others_wait(tmp_path: Path):
    records = [record(seq, part="i0" if seq < 4 else "t0") for seq in range(8)]
    under_way: set[tuple[str, int]] = set()
    first_three = threading.Barrier(3)
    seen: list[set[tuple[str, int]]] = []
    lock = threading.Lock()

    def work(batch: Batch) -> None:
        me = (batch.part or "", int(batch.seqs[0]))
        with lock:
            under_way.add(me)
            seen.append(set(under_way))
        if batch.seqs[0] < 3:
            first_three.wait(60)
        time.sleep(0.02)  # so long one takes
        with lock:
            under_way.remove(me)

    done: list[int] = []
    with InFlight(3) as in_flight:
        for batch in batches(tmp_path, records, Limits(max_batch_records=1)):
            in_flight.run(work, batch, lambda batch: done.append(int(batch.seqs[0])))
        in_flight.wait_for_all()
    assert sorted(done) == list(range(8))
    assert max(map(len, seen)) == 3
    assert all(len({part for part, _ in together}) == 1 for together in seen)


def test_the_first_failure_ends_the_others_at_their_next_request(tmp_path: Path):
    ended: list[str] = []

    def work(batch: Batch) -> None:
        if batch.seqs[0] == 0:
            raise SyncStoppedError("no credentials", "")
        try:
            while True:
                time.sleep(0.005)
                in_flight.check()
        except AbandonedError:
            ended.append("abandoned")
            raise

    in_flight = InFlight(2)

    def run_all() -> None:
        with in_flight:
            for batch in batches(tmp_path, [record(seq) for seq in range(6)], Limits(max_batch_records=1)):
                in_flight.run(work, batch, lambda _batch: None)
            in_flight.wait_for_all()

    with pytest.raises(SyncStoppedError, match="credentials"):
        run_all()
    assert ended == ["abandoned"]


def test_answers_that_come_after_the_first_failure_count_all_the_same(tmp_path: Path):
    failed = threading.Event()
    done: list[int] = []

    def work(batch: Batch) -> None:
        if batch.seqs[0] == 0:
            failed.set()
            raise SyncStoppedError("no credentials", "")
        assert failed.wait(60)
        until_it_is_known()

    in_flight = InFlight(3)

    def until_it_is_known() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                in_flight.check()
            except AbandonedError:
                return
            time.sleep(0.005)

    def run_all() -> None:
        with in_flight:
            for batch in batches(tmp_path, [record(seq) for seq in range(3)], Limits(max_batch_records=1)):
                in_flight.run(work, batch, lambda batch: done.append(int(batch.seqs[0])))
            in_flight.wait_for_all()

    with pytest.raises(SyncStoppedError, match="credentials"):
        run_all()
    assert sorted(done) == [1, 2]


PEOPLE = {n: [f"user_id:u{n:02}"] for n in range(20)}


@pytest.fixture
def wide(world: World) -> World:
    """A destination that takes four requests at once."""
    world.audience()
    world.destination()
    type(world.recorder).limits = replace(world.recorder.limits, max_in_flight=4)
    world.runtime = replace(world.runtime, max_changes=100)
    yield world
    type(world.recorder).limits = replace(world.recorder.limits, max_in_flight=1)


def test_everyone_is_told_once_with_several_requests_under_way(wide: World):
    connection = wide.connect().connection.id
    wide.publish(PEOPLE)
    wide.recorder.script = lambda _batch: time.sleep(0.01) or Accepted()
    report = wide.sync(connection)
    assert report.counts == {"identify": {"entered": 20}}
    assert len(wide.recorder.records) == 20
    assert wide.rows(t.exception) == []


def test_a_request_without_an_answer_among_several_is_known_by_its_own_deadline(wide: World):
    connection = wide.connect().connection.id
    wide.publish(PEOPLE)
    wide.recorder.script = lambda batch: Backoff("lost") if batch[0]["userId"] == "u00" else Accepted()
    wide.sync_until_done(connection)
    kept = wide.rows(t.exception)
    assert {row.kind for row in kept} == {"retryable"}
    assert {row.address for row in kept} <= {"user_id:u00", "user_id:u01"}
    assert len({r["userId"] for r in wide.recorder.records}) >= 18


def test_a_stop_leaves_the_ledger_true_and_the_next_run_sends_the_rest(wide: World):
    connection = wide.connect().connection.id
    wide.publish(PEOPLE)
    wide.recorder.script = lambda _batch: Stop("no", "mend") if len(wide.recorder.records) >= 6 else Accepted()
    with pytest.raises(SyncStoppedError):
        wide.sync(connection)
    taken = len(wide.recorder.records)
    assert sum(row.hi - row.lo + 1 for row in wide.rows(t.ledger)) == taken
    wide.recorder.script = lambda _batch: Accepted()
    with wide.registry.database.write() as c:
        c.execute(t.connection.update().values(state="active"))
    wide.sync_until_done(connection)
    assert len({r["userId"] for r in wide.recorder.records}) == len(wide.recorder.records) == 20


class Destination:
    """Answers after `latency_s`, to several at once or to one after the other, on a clock of its own."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s, self.now = latency_s, 0.0
        self.ways = Ways(lambda: self.now)
        self.several: list[bool] = []

    def take(self, count: int) -> None:
        for _ in range(count):
            self.several.append(self.ways.is_several)
            # a thread costs three milliseconds of its own; eight of them wait at once
            self.now += max(self.latency_s / 8, 0.003) if self.ways.is_several else self.latency_s
            self.ways.count(100)


@pytest.mark.parametrize(
    ("latency_s", "is_several"), [pytest.param(0.001, False, id="answers at once"), pytest.param(0.05, True, id="takes its time")]
)
def test_the_faster_of_both_ways_is_found_and_kept(latency_s: float, is_several: bool):
    there = Destination(latency_s)
    there.take(5_000)
    assert there.several.count(is_several) > 0.95 * len(there.several)
    assert set(there.several[75:300]) == {is_several}


def test_a_destination_that_changes_is_sent_to_the_other_way_after_a_while():
    there = Destination(0.001)
    there.take(100)
    there.latency_s = 0.05
    there.take(400)
    assert set(there.several[-100:]) == {True}


def test_one_after_the_other_is_given_up_at_once_where_it_is_far_slower():
    there = Destination(0.4)
    there.take(100)
    assert there.several.count(False) == 2
