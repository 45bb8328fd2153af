"""Which subject belongs to which member, as of one instant, from the links of the facts.

An anonymous subject belongs to the first user subject it was linked with, by an ordinary call or by alias; later claims are kept and
counted, not merged. Alias merges user subjects (domain/identity.py). Makes the table `member_of(subject, member)`, one row per subject
whose member has another number than its own; there are few next to the events.
"""

import duckdb

from engage_pipelines.domain.identity import merge_aliases

_LINKED = """
CREATE TEMP TABLE linked AS
SELECT kind, from_subject, to_subject, ts, message_id FROM {links} WHERE ts <= {at} AND from_subject <> to_subject
"""
# an alias whose source has no other edge cannot change where a chain ends, so only the others are walked one by one
_CHAINED = """
SELECT from_subject, to_subject FROM linked
WHERE kind = 'alias' AND from_subject IN (
    SELECT from_subject FROM linked WHERE kind = 'alias' GROUP BY 1 HAVING count(DISTINCT to_subject) > 1
    UNION SELECT to_subject FROM linked WHERE kind = 'alias'
)
ORDER BY ts, message_id, from_subject, to_subject
"""
_MEMBER_OF = """
CREATE TEMP TABLE member_of AS
WITH first AS (
    SELECT kind, from_subject, arg_min(to_subject, (ts, message_id, to_subject)) AS to_subject FROM linked GROUP BY 1, 2
), aliased AS (
    SELECT coalesce(own.subject, f.from_subject) AS subject, coalesce(own.member, further.member, f.to_subject) AS member
    FROM (FROM first WHERE kind = 'alias') f
    LEFT JOIN chains further ON further.subject = f.to_subject
    FULL JOIN chains own ON own.subject = f.from_subject
), claimed AS (
    SELECT f.from_subject AS subject, coalesce(a.member, f.to_subject) AS member
    FROM first f LEFT JOIN aliased a ON a.subject = f.to_subject WHERE f.kind = 'identify'
)
SELECT * FROM (FROM aliased UNION ALL FROM claimed) WHERE subject <> member
"""


def resolve_members(connection: duckdb.DuckDBPyConnection, links: str, at_us: int) -> bool:
    """Make `member_of` and `linked` from the links that SQL `links` yields; whether any subject has another member than itself."""
    connection.execute(_LINKED.format(links=links, at=at_us))
    chains = merge_aliases(connection.execute(_CHAINED).fetchall())
    connection.execute("CREATE TEMP TABLE chains (subject BIGINT, member BIGINT)")
    if chains:
        connection.execute(
            "INSERT INTO chains SELECT unnest($subjects::BIGINT[]), unnest($members::BIGINT[])",
            {"subjects": list(chains), "members": list(chains.values())},
        )
    connection.execute(_MEMBER_OF)
    return bool(connection.execute("SELECT 1 FROM member_of LIMIT 1").fetchall())
