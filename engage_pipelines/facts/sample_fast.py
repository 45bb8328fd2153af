"""Large made-up facts, written straight as the facts' tables instead of taken in as calls: for measuring, a million profiles in seconds.

Seeded by arithmetic on row numbers, so the same sizes give the same rows. Users hold a user id and an e-mail address, every twentieth has
a visitor id as well, and a part of the events are the visitor's; accounts have users. Events are of `EVENT_NAMES`, spread over 90 days.
"""

from pathlib import Path

from engage_pipelines.facts.store import Write, writing

EVENT_NAMES = tuple(f"Event {number}" for number in range(10))
DAYS = 90
_SPAN_US = DAYS * 86_400_000_000
_FIRST_US = 1_700_000_000_000_000
END_US = _FIRST_US + _SPAN_US
_USER_TRAITS = {
    "email": "'\"user' || u || '@mail.example\"'",
    "plan": "'\"' || ['free', 'trial', 'business', 'enterprise'][1 + {dice} % 4] || '\"'",
    "score": "({dice} % 1000)::VARCHAR",
}
_PROPERTIES = """
'{"total":' || printf('%d.%02d', {dice} // 7 % 100, {dice} // 11 % 100) || ',"quantity":' || ({dice} // 13 % 5 + 1)
|| ',"category":"c' || {dice} // 17 % 20 || '","currency":"' || ['EUR', 'USD', 'GBP'][1 + {dice} // 19 % 3]
|| '","is_new":' || ['true', 'false'][1 + {dice} // 23 % 2] || CASE {dice} // 29 % 10 WHEN 0 THEN ',"coupon":"SPRING"' ELSE '' END
|| ',"page":{"path":"' || ['/', '/pricing', '/docs', '/blog', '/contact'][1 + {dice} // 31 % 5] || '","width":1280}}'"""


def generate_tables(facts_dir: Path, space: str, *, users: int, events: int, names: int = len(EVENT_NAMES)) -> None:
    """Write facts of that size; the instant of the last event is END_US. `names` is how many event names the events share."""
    with writing(facts_dir / space) as write:
        visitors, accounts = users // 20, max(users // 100, 1)
        _profiles(write, users, visitors, accounts)
        per_name = events // names
        for number in range(names):
            _add_events(write, number, per_name, users, visitors)
        write.next_subject = users + visitors + accounts + 1
        write.commit()


def _profiles(write: Write, users: int, visitors: int, accounts: int) -> None:
    first_visitor, first_account = users + 1, users + visitors + 1
    people = f"range(1, {users + 1}) t(u)"
    write.add(
        "subjects",
        f"""SELECT u AS subject, 'user' AS kind, 'u-' || u AS id, {_FIRST_US} AS first_at, {END_US} AS last_at FROM {people}
        UNION ALL SELECT {first_visitor} + v, 'anonymous', 'a-' || v, {_FIRST_US}, {END_US} FROM range({visitors}) t(v)
        UNION ALL SELECT {first_account} + a, 'account', 'acct-' || a, {_FIRST_US}, {END_US} FROM range({accounts}) t(a)""",
    )
    write.add(
        "links",
        f"""SELECT 'identify' AS kind, {first_visitor} + v AS from_subject, v * 20 + 1 AS to_subject, {_FIRST_US} AS ts,
            'l-' || v AS message_id FROM range({visitors}) t(v)""",
    )
    write.add(
        "memberships",
        f"""SELECT u AS user_subject, {first_account} + u % {accounts} AS account_subject, {_FIRST_US} AS ts, false AS "left",
            'g-' || u AS message_id FROM {people} WHERE u % 3 = 0""",
    )
    for key, value in _USER_TRAITS.items():
        shown = value.format(dice=f"(hash(u, '{key}') >> 3)::BIGINT")
        write.add(
            "traits",
            f"SELECT u AS subject, '{key}' AS key, {_FIRST_US} AS ts, 't-{key}-' || u AS message_id, {shown} AS value, 'user' AS level"
            f" FROM {people}",
        )


def _add_events(write: Write, number: int, rows: int, users: int, visitors: int) -> None:
    """One file of one event, already in the order of time."""
    dice = "(d >> 3)::BIGINT"
    # some people do much, most do little
    person = f"(1 + (random_part * random_part * {users})::BIGINT % {users})"
    query = f"""
        SELECT (CASE WHEN d % 50 = 0 THEN {users} + 1 + d // 64 % {max(visitors, 1)} ELSE {person} END)::BIGINT AS subject,
               '{EVENT_NAMES[number]}' AS event, {_FIRST_US} + (i * {_SPAN_US / rows})::BIGINT AS ts,
               'm-{number}-' || i AS message_id, 'track' AS kind, {_PROPERTIES.replace("{dice}", dice)} AS properties,
               '{{"library":{{"name":"analytics.js"}}}}' AS context, 'web' AS source
        FROM (SELECT i, hash(i, {number}) AS d, (hash(i, {number}, 'who') >> 11) / 9007199254740992.0 AS random_part
              FROM range({rows}) t(i))"""
    write.add("events", query, sampled=f"(SELECT properties FROM ({query}) LIMIT 2000)")
