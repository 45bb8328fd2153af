"""What was computed, what was sent, and what is there: side by side, with a verdict for each connection.

The stage knows both: it reads the versions' files, and asks the destination itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from rich.table import Table

from engage_pipelines.demo.stage import Joined, Stage
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.settings import Settings
from engage_pipelines.snapshots.rows import Chain


@dataclass(frozen=True, slots=True)
class Sent:
    """Records that a connection was sent so far, by call and direction."""

    connection_id: str
    counts: Counter[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of the report: one member set of one connection."""

    audience: str
    destination: str
    level: str
    members: int
    sent: str
    holds: int
    agrees: bool


def compare(c: sa.Connection, settings: Settings, stage: Stage, before: Sequence[Sent]) -> tuple[list[Shown], list[Sent]]:
    """A line per connection and level; what was sent counts from `before` on."""
    known = {sent.connection_id: sent.counts for sent in before}
    shown: list[Shown] = []
    after: list[Sent] = []
    for connection in _connections(c, settings):
        sent = Sent(connection.id, _counts(c, connection.id))
        after.append(sent)
        news = sent.counts - known.get(connection.id, Counter())
        for level in ("account", "user") if "group" in connection.calls else ("user",):
            want = stage.members(connection, level)
            holds = stage.held(connection, level)
            calls = ("group",) if level == "account" else ("identify", "track")
            sent_words = _in_words(news, calls)
            shown.append(Shown(connection.audience, connection.destination, level, len(want), sent_words, len(holds), want == holds))
    return shown, after


def _in_words(counts: Counter[str], calls: Sequence[str]) -> str:
    """`Group +4 -14`: records that say in and records that say out; refused ones are named."""
    words: list[str] = []
    for call in calls:
        entered, exited, rejected = (counts[f"{call} {fate}"] for fate in ("entered", "exited", "rejected"))
        if entered or exited or rejected:
            refused = f" ({rejected:,} refused)" if rejected else ""
            words.append(f"{call.capitalize()} +{entered:,} -{exited:,}{refused}")
    return ", ".join(words) or "nothing"


def table(title: str, shown: Sequence[Shown]) -> Table:
    """The lines as people see them."""
    made = Table("Audience", "Destination", "Whose", "Members", "Sent", "Destination holds", "Agrees", title=title, title_justify="left")
    for line in shown:
        whose = "accounts" if line.level == "account" else "users"
        verdict = "yes" if line.agrees else "NO"
        made.add_row(line.audience, line.destination, whose, f"{line.members:,}", line.sent, f"{line.holds:,}", verdict)
    return made


def _connections(c: sa.Connection, settings: Settings) -> list[Joined]:
    con, com, dst, spa = t.connection.c, t.computation.c, t.destination.c, t.space.c
    rows = c.execute(
        sa.select(con.id, con.calls, com.id.label("computation_id"), com.key, com.level, com.current_version, dst.key.label("to"), dst.type)
        .add_columns(spa.key.label("space"))
        .select_from(t.connection.join(t.computation).join(t.destination, con.destination_id == dst.id))
        .join(t.space, com.space_id == spa.id)
        .where(con.removed_at.is_(None))
        .order_by(com.key, dst.key)
    ).all()
    return [
        Joined(
            row.id, row.key, row.level, row.current_version or 0, row.to, row.type, tuple(row.calls),
            Chain.of(settings.snapshots_dir / row.space / row.key, published_versions(c, row.computation_id)),
        )
        for row in rows
    ]  # fmt: skip


def _counts(c: sa.Connection, connection_id: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    g = t.generation.c
    for fates in c.execute(sa.select(g.counts).where(g.connection_id == connection_id, g.state == "settled")).scalars():
        for call, numbers in (fates or {}).items():
            counts.update({f"{call} {fate}": number for fate, number in numbers.items()})
    return counts
