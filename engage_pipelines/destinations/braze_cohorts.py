"""Braze cohorts: an audience as a cohort, a list of people that Braze's segments can filter by. Nobody is created: Braze leaves out whom it
does not know.

Braze gives partners a key of their own (`partner_api_key`, one for US and one for EU clusters) and a name in the address; its customers
give the partner their data import key (`client_secret`).
Source: https://www.braze.com/docs/partners/isv_partners/cohort_import (November 2026)
"""

from typing import Any

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, Endpoint, Talk, failure, json_request
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, ListId, MembershipAs, Record, Settings, Target, Verdict
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Request

_NAMES = (("user_ids", "external_id"), ("device_ids", "device_id"), ("aliases", "user_alias"))


class BrazeCohortsSettings(Settings):
    """The Braze instance, and both keys."""

    client_secret: SecretStr = Setting(min_length=1, description="Data import key of the Braze customer.")
    partner_api_key: SecretStr = Setting(min_length=1, description="Partner API key, from Braze, for the clusters of this endpoint.")
    partner: str = Setting("segment", pattern=r"^[A-Za-z0-9_-]+$", description="The partner's name in Braze's addresses.")
    endpoint: Endpoint = Setting("https://rest.iad-01.braze.com", description="REST endpoint of your Braze instance.")


class BrazeCohorts(ApiDestination):
    """A cohort in Braze for each connection."""

    key = "braze_cohorts"
    name = "Braze cohorts"
    description = "Keeps an audience as a cohort in Braze."
    docs_url = "https://www.braze.com/docs/partners/isv_partners/cohort_import"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = BrazeCohortsSettings
    user_address_kinds = ("user_id",)
    creates_lists = True
    actions = (
        Action(
            "sync_cohort",
            "Keep the cohort",
            frozenset({"identify", "track"}),
            inputs=(
                Field("external_id", description="The person's id in Braze.", default=path("$.userId")),
                Field(
                    "user_alias",
                    "object",
                    "Another name of the person: a label, and the name under it.",
                    fields=(Field("alias_name", description="The name."), Field("alias_label", description="What kind of name it is.")),
                ),
                Field("device_id", description="The id of the person's device."),
                Field(
                    "cohort_id",
                    description="The cohort, where it is not the connection's own.",
                    default=path("$.context.personas.computation_id"),
                ),
            ),
            batch_keys=("cohort_id",),
        ),
    )
    presets = (presets.membership("sync_cohort"), presets.entered_and_exited("sync_cohort"))
    limits = Limits(max_batch_records=1_000, max_batch_bytes=1_000_000)
    segment_slugs = ("braze-cohorts", "actions-braze-cohorts")
    segment_actions = (("syncAudiences", "sync_cohort"),)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if not any(payload.get(name) for _, name in _NAMES):
            raise UnusableError("a cohort needs an external_id, a user_alias or a device_id")
        return payload

    def talk(self, batch: Batch) -> Conversation:
        cohort = batch.target.external_id or batch.list_id("cohort_id")
        changes = [_change(batch, entered) for entered in (True, False) if batch.positions(entered=entered)]
        answer = yield _request(batch.settings, "/users", {"cohort_id": cohort, "cohort_changes": changes})
        return failure(answer, len(batch.items)) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _request(settings, "/users", {"cohort_id": "credentials", "cohort_changes": []})
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        """Braze lists no cohorts; the one that was made is there, and the credentials are tried."""
        tried = yield from self.try_out(settings)
        if not isinstance(tried, Accepted):
            return tried
        return ListId(target.external_id) if target.external_id else None

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        cohort = f"{target.space}_{target.computation}"
        answer = yield _request(settings, "", {"name": target.list_name(), "cohort_id": cohort})
        return failure(answer, 0) or ListId(cohort)


def _change(batch: Batch, entered: bool) -> dict[str, Any]:
    """One person is named once: by the id that people chose, else by the device, else by the alias."""
    change: dict[str, Any] = {"user_ids": [], "device_ids": [], "aliases": []}
    for at in batch.positions(entered=entered):
        person = batch.items[at].payload
        place, name = next((place, name) for place, name in _NAMES if person.get(name))
        change[place].append(person[name])
    return change if entered else {**change, "should_remove": True}


def _request(settings: BrazeCohortsSettings, path_: str, body: dict[str, Any]) -> Request:
    keys = {"partner_api_key": settings.partner_api_key.get_secret_value(), "client_secret": settings.client_secret.get_secret_value()}
    return json_request("POST", f"{settings.endpoint}/partners/{settings.partner}/cohorts{path_}", {**keys, **body})
