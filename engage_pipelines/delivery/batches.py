"""Batches: the rows of a generation cut to what one request of their action may carry, by arithmetic on columns."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from engage_pipelines.delivery.rows import Batch, Flags, Numbers, Rows
from engage_pipelines.delivery.state import LedgerRow
from engage_pipelines.destinations.base import Limits


class Cutter:
    """Cuts rows into batches; `refuse` is told of each record above its own limit (seq, bytes, limit), which goes into none."""

    def __init__(self, limits_of: Callable[[str], Limits], refuse: Callable[[int, int, int], None]) -> None:
        self._limits_of = limits_of
        self._refuse = refuse
        self._lane = ""
        self._begun: list[Rows] = []
        self._records = 0
        self._bytes = 0

    def batches(self, stretches: Iterable[Rows]) -> Iterator[Batch]:
        """The batches in the order of the rows, each of one lane."""
        for rows in stretches:
            for lane, run in _runs(rows):
                if self._begun and lane != self._lane:
                    yield self._finished()
                self._lane = lane
                yield from self._cut(run, self._limits_of(run.value("action")))
        if self._begun:
            yield self._finished()

    def _cut(self, run: Rows, limits: Limits) -> Iterator[Batch]:
        if limits.max_record_bytes is not None:
            run = self._without_oversize(run, limits.max_record_bytes)
        ends: Numbers = np.concatenate([np.zeros(1, np.int64), np.cumsum(run.sizes + 1)])
        at = 0
        while at < len(run):
            by_bytes = int(np.searchsorted(ends, ends[at] + limits.max_batch_bytes - self._bytes, side="right")) - 1
            end = min(len(run), at + limits.max_batch_records - self._records, by_bytes)
            if end <= at and not self._begun:
                end = at + 1  # nothing smaller can be made of it: the type refuses it by itself
            if end > at:
                self._begun.append(run.cut(at, end))
                self._records += end - at
                self._bytes += int(ends[end] - ends[at])
            if end < len(run) or self._records >= limits.max_batch_records:
                yield self._finished()
            at = max(at, end)

    def _without_oversize(self, run: Rows, limit: int) -> Rows:
        too_large = run.sizes > limit
        for at in np.flatnonzero(too_large).tolist():
            self._refuse(int(run.seqs[at]), int(run.sizes[at]), limit)
        return run.where(~too_large)

    def _finished(self) -> Batch:
        batch = Batch(self._begun)
        self._begun, self._records, self._bytes = [], 0, 0
        return batch


def _runs(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """Stretches of one lane."""
    rows.prepare()
    codes, lanes = rows.codes("lane")
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(rows)]
    for start, end in pairwise(edges):
        if start < end:
            yield lanes[codes[start]], rows.cut(start, end)


def answered(seqs: Sequence[int] | Numbers, ledger: Sequence[LedgerRow]) -> Flags:
    """For each seq whether the ledger, in order of `lo`, has a row for it."""
    if not len(ledger):
        return np.zeros(len(seqs), np.bool_)
    lows = np.array([row.lo for row in ledger], np.int64)
    highs = np.array([row.hi for row in ledger], np.int64)
    found = np.searchsorted(lows, np.asarray(seqs, np.int64), side="right") - 1
    return (found >= 0) & (np.asarray(seqs, np.int64) <= highs[found])


def pending(stretches: Iterable[Rows], ledger: Sequence[LedgerRow]) -> Iterator[Rows]:
    """The rows that the ledger has no answer for."""
    for rows in stretches:
        left = rows.where(~answered(rows.seqs, ledger))
        if len(left):
            yield left


def runs_of(seqs: Numbers) -> list[tuple[int, int]]:
    """Ascending seqs as ranges, both ends included."""
    if not len(seqs):
        return []
    first, last = int(seqs[0]), int(seqs[-1])
    if last - first == len(seqs) - 1:
        return [(first, last)]
    edges = np.flatnonzero(seqs[1:] - seqs[:-1] != 1).tolist()
    return [(int(seqs[lo]), int(seqs[hi])) for lo, hi in zip([0, *(edge + 1 for edge in edges)], [*edges, -1], strict=True)]
