"""The list of a connection, for types that make one for each: found or made before the first batch, made again when it is gone.

Its id is remembered on the connection, and one list belongs to one connection: a list of the same name that another connection has is
left to it, and ours gets the space's key into its name. Each run looks for it before it sends something; when a
destination stops a sync, it is looked for as well. Where it is gone, the open generation ends with what was answered (its records name
the old list), everyone is sent to the new one, exits that are owed too, and connection and log say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa

from engage_pipelines.delivery import generation as generations
from engage_pipelines.delivery import ledger as ledgers
from engage_pipelines.delivery import state
from engage_pipelines.delivery.batches import runs_of
from engage_pipelines.delivery.generation import Hands
from engage_pipelines.delivery.pacing import Pacing
from engage_pipelines.delivery.send import NoAnswerError
from engage_pipelines.delivery.state import LedgerRow
from engage_pipelines.delivery.stopping import PausedError
from engage_pipelines.delivery.work import open_work
from engage_pipelines.destinations.base import ListId, Pause, Settings, Stop, Target, Verdict
from engage_pipelines.domain.errors import SyncStoppedError
from engage_pipelines.domain.instants import to_iso
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.requests import raise_resync


@dataclass(frozen=True, slots=True)
class There:
    """A list that the connection may have; one that was made just now is surely nobody else's."""

    id: str
    new: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """Another connection that keeps a list."""

    list_id: str
    audience: str
    destination: str


class Ask(Protocol):
    """`find_list` or `create_list` of a type."""

    def __call__(self, *, settings: Settings, target: Target, deadline_s: float) -> ListId | Verdict | None: ...


LOOK_AGAIN_S = 60.0
"""So long a list that was seen is believed to be there: vendors show new ones with a delay, and a run asks for each level."""


def with_its_list(hands: Hands) -> Hands:
    """The same work once the connection has its list. Raises SyncStoppedError, PausedError or NoAnswerError."""
    known = hands.work.connection
    if known.external_id and hands.work.runtime.now_us() - known.list_seen_at < LOOK_AGAIN_S * SECOND_US:
        return hands
    there = _found_or_made(hands)
    if known.external_id in {None, there.id}:
        _remember(hands, there)
        return _opened_again(hands)
    return made_again(hands, there)


def is_gone(hands: Hands) -> bool:
    """Whether the list that the connection had is there no more."""
    known = hands.work.connection.external_id
    return known is not None and _find(hands, known) != ListId(known)


def made_again(hands: Hands, there: There | None = None) -> Hands:
    """Give the connection another list, `there` or one that is found by name or made now, and owe it everyone."""
    before, after = hands.work.connection.external_id, there or _found_or_made(hands)
    _end_open_generation(hands)
    now = hands.work.runtime.now_us()
    said = f"Its list {before} was gone at the destination on {to_iso(now)[:10]}; it is {after.id} since then, and everyone is sent to it."
    hands.lease.tell(lambda c: _owe_everyone(c, hands, after, now_us=now, note=said))
    hands.log(said)
    return _opened_again(hands)


def _owe_everyone(c: sa.Connection, hands: Hands, after: There, *, now_us: int, note: str) -> None:
    """Once alone: where the connection has the list already, a commit went through whose answer was lost."""
    con, mine = t.connection.c, hands.work.connection.id
    if c.execute(sa.select(con.external_id).where(con.id == mine)).scalar_one() == after.id:
        return
    e = t.exception.c
    anew = sa.case((e.seq >= 0, -e.seq - 1), else_=e.seq)
    kept = sa.and_(e.connection_id == mine, e.kind != "left_out")
    c.execute(sa.update(t.exception).where(kept).values(kind="retryable", retry_at=now_us, seq=anew))
    raise_resync(c, mine)
    _write(c, hands, after, now_us, note=note)


def _end_open_generation(hands: Hands) -> None:
    """What has no answer may have been told to the list that is gone: it is kept, and goes to the new one."""
    left, replicas = hands.work.runtime.database.ask(
        lambda c: (state.unsettled_generation(c, hands.work.connection.id), hands.work.replicas(c))
    )
    levels = {replica.name: replica.level for replica in replicas}
    if left is None or left.state != "open":
        return
    waiting = (found for rows in generations.pending_rows(hands, left, ["seq"]) for found in runs_of(rows.seqs))
    ledgers.acknowledge(hands.lease, left.id, [LedgerRow(lo, hi, "overtaken", "Its list was gone.", 0) for lo, hi in waiting])
    generations.settle(hands, left, levels[left.replica])


def _found_or_made(hands: Hands) -> There:
    """The list: the one that is remembered, else one of our name that no connection has, else a new one.

    Raises SyncStoppedError when other connections have all lists that ours may be called like.
    """
    known, target = hands.work.connection.external_id, replace(_target(hands), external_id=None)
    if known and _find(hands, known) == ListId(known):
        return There(known)
    taken: list[Owner] = []
    for named in (target, replace(target, mark=target.space)):
        found = _asked(hands, hands.work.type.find_list, named)
        if found is None:
            made = _asked(hands, hands.work.type.create_list, named)
            assert isinstance(made, ListId)
            hands.log(f"list={made.value} made at {hands.work.connection.destination_key}")
            return There(made.value, new=True)
        owner = hands.work.runtime.database.ask(partial(_owner, hands=hands, external_id=found.value))
        if owner is None:
            return There(found.value)
        taken.append(owner)
    raise SyncStoppedError(
        f"The list {taken[0].list_id} belongs to the connection of audience {taken[0].audience!r} to destination {taken[0].destination!r}.",
        "Give this connection's list another name (engage connect ... --list-setting), or end that connection.",
    )


def _find(hands: Hands, known: str) -> ListId | None:
    return _asked(hands, hands.work.type.find_list, replace(_target(hands), external_id=known))


def _asked(hands: Hands, ask: Ask, target: Target) -> ListId | None:
    """What the vendor says of the list, at the pace of its destination."""
    work, times = hands.work, hands.lease.times
    limits = work.type.limits_with(work.settings)
    clock = work.runtime.clock
    pacing = Pacing(
        work.runtime.database,
        hands.lease,
        work.connection.destination_id,
        monotonic=clock.monotonic,
        sleep=work.runtime.sleep,
    )
    # no action: it is asked at the pace of the type
    pacing.wait_until_allowed(limits.requests_per_s)
    deadline = hands.lease.begin_request(times.request_deadline_s)
    found = ask(settings=work.settings, target=target, deadline_s=times.request_deadline_s)
    if found is None or isinstance(found, ListId):
        hands.lease.answered(deadline)
        return found
    hands.lease.lost(deadline)
    if isinstance(found, Stop):
        raise SyncStoppedError(found.reason, found.remedy)
    if isinstance(found, Pause):
        pacing.pause(found.after_s, limits.requests_per_s)
        until = work.runtime.now_us() + round(found.after_s * SECOND_US)
        raise PausedError(f"The destination asks to wait for {found.after_s:.0f} s.", "It is tried again then.", until_us=until)
    raise NoAnswerError(f"The destination says nothing usable of the list: {_reason(found)}", "It is tried again by itself.")


def _reason(verdict: Verdict) -> str:
    return getattr(verdict, "reason", "it took the question for records")


def _target(hands: Hands) -> Target:
    return hands.work.outside("user", 0).target


def _owner(c: sa.Connection, hands: Hands, external_id: str) -> Owner | None:
    """The other connection that keeps the list of that id at the same account, if there is one."""
    con, mine = t.connection.c, hands.work.connection
    joined = t.connection.join(t.computation, t.computation.c.id == con.computation_id).join(
        t.destination, t.destination.c.id == con.destination_id
    )
    same = sa.and_(
        con.external_id == external_id, con.id != mine.id, con.removed_at.is_(None), t.destination.c.type == mine.destination_type
    )
    columns = (t.computation.c.key, t.destination.c.key.label("destination"), t.destination.c.id, t.destination.c.settings)
    for row in c.execute(sa.select(*columns).select_from(joined).where(same)).all():
        if row.id == mine.destination_id or _at_the_same_account(hands, row.settings):
            return Owner(external_id, row.key, row.destination)
    return None


def _at_the_same_account(hands: Hands, others: Mapping[str, Any]) -> bool:
    """Whether an id that both destinations know is one list: always where ids are unique, else by what the settings say of the account."""
    kind, desk = hands.work.type, hands.work.runtime.registry.desk
    if kind.list_ids_are_unique or others == hands.work.connection.settings:
        return True
    here, there = (
        kind.external_target(desk.describe(kind, said), Target("", "", "user")) for said in (hands.work.connection.settings, others)
    )
    return here is not None and here == there


def _remember(hands: Hands, there: There) -> None:
    hands.lease.tell(lambda c: _write(c, hands, there, hands.work.runtime.database.now_us(c)))


def _write(c: sa.Connection, hands: Hands, there: There, now_us: int, **values: str) -> None:
    """Raises NoAnswerError when another connection was quicker: two that look for their lists at once find the same one."""
    if not there.new and there.id != hands.work.connection.external_id and _owner(c, hands, there.id) is not None:
        raise NoAnswerError(
            f"Another connection has just taken the list {there.id}.", "It is tried again by itself, with a list of its own."
        )
    mine = t.connection.c.id == hands.work.connection.id
    c.execute(sa.update(t.connection).where(mine).values(external_id=there.id, list_seen_at=now_us, **values))


def _opened_again(hands: Hands) -> Hands:
    return replace(hands, work=open_work(hands.work.runtime, hands.work.connection.id))
