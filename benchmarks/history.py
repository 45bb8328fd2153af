"""What a long history of hourly versions costs: an audience of which a half per cent left and as many came each hour.

Run as `python benchmarks/history.py [members] [versions]`; 1,000,000 and 310 take minutes. Versions are written as the product does when it
goes on from the last evaluation: compared for those who moved, and as a whole when a full snapshot is due. Plans
are those of a connection that has been told of an earlier version. CPU seconds of this process.
"""

import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np

from engage_pipelines.delivery.counted import Counted
from engage_pipelines.delivery.plan import Planner, connect
from engage_pipelines.domain.protocol import FIRST_ADDRESS, BaseRow, ReplicaState, steps
from engage_pipelines.snapshots.compare import Difference, Some, compare, compare_some
from engage_pipelines.snapshots.rows import COLUMNS, Chain, VersionFile
from engage_pipelines.snapshots.sorted_rows import sort_rows
from engage_pipelines.snapshots.write import wants_full, write

_BEHIND = (1, 10, 100, 300)
_AT_ONCE = 1_000_000


def _rows(first: int, end: int) -> str:
    return f"""select 'user' as level, 'user_id:' || md5(i::varchar) as address, i + 1 as member, true as current, true as sole,
        1::smallint as first_order, 1::smallint as last_order from range({first}, {end}) t(i)"""


class _History:
    """A chain that grows by a version an hour."""

    def __init__(self, folder: Path, members: int) -> None:
        self.chain, self.members, self.moved, self.digest = Chain(folder / "versions"), members, members // 200, ""
        self.db = duckdb.connect(config={"memory_limit": "512MB", "temp_directory": str(folder / "spill")})

    def publish(self, hour: int) -> float:
        """Write the version of that hour; the CPU seconds that it took, sorting what is given left out."""
        first, n = hour * self.moved, hour + 1
        come, gone = (first + self.members - self.moved, first + self.members), (first - self.moved, first)
        few = sort_rows(self.db, _rows(*come), COLUMNS)
        start = time.process_time()
        if hour:
            ids = np.concatenate([np.arange(low + 1, high + 1, dtype=np.int64) for low, high in (gone, come)])
            some = Some(n - 1, self.members, self.members, self.digest, ids, few)
            found = compare_some(self.db, self.chain, some, level="user")
            if not wants_full(self.chain, found.changed_rows, self.db):
                self._write(n, found, is_full=False)
                return time.process_time() - start
        used = time.process_time() - start
        everyone = sort_rows(self.db, _rows(first, first + self.members), COLUMNS)
        start = time.process_time()
        self._write(n, compare(self.db, self.chain, everyone, level="user"), is_full=True)
        return used + time.process_time() - start

    def _write(self, n: int, found: Difference, *, is_full: bool) -> None:
        write(self.chain, n, found, is_full=is_full)
        self.digest, self.chain = found.digest, Chain(self.chain.folder, (*self.chain.versions, VersionFile(n, is_full)))

    def disk(self) -> str:
        """What there is on disk, and how many full snapshots."""
        files = {name: [each.stat().st_size for each in self.chain.folder.glob(f"*/{name}.parquet")] for name in ("changes", "full")}
        changes, fulls = (sum(sizes) / 1e6 for sizes in files.values())
        changed = 2 * self.moved * len(files["changes"])
        per_change = f"{changes * 1e6 / max(changed, 1):.0f} + {fulls * 1e6 / max(changed, 1):.0f} bytes a change"
        return f"changes {changes:,.1f} MB, {len(files['full'])} full snapshots {fulls:,.1f} MB: {per_change}"

    def plan(self, behind: int, folder: Path) -> str:
        """What it costs to plan what a connection owes that was told of an earlier version."""
        newest = self.chain.versions[-1].n
        told = BaseRow(FIRST_ADDRESS, newest - behind, newest - behind)
        replica = ReplicaState("list", "user", (told,))
        with connect(folder / "plan") as db:
            start = time.process_time()
            step = steps(replica, newest)[0]
            planned = Planner(db, self.chain, Counted("user", ("user_id",), with_former=False)).plan(
                replica, step, [], now_us=0, limit=_AT_ONCE
            )
            used = time.process_time() - start
        return f"planning from {behind:>3} versions behind: {planned.changes:>9,} changes, {used:.2f} CPU s"


def main(members: int, versions: int) -> None:
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as name:
        history = _History(Path(name), members)
        print(f"{members:,} members, {history.moved:,} come and as many go each hour")
        history.publish(0)
        used = 0.0
        for hour in range(1, versions):
            used += history.publish(hour)
            if hour in {versions // 4, versions // 2, versions - 1}:
                print(f"{hour + 1:>5} versions, {used / hour:.3f} CPU s each; {history.disk()}", flush=True)
        for behind in (each for each in _BEHIND if each < versions):
            print(history.plan(behind, Path(name)), flush=True)
        history.db.close()


if __name__ == "__main__":
    main(*([int(each) for each in sys.argv[1:]] or [100_000, 110])[:2])
