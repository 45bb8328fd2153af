"""What evaluating again costs when 10,000 events came and two hours passed, beside asking everyone in the same run.

Run as `python benchmarks/incremental.py [profiles] [events] [folder]`; 1,000,000 and 10,000,000 take minutes. The events come in by way of
an ingest, and rows leave windows of 7, 30 and 60 days meanwhile. Every line is a process of its own: CPU seconds of the line's work alone,
the peak of memory of its process, and the ratio to the full evaluation. Going on means all of it: reading what was kept, finding out what
moved, asking, putting together the members of 100 audiences, and keeping that for the next time. The last line holds both to each other.
"""

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
from compute import audiences

from engage_pipelines.facts.evaluate import Outcome, run_plan
from engage_pipelines.facts.incremental import evaluate_on, keep_advanced, keep_whole
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.kept import load_kept, save_kept
from engage_pipelines.facts.plan import plan_of
from engage_pipelines.facts.sample_fast import END_US, EVENT_NAMES, generate_tables
from engage_pipelines.facts.session import open_session
from engage_pipelines.facts.store import KEPT

BEFORE_US = END_US
PASSED_US = 7_200_000_000
NOW_US = BEFORE_US + PASSED_US
NEW_EVENTS = 10_000
_WANTED = audiences(100)


def _kept_path(facts: Path) -> Path:
    return facts / "default" / KEPT / "before.kept"


def _evaluate(facts: Path, at_us: int, *, keep: bool) -> Outcome:
    """Everyone is asked."""
    with open_session(facts, "default", at_us=at_us) as session:
        plan = plan_of(at_us, _WANTED, ())
        outcome = run_plan(session, plan)
        kept = keep_whole(session, outcome, facts / "default", plan) if keep else None
        if kept:
            save_kept(_kept_path(facts), kept)
        return outcome


def _go_on(facts: Path) -> Outcome:
    kept = load_kept(_kept_path(facts))
    advanced = kept and evaluate_on(facts, "default", NOW_US, kept, _WANTED)
    if not advanced:
        raise SystemExit("what was kept could not be used")
    with advanced.session:
        save_kept(facts / "default" / KEPT / "now.kept", keep_advanced(advanced, facts / "default"))
    return advanced.outcome


def _after_one(facts: Path) -> Callable[[], object]:
    _go_on(facts)
    return lambda: _go_on(facts)


def _comparison(facts: Path) -> Callable[[], object]:
    def compare() -> None:
        one, other = _go_on(facts), _evaluate(facts, NOW_US, keep=False)
        users, moved = one.combiner.people.users, 0
        kept = load_kept(_kept_path(facts))
        assert kept
        for key, bits in one.combiner.audiences.items():
            found, expected, before = (users.flags(np.asarray(each)) for each in (bits, other.combiner.audiences[key], kept.audiences[key]))
            if not np.array_equal(found, expected):
                raise SystemExit(f"{key} has other members than a full evaluation gives")
            moved += int((found != before).sum())
        print(f"the same members in {len(_WANTED)} audiences; {moved:,} entered or left since", file=sys.stderr)

    return compare


LINES: dict[str, tuple[str, Callable[[Path], Callable[[], object]]]] = {
    "before": ("everyone asked, and kept", lambda facts: lambda: _evaluate(facts, BEFORE_US, keep=True)),
    "full": ("10,000 events later: everyone asked", lambda facts: lambda: _evaluate(facts, NOW_US, keep=False)),
    "first": ("gone on, shelves made on the way", lambda facts: lambda: _go_on(facts)),
    "process": ("gone on, by a process that just started", lambda facts: lambda: _go_on(facts)),
    "warm": ("gone on, by a process that did before", _after_one),
    "comparison": ("", _comparison),
}


def _measure(line: str, facts: Path) -> None:
    """Run as a process of its own."""
    work = LINES[line][1](facts)
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    used, waited = time.process_time() - cpu, time.perf_counter() - wall
    print(used, waited, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _take_in(facts: Path, profiles: int) -> None:
    random = Random(7)  # noqa: S311 - for sizes, not for secrets
    path = facts / "calls.jsonl"
    with path.open("w") as file:
        for number in range(NEW_EVENTS):
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=BEFORE_US + random.randrange(PASSED_US))
            properties = {
                "total": round(random.random() * 100, 2),
                "quantity": random.randint(1, 5),
                "category": f"c{random.randint(0, 19)}",
            }
            call = {"type": "track", "event": random.choice(EVENT_NAMES), "messageId": f"new-{number}", "timestamp": at.isoformat()}
            person = 1 + int(random.random() ** 2 * profiles) % profiles
            call |= {"userId": f"u-{person}", "properties": properties | {"currency": "EUR", "page": {"path": "/pricing", "width": 1280}}}
            file.write(json.dumps(call) + "\n")
    ingest([str(path)], facts_dir=facts, space="default", now_us=NOW_US)


def _linked(source: str, target: str) -> object:
    return shutil.copy2(source, target) if source.endswith((".json", ".lock")) else os.link(source, target)


def main(profiles: int, events: int, given: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="engage-bench-", dir=given.parent if given else None) as name:
        facts = Path(name)
        if given:
            ignored = shutil.ignore_patterns("shelf", "kept", "spill")
            shutil.copytree(given / "default", facts / "default", copy_function=_linked, ignore=ignored)
        else:
            generate_tables(facts, "default", users=profiles, events=events)
        print(f"{profiles:,} profiles, {events:,} events, 100 audiences")
        print(f"{'':44}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}{'full = 1':>10}")
        cpu: dict[str, float] = {}
        for line, (shown, _) in LINES.items():
            command = [sys.executable, __file__, "line", line, str(facts)]
            used, waited, peak = map(float, subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split())  # noqa: S603
            cpu[line] = used
            if shown:
                ratio = f"{used / cpu['full']:.3f}" if "full" in cpu else ""
                print(f"{shown:44}{used:>9.2f}{waited:>9.2f}{peak:>9,.0f}{ratio:>10}", flush=True)
            if line == "before":
                _take_in(facts, profiles)
        shelves = sum(each.stat().st_size for each in (facts / "default" / "shelf").rglob("*.arrow"))
        print(f"shelves {shelves / 1e6:,.0f} MB, kept {_kept_path(facts).stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["line"]:
        _measure(sys.argv[2], Path(sys.argv[3]))
    else:
        profiles, events = [int(each) for each in sys.argv[1:3]] or (100_000, 1_000_000)
        main(profiles, events, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
