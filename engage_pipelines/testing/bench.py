"""One configured destination under test, and the small engine that the suite sends with."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from engage_pipelines.destinations.base import Accepted, Action, Bisect, DestinationType, Record, Settings, Target, Verdict
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.records import RENDER, Envelope, Subject
from engage_pipelines.testing.vendor import KEY, FakeApi, Switchboard

DEADLINE_S = 5.0

Identity = Callable[[str, str | None], str]
"""From a person's user id and e-mail address to what the vendor knows that person as."""


@dataclass(frozen=True, slots=True)
class People:
    """Who the people of the suite are to the vendor; with `emails` each has an address, as types that match by it need."""

    identity: Identity = lambda user_id, _email: user_id
    emails: bool = False

    def email(self, user_id: str, given: str | None) -> str | None:
        return given if given is not None or not self.emails else f"{user_id}@example.test"


@dataclass(frozen=True, slots=True)
class Bench:
    """One configured destination, and the place it sends to."""

    destination: DestinationType
    settings: Settings
    folder: Path
    look: Callable[[Path], Mapping[str, bool]]
    taken: Callable[[Path], object]
    board: Switchboard | None
    people: People = field(default_factory=People)
    list_settings: Mapping[str, object] = field(default_factory=dict[str, object])
    known: dict[str, str] = field(default_factory=dict[str, str])
    """What the vendor knows people as -> user id, of everybody a record was made for."""

    @property
    def action(self) -> Action:
        return self.action_for(entered=True)

    def action_for(self, *, entered: bool) -> Action:
        """The type's first action that serves this direction."""
        directions = ("both", "entered" if entered else "exited")
        return next(action for action in self.destination.actions if action.direction in directions)

    @property
    def fake(self) -> FakeApi:
        """The fake vendor of a type that speaks to an API."""
        assert self.board is not None
        assert isinstance(self.board.vendor, FakeApi)
        return self.board.vendor

    def target(self, generation: int = 1) -> Target:
        vendor = self.board.vendor if self.board else None
        external_id = vendor.list_id if isinstance(vendor, FakeApi) else None
        return Target("main", KEY, "user", generation, "Big spenders", external_id, self.list_settings)

    def identity(self, user_id: str) -> str:
        """What the vendor knows this person as."""
        return self.people.identity(user_id, self.people.email(user_id, None))

    def record(self, user_id: str, *, entered: bool = True, generation: int = 1, email: str | None = None) -> Record:
        """A record as the product makes it."""
        action = self.action_for(entered=entered)
        email = self.people.email(user_id, email)
        self.known[self.people.identity(user_id, email)] = user_id
        call = "identify" if "identify" in action.calls else sorted(action.calls)[0]
        message_id = f"personas_{generation}:{zlib.crc32(user_id.encode())}:i0"
        event = RENDER[call](Subject(user_id=user_id, email=email), envelope(), message_id=message_id, entered=entered)
        payload = compile_mapping(action.fields)(event)
        return Record(message_id, f"user_id:{user_id}", entered, orjson.dumps(payload))

    def send(self, records: Sequence[Record], *, generation: int = 1, deadline_s: float = DEADLINE_S) -> Verdict:
        action = self.action_for(entered=records[0].entered if records else True).key
        return self.destination.send(records, action=action, settings=self.settings, target=self.target(generation), deadline_s=deadline_s)

    def deliver(self, records: Sequence[Record], *, generation: int = 1) -> dict[str, str]:
        """Send as the engine does, exits first, by halves where it must be; gives the reasons of refused records by address."""
        todo = [batch for entered in (False, True) for batch in self._batches([record for record in records if record.entered is entered])]
        refused: dict[str, str] = {}
        while todo:
            batch = todo.pop(0)
            verdict = self.send(batch, generation=generation)
            if isinstance(verdict, Bisect):
                assert len(batch) > 1, "a single record was answered with Bisect, which never ends"
                todo[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
                continue
            assert isinstance(verdict, Accepted), verdict
            refused |= {batch[index].address: reason for index, reason in verdict.rejected.items()}
        return refused

    def _batches(self, records: Sequence[Record]) -> list[list[Record]]:
        if not records:
            return []
        size = self.destination.limits_of(self.action_for(entered=records[0].entered).key, self.settings).max_batch_records
        return [list(records[at : at + size]) for at in range(0, len(records), size)]

    def held(self) -> dict[str, bool]:
        held = self.board.vendor.held() if self.board else self.look(self.folder)
        return {self.known.get(name, name): value for name, value in held.items()}

    def takings(self) -> object:
        return self.board.vendor.takings() if self.board else self.taken(self.folder)


def envelope() -> Envelope:
    at = "2026-03-01T10:00:00.000Z"
    return Envelope(ComputationRef("aud_1", KEY, "spa_1"), at, at, {"All": True})
