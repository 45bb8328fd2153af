"""What moved among people between a kept evaluation and a later instant over more files: who came, who merged, whose values are new.

Files that were merged are told apart as long as they lie on the disk, an hour; other files that were written again, or went away, are not:
nothing is told then. Nor is it when time went back, or when rows about people that were hidden then are
visible now. Such an evaluation starts from the beginning. Instants are UTC microseconds since 1970.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from engage_pipelines.facts.bits import Ids, ids_of
from engage_pipelines.facts.identity_sql import resolve_members
from engage_pipelines.facts.kept import Kept
from engage_pipelines.facts.next_change import NEVER
from engage_pipelines.facts.slices import Merged, among
from engage_pipelines.facts.store import TABLES, Manifest, relation

_ABOUT_PEOPLE = {"traits": "ts", "links": "ts", "memberships": "ts", "subjects": "first_at"}
# a link that was there before, at an earlier instant, says nothing new
_NEW_LINKS = """
SELECT 1 FROM {added} n WHERE n.ts <= {at} AND n.from_subject <> n.to_subject AND NOT EXISTS (
    SELECT 1 FROM {old} o WHERE o.kind = n.kind AND o.from_subject = n.from_subject AND o.to_subject = n.to_subject
        AND (o.ts < n.ts OR (o.ts = n.ts AND o.message_id <= n.message_id))) LIMIT 1"""
_ARE_USERS = """
SELECT DISTINCT o.member FROM {subjects} s JOIN checked o ON o.subject = s.subject WHERE s.kind = 'user' AND s.first_at <= {at}
UNION SELECT o.member FROM {traits} t JOIN checked o ON o.subject = t.subject
WHERE t.key = 'email' AND t.level = 'user' AND starts_with(t.value, '"') AND t.value <> '""' AND t.ts <= {at}"""


@dataclass(frozen=True, slots=True)
class Movement:
    """Who there is now; `everywhere` are members of whom nothing kept can be used, `by_trait` those with a new value.

    `added_events` and `added_subjects` are files of what came; some are in no manifest any more.
    `links_moved`: users of accounts have to be looked up again.
    """

    users: Ids
    accounts: Ids
    merged: Merged
    unseen: Ids
    everywhere: Ids
    by_trait: Mapping[str, Ids]
    added_events: tuple[str, ...]
    added_subjects: tuple[str, ...]
    links_moved: bool

    def people_moved(self, kept: Kept) -> bool:
        """Whether who there is, or who holds which identifiers, may be another than before."""
        return bool(len(self.everywhere) or "email" in self.by_trait or len(self.users) != len(kept.users))


def find_movement(engine: duckdb.DuckDBPyConnection, folder: Path, kept: Kept, manifest: Manifest, at_us: int) -> Movement | None:
    """What moved since; None when that cannot be told. Raises duckdb.Error."""
    if at_us < kept.at_us or at_us >= kept.hidden_from_us:
        return None
    added: dict[str, tuple[str, ...]] = {}
    for table in TABLES.keys() - {"messages"}:
        found = _came(frozenset(kept.manifest.files(table)), manifest, table)
        if found is None:
            return None
        added[table] = found
    read = [name for names in added.values() for name in names] + [*(kept.manifest.files("links") if added["links"] else ())]
    if not all((folder / name).exists() for name in read):
        return None
    return _Search(engine, folder, kept, manifest, at_us, added).run()


def _came(known: frozenset[str], manifest: Manifest, table: str) -> tuple[str, ...] | None:
    """The files of rows that came since; None when rows that were known are in no file that is known."""
    missing, added = set(known), list[str]()
    waiting = list(manifest.files(table))
    while waiting:
        name = waiting.pop()
        if name in known:
            missing.discard(name)
        elif _holds_some(name, known, manifest):
            waiting.extend(manifest.merged[name])
        else:
            added.append(name)
    return None if missing else tuple(added)


def _holds_some(name: str, known: frozenset[str], manifest: Manifest) -> bool:
    """Whether a file was merged from one that is known, however far back."""
    return any(each in known or _holds_some(each, known, manifest) for each in manifest.merged.get(name, ()))


def hidden_from(engine: duckdb.DuckDBPyConnection, folder: Path, manifest: Manifest, at_us: int) -> int:
    """The first later instant at which a row about people becomes visible; events have theirs."""
    parts = [
        f"SELECT min({column}) AS ts FROM {relation(folder, table, manifest.files(table))} WHERE {column} > {at_us}"
        for table, column in _ABOUT_PEOPLE.items()
    ]
    found = engine.execute(f"SELECT min(ts) FROM ({' UNION ALL '.join(parts)})").fetchall()[0][0]
    return NEVER if found is None else int(found)


def unseen_subjects(engine: duckdb.DuckDBPyConnection, folder: Path, manifest: Manifest, at_us: int) -> Ids:
    """The subjects that have a number, and nothing visible that is known of them; sorted."""
    rows = relation(folder, "subjects", manifest.files("subjects"))
    query = f"SELECT subject FROM {rows} GROUP BY subject HAVING min(first_at) IS NULL OR min(first_at) > {at_us} ORDER BY 1"
    return ids_of(engine.execute(query).fetchnumpy()["subject"])


@dataclass(frozen=True, slots=True)
class Renamed:
    """Whose identifiers may be others than before, or in another order: of `perhaps` only those who have several of a kind."""

    surely: Ids
    perhaps: Ids


def find_renamed(engine: duckdb.DuckDBPyConnection, folder: Path, kept: Kept, manifest: Manifest, movement: Movement) -> Renamed:
    """Whose identifiers moved since. Raises duckdb.Error."""

    def subjects(query: str) -> Ids:
        return ids_of(engine.execute(f"SELECT DISTINCT subject FROM ({query}) ORDER BY 1").fetchnumpy()["subject"])

    added = relation(folder, "subjects", movement.added_subjects)
    seen = subjects(f"SELECT subject FROM {added}")
    # what was last seen ahead of the instant then counts as seen at the instant
    ahead = subjects(f"SELECT subject FROM {relation(folder, 'subjects', manifest.files('subjects'))} WHERE last_at > {kept.at_us}")
    surely = [movement.everywhere, movement.by_trait.get("email", seen[:0])]
    if bool((seen >= kept.manifest.next_subject).any() or len(kept.unseen)):
        # an id that an alias named is a user's unless a visitor of that id was seen
        links = relation(folder, "links", manifest.files("links"))
        surely.append(movement.merged.owners(subjects(f"SELECT from_subject AS subject FROM {links} WHERE kind = 'alias'")))
    return Renamed(np.unique(np.concatenate(surely)), np.unique(movement.merged.owners(np.union1d(seen, ahead))))


@dataclass(frozen=True, slots=True)
class _Search:
    engine: duckdb.DuckDBPyConnection
    folder: Path
    kept: Kept
    manifest: Manifest
    at_us: int
    added: Mapping[str, tuple[str, ...]]

    def run(self) -> Movement:
        merged, changed = self._merged()
        seen_users, seen_accounts, unseen = self._seen()
        by_trait = self._by_trait()
        emails = by_trait.get("email", changed[:0])
        before = Merged(self.kept.merged, self.kept.merged_to)
        remerged = np.union1d(merged.owners(changed), before.owners(changed))
        checked = np.unique(np.concatenate((merged.owners(seen_users), merged.owners(emails), remerged, changed)))
        users = self._users(checked, merged)
        accounts = np.union1d(self.kept.accounts, seen_accounts) if len(seen_accounts) else self.kept.accounts
        fresh = users[:0] if users is self.kept.users else users[~among(users, self.kept.users)]
        came = np.concatenate((fresh, seen_accounts))
        return Movement(
            users,
            accounts,
            merged,
            unseen,
            np.union1d(remerged, came),
            {key: np.unique(merged.owners(subjects)) for key, subjects in by_trait.items()},
            self.added["events"],
            self.added["subjects"],
            bool(self.added["memberships"] or len(changed) or len(came) or len(users) != len(self.kept.users)),
        )

    def _rows(self, table: str, *, added: bool) -> str:
        return relation(self.folder, table, self.added[table] if added else self.manifest.files(table))

    def _columns(self, query: str) -> Mapping[str, object]:
        return self.engine.execute(query).fetchnumpy()

    def _merged(self) -> tuple[Merged, Ids]:
        """Who belongs to whom now, and the subjects of whom that is another than before."""
        kept = Merged(self.kept.merged, self.kept.merged_to)
        nobody = np.zeros(0, dtype=np.int64)
        if not self.added["links"]:
            return kept, nobody
        old = relation(self.folder, "links", self.kept.manifest.files("links"))
        question = _NEW_LINKS.format(added=self._rows("links", added=True), old=old, at=self.at_us)
        if not self.engine.execute(question).fetchall():
            return kept, nobody
        with self.engine.cursor() as cursor:
            resolve_members(cursor, self._rows("links", added=False), self.at_us)
            found = cursor.execute("SELECT subject, member FROM member_of ORDER BY subject").fetchnumpy()
        merged = Merged(ids_of(found["subject"]), ids_of(found["member"]))
        either = np.union1d(kept.subjects, merged.subjects)
        return merged, either[kept.owners(either) != merged.owners(either)]

    def _seen(self) -> tuple[Ids, Ids, Ids]:
        """Users, visitors among them, and accounts that were first seen since; and who is unseen still."""
        kept = self.kept
        if not self.added["subjects"]:
            return kept.users[:0], kept.users[:0], kept.unseen
        rows = self._rows("subjects", added=True)
        found = self._columns(
            f"SELECT subject, any_value(kind) = 'account' AS is_account, coalesce(min(first_at) <= {self.at_us}, false) AS visible"
            f" FROM {rows} GROUP BY 1 ORDER BY 1"
        )
        subjects, visible = ids_of(found["subject"]), np.asarray(found["visible"], dtype=np.bool_)
        is_account = np.asarray(found["is_account"], dtype=np.bool_)
        fresh = (subjects >= kept.manifest.next_subject) | np.isin(subjects, kept.unseen)
        seen = fresh & visible
        unseen = np.union1d(np.setdiff1d(kept.unseen, subjects[seen]), subjects[fresh & ~visible])
        return subjects[seen & ~is_account], subjects[seen & is_account], unseen

    def _by_trait(self) -> dict[str, Ids]:
        """The subjects with a new value, by trait."""
        if not self.added["traits"]:
            return {}
        rows = self._rows("traits", added=True)
        found = self._columns(f"SELECT DISTINCT key, subject FROM {rows} WHERE ts <= {self.at_us} ORDER BY key, subject")
        keys, subjects = np.asarray(found["key"], dtype=object), ids_of(found["subject"])
        edges = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(keys)]
        return {str(keys[begin]): subjects[begin:end] for begin, end in pairwise(edges) if begin < end}

    def _users(self, checked: Ids, merged: Merged) -> Ids:
        """Those who are users now, of whom only `checked` are looked up again."""
        if not len(checked):
            return self.kept.users
        subjects = merged.subjects_of(checked)
        table = pa.table({"subject": pa.array(subjects, pa.int64()), "member": pa.array(merged.owners(subjects), pa.int64())})
        self.engine.register("checked", table)
        found = self._columns(
            _ARE_USERS.format(subjects=self._rows("subjects", added=False), traits=self._rows("traits", added=False), at=self.at_us)
        )
        self.engine.unregister("checked")
        return np.union1d(np.setdiff1d(self.kept.users, checked, assume_unique=True), ids_of(found["member"]))
