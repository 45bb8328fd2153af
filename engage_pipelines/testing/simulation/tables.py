"""The store of a simulated connection in the product's own tables, moved by the product's own transactions, on SQLite or PostgreSQL.

    with Tables(url) as tables:
        play(seed, make_store=tables.store)

Every transaction of the lease and the ledger is made on the database, and what it left there is read back by the product's own queries, so
that a history runs over what the database holds. A disk that is full breaks a transaction off before its commit; an answer that is lost
breaks it off after, and it is made again as the product does. The rules are the product's: none can be left out here.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

import sqlalchemy as sa

from engage_pipelines.delivery import ledger, state
from engage_pipelines.delivery.lease import Lease, Taking
from engage_pipelines.delivery.state import GenerationRow, LedgerRow, Settlement
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import LeaseLostError, UsageError
from engage_pipelines.domain.ownership import SECOND_US, LeaseTimes
from engage_pipelines.domain.protocol import Range, Settled, Step
from engage_pipelines.registry import audiences, connections, destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database, Patience
from engage_pipelines.registry.database_errors import DatabaseAwayError
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.spaces import NewSpace, create_space, list_spaces
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.settings import read_settings
from engage_pipelines.testing.simulation.rules import Rules
from engage_pipelines.testing.simulation.store import FencedError, FullError, Generation, Replica, Store, Switch, Taken

T = TypeVar("T")
_FIRST_NUMBER = {True: "DELETE FROM sqlite_sequence WHERE name = 'generation'", False: "ALTER SEQUENCE generation_id_seq RESTART"}


@dataclass
class Trouble:
    """What is the matter with the database just now, and what its clock says."""

    now: int = 0
    is_full: bool = False
    loses_answer: bool = False


class TroubledDatabase(Database):
    """A real database with a clock that is set from outside, and transactions that break off."""

    trouble: Trouble

    def now_us(self, connection: sa.Connection) -> int:
        return self.trouble.now

    def look_at_clock_us(self) -> int:
        return self.trouble.now

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        with super().write() as c:
            yield c
            if self.trouble.is_full:
                raise FullError
        if self.trouble.loses_answer:
            self.trouble.loses_answer = False
            raise DatabaseAwayError("The answer to the commit was lost.")


class Tables:
    """One connection in a database that is otherwise empty, as a context manager; afterwards the database is empty again."""

    def __init__(self, url: str) -> None:
        opened = TroubledDatabase(url, check_schema=False)
        opened.trouble = Trouble()
        opened.upgrade()
        self.database = opened
        self.patient = opened.patient(Patience(60.0, lambda _s: None))
        self.connection_id = ""

    def __enter__(self) -> Self:
        with self.database.read() as c:
            if list_spaces(c):
                self.database.close()
                raise UsageError("The database has spaces in it; histories are played in one of their own.", "Name an empty database.")
        settings = read_settings({})
        registry = Registry(self.database, destination_types(), SettingsDesk(Vault(()), settings.files_dir), actor="simulation")
        with registry.change() as change:
            space = create_space(change, NewSpace("simulation"))
            audiences.create_audience(change, space, audiences.NewAudience("vips", Level.USER, "trait('plan') = 'business'"))
            new = destinations.NewDestination(key="hook", type="webhook", name="Hook", settings={"url": "https://hook.test/"})
            destinations.create_destination(change, space, new)
            connected = connections.connect(change, space, connections.NewConnection("vips", "hook"))
        self.connection_id = connected.connection.id
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.database.trouble = Trouble()
        with self.database.write() as c:
            for table in reversed(t.metadata.sorted_tables):
                c.execute(sa.delete(table))
        self.database.close()

    def store(self, rules: Rules, times: LeaseTimes, switches: list[Switch], replicas: dict[str, Replica]) -> "TableStore":
        """The store of a new history: nothing is left of the one before. Raises UsageError where a rule is left out."""
        if rules != Rules():
            raise UsageError("On a database the rules are the product's own.", "Leave out --off or --database.")
        trouble = self.database.trouble = self.patient.trouble = Trouble()  # type: ignore[attr-defined]
        mine = self.connection_id
        with self.database.write() as c:
            # the numbers of generations begin anew, so that a seed tells the same story each time
            c.exec_driver_sql(_FIRST_NUMBER[self.database.is_sqlite])
            of_mine = sa.select(t.generation.c.id).where(t.generation.c.connection_id == mine)
            c.execute(sa.delete(t.ledger).where(t.ledger.c.generation.in_(of_mine)))
            for table in (t.generation, t.exception, t.base, t.replica):
                c.execute(sa.delete(table).where(table.c.connection_id == mine))
            c.execute(sa.update(t.connection).where(t.connection.c.id == mine).values(token=0, lease_owner=None, lease_until=0))
            for one in replicas.values():
                c.execute(sa.insert(t.replica).values(connection_id=mine, name=one.name, level=one.level, resync_no=one.resync_no))
                for row in one.base:
                    c.execute(
                        sa.insert(t.base).values(
                            connection_id=mine, replica=one.name, lo=row.lo, version=row.version, exits_version=row.exits_version,
                            resync_no=row.resync_no,
                        )
                    )  # fmt: skip
        return TableStore(rules, times, switches, replicas, tables=self, trouble=trouble)


@dataclass
class TableStore(Store):
    """The store over the tables; its fields are what was last read of them, the same objects for as long as they live."""

    tables: Tables = field(kw_only=True)
    trouble: Trouble = field(kw_only=True)
    _leases: dict[int, Lease] = field(default_factory=dict[int, Lease], init=False)

    def take(self, name: str, watched_us: int, clock: str) -> Taken | None:
        taking = Taking(self.tables.patient, self.tables.connection_id, name, self.times, watched_us, self.steady, clock=clock)
        try:
            owned = self._told(lambda: self.tables.patient.tell(taking))
        except FullError:
            return None
        if owned is None:
            return None
        self._leases[owned.token] = Lease(self.tables.patient, owned, times=self.times, monotonic=lambda: self.steady / SECOND_US)
        return Taken(owned.token, owned.is_marked, owned.over_us)

    def renew(self, token: int) -> None:
        self._under(token, lambda lease: self.tables.patient.again(lambda: lease.extend(self.tables.patient)))

    def check(self, token: int) -> None:
        """Of what is no transaction of the protocol: the same check of the token, and nothing written."""
        self._under(token, lambda lease: lease.tell(lambda _c: None))

    def let_go(self, token: int, *, given_back: bool) -> None:
        if not (self.is_full or self.is_away):
            self._under(token, lambda lease: lease.let_go(self.tables.patient, given_back=given_back))

    def reserve(self, token: int, step: Step, settled: Settled, planned_under: int) -> Generation:
        row = self._under(token, lambda lease: ledger.reserve(lease, step, settled, current=planned_under, made_with={}, now_us=self.now))
        return self.unsettled[row.id]

    def open(self, token: int, generation: Generation, unsent: Sequence[LedgerRow]) -> None:
        self._under(token, lambda lease: ledger.open_generation(lease, generation.id, len(self.files[generation.id]), unsent))

    def abandon(self, token: int, generation: Generation) -> None:
        self._under(token, lambda lease: ledger.abandon(lease, generation.id))
        self.files.pop(generation.id, None)

    def acknowledge(self, token: int, generation: Generation, rows: Sequence[LedgerRow]) -> None:
        self._under(token, lambda lease: ledger.acknowledge(lease, generation.id, rows))

    def move_base(
        self,
        token: int,
        replica: Replica,
        settled: Settled,
        *,
        stale: Sequence[tuple[str, str]],
        idle: Sequence[tuple[str, str]],
        retry_at_us: int,
    ) -> None:
        self._under(token, lambda lease: ledger.move_base(lease, replica.name, settled, stale=stale, idle=idle, retry_at_us=retry_at_us))

    def settle(self, token: int, generation: Generation, settled: Settled, outcome: Settlement) -> None:
        row = _row_of(generation, settled)
        self._under(token, lambda lease: ledger.settle(lease, row, settled, outcome, now_us=self.now))
        kept = {row.generation for one in self.replicas.values() for row in one.exceptions.values()}
        self.files = {n: file for n, file in self.files.items() if n in kept or n in self.unsettled}

    def ask_again(self, replica: Replica) -> None:
        r = t.replica.c
        mine = sa.and_(r.connection_id == self.tables.connection_id, r.name == replica.name)
        with self.tables.database.patient(None).read() as c:
            number = c.execute(sa.select(r.resync_no).where(mine)).scalar_one()
        # people ask over and over until they are answered
        self._told(lambda: self._written(sa.update(t.replica).where(mine).values(resync_no=number + 1)), is_full=False)

    def _written(self, statement: sa.Update) -> None:
        self.tables.patient.tell(lambda c: c.execute(statement))

    def _under(self, token: int, body: Callable[[Lease], T]) -> T:
        try:
            return self._told(lambda: body(self._leases[token]))
        except LeaseLostError:
            raise FencedError from None

    def _told(self, body: Callable[[], T], *, is_full: bool | None = None) -> T:
        """The body with the database as it is now; then what it left is read."""
        trouble = self.trouble
        trouble.now, trouble.is_full, trouble.loses_answer = self.now, self.is_full if is_full is None else is_full, self.loses_answer
        try:
            return body()
        finally:
            self.loses_answer = trouble.loses_answer
            self._read()

    def _read(self) -> None:
        self.tables.database.ask(self._look)

    def _look(self, c: sa.Connection) -> None:
        mine, con, g = self.tables.connection_id, t.connection.c, t.generation.c
        row = c.execute(sa.select(con.token, con.lease_until, con.lease_owner).where(con.id == mine)).one()
        self.token, self.lease_until, self.lease_owner = row
        numbers = state.load_resync_numbers(c, mine)
        for name, replica in self.replicas.items():
            replica.base, replica.resync_no = state.load_base(c, mine, name), numbers[name]
            replica.exceptions = {(one.address, one.part): one for one in state.load_exceptions(c, mine, name)}
        known, self.unsettled = self.unsettled, {}
        for found in c.execute(sa.select(t.generation).where(g.connection_id == mine, g.state.in_(["planning", "open"]))).all():
            settled = Settled(Range(found.lo, found.hi), found.target, found.sends_exits, found.resync_no)
            fresh = Generation(found.id, found.replica, settled, found.current_when_planned)
            generation = self.unsettled[found.id] = known.get(found.id, fresh)
            generation.state, generation.ledger = found.state, state.load_ledger(c, found.id)
        for gone in known.keys() - self.unsettled.keys():
            known[gone].state, known[gone].ledger = "settled", []


def _row_of(generation: Generation, settled: Settled) -> GenerationRow:
    span = settled.range
    return GenerationRow(
        generation.id, generation.replica, "sync", span.lo, span.hi, settled.target, generation.planned_under, settled.sends_exits,
        settled.resync_no, generation.state,
    )  # fmt: skip
