"""PostHog: membership and traits on people and groups, and memberships as events, through the public capture API.

Everything is an event: `$identify` with `$set` for a person, `$groupidentify` with `$group_set` for a group. A request may be 20 MB, and
capture has no pace. Events bear an id of their own made of the message id; PostHog merges events of the same id, name, person and time
when it gets to it, not at once. It answers 200 and checks little; 400 refuses the request as a whole.
Source: https://posthog.com/docs/api/capture and https://posthog.com/docs/product-analytics/group-analytics (November 2026)
"""

import uuid
from typing import Any

from pydantic import Field as Setting
from pydantic import SecretStr, field_validator

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, failure, json_request
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record, Settings, Stop
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import check_url

GROUPS_ARE_SET_UP_BY = "groups_setup_id"
"""The person of `$groupidentify` events that are about no person."""

IDS = uuid.UUID("5e9e3b57-2f1c-5b0a-9a9c-8f5f6f0d7c11")
"""The namespace of the ids of events."""

_WHEN = Field("timestamp", "datetime", "When it happened.", default=path("$.timestamp"))


def _who(*, needed: bool) -> Field:
    return Field("distinct_id", description="The person's id in PostHog.", default=first_of("$.userId", "$.anonymousId"), required=needed)


class PostHogSettings(Settings):
    """The project."""

    api_key: SecretStr = Setting(min_length=1, description="Project API key; it starts with phc_.")
    endpoint: str = Setting("https://us.i.posthog.com", description="Where events are taken in: your region's address, or your own.")
    group_type: str = Setting("company", min_length=1, description="Type of the groups that accounts become.")

    @field_validator("endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        return check_url(value).rstrip("/")


class PostHog(ApiDestination):
    """People and groups of a PostHog project."""

    key = "posthog"
    name = "PostHog"
    description = "Sets membership and traits on people and groups in PostHog, or captures them as events."
    docs_url = "https://posthog.com/docs/api/capture"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = PostHogSettings
    actions = (
        Action(
            "identify",
            "Set properties of the person",
            frozenset({"identify"}),
            inputs=(
                _who(needed=True),
                Field("properties", "object", "Properties; the membership is among them.", default=path("$.traits"), required=True),
                _WHEN,
            ),
        ),
        Action(
            "group_identify",
            "Set properties of the group",
            frozenset({"group"}),
            inputs=(
                Field("group_key", description="The group's key.", default=path("$.groupId"), required=True),
                Field("group_type", description="The group's type, in place of the one in the settings."),
                Field("properties", "object", "Properties; the membership is among them.", default=path("$.traits"), required=True),
                Field("distinct_id", description="The person who set them, if it was one.", default=path("$.userId")),
                _WHEN,
            ),
        ),
        Action(
            "event",
            "Capture an event",
            frozenset({"track"}),
            inputs=(
                Field("event_name", description="Name of the event.", default=path("$.event"), required=True),
                _who(needed=True),
                Field("properties", "object", "What belongs to the event.", default=path("$.properties")),
                Field("timestamp", "datetime", "When it happened.", default=path("$.receivedAt")),
            ),
            effect=Effect.AT_LEAST_ONCE,
        ),
    )
    presets = (presets.membership("identify"), presets.entered_and_exited("event"), presets.accounts("group_identify"))
    limits = Limits(max_batch_records=1_000, max_batch_bytes=10_000_000)
    segment_slugs = ("posthog", "actions-posthog")
    segment_actions = (("identify", "identify"), ("event", "event"))

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if len(payload.get("distinct_id", "")) > 200:
            raise UnusableError("PostHog takes ids of at most 200 characters")
        who, own = payload.get("distinct_id"), payload.get("properties", {})
        if action.key == "identify":
            event, properties = "$identify", {"$set": own, "distinct_id": who}
        elif action.key == "group_identify":
            group = {"$group_type": payload.get("group_type", settings.group_type), "$group_key": payload["group_key"], "$group_set": own}
            event, properties = "$groupidentify", {**group, "distinct_id": who or GROUPS_ARE_SET_UP_BY}
        else:
            event, properties = payload["event_name"], {**own, "distinct_id": who}
        when = {"timestamp": payload["timestamp"]} if "timestamp" in payload else {}
        return {"event": event, **when, "properties": properties, "uuid": str(uuid.uuid5(IDS, record.message_id))}

    def talk(self, batch: Batch) -> Conversation:
        answer = yield _capture(batch.settings, batch.payloads)
        return failure(answer, len(batch.items)) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _capture(settings, [])
        if answer.status == 400:
            return Accepted()  # the key was let through to where an empty batch is refused
        if answer.status == 401:
            return Stop("PostHog does not know this project API key.", "Set api_key to the project's key; it starts with phc_.")
        return failure(answer, 0) or Accepted()


def _capture(settings: PostHogSettings, events: list[Any]) -> Any:
    return json_request("POST", f"{settings.endpoint}/batch/", {"api_key": settings.api_key.get_secret_value(), "batch": events})
