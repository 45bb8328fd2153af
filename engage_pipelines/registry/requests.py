"""Requests: what someone asked to be synced or computed, each once.

Writing takes a plain connection and a Stamp, so that whoever publishes a version can owe the syncs in the same transaction. What becomes
of a request is told in `attempts`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.connection import RequestKind, State
from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.ids import IdSource, random_id
from engage_pipelines.registry.paces import try_again_at_once
from engage_pipelines.registry.tables import base, compute_request, connection, replica, sync_request


@dataclass(frozen=True, slots=True)
class Stamp:
    """When something is written, in whose name, and where ids come from."""

    now: int
    actor: str
    new_id: IdSource = random_id


def owe_sync(c: sa.Connection, connection_id: str, kind: str, stamp: Stamp) -> str:
    """The id of the owed request of this kind that no run works on yet, written if there is none.

    An ordinary sync is contained in a backfill or resync that waits.
    """
    kinds = [str(kind)] if kind != RequestKind.SYNC else [str(one) for one in RequestKind]
    waiting = sa.and_(
        sync_request.c.connection_id == connection_id,
        sync_request.c.state == "owed",
        sync_request.c.started_at.is_(None),
        sync_request.c.kind.in_(kinds),
    )
    owed = c.execute(sa.select(sync_request.c.id).where(waiting).order_by(sync_request.c.created_at)).scalars().first()
    if owed is not None:
        # one that never failed only waits for the time of a record that is tried again; what is asked for now does not
        unfailed = sa.and_(sync_request.c.id == owed, sync_request.c.failures == 0)
        c.execute(sync_request.update().where(unfailed).values(not_before=0))
        return owed
    request_id = stamp.new_id("req")
    values = {"id": request_id, "connection_id": connection_id, "kind": str(kind), "state": "owed"}
    c.execute(sync_request.insert().values(**values, requested_by=stamp.actor, created_at=stamp.now))
    return request_id


def owe_compute(c: sa.Connection, space_id: str, computation_ids: Iterable[str], stamp: Stamp) -> str:
    """The id of a new request for these computations; a run that works on an older one may have read the old definitions."""
    request_id = stamp.new_id("cmp")
    values = {"id": request_id, "space_id": space_id, "computation_ids": sorted(computation_ids), "state": "owed"}
    c.execute(compute_request.insert().values(**values, requested_by=stamp.actor, created_at=stamp.now))
    return request_id


def compute_is_owed(c: sa.Connection, space_id: str, computation_id: str) -> bool:
    """True when a request that no run works on yet includes the computation."""
    waiting = sa.and_(compute_request.c.space_id == space_id, compute_request.c.state == "owed", compute_request.c.started_at.is_(None))
    return any(computation_id in ids for ids in c.execute(sa.select(compute_request.c.computation_ids).where(waiting)).scalars())


def told_replicas(c: sa.Connection, connection_id: str) -> set[str]:
    """The replicas that hold something outside already, or may: a run may have begun to tell of them."""
    told = sa.and_(base.c.connection_id == connection_id, sa.or_(base.c.version > 0, connection.c.token > 0))
    joined = base.join(connection, connection.c.id == base.c.connection_id)
    return set(c.execute(sa.select(base.c.replica).select_from(joined).where(told)).scalars())


def raise_resync(c: sa.Connection, connection_id: str, names: Iterable[str] | None = None) -> set[str]:
    """These replicas, or all, owe every address again; one that was never told anything owes it anyway. Returns those that were raised."""
    told = told_replicas(c, connection_id)
    raised = told if names is None else told & set(names)
    mine = sa.and_(replica.c.connection_id == connection_id, replica.c.name.in_(raised))
    c.execute(replica.update().where(mine).values(resync_no=replica.c.resync_no + 1))
    return raised


def after_publish(c: sa.Connection, computation_id: str, n: int, stamp: Stamp) -> list[str]:
    """Owe a sync of version `n` on every connection of the computation, in the transaction that publishes it; returns the requests.

    A connection made without a backfill before there was a version starts from this one: its members are what it holds.
    """
    live = sa.and_(connection.c.computation_id == computation_id, connection.c.removed_at.is_(None))
    written: list[str] = []
    for row in c.execute(sa.select(connection).where(live).order_by(connection.c.id).with_for_update()).all():
        if row.options.get("backfill") is False and row.leaves_since is None and _start_from(c, row.id, n):
            continue
        if row.state in {State.ACTIVE, State.AWAITING_MAPPING, State.STOPPED}:
            written.append(owe_sync(c, row.id, RequestKind.SYNC, stamp))
    return written


def request_sync(c: sa.Connection, row: Any, kind: RequestKind, stamp: Stamp) -> str:
    """Ask for a sync by hand; a backfill or a resync sends every member again. Raises ConflictError for a paused connection."""
    if row.state == State.PAUSED:
        raise ConflictError("The connection is paused.", "Connect again to resume it: engage connect AUDIENCE DESTINATION.")
    if kind is not RequestKind.SYNC:
        raise_resync(c, row.id)
    try_again_at_once(c, row.destination_id)
    return owe_sync(c, row.id, kind, stamp)


def _start_from(c: sa.Connection, connection_id: str, n: int) -> bool:
    """True when nothing was told yet and the base now stands at version `n`."""
    mine = base.c.connection_id == connection_id
    if c.execute(sa.select(base.c.version).where(mine, base.c.version > 0)).first():
        return False
    c.execute(base.update().where(mine).values(version=n, exits_version=n))
    return True
