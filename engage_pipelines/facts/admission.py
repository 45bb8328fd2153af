"""Who can be a member at all: the profiles that hold one of the identifiers that an audience asks for.

Definitions are evaluated over everyone that any audience of the evaluation may admit, and each audience then takes those it admits: so
that "has not done it" is true of exactly the people who could be in.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from engage_pipelines.domain.computation import ANONYMOUS_ID, EXTERNAL_IDS, Audience, Level
from engage_pipelines.facts.bits import Bits, Universe, ids_of
from engage_pipelines.facts.leaves import columns_of
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import quoted

EVERYONE = "(SELECT member FROM users UNION ALL SELECT member FROM identifiers WHERE kind = 'anonymous_id')"
"""SQL for every profile, also of those whom nobody has identified yet; `users` is everyone else."""


def admits_strangers(audiences: Iterable[Audience]) -> bool:
    """True when one of the audiences may admit somebody without user id and e-mail."""
    return any(ANONYMOUS_ID in audience.external_ids for audience in audiences if audience.level is Level.USER)


@dataclass(slots=True)
class Admission:
    """The bits of those whom each choice of identifiers admits, looked up once per choice."""

    session: FactsSession
    users: Universe
    with_strangers: bool
    known: dict[tuple[str, ...], Bits] = field(default_factory=dict[tuple[str, ...], Bits])

    def admit(self, bits: Bits, external_ids: tuple[str, ...]) -> Bits:
        """Those of the users who hold one of the identifiers."""
        if external_ids == EXTERNAL_IDS and not self.with_strangers:
            return bits
        if external_ids not in self.known:
            self.known[external_ids] = self._holders(external_ids)
        return bits & self.known[external_ids]

    def _holders(self, external_ids: tuple[str, ...]) -> Bits:
        kinds = ", ".join(map(quoted, external_ids))
        usual = external_ids == EXTERNAL_IDS
        query = "SELECT member FROM users" if usual else f"SELECT DISTINCT member FROM identifiers WHERE kind IN ({kinds})"
        positions, known = self.users.positions(ids_of(columns_of(self.session, query)["member"]))
        flags = self.users.flags(self.users.constant(False))
        flags[positions[known]] = True
        return self.users.bits(flags)
