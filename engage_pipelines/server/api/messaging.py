"""Messaging subscriptions in Segment's shapes: who wants messages on which channel. Kept and given back; nothing sends by them."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from engage_pipelines.registry.messaging import Subscription, find_subscriptions, replace_subscriptions
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import Answer, Body, Call, Operation

_MOST = 1_000
Channel = Literal["EMAIL", "SMS", "WHATSAPP", "ANDROID_PUSH", "IOS_PUSH"]
Status = Literal["SUBSCRIBED", "UNSUBSCRIBED", "DID_NOT_SUBSCRIBE"]
_KEY = Annotated[str, Field(min_length=1, max_length=1_000)]
_EMAIL = re.compile(r"[^\s@]{1,320}@[^\s@]{1,255}")
_PHONE = re.compile(r"\+?[0-9]{5,15}")
_FITS = {"EMAIL": _EMAIL, "SMS": _PHONE, "WHATSAPP": _PHONE}
_WORDS = {"EMAIL": "an e-mail address", "SMS": "a phone number such as +12162226233", "WHATSAPP": "a phone number such as +12162226233"}


class Group(Body):
    """The status within one group of messages."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    status: Status


class Given(Body):
    """One address with its status."""

    key: _KEY
    type: Channel
    status: Status
    groups: Annotated[list[Group], Field(max_length=100)] | None = None


class ReplaceSubscriptions(Body):
    """ReplaceMessagingSubscriptionsInSpacesAlphaInput."""

    subscriptions: Annotated[list[Given], Field(min_length=1, max_length=_MOST)]


class Asked(Body):
    """One address."""

    key: _KEY
    type: Channel


class QuerySubscriptions(Body):
    """BatchQueryMessagingSubscriptionsForSpaceAlphaInput."""

    subscriptions: Annotated[list[Asked], Field(min_length=1, max_length=_MOST)]


def _replace(call: Call) -> Answer:
    """Those whose address is none fail one by one; the others are kept."""
    said = call.said(ReplaceSubscriptions).subscriptions
    good = [one for one in said if _is_address(one.type, one.key)]
    kept = [Subscription(one.type, one.key, one.status, {group.name: group.status for group in one.groups or ()}) for one in good]
    with call.registry.change() as change:
        space = call.space(change.c)
        if kept:
            replace_subscriptions(change, space, kept)
    return Answer({"successes": [_told(one) for one in kept], "failures": _failures(said)})


def _query(call: Call) -> Answer:
    said = call.said(QuerySubscriptions).subscriptions
    with call.registry.database.read() as c:
        found = find_subscriptions(c, call.space(c).id, [(one.type, one.key) for one in said])
    wanted = dict.fromkeys((one.type, one.key) for one in said if _is_address(one.type, one.key))
    return Answer({"successes": [_told(found[one]) for one in wanted if one in found], "failures": _failures(said, found), "errors": []})


def _told(one: Subscription) -> dict[str, Any]:
    told: dict[str, Any] = {"key": one.key, "type": one.type, "status": one.status}
    return {**told, "groups": [{"name": name, "status": status} for name, status in one.groups.items()]} if one.groups else told


def _failures(said: Sequence[Given | Asked], found: dict[tuple[str, str], Subscription] | None = None) -> list[dict[str, Any]]:
    """Addresses that are none, and where something was looked for those that are not known."""
    failures: list[dict[str, Any]] = []
    for one in said:
        if not _is_address(one.type, one.key):
            failures.append(_failure(one, "INVALID_KEY", f"The key is not {_WORDS[one.type]}."))
        elif found is not None and (one.type, one.key) not in found:
            failures.append(_failure(one, "NOT_FOUND", "Nothing is known of this address."))
    return failures


def _failure(one: Given | Asked, code: str, message: str) -> dict[str, Any]:
    return {"key": one.key, "type": one.type, "errors": [{"code": code, "message": message}]}


def _is_address(channel: str, key: str) -> bool:
    return channel not in _FITS or _FITS[channel].fullmatch(key) is not None


_PATH = "/spaces/{spaceId}/messaging-subscriptions"
OPERATIONS = (
    Operation("replaceMessagingSubscriptionsInSpaces", "PUT", _PATH, _replace, "Say who wants messages", ("successes", "failures"),
              role=Role.OPERATOR, members=True, body=ReplaceSubscriptions, version="v1alpha"),
    Operation("batchQueryMessagingSubscriptionsForSpace", "POST", f"{_PATH}/batch", _query, "Who of these wants messages",
              ("successes", "failures", "errors"), members=True, body=QuerySubscriptions, version="v1alpha"),
)  # fmt: skip
