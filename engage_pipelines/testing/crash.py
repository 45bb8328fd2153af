"""Real syncs in real processes that are killed: a world to deliver from, a witness to deliver to, and the tally of what went wrong.

    with Ground(home, database_url) as ground:
        ground.publish(members)
        ground.run(die_at_commit=7)          # SIGKILL before the seventh transaction of the run is committed
        ground.run(die_at="after open")      # SIGKILL at a named point (`crash_points`)
        ground.run(kill_after_s=0.2)         # SIGKILL from outside
        ground.run_until_done()
        ground.tally()

A ground is one of membership, or with `has_values` one of a computed trait, whose values are then what is published, by user id.

A nursery (`python -m engage_pipelines.testing.crash`) has everything imported and forks a process for each run, before it opens anything;
so a run is a process of its own that costs no start. Leases are short, so that a killed owner is not waited for long; requests are small
and answers gathered few at a time, so that what a kill may cost is far less than a generation.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

import duckdb
import orjson
import sqlalchemy as sa
from sqlalchemy import event

from engage_pipelines.computing.publish import Evaluation, publish
from engage_pipelines.delivery import acknowledging
from engage_pipelines.delivery import state as states
from engage_pipelines.delivery.batches import pending
from engage_pipelines.delivery.generation_file import rows_of
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.sync import Sync
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.destinations.segment import Segment
from engage_pipelines.domain.computation import Level, TraitType
from engage_pipelines.domain.errors import BusyError, EngageError
from engage_pipelines.domain.ownership import LeaseTimes
from engage_pipelines.registry import audiences, connections, destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Change, Registry, open_registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.ids import random_id
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.requests import Stamp, after_publish
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.traits import NewTrait, create_trait
from engage_pipelines.settings import read_settings
from engage_pipelines.testing.crash_points import die_at
from engage_pipelines.testing.faults import Faults, Rates
from engage_pipelines.testing.receiver import Receiver

KEY = "vips"
TIMES = LeaseTimes(ttl_s=1.0, heartbeat_s=0.2, request_deadline_s=0.8)
MAX_CHANGES = 30
BATCH, ANSWERS_GATHERED = 3, 2
"""Records that one request carries, and answers that wait to be written together."""
UNRECORDED = (Segment.limits.max_in_flight + 2 * ANSWERS_GATHERED) * BATCH
"""What one kill costs at most: the records of the requests under way, of the answers that wait, and of those being written just then."""
FAILED = 3
"""How a run ends that failed in words: it is tried again."""
TAKEN = ("p_ghost", "p_half")
"""Faults after which a request that was taken is sent again."""

Members = Collection[str] | Mapping[str, Any]
"""User ids; of a trait each with its value."""


class Witness(Receiver):
    """A receiver that remembers what came about whom, in order, also what it has seen before: each state and its message id."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults=faults)
        self.came: dict[tuple[str, str], list[tuple[Any, str]]] = {}

    def _apply(self, call: dict[str, Any]) -> None:
        told = call.get("traits") or call.get("properties") or {}
        self.came.setdefault((call["type"], str(call["userId"])), []).append((told[KEY], call["messageId"]))
        super()._apply(call)

    def repeated(self) -> Iterator[tuple[str, Any, str, str]]:
        """User, state and both ids where a state came again under another id, with no other state in between."""
        for (_, user), pairs in self._pairs():
            for (before, one), (after, other) in pairs:
                if before == after and one != other:
                    yield user, before, one, other

    def overtaken(self) -> int:
        """How often something older came after something newer, which a destination that drops no repeats would go back to."""
        return sum(_generation(one) > _generation(other) for _, pairs in self._pairs() for (_, one), (_, other) in pairs)

    def ids_that_came(self) -> set[str]:
        """Every message id that came, also in requests of a process that has died since."""
        assert self._server is not None
        # connections are taken in order: with this answer the server knows of every earlier one
        with urlopen(f"{self.url}/_state") as answer:  # noqa: S310 (our own)
            answer.read()
        while not self._server.is_idle:
            time.sleep(0.001)
        with self._lock:
            return {message_id for came in self.came.values() for _, message_id in came}

    def _pairs(self) -> Iterator[tuple[tuple[str, str], Iterator[tuple[tuple[Any, str], tuple[Any, str]]]]]:
        with self._lock:
            copied = {place: list(came) for place, came in self.came.items()}
        for place, came in copied.items():
            yield place, pairwise(came)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a destination got wrong, and how many records it was sent again under the same id.

    `most_resends` is what the kills may have cost: what had come but stood in no ledger when a process died, and a batch for each answer
    that the network lost. `unrecorded` is the most that one kill left so, which is to be no more than UNRECORDED.
    """

    lost: int
    doubled: int
    inversions: int
    resends: int
    most_resends: int
    unrecorded: int

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, in words."""
        found = {
            f"{self.lost} lost": self.lost,
            f"{self.doubled} doubled under a new id": self.doubled,
            f"{self.inversions} older after a newer one": self.inversions,
            f"{self.resends} sent again, of at most {self.most_resends}": self.resends > self.most_resends,
            f"{self.unrecorded} records of one kill in no ledger, of at most {UNRECORDED}": self.unrecorded > UNRECORDED,
        }
        return [words for words, is_so in found.items() if is_so]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its exit code, negative for a signal, and what it said."""

    code: int
    said: str


@dataclass
class Ground:
    """A connection of `KEY` to a witness, on a database of its own or a given one; `kills` are the runs that were."""

    home: Path
    database_url: str | None = None
    rates: Rates = field(default_factory=Rates)
    has_values: bool = False
    kills: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        settings = read_settings(_environment(self.home, self.database_url))
        if self.database_url:
            database = Database(self.database_url, check_schema=False)
            database.upgrade()
            database.close()
        self.registry: Registry = open_registry(settings, types=destination_types())
        self.snapshots, self.generations = settings.snapshots_dir, settings.generations_dir
        self.witness = Witness(Faults(self.rates))
        self.witness.__enter__()
        self._connect()
        arguments = [sys.executable, "-m", "engage_pipelines.testing.crash", str(self.home), self.database_url or "", self.connection_id]
        self._nursery = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own)
        self.members: dict[str, Any] = {}
        self.everyone: set[str] = set()
        self._unrecorded: list[int] = []
        self._numbers: dict[str, int] = {}
        self._versions: dict[int, dict[str, Any]] = {}
        self._evaluated_at = 1_700_000_000_000_000
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.wait()
        self._nursery.stdout.close()
        self.witness.__exit__(None, None, None)
        self.registry.database.close()

    def publish(self, members: Members) -> None:
        """Publish a version with these user ids, of a trait with their values."""
        self.members = dict(members) if isinstance(members, Mapping) else dict.fromkeys(members, True)
        self.everyone |= self.members.keys()
        self._evaluated_at += 3_600_000_000
        fresh = sorted(self.members.keys() - self._numbers.keys())
        self._numbers |= {m: len(self._numbers) + n for n, m in enumerate(fresh, start=1)}
        of = self.computation
        evaluation = Evaluation(of.id, of.level, of.definition, self._evaluated_at, "", False, self._rows(), has_values=self.has_values)
        with duckdb.connect() as db:
            publish(
                db,
                self.registry.database,
                self.snapshots / self.space.key / KEY,
                evaluation,
                tell_connections=lambda c, id_, n: after_publish(c, id_, n, Stamp(self._evaluated_at, "crash")),
            )
        with self.registry.database.read() as c:
            n = c.execute(sa.select(t.computation.c.current_version).where(t.computation.c.id == of.id)).scalar_one()
        self._versions[n] = self.members

    def _rows(self) -> str:
        """SQL for the rows of the version."""
        row = "('user', 'user_id:{}', {}, true, false, 1::smallint, 1::smallint, '{}')"
        rows = ", ".join(row.format(m, self._numbers[m], orjson.dumps(value).decode()) for m, value in sorted(self.members.items()))
        columns = "level, address, member, current, sole, first_order, last_order"
        return f"select {columns}{', value' if self.has_values else ''} from (values {rows}) t({columns}, value)"

    def run(
        self,
        *,
        die_at_commit: int = 0,
        die_at: str = "",
        kill_after_s: float = 0.0,
        after_requests: int = 0,
        signal_number: int = signal.SIGKILL,
    ) -> Ended:
        """Run the sync in a process of its own, and end it as asked; it ends by itself otherwise."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{die_at or die_at_commit}\n")
        self._nursery.stdin.flush()
        pid = int(self._nursery.stdout.readline())
        over = threading.Event()
        killer = threading.Thread(target=self._kill, args=(pid, over, kill_after_s, after_requests, signal_number))
        killer.start()
        said: list[str] = []
        while not (line := self._nursery.stdout.readline()).startswith("ended "):
            said.append(line)
        over.set()
        killer.join()
        ended = Ended(int(line.split()[1]), "".join(said))
        if ended.code == -signal.SIGKILL:
            self.kills += 1
            self._unrecorded.append(self._count_unrecorded())
        return ended

    def run_until_done(self, tries: int = 60) -> None:
        """Run until a run ends well."""
        said = ""
        for _ in range(tries):
            ended = self.run()
            if ended.code == 0:
                return
            said = ended.said
        raise AssertionError(f"the sync does not come to its end: {said}")

    def tally(self) -> Tally:
        """What the witness makes of it, after a run that ended well."""
        state, lost_answers = self.witness.state(), self.witness.faults.counts()
        holds = {user: traits[KEY] for user, traits in state["users"].items()}
        wrong = sum(holds.get(user, self._nothing) != self._state(self.members, user) for user in self.everyone)
        most = sum(self._unrecorded) + BATCH * sum(lost_answers.get(fault, 0) for fault in TAKEN)
        overtaken = max(self.witness.overtaken(), state["inversions"])
        return Tally(wrong, self._doubled(), overtaken, state["duplicates"], most, max(self._unrecorded, default=0))

    @property
    def _nothing(self) -> Any:
        """What is told of who is in no version, or not any more."""
        return None if self.has_values else False

    def _state(self, members: Mapping[str, Any], user: str) -> Any:
        return members.get(user, self._nothing)

    def _doubled(self) -> int:
        """States that came again under another id though every version between had them; one that was another in between is sent anew,
        also where the destination refused or never saw what came between."""
        with self.registry.database.read() as c:
            targets = {row.id: row.target for row in c.execute(sa.select(t.generation.c.id, t.generation.c.target))}
        count = 0
        for user, value, one, other in self.witness.repeated():
            between = range(targets[_generation(one)], targets[_generation(other)] + 1)
            count += all(self._state(self._versions[n], user) == value for n in between if n in self._versions)
        return count

    def _count_unrecorded(self) -> int:
        """Of what came, what no ledger knows: the next run sends it again."""
        came = self.witness.ids_that_came()
        with self.registry.database.read() as c:
            left = states.unsettled_generation(c, self.connection_id)
            ledger = states.load_ledger(c, left.id) if left is not None else []
        if left is None or left.state == "planning":
            return 0
        file = self.generations / f"{left.id}.parquet"
        return sum(one in came for rows in pending(rows_of(file), ledger) for one in rows.message_ids())

    def _kill(self, pid: int, over: threading.Event, after_s: float, after_requests: int, number: int) -> None:
        if not after_s and not after_requests:
            return
        begun = self.witness.state()["requests"]
        if after_s:
            over.wait(after_s)
        while after_requests and not over.is_set() and self.witness.state()["requests"] < begun + after_requests:
            over.wait(0.002)
        # the nursery reaps a process only before it begins the next: the number is still its own
        if not over.is_set():
            os.kill(pid, number)

    def _connect(self) -> None:
        secret = self.home.resolve() / "write_key"
        secret.write_text("key")
        secret.chmod(0o600)
        with self.registry.change() as change:
            self.space = create_space(change, NewSpace(random_id("crash")))
            self.computation = self._compute(change)
            new = destinations.NewDestination(
                key="crm", type="segment", name="CRM", settings={"write_key": f"file:{secret}", "endpoint": self.witness.url}
            )
            destinations.create_destination(change, self.space, new)
            connected = connections.connect(change, self.space, connections.NewConnection(KEY, "crm", calls=("identify", "track")))
        self.connection_id = connected.connection.id

    def _compute(self, change: Change) -> Row:
        if self.has_values:
            return create_trait(change, self.space, NewTrait(KEY, Level.USER, "event('Order Completed').count()", TraitType.COMPUTED))
        return audiences.create_audience(change, self.space, audiences.NewAudience(KEY, Level.USER, "trait('plan') = 'business'"))


def _generation(message_id: str) -> int:
    return int(message_id.removeprefix("personas_").partition(":")[0])


def _environment(home: Path, database_url: str | None) -> dict[str, str]:
    own = {"ENGAGE_HOME": str(home), "ENGAGE_ACTOR": "crash"}
    return own | ({"ENGAGE_DATABASE_URL": database_url} if database_url else {})


def _sync(home: Path, database_url: str | None, connection_id: str, ends: str) -> int:
    """The work of one process; `ends` is the commit to die at, 0, or a named point."""
    settings = read_settings(_environment(home, database_url))
    registry = open_registry(settings, types=destination_types())
    Segment.limits = replace(Segment.limits, max_batch_records=BATCH)
    acknowledging.MOST_WAITING = ANSWERS_GATHERED
    runtime = replace(Runtime(settings, registry), max_changes=MAX_CHANGES, lease_times=TIMES)
    if not ends.isdigit():
        die_at(ends)
    elif int(ends):
        _die_at_commit(int(ends))
    try:
        for number in range(100):
            sync = Sync(runtime, connection_id, None, run_id=f"run-{os.getpid()}-{number}", log=_say)
            sync.plan()
            sync.send("user")
            if not sync.settle().more_owed:
                return 0
    except (EngageError, BusyError) as error:
        _say(str(error))
    return FAILED


def _die_at_commit(number: int) -> None:
    left = number

    def die(_connection: sa.Connection) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(sa.Engine, "commit", die)


def _say(text: str) -> None:
    """Say a line in one piece, which a death cannot cut short of its end: the next one would be taken for a part of it."""
    os.write(sys.stdout.fileno(), f"{text}\n".encode())


def nursery(home: Path, database_url: str | None, connection_id: str) -> None:
    """For each line, the commit to die at, 0, or a named point, fork a run; say its number, and at its end how it ended."""
    child = 0
    for line in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if child == 0:
            os._exit(_sync(home, database_url, connection_id, line.strip()))
        _say(str(child))
        end = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert end is not None
        _say(f"ended {end.si_status if end.si_code == os.CLD_EXITED else -end.si_status}")


if __name__ == "__main__":
    nursery(Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3])
