"""Held versions: released, so that connections get them, or discarded."""

import shutil

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Change, Row
from engage_pipelines.registry.requests import after_publish
from engage_pipelines.settings import Settings


def release(change: Change, audience: Row) -> int:
    """Publish the held version as it is; its number. Raises NotFoundError when none is held, ConflictError when it was overtaken."""
    held = _held(change, audience)
    if held.n < (audience.current_version or 0):
        raise ConflictError(f"Version {held.n} is older than the published version {audience.current_version}.", "Discard it.")
    _set_state(change, held, "published")
    change.c.execute(sa.update(t.computation).where(t.computation.c.id == audience.id).values(current_version=held.n))
    after_publish(change.c, audience.id, held.n, change.stamp)
    change.record("release", f"{audience.kind} {_space_key(change, audience)}/{audience.key}", after={"version": held.n, "size": held.size})
    return held.n


def discard(change: Change, audience: Row, settings: Settings) -> int:
    """Drop the held version and its files; its number. Raises NotFoundError when none is held."""
    held = _held(change, audience)
    _set_state(change, held, "discarded")
    space = _space_key(change, audience)
    shutil.rmtree(settings.snapshots_dir / space / audience.key / str(held.n), ignore_errors=True)
    change.record("discard", f"{audience.kind} {space}/{audience.key}", after={"version": held.n, "size": held.size})
    return held.n


def _space_key(change: Change, audience: Row) -> str:
    return change.c.execute(sa.select(t.space.c.key).where(t.space.c.id == audience.space_id)).scalar_one()


def _held(change: Change, audience: Row) -> Row:
    v = t.version.c
    query = sa.select(t.version).where(v.computation_id == audience.id, v.state == "held").order_by(v.n.desc())
    row = change.c.execute(query).first()
    if row is None:
        kind = audience.kind
        raise NotFoundError(
            f"{kind.capitalize()} {audience.key!r} has no version that is held.", f"See `engage {kind} show {audience.key}`."
        )
    return row


def _set_state(change: Change, held: Row, state: str) -> None:
    v = t.version.c
    change.c.execute(sa.update(t.version).where(v.computation_id == held.computation_id, v.n == held.n).values(state=state))
