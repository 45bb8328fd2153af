"""What comparing a version with the one before costs, beside DuckDB's FULL JOIN of the two files; and a chain of hourly versions.

Run as `python benchmarks/diff.py [members] [hours]`; 10,000,000 members take minutes. Each line is a process of its own: CPU seconds of its
work alone, and the peak of its memory. The fresh rows are sorted beforehand, as they are once for all audiences of a run.
"""

import gc
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from engage_pipelines.snapshots.compare import compare
from engage_pipelines.snapshots.rows import COLUMNS, Chain, VersionFile
from engage_pipelines.snapshots.sorted_rows import RowsFile, sort_rows
from engage_pipelines.snapshots.write import wants_full, write

_FIRST = (VersionFile(1, is_full=True),)
_HOURLY_MEMBERS = 1_000_000


def _rows(members: int, hour: int) -> str:
    """SQL: random ids in no order; each hour a half per cent of the members are gone, and as many have come."""
    gone = hour * (members // 200)
    return f"""select 'user' as level, 'user_id:' || md5(i::varchar) as address, i + 1 as member, true as current, true as sole,
        1::smallint as first_order, 1::smallint as last_order from range({gone}, {gone + members}) t(i)"""


def _engine(folder: Path, memory: str = "100MB") -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"memory_limit": memory, "temp_directory": str(folder / "spill"), "preserve_insertion_order": "false"})


def _prepare(folder: Path, members: int) -> None:
    """Version 1 of the first hour's rows, and the rows of the first and the second hour, sorted, each in a file."""
    with _engine(folder, "1GB") as db:
        for hour in (0, 1):
            rows = sort_rows(db, _rows(members, hour), COLUMNS)
            found = compare(db, Chain(folder), rows, level="user")
            write(Chain(folder), hour + 1, found, is_full=True)
            (folder / f"digest-{hour}").write_text(found.digest)
            rows.file.seek(0)
            with (folder / f"rows-{hour}").open("wb") as kept:
                shutil.copyfileobj(rows.file, kept)


# ---- what each line does; the work is measured, what comes before is not


def _join(folder: Path) -> object:
    one, other = (f"read_parquet('{folder}/{n}/full.parquet')" for n in (1, 2))
    differs = " or ".join(f"o.{name} is distinct from n.{name}" for name in COLUMNS.split(", ")[2:])
    with _engine(folder, "16GB") as db:
        return db.execute(f"select count(*) from {one} o full join {other} n using (level, address) where {differs}").fetchall()


def _compare(hour: int, *, told: bool) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        digest = (folder / "digest-0").read_text() if told else None
        with _engine(folder) as db, (folder / f"rows-{hour}").open("rb") as file:
            found = compare(db, Chain(folder, _FIRST), RowsFile(file), level="user", digest_before=digest)
        return found.changed_rows

    return run


LINES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "join": ("DuckDB, FULL JOIN of the two files", _join),
    "churn": ("1 % churn", _compare(1, told=True)),
    "read": ("nothing changed, read all the same", _compare(0, told=False)),
    "same": ("nothing changed, told by the digest", _compare(0, told=True)),
}


def _peak_mb() -> float:
    """Of this process alone: what getrusage says starts from the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def _measure(line: str, folder: Path) -> None:
    gc.collect()
    cpu = time.process_time()
    LINES[line][1](folder)
    print(time.process_time() - cpu, _peak_mb())


def _hourly(folder: Path, hours: int) -> None:
    """Versions of an audience at 1 % churn an hour: what they take on disk, and what the changes of the last hours cost to read."""
    chain, digest, cpu = Chain(folder / "hourly"), None, 0.0
    with _engine(folder, "512MB") as db:
        for hour in range(hours):
            rows = sort_rows(db, _rows(_HOURLY_MEMBERS, hour), COLUMNS)
            start = time.process_time()
            found = compare(db, chain, rows, level="user", digest_before=digest)
            is_full = wants_full(chain, found.changed_rows, db)
            write(chain, hour + 1, found, is_full=is_full)
            cpu += time.process_time() - start if hour else 0
            chain, digest = Chain(chain.folder, (*chain.versions, VersionFile(hour + 1, is_full))), found.digest
        changes, fulls = (sum(each.stat().st_size for each in chain.folder.glob(f"*/{name}.parquet")) / 1e6 for name in ("changes", "full"))
        number = sum(each.is_full for each in chain.versions)
        print(f"\n{hours} hourly versions of {_HOURLY_MEMBERS:,} members, 1 % churn each: {cpu / max(hours - 1, 1):.2f} CPU s a version")
        print(f"on disk: changes {changes:,.0f} MB, {changes / max(hours - 1, 1):.2f} MB a version; {number} full ones {fulls:,.0f} MB")
        for behind in (each for each in (1, 5, 10, 20, 50, 100) if each < hours):
            start = time.process_time()
            signed = chain.changes(hours - behind, hours)
            net = f"select count(*) from (select 1 from ({signed}) group by {COLUMNS} having sum(sign) <> 0)"
            changed = db.execute(net).fetchall()[0][0]
            print(f"planning from {behind:>3} versions behind: {changed:>9,} changes, {time.process_time() - start:.2f} CPU s")


def main(members: int, hours: int) -> None:
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, __file__, "prepare", str(members), name], check=True)  # noqa: S603
        print(f"{members:,} members with random ids")
        print(f"{'':38}{'CPU s':>9}{'peak MB':>9}{'join = 1':>11}")
        join = 0.0
        for line, (label, _) in LINES.items():
            output = subprocess.run([sys.executable, __file__, "line", line, name], check=True, capture_output=True, text=True).stdout  # noqa: S603
            used, peak = map(float, output.split())
            join = join or used
            print(f"{label:38}{used:>9.2f}{peak:>9,.0f}{used / join:>11.2f}", flush=True)
        if hours:
            _hourly(folder, hours)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["line", line, folder]:
            _measure(line, Path(folder))
        case ["prepare", members, folder]:
            _prepare(Path(folder), int(members))
        case numbers:
            main(*([int(each) for each in numbers] or [1_000_000, 12])[:2])
