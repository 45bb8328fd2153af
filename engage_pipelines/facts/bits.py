"""Sets of members as packed bits over sorted member ids: an eighth of a byte per member and condition."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint8]
"""One bit per member of a universe, in its order; what the last byte holds beyond the members means nothing."""

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]


def ids_of(column: object) -> Ids:
    """A column of member ids as DuckDB hands it out."""
    return np.asarray(column, dtype=np.int64)


def distinct(ids: Ids) -> Ids:
    """Sorted, each once; numpy's own way of it makes a table of hashes, which takes more of everything."""
    ids = np.sort(ids)
    return ids[np.concatenate((np.ones(min(len(ids), 1), dtype=np.bool_), ids[1:] != ids[:-1]))]


_SPARSE = 8
"""A table from member id to position is made while ids are at most this many times as many as the members."""


@dataclass
class Universe:
    """Every member there is of one level; `members` are sorted and distinct."""

    members: Ids

    @property
    def size(self) -> int:
        return len(self.members)

    def bits(self, flags: Flags) -> Bits:
        return np.packbits(flags)

    def flags(self, bits: Bits) -> Flags:
        return np.unpackbits(bits, count=self.size).view(np.bool_)

    def constant(self, truth: bool) -> Bits:
        return np.full((self.size + 7) // 8, 255 if truth else 0, dtype=np.uint8)

    def chosen(self, bits: Bits) -> Ids:
        """The ids whose bit is set, sorted."""
        return self.members[self.flags(bits)]

    def positions(self, ids: Ids) -> tuple[NDArray[np.int64], Flags]:
        """For each id its position, and whether it is a member at all; the position of one that is not means nothing."""
        if not self.size:
            return np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.bool_)
        table = self._table
        if table is None:
            found = np.minimum(np.searchsorted(self.members, ids), self.size - 1)
            return found, self.members[found] == ids
        inside = (ids >= 0) & (ids < len(table))
        found = table[np.where(inside, ids, 0)]
        return found, inside & (found >= 0)

    @cached_property
    def _table(self) -> NDArray[np.int64] | None:
        if self.members[0] < 0 or self.members[-1] > _SPARSE * self.size + 1_000_000:
            return None
        table = np.full(int(self.members[-1]) + 1, -1, dtype=np.int64)
        table[self.members] = np.arange(self.size)
        return table
