"""Segment's HTTP tracking API, which RudderStack, Jitsu and other collectors speak too: the records as they are, in batches.

Takes identify, track and group calls. A request may hold 500 KB and a call 32 KB; a batch stops at 2,000 calls because above 2,500 Segment
answers 200 and drops it. A call whose messageId was seen within a day is dropped, so a repeat does no harm within that time.
Source: https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Backoff,
    Effect,
    Limits,
    MembershipAs,
    Preset,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
    joined,
)
from engage_pipelines.destinations.http import Answer, HttpDestination, Request, check_url, json_object

_HEAD, _TAIL = b'{"batch":[', b"]}"
_OF_THIS = 'context.personas.computation_key = "{key}"'


class SegmentSettings(Settings):
    """Where the calls go."""

    write_key: SecretStr = Field(min_length=1, description="Write key of the source that takes the calls.")
    endpoint: str = Field("https://api.segment.io", description="Base address of the collector; calls go to {endpoint}/v1/batch.")
    integrations: Literal["destination", "all"] = Field(
        "destination",
        description="Whom the collector may pass the calls on to: only what is named like this destination there, or everything.",
    )

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        return check_url(value).rstrip("/")


class Segment(HttpDestination):
    """A Segment-compatible collector."""

    key = "segment"
    name = "Segment"
    description = "Any collector that speaks Segment's HTTP tracking API: Segment itself, RudderStack, Jitsu and others."
    docs_url = "https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.DEDUPES
    dedupe_window_s = 86_400
    settings_model = SegmentSettings
    actions = (Action("send", "Send the call", frozenset({"identify", "track", "group"}), fields={"@path": "$."}),)
    presets = (
        Preset("Membership to people", "identify", f'type = "identify" and {_OF_THIS}', "send"),
        Preset("Audience Entered and Audience Exited", "track", f'type = "track" and {_OF_THIS}', "send"),
        Preset("Membership to accounts", "group", f'type = "group" and {_OF_THIS}', "send"),
    )
    limits = Limits(max_batch_records=2_000, max_batch_bytes=500_000 - len(_HEAD) - len(_TAIL), max_record_bytes=32 << 10, max_in_flight=4)
    group_needs_a_user = True

    def integrations(self, settings: Settings, destination: str) -> Mapping[str, bool]:
        if _mine(settings).integrations == "all":
            return {"All": True}
        return super().integrations(settings, destination)

    def build(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, now_s: int) -> Request:
        return _request(_mine(settings), joined(records, b",", before=_HEAD, after=_TAIL))

    def read(self, answer: Answer, records: Sequence[Record], *, place: str, now_s: float) -> Verdict:
        if not records and answer.status in {400, 422}:
            return Accepted()  # the credentials were let through to where an empty batch is refused
        verdict = super().read(answer, records, place=place, now_s=now_s)
        if answer.status == 404:
            return Stop(f"{place} answered 404: there is no collector at this address.", "Check the setting endpoint of the destination.")
        if isinstance(verdict, Accepted) and 200 <= answer.status < 300 and not _confirms(answer.body):
            return Backoff(f"{place} answered {answer.status}, but neither confirms the calls nor says which of them it refuses")
        return verdict

    def test(self, settings: Settings) -> Verdict:
        return self.exchange(_request(_mine(settings), _HEAD + _TAIL), (), settings=settings, deadline_s=10)


def _request(settings: SegmentSettings, body: bytes) -> Request:
    login = base64.b64encode(f"{settings.write_key.get_secret_value()}:".encode()).decode()
    return Request(f"{settings.endpoint}/v1/batch", body, {"Authorization": f"Basic {login}", "Content-Type": "application/json"})


def _confirms(body: bytes) -> bool:
    """True for what collectors say when they took the batch: nothing, `OK`, or JSON without a word of failure."""
    text = body.strip()
    if not text or text.strip(b'"').lower() in {b"ok", b"success", b"true"}:
        return True
    said = json_object(text)
    if isinstance(said.get("rejected"), list):
        return True
    return bool(said) and said.get("success", True) is not False and not said.get("error") and not said.get("errors")


def _mine(settings: Settings) -> SegmentSettings:
    assert isinstance(settings, SegmentSettings)
    return settings
