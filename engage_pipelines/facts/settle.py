"""From staged calls to new files of the facts: duplicates told apart, subjects numbered, each table in its order.

Everything is set-wise SQL over the staged files, so that cost and memory do not depend on how the calls were cut into files and blocks.
"""

from engage_pipelines.facts.staging import Staging
from engage_pipelines.facts.store import Write, quoted

CALLS_AT_ONCE = 2_500_000
"""More calls than these become several files of events, each in its order."""

# by hash, since counting the ids themselves costs several times as much; a shared hash is looked at again with the ids
_REPEATED = (
    """CREATE TEMP TABLE shared AS SELECT hash(message_id) AS h FROM staged GROUP BY 1 HAVING count(*) > 1""",
    """CREATE TEMP TABLE repeated AS
    SELECT seq FROM (
        SELECT seq, row_number() OVER (PARTITION BY message_id ORDER BY seq) AS place FROM staged WHERE hash(message_id) IN (FROM shared)
    ) WHERE place > 1""",
    "DROP TABLE shared",
    # one after the other, since what a statement takes at its height is free for the next
    """INSERT INTO repeated
    SELECT s.seq FROM staged s SEMI JOIN {messages} m ON s.message_id = m.message_id WHERE s.seq NOT IN (SELECT seq FROM repeated)""",
)
_FRESH = "CREATE TEMP VIEW calls AS SELECT * FROM staged {unless_repeated}"
_UNLESS_REPEATED = "WHERE seq NOT IN (FROM repeated)"
_SEEN = """
CREATE TEMP TABLE seen AS
SELECT 'user' AS kind, user_id AS id, min(seq) AS seq, min(ts) AS first_at, max(ts) AS last_at
FROM calls WHERE user_id IS NOT NULL GROUP BY 2
UNION ALL
SELECT 'anonymous', anonymous_id, min(seq), min(ts), max(ts) FROM calls WHERE anonymous_id IS NOT NULL GROUP BY 2
UNION ALL
SELECT 'account', group_id, min(seq), min(ts), max(ts) FROM calls WHERE kind = 'group' GROUP BY 2
UNION ALL
SELECT kinds.kind, previous_id, min(seq), NULL, NULL
FROM calls, (VALUES ('user'), ('anonymous')) kinds(kind) WHERE calls.kind = 'alias' GROUP BY 1, 2
"""
_NUMBERED = """
CREATE TEMP TABLE numbered AS
WITH wanted AS (SELECT kind, id, min(seq) AS seq, min(first_at) AS first_at, max(last_at) AS last_at FROM seen GROUP BY 1, 2),
     known AS (SELECT kind, id, min(subject) AS subject FROM {subjects} GROUP BY 1, 2),
     fresh AS (SELECT kind, id, {next_subject} - 1 + row_number() OVER (ORDER BY seq, kind, id) AS subject
               FROM wanted ANTI JOIN known USING (kind, id))
SELECT coalesce(k.subject, f.subject) AS subject, w.kind, w.id, w.first_at, w.last_at
FROM wanted w LEFT JOIN known k USING (kind, id) LEFT JOIN fresh f USING (kind, id)
"""
_NUMBERS_OF_KIND = "CREATE TEMP VIEW {kind}_numbers AS SELECT id, subject FROM numbered WHERE kind = '{kind}'"
_WHO = """
LEFT JOIN user_numbers u ON u.id = c.user_id
LEFT JOIN anonymous_numbers a ON a.id = c.anonymous_id AND c.user_id IS NULL"""
_IS_EVENT = "kind IN ('track', 'page', 'screen')"
_EVENTS = f"""
SELECT coalesce(u.subject, a.subject) AS subject, c.event, c.ts, c.message_id, c.kind, c.properties, c.context,
       {{source}}::VARCHAR AS source
FROM (FROM calls WHERE {_IS_EVENT}{{within}}) c {_WHO} ORDER BY c.event, c.ts"""
_ROWS = {
    "messages": "SELECT message_id FROM calls",
    "subjects": "SELECT subject, kind, id, first_at, last_at FROM numbered ORDER BY kind, subject",
    "traits": f"""
        SELECT coalesce(g.subject, u.subject, a.subject) AS subject, t.key, c.ts, c.message_id, t.value,
               CASE c.kind WHEN 'group' THEN 'account' ELSE 'user' END AS level
        FROM call_traits t JOIN calls c USING (seq) {_WHO} LEFT JOIN account_numbers g ON g.id = c.group_id AND c.kind = 'group'
        ORDER BY t.key, 1, c.ts""",
    "links": """
        SELECT kind, from_subject, to_subject, min(ts) AS ts, arg_min(message_id, (ts, message_id)) AS message_id FROM (
            SELECT 'identify' AS kind, a.subject AS from_subject, u.subject AS to_subject, c.ts, c.message_id
            FROM calls c JOIN anonymous_numbers a ON a.id = c.anonymous_id JOIN user_numbers u ON u.id = c.user_id
            UNION ALL
            SELECT 'identify', a.subject, u.subject, c.ts, c.message_id
            FROM calls c JOIN anonymous_numbers a ON a.id = c.previous_id JOIN user_numbers u ON u.id = c.user_id WHERE c.kind = 'alias'
            UNION ALL
            SELECT 'alias', p.subject, u.subject, c.ts, c.message_id
            FROM calls c JOIN user_numbers p ON p.id = c.previous_id JOIN user_numbers u ON u.id = c.user_id WHERE c.kind = 'alias'
        ) GROUP BY 1, 2, 3 ORDER BY 2, 4""",
    "memberships": f"""
        SELECT coalesce(u.subject, a.subject) AS user_subject, g.subject AS account_subject, c.ts, c.gone AS "left", c.message_id
        FROM calls c {_WHO} JOIN account_numbers g ON g.id = c.group_id
        WHERE c.kind = 'group' AND coalesce(u.subject, a.subject) IS NOT NULL ORDER BY 2, 1, 3""",
}


def settle(write: Write, staging: Staging, *, source: str | None) -> int:
    """Make the new files of an ingest; how many calls are new. Commits nothing."""
    engine = write.engine
    engine.execute(f"CREATE TEMP VIEW staged AS FROM read_parquet({quoted(str(staging.calls_path))})")
    engine.execute(f"CREATE TEMP VIEW call_traits AS FROM read_parquet({quoted(str(staging.traits_path))})")
    for statement in _REPEATED:
        engine.execute(statement.format(messages=write.relation("messages")))
    repeated = engine.execute("SELECT count(*) FROM repeated").fetchall()[0][0]
    if repeated == staging.calls:
        return 0
    engine.execute(_FRESH.format(unless_repeated=_UNLESS_REPEATED if repeated else ""))
    _number(write)
    _add_events(write, staging.calls, "NULL" if source is None else quoted(source))
    for table, query in _ROWS.items():
        write.add(table, query)
    return staging.calls - repeated


def _add_events(write: Write, calls: int, source: str) -> None:
    """In several files when there are many: sorting more than fits in memory costs several times as much."""
    slices = -(-calls // CALLS_AT_ONCE)
    for number in range(slices):
        first, end = (calls * each // slices for each in (number, number + 1))
        within = "" if slices == 1 else f" AND seq >= {first} AND seq < {end}"
        sampled = f"(SELECT properties FROM calls WHERE {_IS_EVENT}{within})"
        write.add("events", _EVENTS.format(source=source, within=within), sampled=sampled)


def _number(write: Write) -> None:
    """Give each new user, visitor and account the next number."""
    engine = write.engine
    engine.execute(_SEEN)
    engine.execute(_NUMBERED.format(subjects=write.relation("subjects"), next_subject=write.next_subject))
    for kind in ("user", "anonymous", "account"):
        engine.execute(_NUMBERS_OF_KIND.format(kind=kind))
    highest = engine.execute("SELECT max(subject) FROM numbered").fetchall()[0][0]
    write.next_subject = max(write.next_subject, highest + 1)
