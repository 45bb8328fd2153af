"""Evaluation that goes on from a kept one: only the members who may have another answer are asked about, condition by condition.

They are those with new rows, those with a row that crossed the edge of a window since, and those who came or merged. The same queries that
are asked of everyone are asked of their rows alone, and their bits are put into the kept ones; a condition of which this cannot be told
is asked of everyone, by the ordinary evaluation that puts the bits together in either case.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np

from engage_pipelines.domain.computation import Computation, Level
from engage_pipelines.facts.bits import Bits, Flags, Ids, Universe, distinct, ids_of
from engage_pipelines.facts.combining import People, people_of
from engage_pipelines.facts.evaluate import Beforehand, Outcome, run_plan
from engage_pipelines.facts.kept import Kept, name_of
from engage_pipelines.facts.known import Known
from engage_pipelines.facts.leaf_reach import Reach, reach_of
from engage_pipelines.facts.leaves import LeafBits, ask, columns_of
from engage_pipelines.facts.movement import Movement, find_movement, hidden_from, unseen_subjects
from engage_pipelines.facts.plan import Leaf, Plan, plan_of
from engage_pipelines.facts.session import FactsSession, Given, open_session
from engage_pipelines.facts.shelf import SHELVED_FROM, Shelf, open_shelves, subjects_by_event
from engage_pipelines.facts.slices import Merged, Slicer
from engage_pipelines.facts.store import Manifest, one_thread, read_manifest, state_errors


@dataclass(frozen=True, slots=True)
class Limits:
    """When to read how: files from `shelved_from` rows on get a shelf; when more than the share `most` of the members may have another
    answer to a condition, everyone is asked, which is quicker then.
    """

    shelved_from: int = SHELVED_FROM
    most: float = 0.2


ORDINARY = Limits()
_MOST_CELLS = 16_000_000
"""Members times conditions that are asked together: some 8 bytes each."""
Cut = Callable[[], FactsSession]


@dataclass(frozen=True, slots=True)
class Advanced:
    """An evaluation that went on from a kept one. `asked` counts conditions whose kept bits were used."""

    session: FactsSession
    plan: Plan
    outcome: Outcome
    movement: Movement
    shelves: Sequence[Shelf]
    asked: int


def evaluate_on(
    facts_dir: Path,
    space: str,
    at_us: int,
    kept: Kept,
    computations: Sequence[Computation],
    *,
    context: Sequence[Computation] = (),
    limits: Limits = ORDINARY,
) -> Advanced | None:
    """Evaluate as of a later instant, from what was kept; None when that cannot be done, and everything has to be asked.

    The session of the result is to be closed. Raises StateError when the facts cannot be read.
    """
    folder = facts_dir / space
    manifest = read_manifest(folder)
    plan = plan_of(at_us, computations, context)
    if plan.with_strangers or not kept.manifest.id:
        return None
    moved: list[Movement] = []

    def look(engine: duckdb.DuckDBPyConnection) -> Given:
        found = find_movement(engine, folder, kept, manifest, at_us)
        if found is None:
            raise _StartAnewError
        moved.append(found)
        links = None if found.links_moved else (kept.accounts[kept.link_accounts], kept.users[kept.link_users])
        return Given(found.users, found.accounts, found.merged.subjects, found.merged.members, links)

    try:
        session = open_session(facts_dir, space, at_us=at_us, manifest=manifest, look=look)
    except (_StartAnewError, duckdb.Error):
        return None
    try:
        return _advance(session, folder, manifest, kept, plan, moved[0], limits)
    except (duckdb.Error, OSError):
        # what is wrong with the facts themselves, the full evaluation says
        session.close()
        return None
    except BaseException:
        session.close()
        raise


class _StartAnewError(Exception):
    """What was kept is of no use."""


def _advance(
    session: FactsSession, folder: Path, manifest: Manifest, kept: Kept, plan: Plan, movement: Movement, limits: Limits
) -> Advanced:
    shelves = open_shelves(folder, manifest, shelved_from=limits.shelved_from)
    people = _people(session, kept, movement)
    slicer = Slicer(session, folder, manifest, movement.merged, shelves)
    named = set(manifest.files("events"))
    merged = [subjects_by_event(folder / name) for name in movement.added_events if name not in named]
    advance = _Advance(slicer, kept, movement, people, limits.most, merged)
    # few rows at a time, for which threads cost more than they save
    with one_thread(session.connection):
        advance.run(plan)
    leaves = advance.result
    leaves.seen_events.update(kept.seen_events)
    leaves.seen_traits.update(kept.seen_traits)
    asked = len(leaves.bits)
    admitted = {} if movement.people_moved(kept) else kept.admitted
    outcome = run_plan(session, plan, Beforehand(people, leaves, admitted))
    return Advanced(session, plan, outcome, movement, shelves, asked)


def _people(session: FactsSession, kept: Kept, movement: Movement) -> People:
    if movement.links_moved:
        return people_of(session, "users")
    universes = {Level.USER: Universe(movement.users), Level.ACCOUNT: Universe(movement.accounts)}
    return People(universes, kept.link_accounts, kept.link_users)


@dataclass(frozen=True, slots=True)
class _Group:
    """Conditions that look at the same events, and the members who may have another answer to one of them."""

    names: frozenset[str]
    leaves: Collection[Leaf]
    touched: Ids
    follows: bool


@dataclass(slots=True)
class _Advance:
    """Kept bits on their way to the present instant."""

    slicer: Slicer
    kept: Kept
    movement: Movement
    people: People
    most: float
    merged: Sequence[Mapping[str, Ids]]
    """By file of events that came and was merged into another since, the subjects of each event."""
    result: LeafBits = field(default_factory=LeafBits)

    def run(self, plan: Plan) -> None:
        by_events: dict[frozenset[str], dict[Leaf, Reach]] = {}
        by_trait: dict[str, dict[Leaf, Reach]] = {}
        for leaf, reach in _kept_leaves(plan, self.kept):
            if reach.trait is None:
                by_events.setdefault(reach.events, {})[leaf] = reach
            else:
                by_trait.setdefault(reach.trait, {})[leaf] = reach
        for groups in _asked_together([self._group(names, leaves) for names, leaves in by_events.items()]):
            self._events(groups)
        for key, leaves in by_trait.items():
            touched = np.union1d(self.movement.everywhere, self.movement.by_trait.get(key, self.movement.everywhere[:0]))
            self._patch([(leaves, touched)], lambda key=key, touched=touched: self.slicer.of_trait(key, touched))

    def _group(self, names: frozenset[str], leaves: Mapping[Leaf, Reach]) -> _Group:
        subjects = list(self._crossing(names, {edge for reach in leaves.values() for edge in reach.edges}))
        owners = self.slicer.merged.owners(distinct(np.concatenate(subjects))) if subjects else self.movement.everywhere[:0]
        touched = distinct(np.concatenate((self.movement.everywhere, owners)))
        return _Group(names, tuple(leaves), touched, any(reach.follows for reach in leaves.values()))

    def _events(self, groups: Sequence[_Group]) -> None:
        members = {name: each.touched for each in groups for name in each.names}
        with_rows = any(each.follows for each in groups)
        self._patch([(each.leaves, each.touched) for each in groups], lambda: self.slicer.of_events(members, with_rows=with_rows))

    def _crossing(self, names: Collection[str], edges: Collection[tuple[str, int]]) -> Iterator[Ids]:
        """Subjects with rows that came, became visible, or crossed an edge; some several times."""
        before, now = self.kept.at_us, self.slicer.session.at_us
        added = set(self.movement.added_events)
        yield from (file[name] for file in self.merged for name in names if name in file)
        for shelf in self.slicer.shelves:
            for name in names:
                if shelf.file.name in added:
                    yield shelf.subjects_of(name)
                else:
                    yield shelf.subjects_between(name, before + 1, now)
            if shelf.file.name not in added:
                for name, age in edges:
                    yield shelf.subjects_between(name, before - age, now - age)

    def _patch(self, groups: Sequence[tuple[Collection[Leaf], Ids]], cut: Cut) -> None:
        """Ask about the members touched, and put what is found into the kept bits."""
        everyone = sum(each.size for _, each in self._universes())
        found_of = [(leaves, {level: _Touched.of(ids, each) for level, each in self._universes()}) for leaves, ids in groups]
        patched = [
            (leaves, by_level) for leaves, by_level in found_of if sum(len(x.members) for x in by_level.values()) <= self.most * everyone
        ]
        universes = {level: Universe(_all_of([by_level[level].members for _, by_level in patched])) for level, _ in self._universes()}
        found = LeafBits()
        if any(each.size for each in universes.values()):
            with cut() as session:
                ask(session, universes, [leaf for leaves, _ in patched for leaf in leaves], Known(), found)
        for leaves, by_level in patched:
            places = {level: np.searchsorted(universes[level].members, each.members) for level, each in by_level.items()}
            for level, leaf in leaves:
                if (level, leaf) in found.errors:
                    continue
                bits = self._carried(level, self.kept.leaves[name_of(level, leaf)])
                if len(places[level]):
                    put_in(bits, by_level[level].positions, universes[level].flags(found.of(level, leaf))[places[level]])
                self.result.bits[level, leaf] = bits
        self.result.seen_events.update(found.seen_events)
        self.result.seen_traits.update(found.seen_traits)

    def _universes(self) -> Iterable[tuple[Level, Universe]]:
        return self.people.universes.items()

    def _carried(self, level: Level, bits: Bits) -> Bits:
        """The kept bits over those who are members now, to be changed; what they say of those who came means nothing."""
        old = self.kept.users if level is Level.USER else self.kept.accounts
        new = self.people.universes[level].members
        return carry(bits, old, new)


@dataclass(frozen=True, slots=True)
class _Touched:
    """Those of some ids, sorted and distinct, who are members of a universe, and their positions in it."""

    members: Ids
    positions: Ids

    @classmethod
    def of(cls, ids: Ids, universe: Universe) -> "_Touched":
        positions, known = universe.positions(ids)
        return cls(ids[known], positions[known])


def _all_of(several: Sequence[Ids]) -> Ids:
    """Sorted and distinct, as each of them is."""
    return several[0] if len(several) == 1 else distinct(np.concatenate([np.zeros(0, dtype=np.int64), *several]))


def _asked_together(groups: Sequence[_Group]) -> Iterator[Sequence[_Group]]:
    """Groups in one session, where it is few people and no funnel: the arrays of all conditions have a place for each of all members."""
    plain = sorted((each for each in groups if len(each.names) == 1 and not each.follows), key=lambda each: len(each.touched))
    yield from ([each] for each in groups if each not in plain)
    while plain:
        together = [plain.pop(0)]
        while plain and _cells([*together, plain[0]]) <= _MOST_CELLS:
            together.append(plain.pop(0))
        yield together


def _cells(groups: Sequence[_Group]) -> int:
    return sum(len(each.touched) for each in groups) * sum(len(each.leaves) for each in groups)


def carry(bits: Bits, old: Ids, new: Ids) -> Bits:
    """Bits over the members `old` as new bits over the members `new`; what they say of those who came means nothing."""
    if old is new or (len(old) <= len(new) and np.array_equal(old, new[: len(old)])):
        carried = np.zeros((len(new) + 7) // 8, dtype=np.uint8)
        carried[: len(bits)] = bits
        return carried
    flags = Universe(old).flags(bits)
    if not len(old):
        return np.zeros((len(new) + 7) // 8, dtype=np.uint8)
    return np.packbits(flags[np.minimum(np.searchsorted(old, new), len(old) - 1)])


def put_in(bits: Bits, positions: Ids, flags: Flags) -> None:
    """Make the bits at distinct positions say what the flags say."""
    places, masks = positions >> 3, (128 >> (positions & 7)).astype(np.uint8)
    wrong = ((bits[places] & masks) != 0) != flags
    np.bitwise_xor.at(bits, places[wrong], masks[wrong])


def _kept_leaves(plan: Plan, kept: Kept) -> Iterator[tuple[Leaf, Reach]]:
    """The conditions that can go on from their kept bits."""
    for level, leaf in plan.leaves:
        reach = reach_of(leaf, plan.computed)
        if reach is not None and name_of(level, leaf) in kept.leaves:
            yield (level, leaf), reach


# ---- keeping an evaluation


def keep_whole(session: FactsSession, outcome: Outcome, folder: Path, plan: Plan) -> Kept | None:
    """What an ordinary evaluation leaves for the next one; None when there is nothing to go on from. Raises StateError."""
    source = session.source
    if source is None or source.manifest is None or plan.with_strangers:
        return None
    with state_errors(folder):
        found = columns_of(session, f"SELECT subject, member FROM {session.merged_subjects} ORDER BY subject")
        merged = Merged(ids_of(found["subject"]), ids_of(found["member"]))
        unseen = unseen_subjects(session.connection, folder, source.manifest, session.at_us)
    return _keep(session, outcome, folder, plan, merged, unseen)


def keep_advanced(advanced: Advanced, folder: Path) -> Kept:
    """The same of an evaluation that went on from a kept one."""
    return _keep(advanced.session, advanced.outcome, folder, advanced.plan, advanced.movement.merged, advanced.movement.unseen)


def _keep(session: FactsSession, outcome: Outcome, folder: Path, plan: Plan, merged: Merged, unseen: Ids) -> Kept:
    source = session.source
    assert source is not None
    assert source.manifest is not None
    people, leaves = outcome.combiner.people, outcome.combiner.leaves
    return Kept(
        source.manifest,
        session.at_us,
        hidden_from(session.connection, folder, source.manifest, session.at_us),
        people.users.members,
        people.accounts.members,
        people.link_accounts,
        people.link_users,
        merged.subjects,
        merged.members,
        unseen,
        {name_of(level, leaf): bits for (level, leaf), bits in leaves.bits.items() if reach_of(leaf, plan.computed)},
        {key: bits for key, bits in outcome.combiner.audiences.items() if isinstance(bits, np.ndarray)},
        dict(outcome.admission.known),
        frozenset(leaves.seen_events),
        frozenset(leaves.seen_traits),
    )
