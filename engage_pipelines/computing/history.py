"""The versions that an audience has and had, as the registry knows them; reads no facts and no files."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import version
from engage_pipelines.snapshots.rows import Chain, VersionFile

PUBLISHED = "published"


@dataclass(frozen=True, slots=True)
class Version:
    """One evaluation that was kept; `state` is published, held, superseded or discarded. Counts are of the audience's own level."""

    n: int
    state: str
    evaluated_at_us: int
    size: int
    users: int
    entered: int
    exited: int
    is_full: bool
    definition: str
    reason: str
    updated: int = 0
    """Of a trait, members with another value than in the version before."""


@dataclass(frozen=True, slots=True)
class History:
    """An audience or a trait with its versions, oldest first, and where their files lie."""

    key: str
    level: Level
    current: int | None
    folder: Path
    versions: tuple[Version, ...]
    kind: str = "audience"

    @property
    def published(self) -> tuple[Version, ...]:
        return tuple(each for each in self.versions if each.state == PUBLISHED)

    def until(self, at_us: int) -> "History":
        """The history as it was known of that instant: versions evaluated later are left out."""
        kept = tuple(each for each in self.versions if each.evaluated_at_us <= at_us)
        current = max((each.n for each in kept if each.state == PUBLISHED), default=None)
        return History(self.key, self.level, current, self.folder, kept, self.kind)

    @property
    def chain(self) -> Chain:
        files = tuple(VersionFile(each.n, each.is_full) for each in self.published)
        return Chain(self.folder, files, has_values=self.kind == "trait")

    def version(self, n: int | None = None) -> Version:
        """The published version of that number, or the current one. Raises NotFoundError with those there are."""
        wanted = self.current if n is None else n
        if wanted is None:
            raise NotFoundError(
                f"{self.kind.capitalize()} {self.key!r} has no published version yet.",
                f"Compute it: engage {self.kind} compute {self.key} --wait",
            )
        for each in self.published:
            if each.n == wanted:
                return each
        kept = [each.n for each in self.published]
        there = f"Published are {kept[0]} to {kept[-1]}." if kept else "None is published."
        raise NotFoundError(
            f"{self.kind.capitalize()} {self.key!r} has no published version {wanted}.",
            f"{there} See `engage {self.kind} history {self.key}`.",
        )


def load_history(c: sa.Connection, audience: Row, folder: Path) -> History:
    """Every version whose evaluation ended; numbers of dead processes are left out."""
    v = version.c
    query = sa.select(version).where(v.computation_id == audience.id, v.state != "reserved").order_by(v.n)
    versions = tuple(
        Version(
            n=row.n,
            state=row.state,
            evaluated_at_us=row.evaluated_at,
            size=row.size or 0,
            users=row.users or 0,
            entered=row.entered or 0,
            exited=row.exited or 0,
            is_full=bool(row.is_full),
            definition=row.definition,
            reason=row.reason or "",
            updated=row.updated or 0,
        )
        for row in c.execute(query)
    )
    return History(audience.key, Level(audience.level), audience.current_version, folder, versions, audience.kind)
