"""One generation from plan to settlement: the only place where the steps of the protocol are carried out."""

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from engage_pipelines.delivery import generation_file, state
from engage_pipelines.delivery import ledger as ledgers
from engage_pipelines.delivery.acknowledging import joined
from engage_pipelines.delivery.batches import pending, runs_of
from engage_pipelines.delivery.enrich import add_riding
from engage_pipelines.delivery.freeze import write
from engage_pipelines.delivery.generation_file import GenerationWriter
from engage_pipelines.delivery.lease import Lease
from engage_pipelines.delivery.outcome import RETRY_AFTER_S, idle, outcome_of_rows
from engage_pipelines.delivery.plan import Planner, connect
from engage_pipelines.delivery.render import Renderer
from engage_pipelines.delivery.rows import Rows
from engage_pipelines.delivery.send import NoAnswerError, Sender
from engage_pipelines.delivery.state import ExceptionRow, GenerationRow, LedgerRow
from engage_pipelines.delivery.stopping import PausedError, StoppedError
from engage_pipelines.delivery.work import Work
from engage_pipelines.destinations.base import Accepted, ListRow, Pause, Stop
from engage_pipelines.domain.errors import SyncStoppedError
from engage_pipelines.domain.ownership import SECOND_US
from engage_pipelines.domain.protocol import EMPTIED, Range, ReplicaState, Settled, Step, is_behind, version_word

PROGRESS_EVERY_S = 5.0


@contextmanager
def planner_of(work: Work, level: str) -> Generator[Planner]:
    """A planner over the connection's versions, with a scratch folder of its own that goes with it."""
    scratch = work.folder / f".planning-{work.connection.id}"
    try:
        with connect(scratch) as db:
            yield Planner(db, work.chain, work.counted(level))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Hands:
    """What carrying out a step takes: the work, the lease it is done under, where to tell of it, and who plans."""

    work: Work
    lease: Lease
    log: Callable[[str], None]
    attempt: int = 1
    planner: Callable[[Work, str], AbstractContextManager[Planner]] = planner_of


def start(hands: Hands, replica: ReplicaState, step: Step) -> GenerationRow | None:
    """Plan a step and open its generation; None when nothing was owed and the base alone had to move, or not even that."""
    work, lease = hands.work, hands.lease
    _wait_until_quiet(hands)
    exceptions, now, evaluated_at = work.runtime.database.ask(lambda c: _before_planning(c, work, step))
    with hands.planner(work, replica.level) as planner:
        limit = None if work.type.writes_whole_list(work.settings) else work.runtime.max_changes
        planned = planner.plan(replica, step, exceptions, now_us=now, limit=limit)
        if not planned.changes:
            stale = planner.stale_left_out(exceptions, planned.settled)
            waiting = idle(exceptions, planned.settled.range, now)
            again = now + RETRY_AFTER_S[-1] * SECOND_US
            ledgers.move_base(lease, replica.name, planned.settled, stale=stale, idle=waiting, retry_at_us=again)
            return None
        if is_behind(step.target, work.connection.current):
            planner.mark_superseded(work.connection.current)
        current = work.connection.current
        generation = ledgers.reserve(lease, step, planned.settled, current=current, made_with=work.made_with, now_us=now)
        renderer = Renderer(
            generation=generation.id,
            level=replica.level,
            calls=work.connection.calls,
            envelope=work.envelope(evaluated_at_us=evaluated_at, planned_at_us=now),
            mappings=work.mappings,
            group_needs_a_user=work.type.group_needs_a_user,
            is_enriched=bool(work.riding),
        )
        if work.riding:
            add_riding(planner.db, work.riding, level=replica.level, now_us=now)
        with GenerationWriter(work.path(generation.id), has_values=work.chain.has_values) as writer:
            unsent = write(renderer, planner.db, writer, exceptions, work.folder)
    ledgers.open_generation(lease, generation.id, writer.count, unsent)
    hands.log(
        f"generation={generation.id} kind={step.kind} level={replica.level} version={version_word(step.target)} records={writer.count}"
    )
    return replace(generation, state="open")


def _before_planning(c: sa.Connection, work: Work, step: Step) -> tuple[list[ExceptionRow], int, int]:
    """The exceptions of the step's replica, the time, and the instant that the step's target is as of."""
    now = work.runtime.database.now_us(c)
    # nobody evaluated the version in which all have left: it is as of now
    as_of = now if step.target == EMPTIED else state.evaluated_at(c, work.connection.computation_id, step.target)
    return state.load_exceptions(c, work.connection.id, step.replica), now, as_of


def adopt(hands: Hands, generation: GenerationRow, level: str) -> None:
    """Go on with a generation that an earlier owner left open: what left since it was planned is not entered any more."""
    work = hands.work
    if not is_behind(generation.current_when_planned, work.connection.current):
        return
    entries = [rows.where(rows.entered) for rows in pending_rows(hands, generation, ["seq", "address", "entered", "digest"])]
    columns = [_column(entries, name) for name in ("address", "digest")]
    with hands.planner(work, level) as planner:
        gone = planner.overtaken(columns[0], work.connection.current, columns[1] if work.chain.has_values else None)
    rows = [LedgerRow(lo, hi, "overtaken", None, 0) for one in entries for lo, hi in runs_of(one.seqs[one.is_in("address", gone)])]
    if rows:
        ledgers.acknowledge(hands.lease, generation.id, rows)
        hands.log(f"generation={generation.id} overtaken={sum(row.hi - row.lo + 1 for row in rows)}")


def _column(stretches: Sequence[Rows], name: str) -> Any:
    """A column of text of all of them; of nobody where they have none."""
    found = [one.batch.column(name) for one in stretches if name in one.batch.schema.names]
    return pa.chunked_array(found, pa.string())


def deliver(hands: Hands, generation: GenerationRow, level: str) -> None:
    """Send what has no answer yet.

    Raises PausedError, StoppedError, NoAnswerError, SyncStoppedError or LeaseLostError; the ledger is true each time.
    """
    work = hands.work
    if work.type.writes_whole_list(work.settings):
        _deliver_list(hands, generation, level)
        return
    sender = Sender(
        work.runtime.database,
        hands.lease,
        work.outside(level, generation.id),
        generation=generation.id,
        attempt=hands.attempt,
        clock=work.runtime.clock,
        stop=work.runtime.stop,
    )
    progress = _Progress(hands, generation)
    try:
        sender.send(pending_rows(hands, generation), progress)
        # the next plan needs the memory that the bodies took
        pa.default_memory_pool().release_unused()
    except StoppedError as error:
        hands.log(f"generation={generation.id} stopped {progress.stands_at()}")
        raise StoppedError(f": generation {generation.id} stands at {progress.stands_at()}") from error


def settle(hands: Hands, generation: GenerationRow, level: str) -> Mapping[str, Mapping[str, int]]:
    """Close a generation whose records are all answered: the base moves, failures become exceptions. Gives records by call and fate."""
    work = hands.work
    settled = Settled(Range(generation.lo, generation.hi), generation.target, generation.sends_exits, generation.resync_no)
    database = work.runtime.database
    exceptions, ledger, now = database.ask(
        lambda c: (
            state.load_exceptions(c, work.connection.id, generation.replica),
            state.load_ledger(c, generation.id),
            database.now_us(c),
        )
    )
    is_smooth = not exceptions and all(row.answer == "delivered" for row in ledger)
    rows = generation_file.rows_of(work.path(generation.id), generation_file.COUNTED if is_smooth else generation_file.FATES)
    result = outcome_of_rows(rows, ledger, exceptions, generation=generation.id, now_us=now)
    if any(row.kind == "left_out" for row in exceptions):
        with hands.planner(work, level) as planner:
            result = replace(result, clear=[*result.clear, *planner.stale_left_out(exceptions, settled)])
    ledgers.settle(hands.lease, generation, settled, result, now_us=now)
    _drop_files(hands, {generation.id, *(row.generation for row in exceptions)})
    return result.counts


def give_up(hands: Hands, generation: GenerationRow) -> None:
    """Abandon a generation that was never opened, with the file that its planner may have left."""
    ledgers.abandon(hands.lease, generation.id)
    hands.work.path(generation.id).unlink(missing_ok=True)


def _drop_files(hands: Hands, numbers: set[int]) -> None:
    """Of these settled generations only files stay whose records are kept as exceptions."""
    needed = hands.work.runtime.database.ask(lambda c: state.generations_of_exceptions(c, hands.work.connection.id))
    for number in numbers - needed:
        hands.work.path(number).unlink(missing_ok=True)


def _deliver_list(hands: Hands, generation: GenerationRow, level: str) -> None:
    """Replace the whole list by the members of the target."""
    work = hands.work
    outside = work.outside(level, generation.id)
    deadline = hands.lease.begin_request(0.0)
    with hands.planner(work, level) as planner:
        rows = planner.members(generation.target)
        verdict = work.type.write_list(_list_rows(rows), settings=work.settings, target=outside.target)
    hands.lease.answered(deadline)
    if isinstance(verdict, Accepted):
        ranges = [found for rows in pending_rows(hands, generation, ["seq"]) for found in runs_of(rows.seqs)]
        ledgers.acknowledge(hands.lease, generation.id, joined([LedgerRow(lo, hi, "delivered", None, 1) for lo, hi in ranges]))
        return
    if isinstance(verdict, Stop):
        raise SyncStoppedError(verdict.reason, verdict.remedy)
    if isinstance(verdict, Pause):
        raise PausedError(f"The destination asks to wait for {verdict.after_s:.0f} s.", "It is tried again then.")
    raise NoAnswerError(verdict.reason, "It is tried again by itself.")


def _list_rows(chunks: Iterator[list[tuple[str, str | None]]]) -> Iterator[list[ListRow]]:
    for chunk in chunks:
        yield [_list_row(address, email) for address, email in chunk]


def _list_row(address: str, email: str | None) -> ListRow:
    kind, _, value = address.partition(":")
    return ListRow(address, value if kind == "user_id" else None, value if kind == "email" else email)


def pending_rows(hands: Hands, generation: GenerationRow, columns: Sequence[str] | None = None) -> Iterator[Rows]:
    """The rows that have no answer yet, all columns of them or some."""
    ledger = hands.work.runtime.database.ask(lambda c: state.load_ledger(c, generation.id))
    return pending(generation_file.rows_of(hands.work.path(generation.id), columns), ledger)


def _wait_until_quiet(hands: Hands) -> None:
    """After a request without an answer no next generation opens before its deadline: it might still take effect."""
    wait_us = hands.lease.quiet_in_us
    if wait_us > 0:
        hands.log(f"waiting={wait_us / SECOND_US:.0f}s for the deadline of an unanswered request")
        hands.work.runtime.sleep(wait_us / SECOND_US)


class _Progress:
    """Tells every few seconds how far a generation is, at what rate, and how long it will take."""

    def __init__(self, hands: Hands, generation: GenerationRow) -> None:
        self._total, ledger = hands.work.runtime.database.ask(
            lambda c: (state.record_count(c, generation.id), state.load_ledger(c, generation.id))
        )
        done = sum(row.hi - row.lo + 1 for row in ledger)
        self._hands, self._generation = hands, generation
        self._done = self._done_before = done
        self._began = self._told = time.monotonic()

    def stands_at(self) -> str:
        """How far the generation is."""
        return f"sent={self._done} of={self._total}"

    def __call__(self, sent: int) -> None:
        self._done += sent
        now = time.monotonic()
        if now - self._told < PROGRESS_EVERY_S:
            return
        self._told = now
        rate = (self._done - self._done_before) / (now - self._began)
        left_s = (self._total - self._done) / rate if rate else 0
        self._hands.log(f"generation={self._generation.id} {self.stands_at()} rate={rate:.0f}/s left={left_s:.0f}s")
