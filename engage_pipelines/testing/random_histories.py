"""Random calls that arrive in slices, late ones among them, with people who merge on the way; and profiles by the reference meaning.

Needs hypothesis, by way of the random facts.
"""

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.meaning import Profile, Row
from engage_pipelines.domain.query.values import Json
from engage_pipelines.testing.plain_calls import Seen, Subject, instant
from engage_pipelines.testing.plain_facts import Facts
from engage_pipelines.testing.random_definitions import AT_US, HOUR_US

Call = dict[str, Any]
Memberships = Mapping[Subject, Mapping[str, bool]]
_EMAILS = ("one@x.test", "two@x.test", "", None)


def calls_of(facts: Facts, seed: int) -> list[Call]:
    """Facts as calls in a random order: of a user's some are a visitor's, who is told to be the user sooner, later or never."""
    random = Random(seed)  # noqa: S311
    calls: list[Call] = []
    for each in (*facts.users, *facts.strangers):
        for row in each.rows:
            properties, context = dict(row.properties), dict(row.context)
            calls.append({"type": "track", "event": row.event, "properties": properties, "context": context} | _who(random, each.member))
            calls[-1] |= _stamped(row.ts, row.message_id)
        for trait in each.traits:
            calls.append({"type": "identify", "traits": {trait.key: trait.value}} | _who(random, each.member))
            calls[-1] |= _stamped(trait.ts, f"{trait.message_id}t")
    for account in facts.accounts:
        for trait in account.traits:
            calls.append({"type": "group", "groupId": f"g{account.member}", "traits": {trait.key: trait.value}, "userId": "u1"})
            calls[-1] |= _stamped(trait.ts, f"{trait.message_id}t")
        for user in account.users:
            gone = {"context": {"left": True}} if random.random() < 0.2 else {}
            calls.append({"type": "group", "groupId": f"g{account.member}", "userId": f"u{user}"} | gone)
            calls[-1] |= _stamped(_moment(random), f"g{len(calls)}")
    people = [each.member for each in facts.users]
    links = range(random.randint(0, 4) if people else 0)
    calls += [_link(random, people) | _stamped(_moment(random), f"l{number}") for number in links]
    random.shuffle(calls)
    return calls


def _who(random: Random, member: int) -> Call:
    return {"anonymousId": f"a{member}"} if member >= 500 or random.random() < 0.3 else {"userId": f"u{member}"}


def _link(random: Random, people: Sequence[int]) -> Call:
    one, other = random.choice(people), random.choice(people)
    kind = random.choice(["identify", "identify", "alias", "email"])
    if kind == "alias":
        return {"type": "alias", "previousId": f"u{one}", "userId": f"u{other}"}
    visitor = f"a{random.choice([one, 500])}"
    if kind == "email":
        return {"type": "identify", "anonymousId": visitor, "traits": {"email": random.choice(_EMAILS)}}
    return {"type": "identify", "anonymousId": visitor, "userId": f"u{one}"}


def _moment(random: Random) -> int:
    return AT_US + random.randint(-50, 2) * HOUR_US


def _stamped(at_us: int, message_id: str) -> Call:
    return {"ts": at_us, "timestamp": instant(at_us), "messageId": message_id}


def profiles_of(seen: Seen, calls: Sequence[Call], level: Level, memberships: Memberships) -> dict[Subject, Profile]:
    """Everyone of a level as the reference meaning is asked about them; calls carry `source`, where they came from."""
    by_id = {call["messageId"]: call for call in calls}
    traits: dict[Subject, dict[str, Json]] = {}
    for who, key, _, _, value in sorted(seen.traits, key=lambda row: (row[2], row[3])):
        traits.setdefault(who, {})[key] = json.loads(value)
    rows: dict[Subject, list[Row]] = {}
    for who, event, ts, message_id, _ in seen.events:
        call = by_id[message_id]
        rows.setdefault(who, []).append(Row(event, ts, message_id, call["properties"], call["context"], call["source"]))
    users = {who: Profile(traits.get(who, {}), rows.get(who, ()), memberships.get(who, {})) for who in seen.users}
    if level is Level.USER:
        return users
    members = {who: [user for account, user in seen.account_users if account == who] for who in seen.accounts}
    return {
        who: Profile(traits.get(who, {}), (), memberships.get(who, {}), [users[user] for user in members[who]]) for who in seen.accounts
    }
