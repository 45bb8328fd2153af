"""Who may have other rows than in the newest version, when an evaluation went on from the one that this version came of.

They are those who entered or left, and those whose identifiers moved. Nothing is said of an audience whose newest version did not come of
the kept evaluation: one that was edited, held, discarded or failed since, or was computed by another run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import sqlalchemy as sa

from engage_pipelines.computing.addresses import Addresses
from engage_pipelines.computing.evaluation import SpaceEvaluation
from engage_pipelines.computing.suppress import Suppressed
from engage_pipelines.computing.unmoved import Inputs
from engage_pipelines.domain.computation import Audience, Computation, Level
from engage_pipelines.domain.errors import DefinitionError, StateError
from engage_pipelines.facts.bits import Bits, Ids, Universe
from engage_pipelines.facts.combining import People
from engage_pipelines.facts.incremental import Advanced, carry
from engage_pipelines.facts.kept import Kept
from engage_pipelines.facts.movement import Renamed, find_renamed
from engage_pipelines.facts.slices import among
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import Row
from engage_pipelines.snapshots.compare import Some
from engage_pipelines.snapshots.sorted_rows import ChosenRows, SortedRows


def find_some(
    evaluated: SpaceEvaluation,
    computations: Sequence[Computation],
    rows: Mapping[str, Row],
    inputs: Inputs,
    *,
    database: Database,
    suppressed: Suppressed,
) -> dict[str, Some]:
    """By id of the audience; none of those whose rows have to be looked up as a whole."""
    try:
        return _find(evaluated, computations, rows, inputs, database, suppressed=suppressed)
    except (duckdb.Error, StateError):
        # what is wrong with facts or disk, the ordinary way says for each audience
        return {}


def _find(
    evaluated: SpaceEvaluation,
    computations: Sequence[Computation],
    rows: Mapping[str, Row],
    inputs: Inputs,
    database: Database,
    *,
    suppressed: Suppressed,
) -> dict[str, Some]:
    advanced, kept = evaluated.advanced, evaluated.kept
    if advanced is None or kept is None:
        return {}
    candidates = [each for each in computations if isinstance(each, Audience) and _came_of(kept, rows[each.id], inputs, each)]
    versions = _newest(database, candidates)
    audiences = [each for each in candidates if each.id in versions]
    source = advanced.session.source
    if not audiences or source is None or source.manifest is None:
        return {}
    renamed = find_renamed(advanced.session.connection, source.folder, kept, source.manifest, advanced.movement)
    changed = {each.id: _changed(advanced, kept, each) for each in audiences}
    everyone = np.unique(np.concatenate([renamed.surely, renamed.perhaps, *changed.values()]))
    people = advanced.outcome.combiner.people
    fresh = Addresses(advanced.session).of_some(*(everyone[among(everyone, each.members)] for each in (people.users, people.accounts)))
    touched = _with_other_rows(renamed, fresh)
    cut = _Cut(advanced, fresh, touched, suppressed)
    return {each.id: cut.some(each, changed[each.id], versions[each.id]) for each in audiences}


def _came_of(kept: Kept, row: Row, inputs: Inputs, audience: Audience) -> bool:
    """Whether what the registry knows of the audience is what the kept evaluation gave, under the same definition."""
    if audience.key not in kept.audiences or row.last_error is not None or row.checked_at != kept.at_us:
        return False
    try:
        meant = inputs.digest(audience).rpartition(":")[2]
    except DefinitionError:
        return False
    return row.inputs_digest == f"{kept.manifest.id}:{meant}"


def _newest(database: Database, audiences: Sequence[Audience]) -> dict[str, Row]:
    """The current version of each whose newest one, of whatever state, is the current one."""
    v, com = t.version.c, t.computation.c
    ids = [each.id for each in audiences]
    newest = sa.select(v.computation_id, sa.func.max(v.n).label("n")).where(v.computation_id.in_(ids)).group_by(v.computation_id).subquery()
    query = (
        sa.select(t.version)
        .join(newest, (newest.c.computation_id == v.computation_id) & (newest.c.n == v.n))
        .join(t.computation, (com.id == v.computation_id) & (com.current_version == v.n))
    )
    found = database.ask(lambda c: c.execute(query.where(v.state == "published")).all())
    return {row.computation_id: row for row in found}


def _changed(advanced: Advanced, kept: Kept, audience: Audience) -> Ids:
    """Members who are in and were not, or the other way round; some more, since of those who came nothing was kept."""
    combiner = advanced.outcome.combiner
    before, now = kept.audiences[audience.key], combiner.audiences[audience.key]
    assert isinstance(now, np.ndarray)
    if audience.level is Level.USER:
        users = combiner.people.users
        return users.chosen(carry(before, kept.users, users.members) ^ now)
    universes = {Level.USER: Universe(kept.users), Level.ACCOUNT: Universe(kept.accounts)}
    old = People(universes, kept.link_accounts, kept.link_users)
    was, found = (
        np.concatenate((each.users.chosen(each.users_of(bits)), each.accounts.chosen(bits)))
        for each, bits in ((old, before), (combiner.people, now))
    )
    return np.setxor1d(was, found)


def _with_other_rows(renamed: Renamed, fresh: SortedRows) -> Ids:
    several: list[Ids] = []
    for batch in fresh.batches(("member", "first_order")):
        members = np.frombuffer(batch.column("member").buffers()[1], dtype=np.int64)[batch.column("member").offset :][: len(batch)]
        orders = np.frombuffer(batch.column("first_order").buffers()[1], dtype=np.int16)[batch.column("first_order").offset :][: len(batch)]
        several.append(members[orders > 1])
    found = np.unique(np.concatenate(several)) if several else renamed.perhaps[:0]
    return np.union1d(renamed.surely, renamed.perhaps[among(renamed.perhaps, found)])


@dataclass(frozen=True, slots=True)
class _Cut:
    advanced: Advanced
    fresh: SortedRows
    touched: Ids
    suppressed: Suppressed

    def some(self, audience: Audience, changed: Ids, version: Row) -> Some:
        combiner = self.advanced.outcome.combiner
        members = np.union1d(changed, self.touched)
        bits = combiner.audiences[audience.key]
        assert isinstance(bits, np.ndarray)
        users, accounts = combiner.people.users, combiner.people.accounts
        if audience.level is Level.USER:
            of_users, of_accounts = _those_in(members, users, bits), members[:0]
        else:
            of_users, of_accounts = _those_in(members, users, combiner.people.users_of(bits)), _those_in(members, accounts, bits)
        of_users = of_users[~among(of_users, self.suppressed.members)]
        rows = ChosenRows.of(self.fresh, accounts=of_accounts, users=of_users)
        return Some(version.n, int(version.size), int(version.users), version.digest or "", members, rows)


def _those_in(ids: Ids, universe: Universe, bits: Bits) -> Ids:
    positions, known = universe.positions(ids)
    there = positions[known]
    return ids[known][(bits[there >> 3] & (128 >> (there & 7))) != 0]
