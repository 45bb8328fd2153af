"""Order of evaluation: definitions read, what they refer to before themselves, loops named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engage_pipelines.domain.computation import Audience, Computation, Level, TraitComputation, TraitType
from engage_pipelines.domain.errors import DefinitionError, EngageError
from engage_pipelines.domain.query import Definition, TraitDefinition, computation_references, parse, parse_trait
from engage_pipelines.domain.query.levels import check_levels


@dataclass(frozen=True, slots=True)
class Readable:
    """An audience whose definition can be evaluated."""

    audience: Audience
    definition: Definition


@dataclass(frozen=True, slots=True)
class ReadableTrait:
    """A trait whose definition can be evaluated; None is that of a SQL trait, which refers to nothing."""

    trait: TraitComputation
    definition: TraitDefinition | None


def all_in_order(computations: Sequence[Computation], context: Sequence[Computation]) -> dict[str, Readable | ReadableTrait | EngageError]:
    """Computations and those they refer to, by key, referred-to ones first; an error in place of what cannot be evaluated."""
    known = {each.key: each for each in (*context, *computations)}
    audiences = {key: each.level for key, each in known.items() if isinstance(each, Audience)}
    traits = {key: each.level for key, each in known.items() if isinstance(each, TraitComputation)}
    order = _Order(known, audiences, traits, {}, [])
    for each in computations:
        order.visit(each.key)
    return order.done


def read_definition(computation: Computation) -> Definition | TraitDefinition | None:
    """What a computation means; None is a SQL trait. Raises DefinitionError."""
    if isinstance(computation, Audience):
        return parse(computation.definition, computation.level)
    return None if computation.type is TraitType.SQL else parse_trait(computation.definition, computation.level)


def references_of(computation: Computation, known: Mapping[str, Computation]) -> frozenset[str]:
    """The keys of those that its definition refers to. Raises DefinitionError."""
    definition = read_definition(computation)
    if definition is None:
        return frozenset()
    found = computation_references(definition, audiences=known, traits=known)
    traits = {key for key in found if isinstance(known[key], TraitComputation)}
    return computation_references(definition, audiences=found - traits, traits=traits)


def _kind(computation: Computation) -> str:
    return "audience" if isinstance(computation, Audience) else "trait"


@dataclass(frozen=True, slots=True)
class _Order:
    known: Mapping[str, Computation]
    audiences: Mapping[str, Level]
    traits: Mapping[str, Level]
    done: dict[str, Readable | ReadableTrait | EngageError]
    path: list[str]

    def visit(self, key: str) -> None:
        if key in self.done:
            return
        try:
            self.done[key] = self._read(self.known[key])
        except EngageError as error:
            self.done.setdefault(key, error)

    def _read(self, computation: Computation) -> Readable | ReadableTrait:
        definition = read_definition(computation)
        self.path.append(computation.key)
        try:
            if definition is not None:
                for key in sorted(computation_references(definition, audiences=self.audiences, traits=self.traits)):
                    self._follow(computation, key)
        finally:
            self.path.pop()
        if definition is not None:
            check_levels(definition, self.audiences, self.traits)
        if isinstance(computation, Audience):
            assert isinstance(definition, Definition)
            return Readable(computation, definition)
        assert not isinstance(definition, Definition)
        return ReadableTrait(computation, definition)

    def _follow(self, of: Computation, referred: str) -> None:
        if referred in self.path:
            loop = self.path[self.path.index(referred) :]
            error = self._loop(loop)
            for each in loop:
                self.done[each] = error
            raise error
        self.visit(referred)
        error = self.done[referred]
        if not isinstance(error, EngageError):
            return
        if of.key in self.done:  # a loop that this one is part of was found on the way
            raise error
        raise DefinitionError(
            f"{_kind(of)} {of.key!r} refers to {_kind(self.known[referred])} {referred!r}, which cannot be evaluated: {error}",
            "Mend that one first.",
        )

    def _loop(self, keys: Sequence[str]) -> DefinitionError:
        start = keys.index(min(keys))
        shown = " -> ".join([*keys[start:], *keys[:start], keys[start]])
        kinds = sorted({f"{_kind(self.known[key])}s" for key in keys})
        return DefinitionError(
            f"{' and '.join(kinds)} refer to each other in a loop: {shown}.", "Take trait(...) of one of them out of its definition."
        )
