"""Evaluation of computations over facts as of one instant: every distinct condition once, then the definitions combined as bit sets.

Audiences give members, traits give values. What a definition reads of other computations is evaluated before it, at the same instant: all
conditions are asked at once, but for those that look at the value of a computed trait, which come after it. A computation that cannot be
evaluated carries its error, and the others are evaluated all the same. Nothing is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engage_pipelines.domain.computation import Computation, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.facts.admission import EVERYONE, Admission
from engage_pipelines.facts.audience_order import Readable, ReadableTrait
from engage_pipelines.facts.bits import Bits
from engage_pipelines.facts.combining import Combiner, Members, People, people_of
from engage_pipelines.facts.known import Known
from engage_pipelines.facts.leaves import LeafBits, ask
from engage_pipelines.facts.plan import Leaf, Plan, plan_of
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.trait_values import Values, evaluate_trait, keep_membership, members_of
from engage_pipelines.facts.unknown_names import KnownNames, warnings_of

__all__ = ["Evaluated", "Members", "Values", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of one computation: members or an error, and warnings about names that the facts do not know.

    The members of a trait are those who have a value; `values` says which.
    """

    key: str
    members: Members | None
    error: EngageError | None
    warnings: tuple[str, ...]
    values: Values | None = None


def evaluate(session: FactsSession, computations: Sequence[Computation], *, context: Sequence[Computation] = ()) -> dict[str, Evaluated]:
    """Each of the computations by key. `context` holds the others that definitions may refer to by trait('key')."""
    if session.elsewhere is not None:
        return session.elsewhere.evaluate(session, computations, context)
    return run_plan(session, plan_of(session.at_us, computations, context)).results


@dataclass(frozen=True, slots=True)
class Beforehand:
    """What is known before facts are asked: people, bits of conditions, and who is admitted by which identifiers."""

    people: People
    leaves: LeafBits = field(default_factory=LeafBits)
    admitted: Mapping[tuple[str, ...], Bits] = field(default_factory=dict[tuple[str, ...], Bits])


@dataclass(frozen=True, slots=True)
class Outcome:
    """An evaluation at its end; `results` are those asked for."""

    results: dict[str, Evaluated]
    combiner: Combiner
    admission: Admission


def run_plan(session: FactsSession, plan: Plan, beforehand: Beforehand | None = None) -> Outcome:
    """Ask the facts for what is not known beforehand, and put it together."""
    known = beforehand or Beforehand(people_of(session, EVERYONE if plan.with_strangers else "users"))
    combiner = Combiner(known.people, known.leaves, plan.levels, plan.traits, {}, session.at_us)
    admission = Admission(session, known.people.users, plan.with_strangers, dict(known.admitted))
    names = KnownNames(session, known.leaves.seen_events, known.leaves.seen_traits)
    evaluation = _Evaluation(session, plan, combiner, admission, names, frozenset(plan.wanted))
    evaluation.run()
    return Outcome({key: evaluation.results[key] for key in plan.wanted}, combiner, admission)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One evaluation on its way; `known` grows with what was computed."""

    session: FactsSession
    plan: Plan
    combiner: Combiner
    admission: Admission
    names: KnownNames
    wanted: frozenset[str]
    known: Known = field(default_factory=Known)
    results: dict[str, Evaluated] = field(default_factory=dict[str, Evaluated])

    def run(self) -> None:
        plan = self.plan
        self.known.traits.update(plan.traits)
        for key, each in plan.steps.items():
            if isinstance(each, EngageError):
                self.results[key] = Evaluated(key, None, each, ())
        for stage in plan.stages:
            ask(self.session, self.combiner.people.universes, self._leaves(stage), self.known, self.combiner.leaves)
            for each in stage:
                if isinstance(each, Readable):
                    result = self._audience(each)
                    if result.key in plan.read_as_values and result.error is None:
                        keep_membership(self.session, self.known, self.combiner, result.key)
                else:
                    result = self._trait(each)
                self.results[result.key] = result

    def _leaves(self, stage: Sequence[Readable | ReadableTrait]) -> Iterator[Leaf]:
        for one in stage:
            if isinstance(one, Readable) and self._failed_before(one.audience.key) is None:
                yield from self.plan.asks[one.audience.key].leaves

    def _audience(self, each: Readable) -> Evaluated:
        key, audience = each.audience.key, each.audience
        warnings = self._warnings(key)
        try:
            self._check_before(key)
            bits = self.combiner.combine(each.definition.condition, each.definition.level, audience.empty_accounts)
            if audience.level is Level.USER:
                bits = self.admission.admit(bits, audience.external_ids)
        except EngageError as error:
            self.combiner.audiences[key] = error
            return Evaluated(key, None, error, warnings)
        self.combiner.audiences[key] = bits
        return Evaluated(key, self.combiner.members(audience.level, bits), None, warnings)

    def _trait(self, each: ReadableTrait) -> Evaluated:
        key = each.trait.key
        warnings: tuple[str, ...] = ()
        try:
            self._check_before(key)
            warnings = self._warnings(key)
            found = evaluate_trait(self.session, each, self.known)
        except EngageError as error:
            return Evaluated(key, None, error, warnings)
        self.known.relations[each.trait.level, key] = found.relation
        members = members_of(self.session, found.values, each.trait.level) if key in self.wanted else None
        return Evaluated(key, members, None, (*warnings, *found.warnings), found.values)

    def _check_before(self, key: str) -> None:
        error = self._failed_before(key)
        if error is not None:
            raise error

    def _failed_before(self, key: str) -> EngageError | None:
        """Why it cannot be evaluated, when something that it reads the values of could not."""
        for other in self.plan.asks[key].reads:
            result = self.results.get(other)
            if result is not None and result.error is not None:
                return result.error
        return None

    def _warnings(self, key: str) -> tuple[str, ...]:
        return tuple(warnings_of(self.plan.asks[key].named, self.names, self.plan.computed))
