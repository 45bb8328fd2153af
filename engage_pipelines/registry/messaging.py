"""Messaging subscriptions: whether an address wants messages, by channel and group, kept for whoever asks. Nothing here sends messages.

The audit log says how many were changed, and never whose.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import messaging_subscription

TYPES = ("EMAIL", "SMS", "WHATSAPP", "ANDROID_PUSH", "IOS_PUSH")
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Subscription:
    """One address on one channel; `groups` is the status by name, and those that are not named stay."""

    type: str
    key: str = field(repr=False)
    status: str
    groups: Mapping[str, str] = field(default_factory=dict[str, str])


def replace_subscriptions(change: Change, space: Row, given: Sequence[Subscription]) -> None:
    """Write these, each over what was there of the same address; the last of several of one address counts."""
    t = messaging_subscription
    there = find_subscriptions(change.c, space.id, [(one.type, one.key) for one in given])
    for one in given:
        before = there.get((one.type, one.key))
        groups = {**(before.groups if before is not None else {}), **one.groups}
        values = {"status": one.status, "groups": groups, "updated_at": change.now}
        mine = sa.and_(t.c.space_id == space.id, t.c.type == one.type, t.c.key == one.key)
        if change.c.execute(t.update().where(mine).values(values)).rowcount == 0:
            change.c.execute(t.insert().values(space_id=space.id, type=one.type, key=one.key, **values))
        there[one.type, one.key] = Subscription(one.type, one.key, one.status, groups)
    counted = Counter(f"{one.type} {one.status}" for one in given)
    change.record("update", f"messaging {space.key}/subscriptions", after=dict(counted))


def find_subscriptions(c: sa.Connection, space_id: str, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Subscription]:
    """Those that are known of these types and addresses."""
    t = messaging_subscription.c
    by_type: dict[str, list[str]] = {}
    for type_, key in wanted:
        by_type.setdefault(type_, []).append(key)
    found: dict[tuple[str, str], Subscription] = {}
    for type_, keys in by_type.items():
        for first in range(0, len(keys), _AT_ONCE):
            part = sa.and_(t.space_id == space_id, t.type == type_, t.key.in_(keys[first : first + _AT_ONCE]))
            for row in c.execute(sa.select(messaging_subscription).where(part)):
                found[type_, row.key] = Subscription(type_, row.key, row.status, row.groups)
    return found


def forget_address(c: sa.Connection, space_id: str, type_: str, keys: Sequence[str]) -> None:
    """Take away what is kept of these addresses."""
    t = messaging_subscription.c
    c.execute(sa.delete(messaging_subscription).where(t.space_id == space_id, t.type == type_, t.key.in_(keys)))
