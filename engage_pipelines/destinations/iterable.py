"""Iterable: membership and traits as fields of users.

One user goes to `/api/users/update`, several to `/api/users/bulkUpdate`, five times a second. What it takes at once is a matter of size
(4 MB): 1,600 users have gone through, and 1,000 are known to work well (https://github.com/carter-j-h/iterable-python-wrapper/issues/8).
It answers 200 and names under `failedUpdates` whom it did not take.
Dates with a time are sent as Iterable writes them (`2026-03-01 10:00:00 +00:00`).
Source: https://api.iterable.com/api/docs#users_bulkUpdateUser (November 2026)
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, failure, json_request, object_of
from engage_pipelines.destinations.authentication import ApiKey
from engage_pipelines.destinations.base import Accepted, Action, Bisect, Effect, Limits, MembershipAs, Record, Verdict
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Answer

_HOSTS = {"united_states": "https://api.iterable.com", "europe": "https://api.eu.iterable.com"}
_ISO = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:?\d\d(:?\d\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?")

_REASONS = {
    "invalidEmails": "Iterable finds the e-mail address not valid",
    "invalidUserIds": "Iterable finds the user id not valid",
    "invalidDataEmails": "Iterable finds the data not valid, such as a field of another type than before",
    "invalidDataUserIds": "Iterable finds the data not valid, such as a field of another type than before",
    "conflictEmails": "the e-mail address belongs to another user of the project",
    "conflictUserIds": "the user id belongs to another user of the project",
    "forgottenEmails": "the person asked Iterable to be forgotten",
    "forgottenUserIds": "the person asked Iterable to be forgotten",
}
_UNKNOWN = "Iterable does not know this user, and none is to be made"
_NOT_FOUND = {"notFoundEmails": _UNKNOWN, "notFoundUserIds": _UNKNOWN}


class IterableSettings(ApiSettings):
    """The project."""

    api_key: SecretStr = Setting(min_length=1, description="Server-side API key of the project.")
    data_center: Literal["united_states", "europe"] = Setting("united_states", description="Where the project's data is.")

    def api(self, rest: str) -> str:
        """The address of a path of the API."""
        return self.at(f"{_HOSTS[self.data_center]}/api{rest}")


class Iterable(ApiDestination):
    """Users of an Iterable project."""

    key = "iterable"
    name = "Iterable"
    description = "Sets membership and traits as fields of users in Iterable."
    docs_url = "https://api.iterable.com/api/docs#users_bulkUpdateUser"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = IterableSettings
    authentication = ApiKey("api_key", "Api-Key")
    user_address_kinds = ("user_id", "email")
    actions = (
        Action(
            "update_user",
            "Create or update the user",
            frozenset({"identify"}),
            inputs=(
                Field("email", description="E-mail address.", default=path("$.traits.email"), format="email"),
                Field("userId", description="The user's id.", default=path("$.userId")),
                Field("dataFields", "object", "Fields of the user; the membership is among them.", default=path("$.traits")),
                Field("phoneNumber", description="Phone number, E.164.", default=path("$.traits.phone"), null_allowed=True),
                Field("mergeNestedObjects", "boolean", "On: objects among the fields are merged, not replaced.", default=False),
                Field("updateOnly", "boolean", "On: nobody is created. Iterable has to allow it for the project."),
            ),
            batch_keys=("updateOnly",),
        ),
    )
    presets = (presets.membership("update_user"),)
    limits = Limits(max_batch_records=1_000, max_batch_bytes=3_500_000, requests_per_s=5)
    segment_slugs = ("iterable", "actions-iterable")
    segment_actions = (("updateUser", "update_user"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"api_key": values.get("apiKey"), "data_center": values.get("dataCenterLocation") or "united_states"}

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if not (payload.get("email") or payload.get("userId")):
            raise UnusableError("Iterable needs an email or a userId")
        fields: dict[str, Any] = cast(dict[str, Any], _dated(payload.pop("dataFields", {})))
        phone = {"phoneNumber": payload.pop("phoneNumber")} if "phoneNumber" in payload else {}
        return {**payload, "dataFields": {**fields, **phone}}

    def talk(self, batch: Batch) -> Conversation:
        only_existing = bool(batch.payloads[0].get("updateOnly"))
        users = [{name: value for name, value in user.items() if name != "updateOnly"} for user in batch.payloads]
        if len(users) == 1 and not only_existing:
            answer = yield json_request("POST", batch.settings.api("/users/update"), users[0])
        else:
            body = {"users": users, **({"updateOnly": True} if only_existing else {})}
            answer = yield json_request("POST", batch.settings.api("/users/bulkUpdate"), body)
        return read(answer, users, expected={at for at, item in enumerate(batch.items) if not item.entered})

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.api("/webhooks"))
        return failure(answer, 0) or Accepted()


def read(answer: Answer, users: Sequence[Mapping[str, Any]], *, expected: set[int]) -> Verdict:
    """What an answer about these users means; `expected` are positions of those whom Iterable need not know, since they go."""
    failed = failure(answer, len(users))
    if failed is not None:
        said = object_of(answer).get("msg")
        return Accepted({0: f"{failed.rejected[0]}: {said}"}) if said and isinstance(failed, Accepted) else failed
    said = object_of(answer)
    named = {**said, **(said.get("failedUpdates") or {})}
    refused = _refused(named, _NOT_FOUND, users)
    unknown = len(refused)
    refused = {at: reason for at, reason in refused.items() if at not in expected} | _refused(named, _REASONS, users)
    if said.get("failCount") and not refused and not unknown:
        reason = f"{answer.place} did not take {said['failCount']} of {len(users)} users, and does not say why"
        return Accepted({0: reason}) if len(users) == 1 else Bisect(reason)
    return Accepted(refused)


def _refused(named: Mapping[str, Any], reasons: Mapping[str, str], users: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """By position why a user was not taken; addresses come back in another case than they went."""
    refused: dict[int, str] = {}
    for kind, reason in reasons.items():
        by = "email" if kind.endswith("Emails") else "userId"
        names = {str(name).casefold() for name in named.get(kind) or []}
        if names:
            refused |= {at: reason for at, user in enumerate(users) if str(user.get(by, "")).casefold() in names}
    return refused


def _dated(value: Any) -> Any:
    """The value with every date that has a time as Iterable writes it, in UTC."""
    if isinstance(value, dict):
        return {key: _dated(inner) for key, inner in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_dated(inner) for inner in cast(list[Any], value)]
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        return value
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    return f"{(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC):%Y-%m-%d %H:%M:%S} +00:00"
