"""Erasing a person from the facts: every subject that belongs to the profile, with all rows about them, in one commit.

Message ids stay known: they say nothing about anybody, and the same calls taken in again do not bring the person back. Files that held
rows of the person are removed at once, not an hour later: whoever is reading them fails, and reads again.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.facts.session import open_session
from engage_pipelines.facts.store import KEPT, Write, state_errors, sweep_shelves, writing

# links are looked at as they will ever be known to be: a call with a time to come is about the person too
_ALL_TIME_US = 2**62
_MEMBERS = "SELECT DISTINCT member FROM identifiers WHERE kind = $1 AND id = $2 ORDER BY 1"
_ADDRESSES = "SELECT DISTINCT kind || ':' || id FROM identifiers WHERE member IN (SELECT unnest($1::BIGINT[])) ORDER BY 1"
_SUBJECTS = "SELECT subject FROM member_of WHERE member IN (SELECT unnest($1::BIGINT[])) UNION SELECT unnest($1::BIGINT[]) ORDER BY 1"
_ABOUT = {
    "events": "subject IN ({0})",
    "traits": "subject IN ({0})",
    "subjects": "subject IN ({0})",
    "links": "from_subject IN ({0}) OR to_subject IN ({0})",
    "memberships": "user_subject IN ({0})",
}


@dataclass(frozen=True, slots=True)
class Person:
    """A profile as the facts know it: the numbers of its subjects, and every address it has or had; both may be empty."""

    subjects: tuple[int, ...]
    addresses: tuple[str, ...]


def find_person(facts_dir: Path, space: str, kind: str, id_: str) -> Person:
    """The profile that holds the identifier. Raises ConflictError when several do, StateError when the facts cannot be read."""
    with open_session(facts_dir, space, at_us=_ALL_TIME_US) as session:
        run = session.connection.execute
        members = [row[0] for row in run(_MEMBERS, [kind, id_]).fetchall()]
        if len(members) > 1:
            raise ConflictError(f"{len(members)} profiles hold that {kind}.", "Erase them one by one, by user id or anonymous id.")
        addresses = {row[0] for row in run(_ADDRESSES, [members]).fetchall()} | {f"{kind}:{id_}"}
        subjects = [row[0] for row in run(_SUBJECTS, [members]).fetchall()]
    return Person(tuple(subjects), tuple(sorted(addresses)))


def erase_facts(facts_dir: Path, space: str, person: Person) -> int:
    """Take every row about the person away, all or none; how many. Raises BusyError or StateError, with the facts as before."""
    folder = facts_dir / space
    if not folder.exists():
        return 0
    with writing(folder) as write:
        # the files keep their order of rows
        write.engine.execute("SET preserve_insertion_order = true")
        taken = sum(_take_away(write, table, about.format(_listed(person.subjects))) for table, about in _ABOUT.items())
        kept = (write.commit() if taken else write.manifest).tables
        _remove_all_but({name for names in kept.values() for name in names}, folder)
        _mend_rejects(folder, person)
    return taken


def _take_away(write: Write, table: str, condition: str) -> int:
    taken = 0
    for name in write.left(table):
        rows = write.relation(table, [name])
        found = write.engine.execute(f"SELECT count(*) FROM {rows} WHERE {condition}").fetchall()[0][0]
        if found:
            write.replace(table, [name], f"SELECT * FROM {rows} WHERE NOT ({condition})")
        taken += found
    return taken


def _listed(subjects: Sequence[int]) -> str:
    return ", ".join(map(str, subjects)) or "NULL"


def _remove_all_but(kept: set[str], folder: Path) -> None:
    with state_errors(folder):
        for path in folder.glob("*.parquet"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        sweep_shelves(folder, kept)
        shutil.rmtree(folder / KEPT, ignore_errors=True)


def _mend_rejects(folder: Path, person: Person) -> None:
    """Reasons may quote what stood in a line: those that name the person go."""
    quoted = [f'"{address.partition(":")[2]}"' for address in person.addresses]
    words = [form.encode() for text in quoted for form in (text, text.replace('"', "'"), text.replace('"', '\\"'))]
    with state_errors(folder):
        for path in folder.glob("rejects/*"):
            lines = path.read_bytes().splitlines(keepends=True)
            left = [line for line in lines if not any(word in line for word in words)]
            if len(left) < len(lines):
                aside = path.with_name(f".{path.name}.writing")
                aside.write_bytes(b"".join(left))
                aside.replace(path)
