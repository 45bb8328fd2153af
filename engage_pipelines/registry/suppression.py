"""Suppressed profiles: who is kept out of every audience of a space, until they are let in again.

The audit log never holds the identifier: it names the profile by a short digest, so that nothing of it is left when a profile is erased.
"""

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.spaces import enabled_computations
from engage_pipelines.registry.tables import suppression

KINDS = ("user_id", "email", "anonymous_id")


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as commands name one: one identifier of the profile, which stands for the whole of it."""

    kind: str
    id: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"{self.kind!r} is no identifier of people.", f"Name the profile by {', '.join(KINDS)}.")
        if not self.id:
            raise UsageError("The identifier is empty.", "Give the profile's user id, or say --by.")

    @property
    def digest(self) -> str:
        """What logs call it."""
        return hashlib.sha256(f"{self.kind}:{self.id}".encode()).hexdigest()[:12]


def suppress(change: Change, space: Row, profile: Profile) -> bool:
    """Keep the profile out of every audience from now on, and have all of them computed; False when it is suppressed already."""
    if is_suppressed(change.c, space.id, profile):
        return False
    values = {"space_id": space.id, "kind": profile.kind, "id": profile.id, "at": change.now, "actor": change.registry.actor}
    change.c.execute(suppression.insert().values(values))
    _record(change, space, "suppress", profile)
    return True


def unsuppress(change: Change, space: Row, profile: Profile) -> None:
    """Let the profile in again where definitions say so. Raises NotFoundError when it is not suppressed."""
    if not is_suppressed(change.c, space.id, profile):
        raise NotFoundError(f"No profile with that {profile.kind} is suppressed.", "See `engage profile list`.")
    forget(change.c, space.id, profile)
    _record(change, space, "unsuppress", profile)


def forget(c: sa.Connection, space_id: str, profile: Profile) -> None:
    """Take the row away and nothing else."""
    c.execute(suppression.delete().where(_of(space_id, profile)))


def is_suppressed(c: sa.Connection, space_id: str, profile: Profile) -> bool:
    return c.execute(sa.select(suppression).where(_of(space_id, profile))).first() is not None


def list_suppressed(c: sa.Connection, space_id: str) -> list[Row]:
    """The suppressed identifiers of the space, the earliest first."""
    s = suppression.c
    return list(c.execute(sa.select(suppression).where(s.space_id == space_id).order_by(s.at, s.kind, s.id)))


def _of(space_id: str, profile: Profile) -> sa.ColumnElement[bool]:
    s = suppression.c
    return sa.and_(s.space_id == space_id, s.kind == profile.kind, s.id == profile.id)


def _record(change: Change, space: Row, verb: str, profile: Profile) -> None:
    change.record(verb, f"profile {space.key}/#{profile.digest}")
    change.compute_soon(space.id, enabled_computations(change.c, space.id))
