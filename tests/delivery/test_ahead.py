"""Batches made ahead while others are sent: the same in the same order, and nothing left running."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engage_pipelines.delivery.ahead import MOST_READY, Ahead
from engage_pipelines.delivery.batches import Cutter
from engage_pipelines.delivery.generation_file import GenerationWriter, rows_of
from engage_pipelines.delivery.rows import Batch, FrozenRecord
from engage_pipelines.destinations.base import Limits
from engage_pipelines.domain.errors import StateError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with GenerationWriter(tmp_path / "1.parquet") as writer:
        for seq in range(100):
            body = f"{seq:03}".encode() * (1 + seq % 3)
            writer.add(FrozenRecord(seq, f"user_id:u{seq}", True, "i0", "identify", "m@1+", "send", f"personas_1:{seq}:i0", body))
    return tmp_path / "1.parquet"


def makers() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"ahead"}


def cut(file: Path, limits: Limits) -> Iterator[Batch]:
    return Cutter(lambda _action: limits, lambda *_: None).batches(rows_of(file))


@pytest.mark.parametrize("asked", [pytest.param(None, id="one by one"), pytest.param((b",", b"[", b"]"), id="in one piece")])
def test_batches_made_ahead_hold_the_same_bodies_in_the_same_order(file: Path, asked: tuple[bytes, bytes, bytes] | None):
    limits = Limits(max_batch_records=7, max_batch_bytes=40)
    expected = list(cut(file, limits))
    with Ahead(cut(file, limits)) as ahead:
        ahead.join_with(asked)
        found = list(ahead.batches())
    assert [batch.seqs.tolist() for batch in found] == [batch.seqs.tolist() for batch in expected]
    assert {batch.joined_with for batch in found[MOST_READY + 1 :]} == {asked}
    for words in ((b",", b"[", b"]"), (b"\n", b"", b"")):
        assert [batch.joined(*words) for batch in found] == [
            words[1] + words[0].join(r.body for r in batch) + words[2] for batch in expected
        ]
    assert [batch.weight for batch in found] == [batch.weight for batch in expected]


def test_what_is_wrong_with_the_file_comes_out_where_its_batches_are_taken(file: Path):
    def broken() -> Iterator[Batch]:
        yield from cut(file, Limits(max_batch_records=10))
        raise StateError("The file of generation 1 cannot be read.", "Restore it.")

    with Ahead(broken()) as ahead, pytest.raises(StateError, match="cannot be read"):
        list(ahead.batches())


def test_who_stops_in_the_middle_leaves_nobody_behind_who_makes_batches(file: Path):
    with Ahead(cut(file, Limits(max_batch_records=1))) as ahead:
        assert len(next(ahead.batches())) == 1
        assert makers()
    assert not makers()
