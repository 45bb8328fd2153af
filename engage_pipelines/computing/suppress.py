"""Suppressed people: whatever a definition says, they are members of no audience, so that the next version has their exits."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from engage_pipelines.facts.bits import Ids, ids_of
from engage_pipelines.facts.evaluate import Members
from engage_pipelines.facts.leaves import columns_of
from engage_pipelines.facts.session import FactsSession

_HOLDERS = "SELECT DISTINCT i.member FROM identifiers i JOIN suppressed s ON s.kind = i.kind AND s.id = i.id ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The profiles that hold a suppressed identifier, by member id."""

    members: Ids

    def take_out(self, members: Members) -> Members:
        """The members that may be told of; accounts stay, it is people who are suppressed."""
        if not len(self.members):
            return members
        return Members(np.setdiff1d(members.users, self.members, assume_unique=True), members.accounts)


def find_suppressed(session: FactsSession, identifiers: Collection[tuple[str, str]]) -> Suppressed:
    """The profiles that (kind, id) pairs mean, merged ones too. Raises StateError when the facts cannot be read."""
    if not identifiers:
        return Suppressed(np.zeros(0, dtype=np.int64))
    kinds, ids = zip(*identifiers, strict=True)
    session.connection.register("suppressed", pa.table({"kind": pa.array(kinds, pa.string()), "id": pa.array(ids, pa.string())}))
    try:
        return Suppressed(ids_of(columns_of(session, _HOLDERS)["member"]))
    finally:
        session.connection.unregister("suppressed")
