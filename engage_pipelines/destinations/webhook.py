"""A service of your own: the mapped payloads as JSON, signed, in one request for many or in one for each.

Each request carries `X-Engage-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">` over the body as it is sent, when there is a
signing secret. A resend has the same body; its signature is of a later time. Any 2xx confirms the whole request, but for the records that a
body `{"rejected": [{"index": 0, "reason": "..."}]}` (status 207, or any 2xx) refuses one by one. A record may come twice: its messageId
tells.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import Field, SecretStr, field_validator

from engage_pipelines.destinations.base import (
    Accepted,
    Action,
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
from engage_pipelines.destinations.http import Answer, HttpDestination, Reach, Request, check_url

SIGNATURE_HEADER = "X-Engage-Signature"

_OF_THIS = 'context.personas.computation_key = "{key}"'
_FRAME_BYTES = 2


class WebhookSettings(Settings):
    """Where the payloads go, and how they are vouched for."""

    url: str = Field(repr=False, description="Address that takes the payloads; keep credentials in the secret settings below.")
    signing_secret: SecretStr | None = Field(None, min_length=1, description="Shared secret that the signature is made with.")
    authorization: SecretStr | None = Field(None, min_length=1, description="Value of the Authorization header, such as `Bearer ...`.")
    batch: bool = Field(True, description="On: a JSON array of payloads. Off: one request for each, the payload itself as the body.")
    max_batch_records: int = Field(1_000, ge=1, le=4_000, description="Payloads in one request at most.")
    max_in_flight: int = Field(
        8, ge=1, le=64, description="Requests under way at once at most; never two about the same person or account."
    )
    allow_private_addresses: bool = Field(
        False, description="For operators: the service may be at an address of this machine or of the private network."
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return check_url(value)


class Webhook(HttpDestination):
    """An HTTP endpoint of your own."""

    key = "webhook"
    name = "Webhook"
    description = "Posts each change as signed JSON to a service of your own."
    docs_url = "docs/destinations.md#webhook"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.AT_LEAST_ONCE
    settings_model = WebhookSettings
    segment_slugs = ("webhook", "actions-webhook", "webhook-audiences", "actions-webhook-audiences")
    segment_actions = (("send", "send"),)
    segment_fields_that_are_settings = ("url",)
    actions = (Action("send", "Send the payload", frozenset({"identify", "track", "group"}), fields={"@path": "$."}),)
    presets = (
        Preset("Membership of people", "identify", f'type = "identify" and {_OF_THIS}', "send"),
        Preset("Audience Entered and Audience Exited", "track", f'type = "track" and {_OF_THIS}', "send"),
        Preset("Membership of accounts", "group", f'type = "group" and {_OF_THIS}', "send"),
    )
    limits = Limits(max_batch_records=1_000, max_batch_bytes=4_000_000 - _FRAME_BYTES)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"url": "url", "sharedSecret": "signing_secret"}
        return {ours[name]: value for name, value in values.items() if name in ours}

    def fields_from_segment(self, fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[str]]:
        notes = ["requests are signed in another way: see X-Engage-Signature in docs/destinations.md"]
        notes += [f"requests are sent with POST, not {fields['method']}"] if fields.get("method") not in {None, "POST"} else []
        notes += ["headers are not sent; one for authorization is the setting of that name"] if fields.get("headers") else []
        data = fields.get("data")
        return cast("dict[str, Any]", data) if isinstance(data, dict) else {"@path": "$."}, notes

    def limits_with(self, settings: Settings) -> Limits:
        mine = _mine(settings)
        return Limits(mine.max_batch_records if mine.batch else 1, self.limits.max_batch_bytes, max_in_flight=mine.max_in_flight)

    def reach(self, settings: Settings) -> Reach:
        return Reach.ANYWHERE if _mine(settings).allow_private_addresses else Reach.PUBLIC

    def build(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, now_s: int) -> Request:
        mine = _mine(settings)
        body = joined(records, b",", before=b"[", after=b"]") if mine.batch else records[0].body
        return _request(mine, body, now_s)

    def read(self, answer: Answer, records: Sequence[Record], *, place: str, now_s: float) -> Verdict:
        if not records and answer.status in {400, 422}:
            return Accepted()  # somebody is there and lets us in, an empty request is not to their taste
        if answer.status == 404:
            return Stop(f"{place} answered 404: nothing takes requests at this path.", "Check the setting url of the destination.")
        return super().read(answer, records, place=place, now_s=now_s)

    def test(self, settings: Settings) -> Verdict:
        return self.exchange(_request(_mine(settings), b"[]", int(time.time())), (), settings=settings, deadline_s=10)


def sign(body: bytes, secret: str, at_s: int) -> str:
    """The value of the signature header for a body sent at `at_s` (Unix seconds)."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def _request(settings: WebhookSettings, body: bytes, now_s: int) -> Request:
    headers = {"Content-Type": "application/json"}
    if settings.signing_secret is not None:
        headers[SIGNATURE_HEADER] = sign(body, settings.signing_secret.get_secret_value(), now_s)
    if settings.authorization is not None:
        headers["Authorization"] = settings.authorization.get_secret_value()
    return Request(settings.url, body, headers)


def _mine(settings: Settings) -> WebhookSettings:
    assert isinstance(settings, WebhookSettings)
    return settings
