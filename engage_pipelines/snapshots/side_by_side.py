"""Sorted rows of several sides, gone through in pieces that hold the same range of addresses."""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from engage_pipelines.snapshots.sorted_rows import Piece, levels_of, members_of

Key = tuple[int, bytes, int]
"""Level, address in UTF-8, which is in the order of its text, and member."""


def keys_of(batch: pa.RecordBatch) -> Callable[[int], Key]:
    """The key of each row by its place; made without looking at any."""
    levels, members, address = levels_of(batch), members_of(batch), batch.column("address")
    _, ends, texts = address.buffers()
    starts = np.frombuffer(ends, dtype=np.int32)[address.offset :] if len(batch) else np.zeros(0, np.int32)
    held = memoryview(texts) if texts is not None else memoryview(b"")
    return lambda place: (int(levels[place]), bytes(held[starts[place] : starts[place + 1]]), int(members[place]))


def first_from(keys: Callable[[int], Key], count: int, key: Key) -> int:
    """The place of the first row whose key is not below."""
    return bisect_left(range(count), key, key=keys)


@dataclass
class _Pending:
    """What is left of the batches of one side; `rows` come first, then `following`."""

    batches: Iterator[pa.RecordBatch]

    def __post_init__(self) -> None:
        self.rows: deque[pa.RecordBatch] = deque()
        self.following = next(self.batches, None)
        self.bound: Key | None = None
        self.pull(None)

    def take_below(self, bound: Key | None) -> Piece:
        taken: Piece = []
        while self.rows:
            first = self.rows.popleft()
            cut = len(first) if bound is None else first_from(keys_of(first), len(first), bound)
            if cut:
                taken.append(first.slice(0, cut))
            if cut < len(first):
                self.rows.appendleft(first.slice(cut))
                break
        return taken

    def pull(self, bound: Key | None) -> None:
        """Go on when the rows at hand end at this bound; `bound` says below which address no row is still to come, None when none is."""
        if self.following is None or (bound is not None and self.bound != bound):
            return
        last = self.following
        self.rows.append(last)
        self.following = next(self.batches, None)
        self.bound = (*keys_of(last)(len(last) - 1)[:2], -1) if self.following is not None else None


def side_by_side(sides: Sequence[Iterable[pa.RecordBatch]]) -> Iterator[list[Piece]]:
    """The rows of each side in pieces that hold the same range of levels and addresses; batches must have rows."""
    pending = [_Pending(iter(side)) for side in sides]
    while True:
        bound = min((each.bound for each in pending if each.bound is not None), default=None)
        yield [each.take_below(bound) for each in pending]
        if bound is None:
            return
        for each in pending:
            each.pull(bound)
