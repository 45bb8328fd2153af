"""Many small files of a table made into one, so that reading stays quick however many times something was taken in.

Only the smaller files are merged, hence a row is written again only when the facts have grown by a good part since. What says the same as
another row is dropped on the way: repeated links and subjects.
"""

from engage_pipelines.facts.store import TABLES, Write

MAX_FILES = 64
LEFT_ALONE = 16
_MERGED = {
    "events": "SELECT * FROM {rows} ORDER BY event, ts",
    "traits": "SELECT * FROM {rows} ORDER BY key, subject, ts",
    "subjects": """
        SELECT subject, any_value(kind) AS kind, any_value(id) AS id, min(first_at) AS first_at, max(last_at) AS last_at
        FROM {rows} GROUP BY 1 ORDER BY 2, 1""",
    "links": """
        SELECT kind, from_subject, to_subject, min(ts) AS ts, arg_min(message_id, (ts, message_id)) AS message_id
        FROM {rows} GROUP BY 1, 2, 3 ORDER BY 2, 4""",
    "memberships": "SELECT DISTINCT * FROM {rows} ORDER BY account_subject, user_subject, ts",
    "messages": "SELECT * FROM {rows}",
}


def compact(write: Write, *, max_files: int = MAX_FILES, left_alone: int = LEFT_ALONE) -> None:
    """Merge the smaller files of every table that has more than `max_files`, but for the `left_alone` largest."""
    for table in TABLES:
        names = write.left(table)
        if len(names) > max_files:
            by_size = sorted(names, key=lambda name: (write.folder / name).stat().st_size, reverse=True)
            small = by_size[left_alone:]
            write.merge(table, small, _MERGED[table].format(rows=write.relation(table, small)))
