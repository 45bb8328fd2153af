"""The rows of two sides that have no counterpart on the other, told by their hashes."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engage_pipelines.snapshots.sorted_rows import Hashes, Ids

_MARK = np.uint64(1)
"""The bit that is not looked at: it says on which side a hash was."""
_SHIFTS = (np.uint64(0), np.uint64(32))
"""Most hashes meet their counterpart in a table by their last bits; those that share these with another one, by the bits above."""


@dataclass
class Pairing:
    """Pairs hashes; the tables of one call serve the next, whose places may be any, since what is found there is compared."""

    _table: NDArray[np.int32] = field(default_factory=lambda: np.zeros(1, dtype=np.int32))

    def lone(self, some: Hashes, others: Hashes) -> tuple[Ids, Ids]:
        """The places of those without a counterpart; when there are more of one on a side, of all of them."""
        one, other = np.arange(len(some)), np.arange(len(others))
        left, left_others = some, others
        for shift in _SHIFTS:
            if not len(left) or not len(left_others):
                return one, other
            unmet = self._unmet(left, left_others, shift)
            if unmet is None:
                return _by_order(some, others)
            one, other = one[unmet[0]], other[unmet[1]]
            left, left_others = some[one], others[other]
        last, last_others = _by_order(left, left_others)
        return one[last], other[last_others]

    def _unmet(self, some: Hashes, others: Hashes, shift: np.uint64) -> tuple[Ids, Ids] | None:
        """The places of those that met no counterpart; None when one may have several."""
        slots, other_slots = (self._slots(each, len(others), shift) for each in (some, others))
        self._table[other_slots] = np.arange(len(others), dtype=np.int32)
        nearest = self._table.take(slots)
        met = others.take(nearest, mode="clip") == some
        met_others = np.zeros(len(others), dtype=np.bool_)
        met_others[nearest[met]] = True
        unmet, unmet_others = np.flatnonzero(~met), np.flatnonzero(~met_others)
        twins = self._table.take(other_slots[unmet_others])
        has_twins = (met_others[twins] & (others[twins] == others[unmet_others])).any()
        if has_twins or len(some) - len(unmet) != len(others) - len(unmet_others):
            return None
        return unmet, unmet_others

    def _slots(self, hashes: Hashes, count: int, shift: np.uint64) -> Ids:
        size = 1 << (2 * count).bit_length()
        if len(self._table) < size:
            self._table = np.zeros(size, dtype=np.int32)
        return (hashes >> shift & np.uint64(size - 1)).view(np.int64)


def _by_order(some: Hashes, others: Hashes) -> tuple[Ids, Ids]:
    both = np.sort(np.concatenate((some & ~_MARK, others | _MARK)))
    pairs = np.flatnonzero(((both[:-1] & _MARK) == 0) & (both[:-1] + _MARK == both[1:]))
    paired = np.zeros(len(both), dtype=np.bool_)
    paired[pairs] = True
    paired[pairs + 1] = True
    lone = both[~paired] | _MARK
    return _among(some | _MARK, lone), _among(others | _MARK, lone)


def _among(values: Hashes, few: Hashes) -> Ids:
    """The places of the values that are one of a few sorted ones."""
    if not len(few):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(few[np.minimum(np.searchsorted(few, values), len(few) - 1)] == values)
