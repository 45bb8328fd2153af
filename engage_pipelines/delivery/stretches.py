"""Stretches of an address range that hold about as many rows as a generation takes changes, by the statistics of the versions' files.

The files lie in order of address, so the least and the greatest address of each row group say where a stretch may end; nothing of the rows
is read for it. A stretch ends between two addresses, never within one, and where the statistics say nothing the range is one stretch.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from engage_pipelines.domain.protocol import Range


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What is known of the rows of a group without reading them: `first` and `last` address, and the least and greatest level."""

    first: str
    last: str
    rows: int
    levels: tuple[str, str] = ("", "~")
    has_sole: bool = True

    def has_level(self, level: str) -> bool:
        return self.levels[0] <= level <= self.levels[1]


def stretches(files: Sequence[Path], span: Range, limit: int | None, may_count: Callable[[RowGroup], bool]) -> Iterator[Range]:
    """The parts of the range in order, without a gap; each but the last has at least `limit` rows that may count."""
    lo = span.lo
    if limit is not None:
        for end in _ends(files, span, limit, may_count):
            yield Range(lo, end)
            lo = end
    yield Range(lo, span.hi)


def rows_within(files: Sequence[Path], span: Range, may_count: Callable[[RowGroup], bool]) -> int | None:
    """How many rows the groups have that may count in the range; None where the statistics do not say."""
    groups = _groups(files, span, may_count)
    return None if groups is None else sum(group.rows for group in groups)


def _ends(files: Sequence[Path], span: Range, limit: int, may_count: Callable[[RowGroup], bool]) -> Iterator[str]:
    rows, end = 0, span.lo
    for group in sorted(_groups(files, span, may_count) or (), key=lambda group: group.first):
        if rows >= limit and group.first > end:
            end, rows = group.first, 0
            yield end
        rows += group.rows


def _groups(files: Sequence[Path], span: Range, may_count: Callable[[RowGroup], bool]) -> list[RowGroup] | None:
    found: list[RowGroup] = []
    for file in files:
        groups = row_groups(file)
        if groups is None:
            return None
        found += (one for one in groups if one.last >= span.lo and (span.hi is None or one.first < span.hi) and may_count(one))
    return found


def row_groups(file: Path) -> list[RowGroup] | None:
    """The row groups of a version's file; None when one of them says nothing of its addresses."""
    with pq.ParquetFile(file) as opened:
        names = opened.schema_arrow.names
        found = [_group(opened.metadata.row_group(at), names) for at in range(opened.num_row_groups)]
    known = [group for group in found if group is not None]
    return known if len(known) == len(found) else None


def _group(group: Any, names: Sequence[str]) -> RowGroup | None:
    known = {name: _bounds(group.column(names.index(name))) for name in ("address", "level", "sole")}
    address, level, sole = known["address"], known["level"], known["sole"]
    if address is None:
        return None
    return RowGroup(
        str(address[0]),
        str(address[1]),
        group.num_rows,
        ("", "~") if level is None else (str(level[0]), str(level[1])),
        sole is None or bool(sole[1]),
    )


def _bounds(column: Any) -> tuple[Any, Any] | None:
    statistics = column.statistics if column.is_stats_set else None
    return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None
