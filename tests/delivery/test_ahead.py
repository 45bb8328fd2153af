"""Rows read ahead while others are sent: the same rows in the same order, and nothing left running."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engage_pipelines.delivery import ahead as reading
from engage_pipelines.delivery.ahead import Ahead
from engage_pipelines.delivery.batches import Cutter
from engage_pipelines.delivery.generation_file import GenerationWriter, rows_of
from engage_pipelines.delivery.rows import FrozenRecord, Rows
from engage_pipelines.destinations.base import Limits
from engage_pipelines.domain.errors import StateError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with GenerationWriter(tmp_path / "1.parquet") as writer:
        for seq in range(100):
            body = f"{seq:03}".encode() * (1 + seq % 3)
            writer.add(FrozenRecord(seq, f"user_id:u{seq}", True, "i0", "identify", "m@1+", "send", f"personas_1:{seq}:i0", body))
    return tmp_path / "1.parquet"


def readers() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"ahead"}


@pytest.mark.parametrize("separator", [pytest.param(None, id="one by one"), pytest.param(b",", id="in one piece")])
def test_stretches_read_ahead_hold_the_same_bodies_in_the_same_order(file: Path, monkeypatch: pytest.MonkeyPatch, separator: bytes | None):
    monkeypatch.setattr(reading, "STRETCH_BYTES", 50)
    limits = Limits(max_batch_records=7, max_batch_bytes=40)
    expected = list(Cutter(lambda _action: limits, lambda *_: None).batches(rows_of(file)))
    with Ahead(rows_of(file)) as ahead:
        ahead.fill(separator)
        found = list(Cutter(lambda _action: limits, lambda *_: None).batches(ahead.rows()))
    assert [batch.seqs.tolist() for batch in found] == [batch.seqs.tolist() for batch in expected]
    for mark in (b",", b"\n"):
        assert [bytes(batch.joined(mark)) for batch in found] == [bytes(batch.joined(mark)) for batch in expected]
    assert [batch.weight for batch in found] == [batch.weight for batch in expected]


def test_a_record_longer_than_a_stretch_is_one_by_itself(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "STRETCH_BYTES", 5)
    with Ahead(rows_of(file)) as ahead:
        assert [len(rows) for rows in ahead.rows()][:3] == [1, 1, 1]


def test_what_is_wrong_with_the_file_comes_out_where_its_rows_are_taken(file: Path):
    def broken() -> Iterator[Rows]:
        yield from rows_of(file)
        raise StateError("The file of generation 1 cannot be read.", "Restore it.")

    with Ahead(broken()) as ahead, pytest.raises(StateError, match="cannot be read"):
        list(ahead.rows())


def test_who_stops_in_the_middle_leaves_no_reader_behind(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "STRETCH_BYTES", 5)
    with Ahead(rows_of(file)) as ahead:
        assert len(next(ahead.rows())) == 1
        assert readers()
    assert not readers()
