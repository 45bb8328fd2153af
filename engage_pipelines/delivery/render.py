"""Changes into records into payloads: each change's calls of the connection, and for each call the mappings whose trigger it matches."""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from engage_pipelines.delivery.digest import digest_of
from engage_pipelines.delivery.rows import FrozenRecord
from engage_pipelines.delivery.state import MappingRow
from engage_pipelines.domain.connection import Sample
from engage_pipelines.domain.mapping import MappingError, compile_mapping
from engage_pipelines.domain.records import CALL_LETTERS, RENDER, TRAIT, Envelope, Subject
from engage_pipelines.domain.trigger import parse_trigger

CALLS_OF_LEVEL = {"account": ("group",), "user": ("identify", "track")}
CHUNK = 10_000
Told = tuple[str, bool, str | None, str | None, str | None]
"""One change: address, whether it enters, its e-mail address, the value of a trait as JSON text (of who has left the last one), and a JSON
object of what rides along."""

_NAMESPACE = uuid.UUID("6f7a0c0e-7a9b-5d0c-9a53-0c1c3f1c8b1e")


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """A mapping ready to be applied; the calls are those of its action."""

    row: MappingRow
    calls: frozenset[str]
    matches: Callable[[Mapping[str, Any]], bool]
    apply: Callable[[Mapping[str, Any]], Any]
    batch_keys: tuple[str, ...]

    @property
    def trigger(self) -> str:
        return self.row.trigger

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.row.fields

    def lane(self, entered: bool, batch_values: str = "") -> str:
        """Records of equal lane may share a batch."""
        return f"{self.row.id}@{self.row.revision}{'+' if entered else '-'}{batch_values}"

    def part(self, call: str) -> str:
        """What tells the records of one change apart."""
        return f"{CALL_LETTERS[call]}{self.row.number}"


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders the changes of one generation."""

    generation: int
    level: str
    calls: tuple[str, ...]
    envelope: Envelope
    mappings: tuple[CompiledMapping, ...]
    group_needs_a_user: bool
    only_parts: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """Addresses that are owed some of their parts alone: the others were acknowledged in this very state."""
    is_enriched: bool = False
    """Whether other traits ride along."""

    @property
    def has_values(self) -> bool:
        return self.envelope.computation.computation_class == TRAIT

    @property
    def said(self) -> str:
        """SQL for the values of planned changes."""
        return "said" if self.has_values else "null"

    @property
    def columns(self) -> str:
        """SQL for planned changes as `records` takes them."""
        return f"address, value, email, {self.said}, {'extra' if self.is_enriched else 'null'}"

    def subject(self, address: str, email: str | None) -> Subject:
        """Whom an address names."""
        kind, _, value = address.partition(":")
        if kind == "group_id":
            return Subject(group_id=value, anonymous_id=self.user_of(value) if self.group_needs_a_user else None)
        if kind == "email":
            return Subject(email=value)
        return Subject(user_id=value, email=email) if kind == "user_id" else Subject(anonymous_id=value, email=email)

    def user_of(self, group_id: str) -> str:
        """The stand-in for a user that an account keeps."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.envelope.computation.space_id}:{group_id}"))

    def calls_of(self, mapping: CompiledMapping) -> list[str]:
        """The calls that a mapping is shown, in the order in which they are sent."""
        return [call for call in CALLS_OF_LEVEL[self.level] if call in self.calls and call in mapping.calls]

    def message_id(self, mapping: CompiledMapping, call: str) -> tuple[str, str]:
        """What stands before and after the seq in a message id."""
        return f"personas_{self.generation}:", f":{mapping.part(call)}"

    def records(self, mapping: CompiledMapping, changes: Iterator[Told], first_seq: int) -> Iterator[tuple[FrozenRecord, str]]:
        """The payloads that one mapping makes of the changes, from `first_seq` on; each with why it cannot be sent, or nothing."""
        seq = first_seq
        for address, entered, email, said, extra in changes:
            subject, value = self.subject(address, email), None if said is None else orjson.loads(said)
            rides = None if extra is None else orjson.loads(extra)
            digest = digest_of(said) if said is not None and entered else None
            for call in self.calls_of(mapping):
                part = mapping.part(call)
                if address in self.only_parts and part not in self.only_parts[address]:
                    continue
                message_id = f"{seq}".join(self.message_id(mapping, call))
                record = RENDER[call](subject, self.envelope, message_id=message_id, entered=entered, value=value, extra=rides)
                if not mapping.matches(record):
                    continue
                payload, problem = _applied(mapping, record)
                lane = _lane(mapping, entered, payload)
                body = orjson.dumps(payload)
                yield FrozenRecord(seq, address, entered, part, call, lane, mapping.row.action, message_id, body, digest), problem
                seq += 1


def _applied(mapping: CompiledMapping, record: Mapping[str, Any]) -> tuple[Any, str]:
    """The payload, or nothing and the reason: a mapping that fails on one record must not stop the others."""
    try:
        return mapping.apply(record), ""
    except MappingError as error:
        return None, f"Mapping {mapping.row.name!r} cannot make a payload of it: {error}"


def _lane(mapping: CompiledMapping, entered: bool, payload: Any) -> str:
    keyed = mapping.batch_keys and isinstance(payload, dict)
    return mapping.lane(entered, orjson.dumps([payload.get(key) for key in mapping.batch_keys]).decode() if keyed else "")


def compile_mappings(
    rows: Sequence[MappingRow], actions: Mapping[str, tuple[frozenset[str], tuple[str, ...]]]
) -> tuple[CompiledMapping, ...]:
    """Compile enabled mappings; `actions` gives each action's calls and batch keys."""
    return tuple(
        CompiledMapping(
            row, actions[row.action][0], parse_trigger(row.trigger).matches, compile_mapping(row.fields), actions[row.action][1]
        )
        for row in rows
        if row.action in actions
    )


def directions(mappings: Sequence[CompiledMapping], samples: Iterable[Sample]) -> dict[str, frozenset[bool]]:
    """Per level the values that some mapping would send, of records as the connection would send them."""
    found: dict[str, set[bool]] = {level: set() for level in CALLS_OF_LEVEL}
    for sample in samples:
        if any(sample.call in mapping.calls and mapping.matches(sample.record) for mapping in mappings):
            level = next(level for level, calls in CALLS_OF_LEVEL.items() if sample.call in calls)
            found[level].add(sample.entered)
    return {level: frozenset(values) for level, values in found.items()}
