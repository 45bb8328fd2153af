"""One configured destination under test, and the small engine that the suite sends with."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from engage_pipelines.destinations.base import Accepted, Action, Bisect, DestinationType, Record, Settings, Target, Verdict
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.records import RENDER, Envelope, Subject
from engage_pipelines.testing.vendor import Switchboard

KEY = "big_spenders"
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Bench:
    """One configured destination, and the place it sends to."""

    destination: DestinationType
    settings: Settings
    folder: Path
    look: Callable[[Path], Mapping[str, bool]]
    taken: Callable[[Path], object]
    board: Switchboard | None

    @property
    def action(self) -> Action:
        return self.destination.actions[0]

    def target(self, generation: int = 1) -> Target:
        return Target("main", KEY, "user", generation)

    def record(self, user_id: str, *, entered: bool = True, generation: int = 1, email: str | None = None) -> Record:
        """A record as the product makes it."""
        call = "identify" if "identify" in self.action.calls else sorted(self.action.calls)[0]
        message_id = f"personas_{generation}:{zlib.crc32(user_id.encode())}:i0"
        event = RENDER[call](Subject(user_id=user_id, email=email), envelope(), message_id=message_id, entered=entered)
        payload = compile_mapping(self.action.fields)(event)
        return Record(message_id, f"user_id:{user_id}", entered, orjson.dumps(payload))

    def send(self, records: Sequence[Record], *, generation: int = 1, deadline_s: float = DEADLINE_S) -> Verdict:
        target = self.target(generation)
        return self.destination.send(records, action=self.action.key, settings=self.settings, target=target, deadline_s=deadline_s)

    def deliver(self, records: Sequence[Record], *, generation: int = 1) -> dict[str, str]:
        """Send as the engine does, by halves where it must be; gives the reasons of refused records by address."""
        size = self.destination.limits_with(self.settings).max_batch_records
        refused: dict[str, str] = {}
        todo = [list(records[at : at + size]) for at in range(0, len(records), size)]
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

    def held(self) -> dict[str, bool]:
        return dict(self.board.vendor.held() if self.board else self.look(self.folder))

    def takings(self) -> object:
        return self.board.vendor.takings() if self.board else self.taken(self.folder)


def envelope() -> Envelope:
    at = "2026-03-01T10:00:00.000Z"
    return Envelope(ComputationRef("aud_1", KEY, "spa_1"), at, at, {"All": True})
