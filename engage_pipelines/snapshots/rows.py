"""The rows of a version, and how versions are read back from full snapshots and changes.

A version is a multiset of rows, one per address of a member:

| column | meaning |
|---|---|
| level | `user` or `account`: an account audience has both sets in one version |
| address | identifier kind, a colon, and the identifier, such as `user_id:u-1` |
| member | our profile number |
| current | false: the member had this address in an earlier version, and no longer has it |
| sole | true: the member has no user id, so destinations that prefer one match it by this address |
| first_order, last_order | its place among the member's addresses of the kind, by first and by last sight, from 1 |
| value | of traits alone: the member's value as JSON text, the same in all of its rows; audiences have no such column |

A folder `<n>/` holds `full.parquet` (the rows), or `changes.parquet` (rows with `sign` +1 or -1 against the published version before
it), or both. Signs add up: the rows of a version are those whose signs since the last full one sum to more than zero. Another value is
a row that goes and one that comes. Files are sorted by (level, address).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engage_pipelines.domain.protocol import EMPTIED

COLUMNS = "level, address, member, current, sole, first_order, last_order"
VALUED_COLUMNS = f"{COLUMNS}, value"
_NOTHING = (
    "select ''::varchar as level, ''::varchar as address, 0::bigint as member, true as current, false as sole,"
    " 0::smallint as first_order, 0::smallint as last_order"
)
NO_ROWS = f"{_NOTHING} where false"
NO_VALUED_ROWS = f"{_NOTHING}, ''::varchar as value where false"


@dataclass(frozen=True, slots=True)
class VersionFile:
    """One published version on disk."""

    n: int
    is_full: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """The published versions of one computation, oldest first; each one's changes are against the one before it in the chain.

    `has_values`: they are those of a trait.
    """

    folder: Path
    versions: tuple[VersionFile, ...] = ()
    has_values: bool = False

    @classmethod
    def of(cls, folder: Path, versions: Iterable[tuple[int, bool]], *, has_values: bool = False) -> Self:
        """The chain of these numbers, each with whether it is a full snapshot, oldest first."""
        return cls(folder, tuple(VersionFile(n, is_full) for n, is_full in versions), has_values)

    @property
    def columns(self) -> str:
        """The columns of its rows."""
        return VALUED_COLUMNS if self.has_values else COLUMNS

    @property
    def no_rows(self) -> str:
        return NO_VALUED_ROWS if self.has_values else NO_ROWS

    def rows(self, n: int, where: str = "true") -> str:
        """SQL for the rows of version `n` that the condition holds for; version 0 has none."""
        if n == 0:
            return self.no_rows
        start, *after = self._since_full(n)
        if not after:
            return f"select {self.columns} from {self._file(start.n, 'full')} where {where}"
        return f"select {self.columns} from ({self.signed_rows(n, where)}) group by {self.columns} having sum(sign) > 0"

    def signed_rows(self, n: int, where: str = "true") -> str:
        """SQL for rows with signs that add up to the rows of version `n` that the condition holds for."""
        if n == 0:
            return f"select *, 1 as sign from ({self.no_rows})"
        start, *after = self._since_full(n)
        full = f"select {self.columns}, 1 as sign from {self._file(start.n, 'full')} where {where}"
        # a row and its removal agree in every column, so what the condition drops here it drops with all of its signs
        later = [f"select * from ({self._signed(version.n)}) where {where}" for version in after]
        return " union all ".join([full, *later])

    def _since_full(self, n: int) -> tuple[VersionFile, ...]:
        """The versions whose files make up version `n`: the last full one until then, and all after it."""
        upto = tuple(version for version in self.versions if version.n <= n)
        if not upto or upto[-1].n != n:
            raise KeyError(f"version {n} is not in the chain of {self.folder.name}")
        return upto[max(index for index, version in enumerate(upto) if version.is_full) :]

    def last_full(self) -> str:
        """SQL for the rows of the last full snapshot, in the order of its file."""
        return f"select {self.columns} from {self._file(self._since_full(self.versions[-1].n)[0].n, 'full')}"

    def since_full(self) -> str | None:
        """SQL for the signed changes since the last full snapshot; None when there are none."""
        later = self._since_full(self.versions[-1].n)[1:]
        return " union all ".join(self._signed(version.n) for version in later) or None

    def row_files(self, n: int) -> list[Path]:
        """The files that the rows of version `n` are in."""
        if n == 0:
            return []
        full, *later = self._since_full(n)
        return [self._path(full.n, "full"), *(self._path(version.n, "changes") for version in later)]

    def change_files(self, after: int, upto: int) -> list[Path]:
        """The files that the changes of these versions are in."""
        found = (version.n for version in self.versions if after < version.n <= upto)
        return [self._path(n, "full" if n == self.versions[0].n else "changes") for n in found]

    def changes(self, after: int, upto: int) -> str:
        """SQL for the signed changes of the versions later than `after`, up to and with `upto`, not netted."""
        parts = [self._signed(version.n) for version in self.versions if after < version.n <= upto]
        return " union all ".join(parts) or f"select *, 0 as sign from ({self.no_rows})"

    def _signed(self, n: int) -> str:
        if n == self.versions[0].n:
            return f"select {self.columns}, 1 as sign from {self._file(n, 'full')}"
        return f"select {self.columns}, sign from {self._file(n, 'changes')}"

    def _path(self, n: int, name: str) -> Path:
        return self.folder / str(n) / f"{name}.parquet"

    def _file(self, n: int, name: str) -> str:
        path = str(self._path(n, name)).replace("'", "''")
        return f"read_parquet('{path}')"


@dataclass(frozen=True, slots=True)
class EmptiedChain(Chain):
    """A chain with one more version at its end, `protocol.EMPTIED`, in which nobody is left; it has no files of its own."""

    def rows(self, n: int, where: str = "true") -> str:
        return self.no_rows if n == EMPTIED else Chain.rows(self, n, where)

    def signed_rows(self, n: int, where: str = "true") -> str:
        return Chain.signed_rows(self, 0 if n == EMPTIED else n, where)

    def row_files(self, n: int) -> list[Path]:
        return [] if n == EMPTIED else Chain.row_files(self, n)

    def change_files(self, after: int, upto: int) -> list[Path]:
        found = Chain.change_files(self, after, upto)
        return [*found, *self.row_files(self._newest)] if after < EMPTIED <= upto else found

    def changes(self, after: int, upto: int) -> str:
        found = Chain.changes(self, after, upto)
        if not after < EMPTIED <= upto:
            return found
        return f"{found} union all select {self.columns}, -1 as sign from ({self.rows(self._newest)})"

    @property
    def _newest(self) -> int:
        return self.versions[-1].n if self.versions else 0
