"""What is asked of traits without keeping an answer: the values of a trait or a text as of an instant, and why a member has its value."""

import json
from dataclasses import dataclass, replace

import numpy as np

from engage_pipelines.computing.explain import iso
from engage_pipelines.computing.member_names import Named, describe, names_of
from engage_pipelines.computing.profiles import load_subjects, memberships_for
from engage_pipelines.computing.questions import DRAFT, Desk
from engage_pipelines.computing.suppress import find_suppressed
from engage_pipelines.domain.computation import Computation, Level, TraitComputation, TraitType
from engage_pipelines.domain.errors import EngageError, UsageError
from engage_pipelines.domain.query import parse_trait, to_text
from engage_pipelines.domain.query.meaning import Asked, rows_by_filter, trait_value
from engage_pipelines.domain.query.printer import scalar_text
from engage_pipelines.domain.query.tree import Events, Scalar
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.audience_order import read_definition
from engage_pipelines.facts.bits import ids_of
from engage_pipelines.facts.evaluate import Values, evaluate
from engage_pipelines.facts.leaves import columns_of
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.registry.lookup import find_trait
from engage_pipelines.registry.traits import as_trait


@dataclass(frozen=True, slots=True)
class TraitQuestion:
    """What is asked: a trait, the computations it may refer to, the instant, and who is kept out whatever is said (kind, id)."""

    trait: TraitComputation
    context: tuple[Computation, ...]
    at_us: int
    suppressed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FoundTrait:
    """The values that a trait would have: how many, and on the session a relation of member and value (JSON text)."""

    size: int
    values: Values
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValueExplained:
    """Why a member has its value: the rows of the event, and how many each filter left; of an account over all its users."""

    value: Json
    definition: str
    event: str
    rows: int
    filters: tuple[tuple[str, int], ...]
    first_at: str | None
    last_at: str | None
    users: int


def ask_trait(desk: Desk, *, key: str | None = None, draft: TraitComputation | None = None, at_us: int | None = None) -> TraitQuestion:
    """About the trait of that key; with a draft too, about it under that definition, otherwise about the draft alone.

    Raises NotFoundError or DefinitionError.
    """
    around = desk.surroundings(at_us)
    if key is not None:
        with desk.database.read() as c:
            saved = as_trait(find_trait(c, around.space_id, key))
        trait = saved if draft is None else replace(saved, definition=draft.definition)
    elif draft is not None:
        trait = draft
    else:
        raise UsageError("Neither a trait nor a definition is named.", "Give one of the two.")
    read_definition(trait)
    return TraitQuestion(trait, around.but(trait.key), around.at_us, around.suppressed)


def draft_trait(definition: str, level: Level, how: TraitType = TraitType.COMPUTED) -> TraitComputation:
    """A text that nobody saved."""
    return TraitComputation(DRAFT, DRAFT, level, definition, how)


def preview_trait(session: FactsSession, question: TraitQuestion) -> FoundTrait:
    """Who would have which value. Raises the EngageError of a definition that cannot be evaluated."""
    found = evaluate(session, [question.trait], context=question.context)[question.trait.key]
    if found.error is not None:
        raise found.error
    if found.members is None or found.values is None:
        raise EngageError("The evaluation gave neither values nor an error.", "Report this.")
    members = found.members.users if question.trait.level is Level.USER else found.members.accounts
    suppressed = find_suppressed(session, question.suppressed).members if question.trait.level is Level.USER else members[:0]
    if not len(suppressed):
        return FoundTrait(len(members), found.values, found.warnings)
    listed = ", ".join(map(str, suppressed.tolist()))
    values = Values(f"SELECT member, value FROM ({found.values.rows}) WHERE member NOT IN ({listed})")
    return FoundTrait(len(np.setdiff1d(members, suppressed, assume_unique=True)), values, found.warnings)


def described_values(session: FactsSession, found: FoundTrait, level: Level) -> str:
    """SQL over the session for one row per member with a value: its identifiers as versions keep them, and the value."""
    ids = ids_of(columns_of(session, f"SELECT member FROM ({found.values.rows}) ORDER BY member")["member"])
    return f"SELECT d.*, v.value FROM ({describe(session, ids, level)}) d JOIN ({found.values.rows}) v USING (member)"


def sample_of(session: FactsSession, found: FoundTrait, size: int) -> list[tuple[str, Json]]:
    """Some members by name, with their values; the same ones every time."""
    query = f"SELECT member, value FROM ({found.values.rows}) ORDER BY hash(member), member LIMIT {size}"
    rows = session.connection.execute(query).fetchall()
    names = names_of(session, [member for member, _ in rows])
    return sorted((names.get(member, str(member)), json.loads(value)) for member, value in rows)


def explain_value(session: FactsSession, question: TraitQuestion, named: Named) -> ValueExplained:
    """The value of a member by its own facts, with what each filter left. Raises UsageError for what has no such explanation."""
    trait = question.trait
    if trait.type is TraitType.SQL:
        raise UsageError("A SELECT is not explained row by row.", "Run its parts with: engage trait preview --sql")
    if named.level is not trait.level:
        raise UsageError(f"That is {_a(named.level)}, and the trait is one of {trait.level}s.", f"Name {_a(trait.level)}.")
    definition = parse_trait(trait.definition, trait.level)
    memberships = memberships_for(session, definition, question.context)
    asked = Asked(session.at_us, user_audiences=memberships.of_users, user_traits=memberships.traits_of_users)
    (subject,) = load_subjects(session, [named.member], definition, memberships)
    users = [each.profile for each in subject.users] if trait.level is Level.ACCOUNT else [subject.profile]
    events = definition.scalar.source
    assert isinstance(events, Events)
    steps = [rows_by_filter(events, user, asked) for user in users]
    totals = [sum(len(step[number]) for step in steps) for number in range(len(events.filters) + 1)]
    stamps = [row.ts for step in steps for row in step[-1]]
    return ValueExplained(
        value=trait_value(definition, subject.profile, asked),
        definition=to_text(definition),
        event=events.name,
        rows=totals[0],
        filters=tuple(zip(_filters(events), totals[1:], strict=True)),
        first_at=iso(min(stamps)) if stamps else None,
        last_at=iso(max(stamps)) if stamps else None,
        users=len(users),
    )


def _filters(events: Events) -> list[str]:
    bare = scalar_text(Scalar(Events(events.name)))
    return [scalar_text(Scalar(Events(events.name, (each,)))).removeprefix(f"{bare}.") for each in events.filters]


def _a(level: Level) -> str:
    return "an account" if level is Level.ACCOUNT else "a user"
