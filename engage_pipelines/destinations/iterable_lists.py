"""Iterable lists: an audience as a static list of users.

A list is named by the audience's key, as Segment names it, and known by a number. A request names 1,000 users, five a second, and makes
those whom Iterable does not know yet unless the list's settings forbid it; who leaves is taken off the list and stays in the project.
Source: https://api.iterable.com/api/docs#lists_subscribe, lists_unsubscribe and lists_create there (November 2026)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field as Setting

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, Talk, failure, json_request, object_of
from engage_pipelines.destinations.authentication import ApiKey
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
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer, Request
from engage_pipelines.destinations.iterable import IterableSettings, read

_LIST = "segmentAudienceId"


class IterableListsSettings(IterableSettings):
    """The project whose lists are kept."""

    prefer_user_id: bool = Setting(True, description="On: the user id decides who somebody is. Off for projects that go by e-mail address.")
    account: str = Setting(
        "", description="A name for the project, where there are several: lists of the same audience are told apart by it."
    )


class IterableListSettings(Settings):
    """What may be said of one list."""

    updateExistingUsersOnly: bool | None = Setting(None, description="On: nobody is created in a project that goes by user ids.")  # noqa: N815
    globalUnsubscribe: bool | None = Setting(None, description="On: who leaves is unsubscribed from the list's whole channel.")  # noqa: N815
    campaignId: int | None = Setting(None, description="Campaign that those who leave are counted for.")  # noqa: N815


class IterableLists(ApiDestination):
    """A static list in Iterable for each connection."""

    key = "iterable_lists"
    name = "Iterable lists"
    description = "Keeps an audience as a static list in Iterable."
    docs_url = "https://api.iterable.com/api/docs#lists_subscribe"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = IterableListsSettings
    list_settings_model = IterableListSettings
    authentication = ApiKey("api_key", "Api-Key")
    user_address_kinds = ("user_id", "email")
    creates_lists = True
    actions = (
        Action(
            "sync_audience",
            "Keep the list",
            frozenset({"identify", "track"}),
            inputs=(
                Field("email", description="E-mail address.", default=first_of("$.traits.email", "$.context.traits.email")),
                Field("userId", description="The user's id.", default=path("$.userId")),
                Field("dataFields", "object", "Fields of the user, set when it comes onto the list."),
                Field(
                    _LIST,
                    description="Number of the list, where it is not the connection's own.",
                    default=path("$.context.personas.external_audience_id"),
                ),
            ),
            batch_keys=(_LIST,),
        ),
    )
    presets = (presets.membership("sync_audience"), presets.entered_and_exited("sync_audience"))
    limits = Limits(max_batch_records=1_000, max_batch_bytes=3_500_000, requests_per_s=5)
    segment_slugs = ("iterable-lists", "actions-iterable-lists", "iterable-audiences", "actions-iterable-audiences")
    segment_actions = (("syncAudience", "sync_audience"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"api_key": values.get("apiKey"), "prefer_user_id": values.get("iterableProjectType", "userId") == "userId"}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if not (payload.get("email") or payload.get("userId")):
            raise UnusableError("a list takes people by email or userId")
        return payload

    def talk(self, batch: Batch) -> Conversation:
        list_id = batch.list_id(_LIST)
        if list_id is None or not (list_id.isascii() and list_id.isdigit()):
            return Stop("the connection has no list in Iterable yet.", "Sync the connection: its list is made first. Lists have a number.")
        refused: dict[int, str] = {}
        for entered in (True, False):
            positions = batch.positions(entered=entered)
            if not positions:
                continue
            users = [_user(batch.payloads[at], batch.settings, entered=entered) for at in positions]
            answer = yield _change(batch, int(list_id), users, entered=entered)
            verdict = read(answer, users, expected=set() if entered else set(range(len(users))))
            if not isinstance(verdict, Accepted):
                return verdict
            refused |= {positions[at]: reason for at, reason in verdict.rejected.items()}
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.api("/lists"))
        return failure(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        answer = yield json_request("GET", settings.api("/lists"))
        return failure(answer, 0) or _found(answer, target)

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        answer = yield json_request("POST", settings.api("/lists"), {"name": _name(target)})
        made = object_of(answer).get("listId")
        if made:
            return ListId(str(made))
        return failure(answer, 0) or Stop("Iterable made no list.", "Check that the API key may write lists.")


def _name(target: Target) -> str:
    return replace(target, name=target.computation).list_name()


def _found(answer: Answer, target: Target) -> ListId | None:
    for one in object_of(answer).get("lists") or []:
        mine = str(one.get("id")) == target.external_id if target.external_id else one.get("name") == _name(target)
        if mine:
            return ListId(str(one["id"]))
    return None


def _user(payload: dict[str, Any], settings: IterableListsSettings, *, entered: bool) -> dict[str, Any]:
    known = ("email", "userId", "dataFields") if entered else ("email", "userId")
    user = {name: payload[name] for name in known if name in payload}
    return {**user, "preferUserId": True} if entered and settings.prefer_user_id else user


def _change(batch: Batch, list_id: int, users: list[dict[str, Any]], *, entered: bool) -> Request:
    given = {name: value for name, value in batch.target.list_settings.items() if name in IterableListSettings.model_fields}
    said = IterableListSettings.model_validate(given)
    if entered:
        options = {"updateExistingUsersOnly": said.updateExistingUsersOnly}
    else:
        options = {"campaignId": said.campaignId, "channelUnsubscribe": said.globalUnsubscribe}
    body = {"listId": list_id, "subscribers": users, **{name: value for name, value in options.items() if value is not None}}
    return json_request("POST", batch.settings.api(f"/lists/{'subscribe' if entered else 'unsubscribe'}"), body)
