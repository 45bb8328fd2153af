"""Connections: which calls may be chosen, what they keep outside, which mappings they match, and the words that tell people how they are.

    awaiting_mapping --enable a matching mapping--> active --fatal answer--> stopped --mended--> active
            ^---------- the last one disabled ---------'  |                                        |
                                                          pause                                  remove
                                                          v                                        v
                                                        paused --resume--> active               gone (`removed_at` is set)
`leaving` is a connection that still sends its exits before it is gone: it aims at an empty version of its own. Stopped and mended it is
leaving again; it cannot be paused or connected again.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engage_pipelines.domain.computation import ComputationRef, Level
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.domain.records import RENDER, TRAIT, Envelope, Subject
from engage_pipelines.domain.trigger.grammar import parse_tree
from engage_pipelines.domain.trigger.tree import Node, Path, Value, children


class State(StrEnum):
    """What a connection is allowed to do."""

    AWAITING_MAPPING = "awaiting_mapping"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"
    LEAVING = "leaving"
    GONE = "gone"


class RequestKind(StrEnum):
    """What a sync request asks for: the first full one, full again, or what is owed."""

    BACKFILL = "backfill"
    RESYNC = "resync"
    SYNC = "sync"


CALLS = ("group", "identify", "track")
"""Every call there is, in the order in which they are sent and named."""

_DEFAULT_CALLS = {Level.USER: ("identify",), Level.ACCOUNT: ("group", "identify")}
_LEVEL_CALLS = {Level.USER: ("identify", "track"), Level.ACCOUNT: CALLS}


def choose_calls(*, level: Level, chosen: Collection[str], supported: Collection[str], destination: str) -> tuple[str, ...]:
    """The calls of a new connection: those chosen if they fit, the usual ones of the level if none were. Raises UsageError."""
    possible = [call for call in _LEVEL_CALLS[level] if call in supported]
    for call in chosen:
        if call not in CALLS:
            raise UsageError(f"{call!r} is no call.", f"Choose from {', '.join(CALLS)}.")
        if call not in _LEVEL_CALLS[level]:
            raise UsageError("Users have no accounts to send Group calls about.", "Choose identify or track.")
        if call not in possible:
            raise UsageError(f"Destination {destination!r} does not take {call} calls.", f"It takes {_listed(possible)}.")
    if not possible:
        raise UsageError(f"Destination {destination!r} takes nothing that can be sent of {level}s.", "Connect another type.")
    usual = chosen or [call for call in _DEFAULT_CALLS[level] if call in possible] or possible
    return tuple(call for call in CALLS if call in usual)


def _listed(calls: Collection[str]) -> str:
    return " and ".join(calls) or "no call of this kind"


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One thing that a connection keeps outside, and whose member set it follows."""

    name: str
    level: Level


def replicas_of(calls: Collection[str]) -> tuple[ReplicaPlan, ...]:
    """Accounts where Group is chosen, users where Identify or Track is; the accounts come first."""
    plans: list[ReplicaPlan] = []
    if "group" in calls:
        plans.append(ReplicaPlan("accounts", Level.ACCOUNT))
    if "identify" in calls or "track" in calls:
        plans.append(ReplicaPlan("users", Level.USER))
    return tuple(plans)


@dataclass(frozen=True, slots=True)
class Sample:
    """A record as the connection would send it, with made-up identifiers; for finding out which mappings it concerns."""

    call: str
    entered: bool
    record: dict[str, Any]


def sample_records(
    computation: ComputationRef,
    *,
    calls: Collection[str],
    destination_name: str,
    external_audience_id: str | None = None,
    triggers: Collection[str] = (),
    riding: Collection[str] = (),
) -> Iterator[Sample]:
    """An entry and an exit for each call; where there are values, several, which tell apart what the triggers ask for.

    `riding` are the names of traits that ride along.
    """
    envelope = Envelope(
        computation=computation,
        timestamp="2026-01-01T00:00:00.000Z",
        sent_at="2026-01-01T00:00:00.000Z",
        integrations={"All": False, destination_name: True},
        external_audience_id=external_audience_id,
    )
    person = Subject(user_id="sample-user", email="sample@example.com")
    company = Subject(anonymous_id="sample-account", group_id="sample-account")
    has_values = computation.computation_class == TRAIT or bool(riding)
    nodes = [node for trigger in triggers for node in _nodes(parse_tree(trigger))] if has_values else []
    values = _sample_values(nodes) if has_values else [None]
    columns = sorted({node.segments[1] for node in nodes if isinstance(node, Path) and len(node.segments) > 1})
    for call in (one for one in CALLS if one in calls):
        subject = company if call == "group" else person
        for entered, value in (*((True, value) for value in values), *((False, value) for value in values[: None if riding else 1])):
            said, extra = dict.fromkeys(columns, value) if computation.spreads else value, dict.fromkeys(riding, value)
            record = RENDER[call](subject, envelope, message_id="personas_sample", entered=entered, value=said, extra=extra)
            yield Sample(call, entered, record)


def _sample_values(nodes: Collection[Node]) -> list[Any]:
    """Values that tell apart what triggers ask for: a number, a text, and around every constant that one compares with."""
    values: list[Any] = [1, "sample"]
    for constant in (node.value for node in nodes if isinstance(node, Value)):
        if isinstance(constant, int | float) and not isinstance(constant, bool):
            values += [constant, constant - 1, constant + 1]
        elif constant is not None:
            values.append(constant)
    return values


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _nodes(child)


_BACK_OFF_S = (60, 300, 900, 3600)


def retry_delay_s(failures: int) -> int:
    """How long the next attempt waits after so many failed ones in a row: 1, 5, 15 minutes, then an hour each."""
    return _BACK_OFF_S[min(max(failures, 1), len(_BACK_OFF_S)) - 1]


_STATUS_WORDS = {
    State.AWAITING_MAPPING: "Awaiting mapping",
    State.PAUSED: "Disconnected",
    State.LEAVING: "Disconnecting",
    State.GONE: "Disconnected",
}


def status_word(state: str, *, destination_enabled: bool, computation_enabled: bool, leaves: bool = False) -> str:
    """The destination status that people read; one that leaves sends its exits also where the computation is disabled."""
    leaves = leaves or state == State.LEAVING
    if not destination_enabled or not (computation_enabled or leaves):
        return "Disabled"
    if leaves and state != State.GONE:
        return _STATUS_WORDS[State.LEAVING]
    return _STATUS_WORDS.get(State(state), "Connected")


@dataclass(frozen=True, slots=True)
class SyncFacts:
    """What the sync status is read from; `working` is the kind of the request that a run works on now, `owed` whether any is open."""

    state: str
    has_version: bool
    owed: bool
    failures: int
    working: str | None
    held: bool


def sync_status_word(facts: SyncFacts) -> str:
    """The sync status that people read: the most pressing thing that can be said."""
    if facts.state == State.STOPPED:
        return "Stopped"
    if facts.working is not None:
        return "Backfilling" if facts.working == RequestKind.BACKFILL else "Syncing"
    if facts.owed and facts.failures:
        return "Retrying"
    if facts.owed or not facts.has_version:
        return "Waiting"
    return "Held" if facts.held else "Up to date"
