"""Taking events out of the facts, and forgetting their message ids, so that taking them in again brings them back.

Only track, page and screen calls are events: who people are, their traits and their accounts stay. Instants are UTC microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.facts.store import Write, open_engine, quoted, read_manifest, relation, state_errors, writing


@dataclass(frozen=True, slots=True)
class Doomed:
    """Which events: those that meet all that is said. `before_us` leaves out that instant, `from_us` takes it in."""

    before_us: int | None = None
    from_us: int | None = None
    event: str | None = None

    def __post_init__(self) -> None:
        if self.before_us is None and self.from_us is None and self.event is None:
            raise UsageError("Nothing says which events.", "Give at least one of --before, --after and --event.")

    @property
    def condition(self) -> str:
        """SQL that is true of them."""
        parts = {
            "ts < {}": self.before_us,
            "ts >= {}": self.from_us,
            "event = {}": None if self.event is None else quoted(self.event),
        }
        return " AND ".join(part.format(value) for part, value in parts.items() if value is not None)


def count_events(facts_dir: Path, space: str, doomed: Doomed) -> Mapping[str, int]:
    """How many events would go, by name, the most first. Raises StateError."""
    folder = facts_dir / space
    with state_errors(folder), open_engine(None) as engine:
        events = relation(folder, "events", read_manifest(folder).files("events"))
        query = f"SELECT event, count(*) FROM {events} WHERE {doomed.condition} GROUP BY 1 ORDER BY 2 DESC, 1"
        return dict(engine.execute(query).fetchall())


def delete_events(facts_dir: Path, space: str, doomed: Doomed) -> int:
    """Take the events away, all or none of them; how many. Raises BusyError or StateError, with the facts as before."""
    folder = facts_dir / space
    if not folder.exists():
        return 0
    with writing(folder) as write:
        # the files keep their order of rows
        write.engine.execute("SET preserve_insertion_order = true")
        taken = _take_away(write, doomed.condition)
        if taken:
            _forget_messages(write)
            write.commit()
        return taken


def _take_away(write: Write, condition: str) -> int:
    """Write the files that hold such events again, without them; their message ids are kept aside in `forgotten`."""
    write.engine.execute("CREATE TEMP TABLE forgotten (message_id VARCHAR)")
    taken = 0
    for name in write.left("events"):
        rows = write.relation("events", [name])
        found = write.engine.execute(f"INSERT INTO forgotten SELECT message_id FROM {rows} WHERE {condition}").fetchall()[0][0]
        if found:
            write.replace("events", [name], f"SELECT * FROM {rows} WHERE NOT ({condition})")
        taken += found
    return taken


def _forget_messages(write: Write) -> None:
    for name in write.left("messages"):
        rows = write.relation("messages", [name])
        known = f"SELECT 1 FROM {rows} m SEMI JOIN forgotten USING (message_id) LIMIT 1"
        if write.engine.execute(known).fetchall():
            write.replace("messages", [name], f"SELECT m.message_id FROM {rows} m ANTI JOIN forgotten USING (message_id)")
