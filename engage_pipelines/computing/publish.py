"""Publishing a version: the number is reserved, the files are put in place by rename, then one transaction flips the pointer.

A version is held instead when, against the last published one, its size fell by more than half and by 100 members, or its facts turned
empty: nothing of a held version is sent until someone releases it. A newer version supersedes a held one, which can then only be discarded.

Each transaction comes to the same when it is repeated: a patient database that goes away in the middle of one, or just after its commit, is
waited for and told again, and nothing is evaluated twice for that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import sqlalchemy as sa

from engage_pipelines.domain.errors import BusyError
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.versions import digest_of, published_versions
from engage_pipelines.snapshots.compare import Difference, Some, compare, compare_some
from engage_pipelines.snapshots.rows import Chain
from engage_pipelines.snapshots.sorted_rows import SortedRows
from engage_pipelines.snapshots.write import sweep, wants_full, write

HELD_WHEN_BELOW = 0.5
HELD_WHEN_FEWER_BY = 100


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation to publish; `fresh` are the rows of a version, or SQL over the connection that gives them, or looks them up.

    `some` is given when only some members may have other rows than in the newest version: the rows of the others are not looked up then.
    """

    computation_id: str
    level: str
    definition: str
    evaluated_at_us: int
    inputs_digest: str
    inputs_are_empty: bool
    fresh: str | SortedRows | Callable[[], str | SortedRows]
    next_change_at_us: int | None = None
    has_values: bool = False
    some: Some | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an evaluation; `n` is the version that was written, or the current one when nothing changed."""

    state: str
    n: int
    difference: Difference
    reason: str = ""


def publish(
    db: duckdb.DuckDBPyConnection,
    database: Database,
    folder: Path,
    evaluation: Evaluation,
    *,
    tell_connections: Callable[[sa.Connection, str, int], object],
) -> Published:
    """Write and publish the version, or nothing when it would say the same; `tell_connections` writes their sync requests in the same
    transaction. Raises BusyError when another process published meanwhile, StateError when the disk refuses.
    """
    chain, digest = database.ask(lambda c: _known(c, folder, evaluation))
    current = chain.versions[-1].n if chain.versions else 0
    difference, is_full = _compare(db, chain, evaluation, digest)
    if chain.versions and not difference.changed_rows:
        database.tell(lambda c: _note(c, evaluation, last_error=None))
        return Published("unchanged", current, difference)
    n = _reserve(database, evaluation, folder)
    write(chain, n, difference, is_full=is_full)
    reason = _why_held(evaluation, chain, difference, database)

    def finish(c: sa.Connection) -> bool:
        if _is_finished(c, evaluation, n):
            return True
        if not reason and not _flip(c, evaluation, current, n):
            return False
        _finish(c, evaluation, n, difference, is_full=is_full, reason=reason)
        if not reason:
            tell_connections(c, evaluation.computation_id, n)
        return True

    if not database.tell(finish):
        raise BusyError("Another run published a version of it meanwhile.", "Nothing is lost; it is computed again by itself.")
    return Published("held" if reason else "published", n, difference, reason)


def _known(c: sa.Connection, folder: Path, evaluation: Evaluation) -> tuple[Chain, str | None]:
    """The versions so far, and the digest of the current one."""
    chain = Chain.of(folder, published_versions(c, evaluation.computation_id), has_values=evaluation.has_values)
    return chain, digest_of(c, evaluation.computation_id, chain.versions[-1].n if chain.versions else 0)


def _compare(db: duckdb.DuckDBPyConnection, chain: Chain, evaluation: Evaluation, digest: str | None) -> tuple[Difference, bool]:
    """How the fresh rows differ, and whether they are to be written as a whole."""
    some = evaluation.some
    if some is not None and chain.versions and chain.versions[-1].n == some.n:
        difference = compare_some(db, chain, some, level=evaluation.level)
        if not difference.changed_rows or not wants_full(chain, difference.changed_rows, db):
            return difference, False
    fresh = evaluation.fresh() if callable(evaluation.fresh) else evaluation.fresh
    difference = compare(db, chain, fresh, level=evaluation.level, digest_before=digest)
    changes_nothing = chain.versions and not difference.changed_rows
    return difference, not changes_nothing and wants_full(chain, difference.changed_rows, db)


def _reserve(database: Database, evaluation: Evaluation, folder: Path) -> int:
    """A number nobody else has; what dead processes left behind goes."""
    v, mine = t.version.c, t.version.c.computation_id == evaluation.computation_id
    reserved: tuple[int, int] | None = None

    def reserve(c: sa.Connection) -> tuple[int, set[int]]:
        nonlocal reserved
        known = set(c.execute(sa.select(v.n).where(mine)).scalars())
        if reserved is not None and c.execute(sa.select(v.n).where(mine, v.n == reserved[0], v.created_at == reserved[1])).first():
            # the commit went through, and its answer was lost
            return reserved[0], known - {reserved[0]}
        n, now = max(known, default=0) + 1, database.now_us(c)
        c.execute(
            sa.insert(t.version).values(
                computation_id=evaluation.computation_id,
                n=n,
                state="reserved",
                evaluated_at=evaluation.evaluated_at_us,
                definition=evaluation.definition,
                created_at=now,
            )
        )
        c.execute(sa.update(t.version).where(mine, v.state == "held", v.n < n).values(state="superseded"))
        reserved = n, now
        return n, known

    n, known = database.tell(reserve)
    sweep(folder, known)
    return n


def _why_held(evaluation: Evaluation, chain: Chain, difference: Difference, database: Database) -> str:
    if not chain.versions:
        return ""
    v = t.version.c
    query = sa.select(v.size).where(v.computation_id == evaluation.computation_id, v.n == chain.versions[-1].n)
    before = int(database.ask(lambda c: c.execute(query).scalar_one()) or 0)
    if before and evaluation.inputs_are_empty:
        return f"The facts are empty; the last version has {before} members."
    fell_by = before - difference.size
    if fell_by >= HELD_WHEN_FEWER_BY and difference.size < before * HELD_WHEN_BELOW:
        return f"The size fell from {before} to {difference.size}: by more than half and by {HELD_WHEN_FEWER_BY} or more."
    return ""


def _is_finished(c: sa.Connection, evaluation: Evaluation, n: int) -> bool:
    """Whether a commit whose answer was lost has said what became of the version."""
    v = t.version.c
    state = c.execute(sa.select(v.state).where(v.computation_id == evaluation.computation_id, v.n == n)).scalar_one_or_none()
    return state != "reserved"


def _finish(c: sa.Connection, evaluation: Evaluation, n: int, difference: Difference, *, is_full: bool, reason: str) -> None:
    v = t.version.c
    c.execute(
        sa.update(t.version)
        .where(v.computation_id == evaluation.computation_id, v.n == n)
        .values(
            state="held" if reason else "published",
            size=difference.size,
            users=difference.users,
            entered=difference.entered,
            exited=difference.exited,
            updated=difference.updated if evaluation.has_values else None,
            digest=difference.digest,
            is_full=is_full,
            reason=reason or None,
        )
    )
    _note(c, evaluation, last_error=None)


def _flip(c: sa.Connection, evaluation: Evaluation, current: int, n: int) -> bool:
    """Make the version the current one, if the one it was compared with still is and is not newer; whether it was."""
    com = t.computation.c
    flipped = c.execute(
        sa.update(t.computation)
        .where(com.id == evaluation.computation_id, sa.func.coalesce(com.current_version, 0) == current)
        .values(current_version=n)
    ).rowcount
    return bool(flipped)


def _note(c: sa.Connection, evaluation: Evaluation, *, last_error: str | None) -> None:
    c.execute(
        sa.update(t.computation)
        .where(t.computation.c.id == evaluation.computation_id)
        .values(
            checked_at=evaluation.evaluated_at_us,
            inputs_digest=evaluation.inputs_digest,
            next_change_at=evaluation.next_change_at_us,
            last_error=last_error,
        )
    )
