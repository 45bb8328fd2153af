"""Amplitude cohorts: an audience as a behavioural cohort of people whom Amplitude knows already.

A cohort cannot be made empty: it is made with one person of the project, who is taken out at once. A request may name 100,000 people; those
whom Amplitude does not know are skipped and named. A cohort holds two million.
Source: https://amplitude.com/docs/apis/analytics/behavioral-cohorts (November 2026)
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import (
    ApiDestination,
    ApiSettings,
    Batch,
    Conversation,
    Talk,
    failure,
    json_request,
    object_of,
    query_url,
)
from engage_pipelines.destinations.authentication import Basic
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Effect,
    Limits,
    ListId,
    MembershipAs,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Request

_HOSTS = {"north_america": "https://amplitude.com", "europe": "https://analytics.eu.amplitude.com"}
_BY = {"BY_USER_ID": ("user_id", "BY_NAME"), "BY_AMP_ID": ("amplitude_id", "BY_ID")}
_SEEDS = tuple("123456789abcdefghijklmnopqrstuvwxyz")
"""What is searched for, one after the other, until somebody of the project is found."""


class AmplitudeCohortsSettings(ApiSettings):
    """The project."""

    api_key: SecretStr = Setting(min_length=1, description="API key of the project.")
    secret_key: SecretStr = Setting(min_length=1, description="Secret key of the project.")
    app_id: str = Setting(min_length=1, description="The project's id.")
    default_owner_email: str = Setting(min_length=3, description="Whom cohorts belong to, where a connection names nobody.")
    region: Literal["north_america", "europe"] = Setting("north_america", description="Where the project's data is.")


class AmplitudeCohortSettings(Settings):
    """What may be said of one cohort."""

    id_type: Literal["BY_USER_ID", "BY_AMP_ID"] = Setting("BY_USER_ID", description="By which id people are named.")
    owner_email: str | None = Setting(None, description="Whom the cohort belongs to.")
    audience_name: str | None = Setting(None, description="Name of the cohort; the audience's own unless said.")
    user_id: str | None = Setting(None, description="Somebody of the project, to make the cohort with.")


class AmplitudeCohorts(ApiDestination):
    """A cohort in Amplitude for each connection."""

    key = "amplitude_cohorts"
    name = "Amplitude cohorts"
    description = "Keeps an audience as a cohort in Amplitude."
    docs_url = "https://amplitude.com/docs/apis/analytics/behavioral-cohorts"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = AmplitudeCohortsSettings
    list_settings_model = AmplitudeCohortSettings
    authentication = Basic("api_key", "secret_key")
    user_address_kinds = ("user_id",)
    creates_lists = True
    actions = (
        Action(
            "sync_cohort",
            "Keep the cohort",
            frozenset({"identify", "track"}),
            inputs=(
                Field("user_id", description="The person's id.", default=path("$.userId")),
                Field("amplitude_id", description="Amplitude's own id of the person."),
                Field(
                    "segment_external_audience_id",
                    description="The cohort, where it is not the connection's own.",
                    default=path("$.context.personas.external_audience_id"),
                ),
            ),
            batch_keys=("segment_external_audience_id",),
        ),
    )
    presets = (presets.membership("sync_cohort"), presets.entered_and_exited("sync_cohort"))
    limits = Limits(max_batch_records=10_000, max_batch_bytes=4_000_000)
    segment_slugs = ("amplitude-cohorts", "actions-amplitude-cohorts")
    segment_actions = (("syncAudience", "sync_cohort"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"region" if name == "endpoint" else name: value for name, value in values.items()}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if not (payload.get("user_id") or payload.get("amplitude_id")):
            raise UnusableError("a cohort needs a user_id or an amplitude_id")
        return payload

    def talk(self, batch: Batch) -> Conversation:
        cohort = batch.list_id("segment_external_audience_id")
        if cohort is None:
            return Stop("the connection has no cohort in Amplitude yet.", "Sync the connection: its cohort is made first.")
        field, id_type = _BY[_said(batch.target).id_type]
        refused = {
            at: f"the cohort takes people by {field}, and there is none" for at, one in enumerate(batch.payloads) if field not in one
        }
        for entered in (True, False):
            positions = [at for at in batch.positions(entered=entered) if at not in refused]
            if not positions:
                continue
            ids = [str(batch.payloads[at][field]) for at in positions]
            answer = yield _membership(batch.settings, cohort, ids, id_type, entered=entered)
            failed = failure(answer, len(positions))
            if isinstance(failed, Accepted):
                refused[positions[0]] = failed.rejected[0]
            elif failed is not None:
                return failed
            # whom Amplitude does not know is in no cohort: nothing is left to be done when such a person goes
            skipped = _skipped(object_of(answer)) if entered else set[str]()
            refused |= {at: "Amplitude does not know this person" for at, name in zip(positions, ids, strict=True) if name in skipped}
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _search(settings, settings.default_owner_email)
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        answer = yield json_request("GET", _url(settings, "/api/3/cohorts"))
        failed = failure(answer, 0)
        if failed is not None:
            return failed
        name = target.list_name(_said(target).audience_name)
        for cohort in object_of(answer).get("cohorts", []):
            mine = str(cohort.get("id")) == target.external_id if target.external_id else cohort.get("name") == name
            if mine and not cohort.get("archived"):
                return ListId(str(cohort["id"]))
        return None

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        said = _said(target)
        seed = said.user_id
        for guess in () if seed else _SEEDS:
            answer = yield _search(settings, guess)
            failed = failure(answer, 0)
            if failed is not None:
                return failed
            seed = _found(object_of(answer), _BY[said.id_type][0])
            if seed is not None:
                break
        if seed is None:
            return Stop(
                "Amplitude names nobody that the cohort could be made with.", "Say user_id in the settings of the connection's list."
            )
        made = {
            "name": target.list_name(said.audience_name),
            "app_id": settings.app_id,
            "id_type": said.id_type,
            "ids": [seed],
            "owner": said.owner_email or settings.default_owner_email,
            "published": True,
        }
        answer = yield json_request("POST", _url(settings, "/api/3/cohorts/upload"), made)
        cohort = object_of(answer).get("cohortId")
        if not cohort:
            return failure(answer, 0) or Stop("Amplitude made no cohort.", "Check that the project's id belongs to the keys.")
        answer = yield _membership(settings, str(cohort), [seed], _BY[said.id_type][1], entered=False)
        return failure(answer, 0) or ListId(str(cohort))


def _said(target: Target) -> AmplitudeCohortSettings:
    known = AmplitudeCohortSettings.model_fields
    return AmplitudeCohortSettings.model_validate({name: value for name, value in target.list_settings.items() if name in known})


def _url(settings: AmplitudeCohortsSettings, path_: str) -> str:
    return settings.at(_HOSTS[settings.region] + path_)


def _search(settings: AmplitudeCohortsSettings, whom: str) -> Request:
    return json_request("GET", query_url(_url(settings, "/api/2/usersearch"), {"user": whom}))


def _found(answer: dict[str, Any], field: str) -> str | None:
    """The id of one of those that a search found."""
    return next((str(match[field]) for match in answer.get("matches", []) if match.get(field)), None)


def _membership(settings: AmplitudeCohortsSettings, cohort: str, ids: list[str], id_type: str, *, entered: bool) -> Request:
    change = {"ids": list(dict.fromkeys(ids)), "id_type": id_type, "operation": "ADD" if entered else "REMOVE"}
    body = {"cohort_id": cohort, "skip_invalid_ids": True, "memberships": [change]}
    return json_request("POST", _url(settings, "/api/3/cohorts/membership"), body)


def _skipped(answer: dict[str, Any]) -> set[str]:
    return {str(name) for result in answer.get("memberships_result", []) for name in result.get("skipped_ids") or []}
