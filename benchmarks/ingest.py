"""What taking calls in costs, beside a plain loop that only parses the same lines.

Run as `python benchmarks/ingest.py [calls] [file]`; 10,000,000 take minutes, and the file is kept and used again. Prints calls per
CPU-second and per second, the peak of memory, and the ratio to `orjson.loads` line by line in the same run; both numbers move with the
machine, the ratio much less.
"""

import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.sample import generate

_END_US = 1_772_323_200_000_000


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _parse(path: Path) -> None:
    with path.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def _peak_mb() -> float:
    """Of this process alone: what getrusage says starts from the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _count(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def main(calls: int, given: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="engage-bench-", dir=given.parent if given else None) as name:
        folder = Path(name)
        warm, path = folder / "warm.jsonl", given or folder / "calls.jsonl"
        generate(warm, seed=2, users=10, accounts=2, events=100, end_us=_END_US)
        ingest([str(warm)], facts_dir=folder / "warm", space="default", now_us=0)
        if not path.exists():
            generate(path, users=max(calls // 20, 10), accounts=max(calls // 200, 2), events=calls, end_us=_END_US)
        written = _count(path)
        parse_cpu, _ = _measured(lambda: _parse(path))
        size_mb = path.stat().st_size / 1e6
        first = _measured(lambda: ingest([str(path)], facts_dir=folder / "facts", space="default", now_us=0))
        again = _measured(lambda: ingest([str(path)], facts_dir=folder / "facts", space="default", now_us=0))
    print(f"{written:,} calls, {size_mb:,.0f} MB")
    print(f"{'':28}{'calls / CPU-s':>16}{'calls / s':>14}{'CPU, parse = 1':>17}")
    print(f"{'orjson.loads line by line':28}{written / parse_cpu:>16,.0f}{'':>14}{1.0:>17.2f}")
    for label, (cpu, wall) in (("ingest", first), ("ingest again, all known", again)):
        print(f"{label:28}{written / cpu:>16,.0f}{written / wall:>14,.0f}{cpu / parse_cpu:>17.2f}")
    print(f"peak memory {_peak_mb():,.0f} MB (limit 512 MB)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
