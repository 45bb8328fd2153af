"""Erasing a person whose facts are in a warehouse: what is kept of them here, and whether the warehouse still has them.

Rows of the warehouse are their owner's to delete; nothing is written there. Whoever was deleted there before is found by the numbers and
the versions that were kept.
"""

from dataclasses import dataclass
from pathlib import Path

from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.facts.erase import Person
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import file_rows, state_errors
from engage_pipelines.facts.warehouse.numbers import forget_keys, numbers_of

_MEMBERS = "SELECT DISTINCT i.member FROM identifiers i WHERE i.kind = $1 AND i.id = $2 ORDER BY 1"
_ADDRESSES = "SELECT DISTINCT kind || ':' || id FROM identifiers WHERE member IN (SELECT unnest($1::BIGINT[]))"
_LETTERS = {"user_id": "u", "anonymous_id": "a"}


@dataclass(frozen=True, slots=True)
class WarehousePerson:
    """A person as the warehouse and what was kept of it know them; `keys` are those that their numbers are kept under."""

    person: Person
    keys: tuple[str, ...]
    is_in_warehouse: bool


def find_in_warehouse(session: FactsSession, facts: Path, versions: Path, kind: str, id_: str) -> WarehousePerson:
    """The profile that holds the identifier; `facts` and `versions` are the folders of the space.

    Raises ConflictError when several do, StateError when something cannot be read.
    """
    run = session.connection.execute
    present = [row[0] for row in run(_MEMBERS, [kind, id_]).fetchall()]
    addresses = {f"{kind}:{id_}"} | {row[0] for row in run(_ADDRESSES, [present]).fetchall()}
    with state_errors(versions):
        rows = _kept_rows(versions)
        members = set(present)
        if kind == "email" and not present:
            members = {row[0] for row in run(f"SELECT DISTINCT member FROM ({rows}) WHERE address = $1", [f"email:{id_}"]).fetchall()}
        if len(members) > 1:
            raise ConflictError(f"{len(members)} profiles hold that {kind}.", "Erase them one by one, by user id or anonymous id.")
        members |= set(numbers_of(facts / "warehouse", _keys(addresses)).values())
        kept = f"SELECT DISTINCT address FROM ({rows}) WHERE member IN (SELECT unnest($1::BIGINT[]))"
        addresses |= {row[0] for row in run(kept, [sorted(members)]).fetchall()}
    keys = _keys(addresses)
    members |= set(numbers_of(facts / "warehouse", keys).values())
    return WarehousePerson(Person(tuple(sorted(members)), tuple(sorted(addresses))), tuple(sorted(keys)), bool(present))


def forget_in_warehouse(facts: Path, found: WarehousePerson) -> int:
    """Take the person's numbers away; how many. Those numbers are never given again."""
    return forget_keys(facts / "warehouse", found.keys)


def _keys(addresses: set[str]) -> set[str]:
    split = [address.partition(":") for address in addresses]
    return {f"{_LETTERS[kind]}:{id_}" for kind, _, id_ in split if kind in _LETTERS}


def _kept_rows(versions: Path) -> str:
    """SQL for address and member of every user row that any version has."""
    files = [path for name in ("full", "changes") for path in sorted(versions.glob(f"*/*/{name}.parquet"))]
    if not files:
        return "SELECT NULL::VARCHAR AS address, NULL::BIGINT AS member WHERE false"
    listed = file_rows(versions, [str(path.relative_to(versions)) for path in files], alike=False)
    return f"SELECT address, member FROM {listed} WHERE level = 'user'"
