"""Evaluation of computations over facts as of one instant: every distinct condition once, then the definitions combined as bit sets.

Audiences give members, traits give values. What a definition reads of other computations is evaluated before it, at the same instant: all
conditions are asked at once, but for those that look at the value of a computed trait, which come after it. A computation that cannot be
evaluated carries its error, and the others are evaluated all the same. Nothing is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engage_pipelines.domain.computation import Computation, Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.tree import Comparison, Events, Trait
from engage_pipelines.facts.admission import EVERYONE, Admission, admits_strangers
from engage_pipelines.facts.audience_order import Readable, ReadableTrait, all_in_order
from engage_pipelines.facts.bits import Bits
from engage_pipelines.facts.combining import Combiner, Members, People, people_of
from engage_pipelines.facts.known import Known
from engage_pipelines.facts.leaves import LeafBits, ask
from engage_pipelines.facts.scopes import scoped
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.stages import by_stage, valued
from engage_pipelines.facts.trait_values import Values, evaluate_trait, keep_membership, members_of
from engage_pipelines.facts.unknown_names import KnownNames, warnings_of, warnings_of_trait

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
class Plan:
    """What is to be evaluated, what is referred to before what refers to it; `wanted` are the keys that were asked for.

    `levels` are those of audiences, `traits` those of computed traits.
    """

    steps: Mapping[str, Readable | ReadableTrait | EngageError]
    wanted: tuple[str, ...]
    levels: Mapping[str, Level]
    traits: Mapping[str, Level]
    with_strangers: bool


def plan_of(at_us: int, computations: Sequence[Computation], context: Sequence[Computation]) -> Plan:
    """The computations and those that they refer to, as they are meant at an instant."""
    steps = {key: _as_of(each, at_us) for key, each in all_in_order(computations, context).items()}
    audiences = [each.audience for each in steps.values() if isinstance(each, Readable)]
    return Plan(
        steps,
        tuple(each.key for each in computations),
        {each.key: each.level for each in audiences},
        {key: each.trait.level for key, each in steps.items() if isinstance(each, ReadableTrait)},
        admits_strangers(audiences),
    )


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
    evaluation = _Evaluation(session, combiner, admission, frozenset(plan.wanted))
    evaluation.run(plan.steps)
    return Outcome({key: evaluation.results[key] for key in plan.wanted}, combiner, admission)


def leaves_of(each: Readable, levels: Mapping[str, Level], traits: Mapping[str, Level]) -> Iterator[tuple[Level, Comparison]]:
    """What an audience asks of the facts; literals and memberships are not."""
    for one in scoped(each.definition.condition, each.definition.level, levels, traits):
        if one.audience is None and isinstance(one.comparison.scalar.source, Events | Trait):
            yield one.level, one.comparison


def _as_of(each: Readable | ReadableTrait | EngageError, at_us: int) -> Readable | ReadableTrait | EngageError:
    """The audience with its definition as it is meant at the instant, if its events count from some instant on."""
    if not isinstance(each, Readable):
        return each
    return Readable(each.audience, count_events_since(each.definition, each.audience.events_since_us, at_us=at_us))


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One evaluation on its way; `known` grows with what was computed."""

    session: FactsSession
    combiner: Combiner
    admission: Admission
    wanted: frozenset[str]
    known: Known = field(default_factory=Known)
    results: dict[str, Evaluated] = field(default_factory=dict[str, Evaluated])

    def run(self, plan: Mapping[str, Readable | ReadableTrait | EngageError]) -> None:
        self.known.traits.update(self.combiner.traits)
        read_as_values = valued(plan, self.combiner.levels, self.combiner.traits)
        for key, each in plan.items():
            if isinstance(each, EngageError):
                self.results[key] = Evaluated(key, None, each, ())
        for stage in by_stage(plan, self.combiner.levels, self.combiner.traits):
            ask(self.session, self.combiner.people.universes, self._leaves(stage), self.known, self.combiner.leaves)
            for each in stage:
                if isinstance(each, Readable):
                    result = self._audience(each)
                    if result.key in read_as_values and result.error is None:
                        keep_membership(self.session, self.known, self.combiner, result.key)
                else:
                    result = self._trait(each)
                self.results[result.key] = result

    def _leaves(self, stage: Sequence[Readable | ReadableTrait]) -> Iterator[tuple[Level, Comparison]]:
        for one in stage:
            if isinstance(one, Readable) and self._failed_before(one) is None:
                yield from leaves_of(one, self.combiner.levels, self.combiner.traits)

    def _audience(self, each: Readable) -> Evaluated:
        key, audience = each.audience.key, each.audience
        warnings = tuple(warnings_of(each.definition, self._names(), self.combiner.levels, self.combiner.traits))
        try:
            self._check_before(each)
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
            self._check_before(each)
            if each.definition is not None:
                warnings = tuple(warnings_of_trait(each.definition, self._names(), self.combiner.levels, self.combiner.traits))
            found = evaluate_trait(self.session, each, self.known)
        except EngageError as error:
            return Evaluated(key, None, error, warnings)
        self.known.relations[each.trait.level, key] = found.relation
        members = members_of(self.session, found.values, each.trait.level) if key in self.wanted else None
        return Evaluated(key, members, None, (*warnings, *found.warnings), found.values)

    def _check_before(self, each: Readable | ReadableTrait) -> None:
        error = self._failed_before(each)
        if error is not None:
            raise error

    def _failed_before(self, each: Readable | ReadableTrait) -> EngageError | None:
        """Why it cannot be evaluated, when something that it reads the values of could not."""
        for key in sorted(valued({"": each}, self.combiner.levels, self.combiner.traits)):
            result = self.results.get(key)
            if result is not None and result.error is not None:
                return result.error
        return None

    def _names(self) -> KnownNames:
        return KnownNames(self.session, self.combiner.leaves.seen_events, self.combiner.leaves.seen_traits)
