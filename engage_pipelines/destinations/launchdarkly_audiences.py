"""LaunchDarkly: the audience as a synced segment, whose contexts feature flags can target.

A request carries the contexts of one kind; each says whether it is in. LaunchDarkly makes the segment when the first context arrives and
names it by the audience. It answers 202 and takes the batch as a whole; 429 names its wait in Retry-After or X-Ratelimit-Reset.
Source: https://launchdarkly.com/docs/integrations/segment/audiences and https://launchdarkly.com/docs/api (November 2026)
"""

from typing import Any

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, failure, json_request
from engage_pipelines.destinations.authentication import ApiKey
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record, Stop
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path

API = "https://app.launchdarkly.com/api/v2"
CLIENT_SDK = "https://clientsdk.launchdarkly.com/sdk/goals"
_HEADERS = {"LD-API-Version": "20240415"}

_BY = {
    "user_id_only": ("segment_user_id",),
    "email_only": ("user_email",),
    "user_id_then_email": ("segment_user_id", "user_email"),
    "user_id_then_anonymousId": ("segment_user_id", "segment_anonymous_id"),
    "user_id_then_email_then_anonymousId": ("segment_user_id", "user_email", "segment_anonymous_id"),
}


class LaunchDarklySettings(ApiSettings):
    """The environment whose segments are kept."""

    api_key: SecretStr = Setting(min_length=1, description="Service token with the writer role.")
    client_id: str = Setting(min_length=1, description="Client-side id of the environment.")


class LaunchDarklyAudiences(ApiDestination):
    """Segments of contexts in LaunchDarkly."""

    key = "launchdarkly_audiences"
    name = "LaunchDarkly Audiences"
    description = "Keeps a segment of contexts in LaunchDarkly that feature flags can target."
    docs_url = "https://launchdarkly.com/docs/integrations/segment/audiences"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = LaunchDarklySettings
    authentication = ApiKey("api_key", "Authorization", "")
    user_address_kinds = ("user_id", "email", "anonymous_id")
    actions = (
        Action(
            "sync_audience",
            "Keep the segment",
            frozenset({"identify", "track"}),
            inputs=(
                Field(
                    "segment_audience_id",
                    description="The audience's id.",
                    default=path("$.context.personas.computation_id"),
                    required=True,
                ),
                Field(
                    "segment_audience_key",
                    description="The audience's key.",
                    default=path("$.context.personas.computation_key"),
                    required=True,
                ),
                Field("context_kind", description="Kind of the contexts.", default="user", required=True),
                Field("segment_user_id", description="The person's user id.", default=path("$.userId")),
                Field("segment_anonymous_id", description="The person's anonymous id.", default=path("$.anonymousId")),
                Field("user_email", description="E-mail address.", default=first_of("$.traits.email", "$.context.traits.email")),
                Field(
                    "context_key",
                    description="Which identifier is the key of the context; of several, the first that there is.",
                    default="user_id_then_email_then_anonymousId",
                    required=True,
                    choices=tuple(_BY),
                ),
            ),
            batch_keys=("context_kind", "segment_audience_id"),
        ),
    )
    presets = (presets.membership("sync_audience"), presets.entered_and_exited("sync_audience"))
    limits = Limits(max_batch_records=1_000, max_batch_bytes=4_000_000)
    segment_slugs = ("launchdarkly-audiences", "actions-launchdarkly-audiences")
    segment_actions = (("syncAudience", "sync_audience"),)

    def settings_from_segment(self, values: Any) -> dict[str, Any]:
        return {"api_key": values.get("apiKey"), "client_id": values.get("clientId")}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        kinds = _BY[payload["context_key"]]
        key = next((payload[kind] for kind in kinds if payload.get(kind)), None)
        if key is None:
            raise UnusableError(f"the person has none of what keys a context here ({', '.join(kinds)})")
        context = {
            "userId": key,
            "cohortName": _shown(payload["segment_audience_key"]),
            "cohortId": payload["segment_audience_id"],
            "value": record.entered,
        }
        return {"kind": payload["context_kind"], "context": context}

    def talk(self, batch: Batch) -> Conversation:
        settings = batch.settings
        body = {
            "environmentId": settings.client_id,
            "contextKind": batch.payloads[0]["kind"],
            "batch": [payload["context"] for payload in batch.payloads],
        }
        answer = yield json_request("POST", settings.at(f"{API}/segment-targets/segment-audiences"), body, _HEADERS)
        return failure(answer, len(batch.items)) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.at(f"{API}/versions"), headers=_HEADERS)
        refused = failure(answer, 0)
        if refused is not None:
            return refused
        known = yield json_request("HEAD", settings.at(f"{CLIENT_SDK}/{settings.client_id}"))
        if known.status == 404:
            return Stop(
                "LaunchDarkly knows no environment with this client-side id.", "Check client_id in the settings of the destination."
            )
        return failure(known, 0) or Accepted()


def _shown(key: str) -> str:
    """The audience's key as LaunchDarkly's own integration shows it: `big_spenders` as `Big spenders`."""
    words = key.replace("_", " ")
    return words[:1].upper() + words[1:]
