"""Hashes and sorted rows of two sides are paired as plain Python pairs them, also where they are few, many, the same or nearly."""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false, reportMissingTypeStubs=false

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engage_pipelines.snapshots.pairing import Pairing
from engage_pipelines.snapshots.side_by_side import side_by_side
from engage_pipelines.snapshots.sorted_rows import LEVELS, Hashes, taken

# hashes that differ where no table looks, where one of them looks, and in the bit that tells the sides
_HASHES = st.lists(
    st.tuples(st.sampled_from([0, 1 << 40]), st.integers(0, 3), st.sampled_from([0, 1 << 20])).map(lambda parts: sum(parts) * 2),
    max_size=12,
)


def _as_hashes(numbers: list[int]) -> Hashes:
    return np.array(numbers, dtype=np.uint64)


def _lone(some: list[int], others: list[int]) -> tuple[list[int], list[int]]:
    counts, other_counts = Counter(some), Counter(others)
    lone = {each for each in counts | other_counts if (counts[each], other_counts[each]) != (1, 1)}
    return [place for place, each in enumerate(some) if each in lone], [place for place, each in enumerate(others) if each in lone]


@settings(max_examples=100, deadline=None)
@given(sides=st.lists(st.tuples(_HASHES, _HASHES), min_size=1, max_size=3))
def test_the_lone_of_two_sides_are_all_that_are_not_once_on_each(sides: list[tuple[list[int], list[int]]]) -> None:
    pairing = Pairing()
    for some, others in sides:
        found = pairing.lone(_as_hashes(some), _as_hashes(others))
        assert tuple(each.tolist() for each in found) == _lone(some, others)


@pytest.mark.parametrize("seed", [pytest.param(1, id="one churn"), pytest.param(2, id="another")])
def test_the_lone_of_many_are_those_that_came_or_went(seed: int) -> None:
    rng = np.random.default_rng(seed)
    everything = np.unique(rng.integers(0, 2**63, size=40_000, dtype=np.int64).view(np.uint64)) * np.uint64(2)
    rng.shuffle(everything)
    one, other = everything[rng.random(len(everything)) > 0.01], everything[rng.random(len(everything)) > 0.01]
    found, found_other = Pairing().lone(one, other)
    assert np.array_equal(found, np.flatnonzero(~np.isin(one, other)))
    assert np.array_equal(found_other, np.flatnonzero(~np.isin(other, one)))


_KEYS = st.sets(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["", "a", "b", "é", "z", "\U0001f600"]), st.integers(1, 3)), max_size=14)


def _batches(keys: list[tuple[int, str, int]], size: int) -> list[pa.RecordBatch]:
    levels = pa.DictionaryArray.from_arrays(pa.array([key[0] for key in keys], pa.int8()), pa.array(LEVELS))
    columns = [levels, pa.array([key[1] for key in keys], pa.string()), pa.array([key[2] for key in keys], pa.int64())]
    whole = pa.RecordBatch.from_arrays(columns, names=["level", "address", "member"])
    return [whole.slice(start, size) for start in range(0, len(keys), size)]


def _rows(piece: list[pa.RecordBatch]) -> list[tuple[str, str, int]]:
    return [tuple(row.values()) for batch in piece for row in batch.to_pylist()]


@settings(max_examples=100, deadline=None)
@given(sides=st.lists(st.tuples(_KEYS, st.integers(1, 4)), min_size=1, max_size=3))
def test_pieces_side_by_side_hold_the_same_range_of_addresses(sides: list[tuple[set[tuple[int, str, int]], int]]) -> None:
    given_rows = [sorted(keys) for keys, _ in sides]
    pieces = [[_rows(piece) for piece in each] for each in side_by_side([_batches(sorted(keys), size) for keys, size in sides])]
    for number, keys in enumerate(given_rows):
        assert [row for each in pieces for row in each[number]] == [(LEVELS[level], *more) for level, *more in keys]
    ranges = [{row[:2] for piece in each for row in piece} for each in pieces]
    assert all(not (one & other) for place, one in enumerate(ranges) for other in ranges[place + 1 :])


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 5), places=st.sets(st.integers(0, 13)))
def test_rows_are_taken_from_pieces_by_their_places(size: int, places: set[int]) -> None:
    keys = [(1, str(number), number) for number in range(14)]
    found = _rows(taken(_batches(keys, size), np.array(sorted(places), dtype=np.int64)))
    assert [row[2] for row in found] == sorted(places)
