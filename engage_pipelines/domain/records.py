"""Records: one rendered Identify, Group or Track call about one change of membership or of a trait, in the shape Segment Engage sends.

`entered` says of an audience whether the subject is in, of a trait whether it has the `value`; of who has left `value` is the last one, and
each column of a SELECT is then told to be null. `extra` are traits that ride along.

Source: the Segment spec (segment.com/docs/connections/spec) and Engage's documented payloads. Every value that varies is a parameter, so
the same change renders to the same bytes, however often it is rendered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engage_pipelines.domain.computation import ComputationRef

AUDIENCE_ENTERED = "Audience Entered"
AUDIENCE_EXITED = "Audience Exited"
TRAIT_COMPUTED = "Trait Computed"

TRAIT = "trait"
"""The class of a computation that is a trait."""

CALL_LETTERS = {"group": "g", "identify": "i", "track": "t"}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a record is about: the identifiers that the destination gets, each None when the profile has none."""

    user_id: str | None = None
    anonymous_id: str | None = None
    group_id: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all records of one generation share: where they come from and go, and clock fields (ISO 8601) frozen when it was planned.

    `also_as` are pairs of an identifier and the trait or property that holds it too; `external_audience_id` is the vendor's id of the list.
    """

    computation: ComputationRef
    timestamp: str
    sent_at: str
    integrations: Mapping[str, bool]
    also_as: Sequence[tuple[str, str]] = ()
    external_audience_id: str | None = None


def _common(call: str, subject: Subject, envelope: Envelope, message_id: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "type": call,
        "messageId": message_id,
        "timestamp": envelope.timestamp,
        "originalTimestamp": envelope.timestamp,
        "sentAt": envelope.sent_at,
        "receivedAt": envelope.sent_at,
        "version": 2,
    }
    if subject.user_id is not None:
        record["userId"] = subject.user_id
    if subject.anonymous_id is not None:
        record["anonymousId"] = subject.anonymous_id
    record["integrations"] = dict(envelope.integrations)
    record["context"] = {"personas": _personas(envelope)}
    return record


def _personas(envelope: Envelope) -> dict[str, Any]:
    computation = envelope.computation
    personas: dict[str, Any] = {
        "computation_class": computation.computation_class,
        "computation_id": computation.id,
        "computation_key": computation.key,
        "namespace": computation.space_id,
        "space_id": computation.space_id,
    }
    if envelope.external_audience_id is not None:
        personas["external_audience_id"] = envelope.external_audience_id
    if computation.audience_settings:
        personas["audience_settings"] = dict(computation.audience_settings)
    return personas


def _told(envelope: Envelope, entered: bool, value: Any, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keys and values that say the state, what rides along first: it never takes the place of what is said."""
    computation, rides = envelope.computation, extra or {}
    if computation.computation_class != TRAIT:
        return {**rides, computation.key: entered}
    if not computation.spreads:
        return {**rides, computation.key: value if entered else None}
    columns: Mapping[str, Any] = value or {}
    return {**rides, **(columns if entered else dict.fromkeys(columns))}


def identify(
    subject: Subject, envelope: Envelope, *, message_id: str, entered: bool, value: Any = None, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An Identify that sets the membership, or the value, as a trait; the e-mail address rides in `traits.email`."""
    record = _common("identify", subject, envelope, message_id)
    traits: dict[str, Any] = {} if subject.email is None else {"email": subject.email}
    traits |= _told(envelope, entered, value, extra)
    if envelope.also_as:
        _name_again(traits, subject, envelope)
    record["traits"] = traits
    return record


def track(
    subject: Subject, envelope: Envelope, *, message_id: str, entered: bool, value: Any = None, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An `Audience Entered`, `Audience Exited` or `Trait Computed`; the e-mail address rides in `context.traits.email`."""
    record = _common("track", subject, envelope, message_id)
    is_trait = envelope.computation.computation_class == TRAIT
    record["event"] = TRAIT_COMPUTED if is_trait else AUDIENCE_ENTERED if entered else AUDIENCE_EXITED
    if subject.email is not None:
        record["context"]["traits"] = {"email": subject.email}
    record["properties"] = {"trait_key" if is_trait else "audience_key": envelope.computation.key, **_told(envelope, entered, value, extra)}
    if envelope.also_as:
        _name_again(record["properties"], subject, envelope)
    return record


def _name_again(values: dict[str, Any], subject: Subject, envelope: Envelope) -> None:
    for identifier, name in envelope.also_as:
        value = getattr(subject, identifier)
        if value is not None:
            values[name] = value


def group(
    subject: Subject, envelope: Envelope, *, message_id: str, entered: bool, value: Any = None, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A Group that sets the membership, or the value, as a trait of the account."""
    record = _common("group", subject, envelope, message_id)
    record["groupId"] = subject.group_id
    record["traits"] = _told(envelope, entered, value, extra)
    return record


RENDER = {"group": group, "identify": identify, "track": track}
