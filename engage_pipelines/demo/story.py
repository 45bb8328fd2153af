"""The main job on sample data, told step by step: facts, audiences, a destination, its backfill, a second day, and only the changes.

Everything is real but the vendor: a server on this machine takes its place.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from engage_pipelines.demo.report import Sent, Shown, compare
from engage_pipelines.demo.stage import Stage
from engage_pipelines.domain.errors import StateError
from engage_pipelines.domain.instants import to_iso
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.sample import generate, generate_next_day
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.apply import apply_configuration
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.connections import connect
from engage_pipelines.registry.reading import read_folder
from engage_pipelines.registry.spaces import find_space
from engage_pipelines.settings import Settings

SPACE = "default"
SEED = 7
DAY_US = 86_400_000_000
WAIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Demo:
    """One telling of the story; `say` prints a line."""

    settings: Settings
    registry: Registry
    stage: Stage
    folder: Path
    end_us: int
    say: Callable[[str], None]

    @property
    def patience_s(self) -> float:
        """How long syncs may take, the time included in which the destination is left alone."""
        return WAIT_S + self.stage.rest_s

    def prepare(self) -> None:
        """Sample data into the facts, and the configuration into the registry."""
        first = self.folder / "day-1.jsonl"
        sample = self.stage.sample
        generate(first, seed=SEED, users=sample.users, accounts=sample.accounts, events=sample.events, end_us=self.end_us)
        self._ingest(first)
        self._apply(self.end_us)

    def connect(self) -> None:
        """Connect the destinations, as a person would while the daemon runs; the sensor does the rest."""
        for new in self.stage.connections:
            with self.registry.change() as change:
                connect(change, find_space(change.c, SPACE), new)
            calls = " ".join(f"--{call}" for call in new.calls)
            self.say(f"$ engage connect {new.audience} {new.destination} {calls}")

    def next_day(self) -> None:
        """A second day of calls; the instant of evaluation moves on, and the audiences are computed again."""
        second = self.folder / "day-2.jsonl"
        sample = self.stage.sample
        generate_next_day(second, seed=SEED, users=sample.users, accounts=sample.accounts, events=sample.next_events, end_us=self.end_us)
        self._ingest(second)
        self._apply(self.end_us + DAY_US)
        if self.stage.rest_s:
            self.say(f"  this type is told the changes once in {self.stage.rest_s:,} s at most, and so they wait until then")

    def wait(self, what: str, stopped: Callable[[], bool]) -> None:
        """Until nothing is owed any more. Raises StateError when something failed, or it takes too long."""
        began = time.monotonic()
        while not stopped():
            with self.registry.database.read() as c:
                owed, error = _owed(c)
            if error is not None:
                raise StateError(f"{what}: {error}", f"The daemon's words are in {self.folder / 'daemon.log'}.")
            if not owed:
                self.say(f"  {what}: done after {time.monotonic() - began:.1f} s")
                return
            if time.monotonic() - began > self.patience_s:
                raise StateError(
                    f"{what} takes more than {self.patience_s:.0f} s.", f"The daemon's words are in {self.folder / 'daemon.log'}."
                )
            time.sleep(0.1)
        raise StateError("The Dagster daemon ended before its work was done.", f"Its words are in {self.folder / 'daemon.log'}.")

    def report(self, before: Sequence[Sent]) -> tuple[list[Shown], list[Sent]]:
        """What was computed, what each destination was sent since `before`, and what it holds."""
        with self.registry.database.read() as c:
            return compare(c, self.settings, self.stage, before)

    def _apply(self, evaluate_at_us: int) -> None:
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        (config / "demo.yaml").write_text(self.stage.configuration(to_iso(evaluate_at_us)), encoding="utf-8")
        applied = [one for one in apply_configuration(self.registry, read_folder(config)) if one.verb != "unchanged"]
        self.say(f"$ engage apply {config}\n  " + ", ".join(f"{one.verb} {one.kind} {one.name}" for one in applied))

    def _ingest(self, path: Path) -> None:
        summary = ingest([str(path)], facts_dir=self.settings.facts_dir, space=SPACE, now_us=self.end_us)
        rate = summary.read / max(summary.seconds, 1e-9)
        self.say(f"$ engage ingest {path}\n  {summary.read:,} calls, {summary.new:,} new, {rate:,.0f} a second")


def _owed(c: sa.Connection) -> tuple[bool, str | None]:
    """Whether any request is owed, and the words of the first that failed."""
    owed = False
    for table in (t.compute_request, t.sync_request):
        for row in c.execute(sa.select(table.c.state, table.c.failures, table.c.error)):
            if row.state == "failed" or row.failures:
                return True, row.error or "an attempt failed"
            owed = owed or row.state == "owed"
    return owed, None
