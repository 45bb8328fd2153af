"""A small world for deliveries: a real registry, real versions, and a destination that remembers, and misbehaves on order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import orjson
import sqlalchemy as sa

from engage_pipelines.computing.publish import Evaluation, publish
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.send import Clock
from engage_pipelines.delivery.sync import Sync, SyncReport
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    DestinationType,
    Effect,
    Limits,
    MembershipAs,
    Preset,
    Record,
    Settings,
    Target,
    Verdict,
)
from engage_pipelines.domain.computation import Level, TraitType
from engage_pipelines.registry import audiences, connections, destinations
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import find_computation
from engage_pipelines.registry.requests import Stamp, after_publish
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.traits import NewTrait, create_trait
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.settings import read_settings

Members = dict[int, Sequence[str]]
"""A member's number and the addresses it has."""


class RecorderSettings(Settings):
    place: str = "here"


class Recorder(DestinationType):
    """Takes Identify, Track and Group records and remembers them; `script` decides what becomes of a batch."""

    key: ClassVar[str] = "recorder"
    name: ClassVar[str] = "Recorder"
    description: ClassVar[str] = "Remembers."
    docs_url: ClassVar[str] = "https://example.com"
    membership_as: ClassVar[MembershipAs] = MembershipAs.USER_PROPERTY
    effect: ClassVar[Effect] = Effect.IDEMPOTENT
    settings_model: ClassVar[type[Settings]] = RecorderSettings
    actions: ClassVar[tuple[Action, ...]] = (Action("send", "Send", frozenset({"identify", "track", "group"}), {"@path": "$."}),)
    presets: ClassVar[tuple[Preset, ...]] = tuple(
        Preset(call, call, f'type = "{call}" and context.personas.computation_key = "{{key}}"', "send")
        for call in ("group", "identify", "track")
    )
    limits: ClassVar[Limits] = Limits(max_batch_records=2, max_record_bytes=2_000)

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.script: Callable[[list[dict[str, Any]]], Verdict | BaseException] = lambda _batch: Accepted()

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        batch = [orjson.loads(record.body) for record in records]
        verdict = self.script(batch)
        if isinstance(verdict, BaseException):
            raise verdict
        self.bodies.extend(record.body for record in records)
        if isinstance(verdict, Accepted):
            self.batches.append([record for index, record in enumerate(batch) if index not in verdict.rejected])
        return verdict

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for batch in self.batches for record in batch]

    def holds(self, key: str = "vips") -> dict[str, Any]:
        """What the vendor would show: the last membership, or value, told of each user and account."""
        told: dict[str, Any] = {}
        for record in self.records:
            subject = record.get("groupId") or record.get("userId") or record["anonymousId"]
            told[subject] = (record.get("traits") or record.get("properties"))[key]
        return told

    def members(self, key: str = "vips") -> set[str]:
        return {subject for subject, value in self.holds(key).items() if value}


class Killed(BaseException):
    """Stands for a process that dies: nothing catches it on the way."""


FIVE = {n: [f"user_id:u{n}", f"email:u{n}@x.test"] for n in range(1, 6)}
"""By member, the addresses of five people."""


@dataclass(slots=True)
class World:
    home: Path
    registry: Registry
    recorder: Recorder
    runtime: Runtime
    space: sa.Row[Any]
    time: "FakeTime"
    log: list[str] = field(default_factory=list[str])
    evaluated_at: int = 1_700_000_000_000_000

    def audience(self, key: str = "vips", level: Level = Level.USER) -> sa.Row[Any]:
        with self.registry.change() as change:
            return audiences.create_audience(change, self.space, audiences.NewAudience(key, level, "trait('plan') = 'business'"))

    def trait(self, key: str = "spend", level: Level = Level.USER, *, sql: bool = False) -> sa.Row[Any]:
        kind = TraitType.SQL if sql else TraitType.COMPUTED
        text = "select user_id, 1 as orders from users" if sql else "event('Order Completed').count()"
        with self.registry.change() as change:
            return create_trait(change, self.space, NewTrait(key, level, text, kind))

    def destination(self, key: str = "crm") -> sa.Row[Any]:
        with self.registry.change() as change:
            return destinations.create_destination(
                change, self.space, destinations.NewDestination(key=key, type="recorder", name="CRM", settings={})
            )

    def connect(self, audience: str = "vips", destination: str = "crm", **options: Any) -> connections.Connected:
        with self.registry.change() as change:
            return connections.connect(change, self.space, connections.NewConnection(audience, destination, **options))

    def publish(self, users: Members, accounts: Members | None = None, key: str = "vips", values: Mapping[int, Any] | None = None) -> str:
        """Publish a version with these members, of a trait with their values, an hour after the last one; gives its state."""
        self.evaluated_at += 3_600_000_000
        with self.registry.database.read() as c:
            row = find_computation(c, self.space.id, key)
        rows = [("user", a, m, not any(x.startswith("user_id:") for x in every)) for m, every in users.items() for a in every]
        rows += [("account", a, m, False) for m, every in (accounts or {}).items() for a in every]
        listed = ", ".join(f"('{level}', '{a}', {m}, true, {sole}, 1::smallint, 1::smallint)" for level, a, m, sole in rows)
        columns = "level, address, member, current, sole, first_order, last_order"
        nobody = "('', '', 0, true, false, 1::smallint, 1::smallint)"
        fresh = f"select * from (values {listed or nobody}) t({columns}) where level <> ''"
        if values is not None:
            known = ", ".join(f"({member}, '{orjson.dumps(value).decode()}')" for member, value in values.items()) or "(0, '')"
            fresh = f"select f.*, v.value from ({fresh}) f join (values {known}) v(member, value) using (member)"
        evaluation = Evaluation(row.id, row.level, row.definition, self.evaluated_at, "", False, fresh, has_values=values is not None)
        with duckdb.connect() as db:
            return publish(
                db,
                self.registry.database,
                self.runtime.settings.snapshots_dir / self.space.key / key,
                evaluation,
                tell_connections=lambda c, id_, n: after_publish(c, id_, n, Stamp(self.evaluated_at, "test")),
            ).state

    def owed(self) -> list[sa.Row[Any]]:
        with self.registry.database.read() as c:
            return list(c.execute(sa.select(t.sync_request).where(t.sync_request.c.state == "owed")))

    def sync(self, connection_id: str, request_id: str | None = None, run_id: str = "run") -> SyncReport:
        """A run as Dagster makes it: each op with an object of its own."""
        make = lambda: Sync(self.runtime, connection_id, request_id, run_id=run_id, log=self.log.append)  # noqa: E731
        make().plan()
        make().send("account")
        make().send("user")
        return make().settle()

    def sync_until_done(self, connection_id: str) -> SyncReport:
        for number in range(30):
            report = self.sync(connection_id, run_id=f"run-{number}")
            if not report.more_owed:
                return report
        raise AssertionError("does not come to rest")

    def rows(self, table: sa.Table) -> list[sa.Row[Any]]:
        with self.registry.database.read() as c:
            return list(c.execute(sa.select(table)))


@dataclass(slots=True)
class FakeTime:
    """A clock that sleeping moves, and looking at it by a millisecond."""

    now_us: int = 1_800_000_000_000_000
    slept: list[float] = field(default_factory=list[float])

    def look(self) -> int:
        self.now_us += 1_000
        return self.now_us

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_us += round(seconds * 1_000_000) + 1


def make_world(home: Path, database_url: str | None = None) -> World:
    """On PostgreSQL, when a URL is given, the instants are the server's and only the waiting is made up."""
    given = {"ENGAGE_DATABASE_URL": database_url} if database_url else {}
    settings = read_settings({"ENGAGE_HOME": str(home), "ENGAGE_ACTOR": "test", **given})
    recorder, time = Recorder(), FakeTime()
    database = Database(settings.database_url, clock=time.look)
    registry = Registry(database=database, types={recorder.key: recorder}, desk=SettingsDesk(Vault(), settings.files_dir), actor="test")
    with registry.change() as change:
        space = create_space(change, NewSpace("default"))
    clock = Clock(monotonic=lambda: time.now_us / 1_000_000, sleep=time.sleep, jitter=lambda longest: longest)
    return World(home, registry, recorder, Runtime(settings, registry, clock, max_changes=3), space, time)
