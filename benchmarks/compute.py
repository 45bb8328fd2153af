"""What evaluating audiences costs, beside what people would write by hand in DuckDB over the same columns.

Run as `python benchmarks/compute.py [profiles] [events]`; 1,000,000 and 10,000,000 take minutes. Every line is a process of its own, so
that its memory is its own: CPU seconds of the line's work alone, peak memory of its process, and the ratio to the floor of the same run.
"""

import gc
import importlib
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import postgres

from engage_pipelines.computing.addresses import Addresses
from engage_pipelines.computing.compute import compute_audiences
from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.facts.evaluate import Members, evaluate
from engage_pipelines.facts.sample_fast import END_US, EVENT_NAMES, generate_tables
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.facts.store import read_manifest
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import open_registry
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.settings import read_settings
from engage_pipelines.snapshots.compare import compare
from engage_pipelines.snapshots.rows import Chain, VersionFile
from engage_pipelines.snapshots.write import write

_DAY_US = 86_400_000_000
_AT_US = END_US - 1
# a condition in the query language, and the same by hand: {0} is the filter of the event name and what the language says of time
LEAVES = (
    ("event('{e}').within(7 days).count() >= 1", "count(*) FILTER ({n} AND {d7}) >= 1"),
    ("event('{e}').within(30 days).count() >= 3", "count(*) FILTER ({n} AND {d30}) >= 3"),
    ("event('{e}').within(60 days).count() < 1", "count(*) FILTER ({n} AND {d60}) < 1"),
    ("event('{e}').where(property('category') = 'c3').count() >= 1", "count(*) FILTER ({n} AND {category} = 'c3') >= 1"),
    ("event('{e}').within(30 days).where(property('total') > 50).count() >= 2", "count(*) FILTER ({n} AND {d30} AND {total} > 50) >= 2"),
    ("event('{e}').sum(property('total')) >= 120", "sum({total}::DECIMAL(18, 6)) FILTER ({n}) >= 120"),
    ("event('{e}').max(property('total')) > 95", "max({total}) FILTER ({n}) > 95"),
    ("event('{e}').avg(property('quantity')) < 2", "avg({quantity}) FILTER ({n}) < 2"),
    ("event('{e}').last(property('category')) = 'c1'", "arg_max({category}, ts) FILTER ({n}) = 'c1'"),
    ("event('{e}').where(property('coupon').exists()).count() >= 1", "count(*) FILTER ({n} AND {coupon} IS NOT NULL) >= 1"),
    ("event('{e}').where(property('page.path').contains('pric')).count() >= 2", "count(*) FILTER ({n} AND contains({path}, 'pric')) >= 2"),
    ("event('{e}').unique(property('category')).count() >= 3", "count(DISTINCT {category}) FILTER ({n}) >= 3"),
)
SKEWED = "skewed"
"""The folder, inside that of the facts, of as many rows that all have one event name."""
PUBLISHED = 4
_TRAITS = ("trait('plan') = 'business'", "trait('score') >= 500", "trait('plan').one_of('free', 'trial')")


def audiences(number: int) -> list[Audience]:
    """Each of two or three conditions; a hundred of them ask every condition on every event."""
    made: list[Audience] = []
    for place in range(number):
        texts = [LEAVES[(place + shift * 5) % 12][0].format(e=EVENT_NAMES[(place // 12 + shift * 3 + place) % 10]) for shift in range(2)]
        third = _TRAITS[place % 3] if place % 2 else "NOT " + LEAVES[(place * 7) % 12][0].format(e=EVENT_NAMES[(place + 7) % 10])
        joined = f"{texts[0]} AND ({texts[1]} OR {third})"
        made.append(Audience(f"a{place}", f"a{place}", Level.USER, joined))
    return made


def _columns(facts: Path) -> dict[str, str]:
    manifest = read_manifest(facts / "default")
    return {each.path[-1]: each.column for each in next(iter(manifest.promoted.values()))}


def by_hand(facts: Path, leaves: list[str]) -> str:
    """One query over everything: every condition of every audience as one FILTER."""
    files = ", ".join(f"'{facts / 'default' / name}'" for name in read_manifest(facts / "default").files("events"))
    links = ", ".join(f"'{facts / 'default' / name}'" for name in read_manifest(facts / "default").files("links"))
    listed = ", ".join(f"{leaf} AS b{number}" for number, leaf in enumerate(leaves))
    return f"""SELECT coalesce(l.to_subject, e.subject) AS member, {listed}
        FROM read_parquet([{files}]) e
        LEFT JOIN (SELECT from_subject, to_subject FROM read_parquet([{links}])) l ON l.from_subject = e.subject
        WHERE ts <= {_AT_US} GROUP BY 1"""


def _leaf_by_hand(facts: Path, place: int, event: str) -> str:
    return _by_hand(facts, LEAVES[place][1], event)


def _by_hand(facts: Path, text: str, event: str) -> str:
    windows = {f"d{days}": f"ts >= {_AT_US - days * _DAY_US}" for days in (7, 30, 60)}
    return text.format(n=f"event = '{event}'", **windows, **_columns(facts))


# ---- what each line does; the work is measured, what comes before is not


def _floor_all(facts: Path) -> Callable[[], object]:
    leaves = [_leaf_by_hand(facts, place, event) for event in EVENT_NAMES for place in range(12)]
    return lambda: _run_by_hand(facts, leaves)


def _floor_one(facts: Path) -> Callable[[], object]:
    return lambda: _run_by_hand(facts, [_leaf_by_hand(facts, 4, EVENT_NAMES[0]), _leaf_by_hand(facts, 0, EVENT_NAMES[1])])


def _run_by_hand(facts: Path, leaves: list[str]) -> int:
    with duckdb.connect(config={"temp_directory": str(facts / "spill")}) as engine:
        listed = " + ".join(f"count(*) FILTER (b{number})" for number in range(len(leaves)))
        return engine.execute(f"SELECT {listed} FROM ({by_hand(facts, leaves)})").fetchall()[0][0]


def _ours(number: int, *, together: bool) -> Callable[[Path], Callable[[], object]]:
    def prepare(facts: Path) -> Callable[[], object]:
        wanted = audiences(number)
        return lambda: [_evaluate(facts, each) for each in ([wanted] if together else [[one] for one in wanted])]

    return prepare


def _evaluate(facts: Path, wanted: list[Audience]) -> int:
    with open_session(facts, "default", at_us=_AT_US) as session:
        return sum(_sizes(session, wanted))


def _sizes(session: FactsSession, wanted: list[Audience]) -> list[int]:
    found = evaluate(session, wanted)
    failed = [str(each.error) for each in found.values() if each.error]
    if failed:
        raise SystemExit(failed[0])
    return [len(each.members.users) for each in found.values() if each.members]


def _one() -> Audience:
    text = f"{LEAVES[4][0].format(e=EVENT_NAMES[0])} AND {LEAVES[0][0].format(e=EVENT_NAMES[1])}"
    return replace(audiences(1)[0], definition=text)


def _one_like_the_floor(facts: Path) -> Callable[[], object]:
    one = _one()
    return lambda: _evaluate(facts, [one])


def _skewed_texts() -> list[tuple[str, str]]:
    """40 conditions on one event name, in the query language and by hand."""
    event = EVENT_NAMES[0]
    made: list[tuple[str, str]] = []
    for number in range(40):
        place, more = number % 10, number // 10
        text, by_hand_ = LEAVES[place]
        for bound in (">= 1", ">= 3", "< 1", ">= 2", ">= 120", "> 95", "< 2"):
            if text.endswith(bound):
                higher = bound.split()[0] + f" {int(bound.split()[1]) + more}"
                text, by_hand_ = text.removesuffix(bound) + higher, by_hand_.removesuffix(bound) + higher
                break
        else:
            text, by_hand_ = text.replace("'c1'", f"'c{1 + more}'"), by_hand_.replace("'c1'", f"'c{1 + more}'")
        made.append((text.format(e=event), by_hand_))
    return made


def _skewed(facts: Path) -> Callable[[], object]:
    wanted = [Audience(f"s{number}", f"s{number}", Level.USER, text) for number, (text, _) in enumerate(_skewed_texts())]
    return lambda: _evaluate(facts / SKEWED, wanted)


def _floor_skewed(facts: Path) -> Callable[[], object]:
    leaves = [_by_hand(facts / SKEWED, text, EVENT_NAMES[0]) for _, text in _skewed_texts()]
    return lambda: _run_by_hand(facts / SKEWED, leaves)


def _polars(facts: Path) -> Callable[[], object]:
    """The conditions of the first floor in polars, its quickest way: columns of two files, grouped by subject, then joined."""
    polars = importlib.import_module("polars")
    folder, columns = facts / "default", _columns(facts)
    wanted = dict(zip(EVENT_NAMES, read_manifest(folder).files("events"), strict=False))

    def work() -> int:
        col = polars.col
        links = polars.scan_parquet([folder / name for name in read_manifest(folder).files("links")]).select("from_subject", "to_subject")
        found = []
        for event, days, least, more in ((EVENT_NAMES[0], 30, 2, col(columns["total"]) > 50), (EVENT_NAMES[1], 7, 1, True)):
            rows = polars.scan_parquet(folder / wanted[event]).filter(
                (col("event") == event) & (col("ts") >= _AT_US - days * _DAY_US) & (col("ts") <= _AT_US) & more
            )
            member = polars.coalesce("to_subject", "subject").alias("member")
            by_member = rows.join(links, left_on="subject", right_on="from_subject", how="left").group_by(member).len()
            found.append(by_member.filter(col("len") >= least))
        return found[0].join(found[1], on="member", how="semi").select(polars.len()).collect().item()

    return work


def _session_alone(facts: Path) -> Callable[[], object]:
    return lambda: _evaluate(facts, [])


def _publish(facts: Path, *, again: bool) -> Callable[[], object]:
    """For each of a few audiences the rows of half of the people, a user id and an address each, compared and written.

    `again`: over a version of the same rows.
    """
    session = open_session(facts, "default", at_us=_AT_US)
    count = session.connection.execute("SELECT count(*) FROM users").fetchall()[0][0]
    addresses = Addresses(session)
    addresses.share()
    folder = facts / f"versions-{again}"
    shutil.rmtree(folder, ignore_errors=True)

    def publish(number: int, versions: tuple[VersionFile, ...], digest: str | None) -> str:
        start = number * count // (2 * PUBLISHED)
        people = np.arange(1 + start, 1 + start + count // 2, dtype=np.int64)
        chain, rows = Chain(folder / str(number), versions), addresses.of(Members(people, people[:0]), Level.USER)
        found = compare(session.connection, chain, rows, level="user", digest_before=digest)
        if found.changed_rows:
            write(chain, len(versions) + 1, found, is_full=True)
        return found.digest

    if not again:
        return lambda: [publish(number, (), None) for number in range(PUBLISHED)]
    before = [publish(number, (), None) for number in range(PUBLISHED)]
    return lambda: [publish(number, (VersionFile(1, is_full=True),), digest) for number, digest in enumerate(before)]


def _run(facts: Path) -> Callable[[], object]:
    """All that `engage audience compute` does: every audience evaluated for the first time, and its first version published."""
    home = facts / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(
        facts / "default", home / "facts" / "default", copy_function=os.link, ignore=shutil.ignore_patterns("shelf", "kept", "spill")
    )
    settings = read_settings({"ENGAGE_HOME": str(home), "ENGAGE_ACTOR": "benchmark"})
    registry = open_registry(settings, types={})
    wanted = audiences(100)
    with registry.change() as change:
        space = create_space(change, NewSpace("default", evaluate_at=_AT_US))
        for each in wanted:
            new = NewAudience(each.key, each.level, each.definition, options={"compute_without_destinations": True})
            create_audience(change, space, new)

    def work() -> None:
        computed = compute_audiences(settings, registry, "default", [each.key for each in wanted], log=lambda _: None)
        rows = sum(each.size or 0 for each in computed)
        if not rows or any(each.state != "published" for each in computed):
            raise SystemExit(f"not all were published: {computed[0]}")
        print(f"{rows:,} members", file=sys.stderr)

    return work


def _share(facts: Path) -> Callable[[], object]:
    session = open_session(facts, "default", at_us=_AT_US)
    return lambda: Addresses(session).share()


def _publish_first(facts: Path) -> Callable[[], object]:
    return _publish(facts, again=False)


def _publish_again(facts: Path) -> Callable[[], object]:
    return _publish(facts, again=True)


LINES: dict[str, tuple[str, Callable[[Path], Callable[[], object]]]] = {
    "floor-one": ("by hand, 2 conditions, one query", _floor_one),
    "one": ("1 audience, the same 2 conditions", _one_like_the_floor),
    "session": ("opening the facts, no audience", _session_alone),
    "polars": ("polars, the same 2 conditions", _polars),
    "floor-all": ("by hand, 120 conditions, one query", _floor_all),
    "ten": ("10 audiences, shared scan", _ours(10, together=True)),
    "ten-apart": ("10 audiences, one by one", _ours(10, together=False)),
    "hundred": ("100 audiences, shared scan", _ours(100, together=True)),
    "floor-skewed": ("by hand, 40 conditions on one event name", _floor_skewed),
    "skewed": ("40 conditions on one event name", _skewed),
    "postgres-floor": ("PostgreSQL by hand, the same 2 conditions", postgres.by_hand(_AT_US)),
    "postgres-people": ("PostgreSQL, people read over, no audience", postgres.ours([], _AT_US)),
    "postgres-one": ("PostgreSQL, 1 audience, the same 2", postgres.ours([_one()], _AT_US)),
    "postgres-ten": ("PostgreSQL, 10 audiences", postgres.ours(audiences(10), _AT_US)),
    "run": ("100 audiences, evaluated and published", _run),
    "share": ("rows of everyone, once a run", _share),
    "publish": ("publishing first versions of 4 audiences", _publish_first),
    "publish-again": ("comparing the same rows of them again", _publish_again),
}
POSTGRES_UPTO = 1_000_000
"""Events; more take too long to load."""
FLOORS = {
    "postgres-one": "postgres-floor",
    "one": "floor-one",
    "polars": "floor-one",
    "hundred": "floor-all",
    "ten": "floor-all",
    "ten-apart": "floor-all",
    "skewed": "floor-skewed",
}


def _peak_mb() -> float:
    """Of this process alone: what getrusage says starts from the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


def _measure(line: str, facts: Path) -> None:
    """Run as a process of its own; prints CPU seconds and the peak of memory before and after."""
    work = LINES[line][1](facts)
    gc.collect()
    cpu, wall, elsewhere = time.process_time(), time.perf_counter(), postgres.server_cpu(facts)
    work()
    used, waited = time.process_time() - cpu + postgres.server_cpu(facts) - elsewhere, time.perf_counter() - wall
    print(used, waited, _peak_mb())


def main(profiles: int, events: int, kept: Path | None, lines: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="engage-bench-") as name:
        facts = kept or Path(name)
        if not (facts / "default").exists():
            generate_tables(facts, "default", users=profiles, events=events)
            generate_tables(facts / SKEWED, "default", users=profiles, events=events, names=1)
        print(f"{profiles:,} profiles, {events:,} events, {len(EVENT_NAMES)} event names")
        print(f"{'':42}{'CPU s':>9}{'wall s':>9}{'peak MB':>9}{'floor = 1':>11}")
        chosen = lines or list(LINES)
        with_server = events <= POSTGRES_UPTO and postgres.is_there() and any(line.startswith("postgres") for line in chosen)
        with postgres.served(facts, Path(name) / "postgres") if with_server else nullcontext():
            _print(facts, chosen, profiles)


def _why_not(line: str, facts: Path) -> str:
    if line == "polars" and importlib.util.find_spec("polars") is None:
        return "pip install polars"
    return f"at {POSTGRES_UPTO:,} events" if line.startswith("postgres") and not postgres.is_served(facts) else ""


def _print(facts: Path, lines: Sequence[str], profiles: int) -> None:
    cpu: dict[str, float] = {}
    for line in lines:
        if why := _why_not(line, facts):
            print(f"{LINES[line][0]:42}  SKIPPED: {why}")
            continue
        words = [sys.executable, __file__, "line", line, str(facts)]
        output = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
        used, waited, peak = map(float, output.split())
        cpu[line] = used
        floor = cpu.get(FLOORS.get(line, ""))
        shown = f"{LINES[line][0]:42}{used:>9.2f}{waited:>9.2f}{peak:>9,.0f}{f'{used / floor:.2f}' if floor else '':>11}"
        if line.startswith("publish"):
            shown += f"{used * 1e6 / (PUBLISHED * (profiles // 2) * 2):>10.2f} us a row"
        print(shown, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["line"]:
        _measure(sys.argv[2], Path(sys.argv[3]))
    else:
        numbers = [int(each) for each in sys.argv[1:3]]
        folder = Path(sys.argv[3]) if len(sys.argv) > 3 else None
        profiles, events = numbers or (100_000, 1_000_000)
        main(profiles, events, folder, sys.argv[4:])
