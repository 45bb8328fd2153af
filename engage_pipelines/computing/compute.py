"""Computing audiences and traits: one session over the facts of a space, one shared evaluation, a version for each one that changed.

What cannot be evaluated publishes nothing and says why; the others are published.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engage_pipelines.computing.addresses import Addresses
from engage_pipelines.computing.evaluation import Questions, closed_on_failure, evaluate_space
from engage_pipelines.computing.facts_home import fingerprint_now, open_facts
from engage_pipelines.computing.former_columns import with_former_columns
from engage_pipelines.computing.publish import Evaluation, Published, publish
from engage_pipelines.computing.since import find_some
from engage_pipelines.computing.suppress import Suppressed, find_suppressed
from engage_pipelines.computing.unmoved import Inputs, Unmoved, find_unmoved
from engage_pipelines.domain.computation import Audience, Computation, TraitComputation
from engage_pipelines.domain.errors import EngageError, NotFoundError, StateError
from engage_pipelines.facts.evaluate import Evaluated
from engage_pipelines.facts.next_change import Clock
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.computations import waiting_for_destinations
from engage_pipelines.registry.database_errors import DatabaseAwayError
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.requests import Stamp, after_publish
from engage_pipelines.registry.suppression import list_suppressed
from engage_pipelines.registry.traits import as_computation
from engage_pipelines.settings import Settings
from engage_pipelines.snapshots.compare import Some

Log = Callable[[str], None]
_SHARED_FROM = 2
"""When more audiences than these are computed at once, it pays to sort the rows of everyone first."""


@dataclass(frozen=True, slots=True)
class Computed:
    """The outcome of one audience or trait; `state` is published, unchanged, held, failed, or waiting for a destination.

    `updated` counts those with another value than before, None for audiences.
    """

    key: str
    state: str
    evaluated_at_us: int
    n: int | None = None
    size: int | None = None
    users: int | None = None
    entered: int | None = None
    exited: int | None = None
    error: EngageError | None = None
    warnings: tuple[str, ...] = ()
    updated: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """What evaluation needs to know of a space.

    `evaluate_at_us` pins the instant, `suppressed` are identifiers (kind, id), `waiting` the ids of audiences that wait for a destination,
    `facts` the mapping onto a warehouse, if that is where they are.
    """

    id: str
    key: str
    evaluate_at_us: int | None
    suppressed: tuple[tuple[str, str], ...] = ()
    waiting: frozenset[str] = frozenset()
    facts: Mapping[str, Any] | None = None


def compute_audiences(settings: Settings, registry: Registry, space_key: str, keys: Sequence[str], *, log: Log) -> list[Computed]:
    """Evaluate audiences and traits as of now, or of the instant that the space pins, and publish what changed; in the order of `keys`.

    Raises NotFoundError for a space that is not there, StateError when the facts cannot be read.
    """
    space, rows, now_us = _load(registry, space_key)
    at_us = space.evaluate_at_us if space.evaluate_at_us is not None else now_us
    everyone = {row.key: as_computation(row) for row in rows}
    asked = [everyone[key] for key in keys if key in everyone]
    wanted = [audience for audience in asked if audience.id not in space.waiting]
    inputs = Inputs(fingerprint_now(settings, space.key, space.facts), at_us, everyone, space.suppressed)
    unmoved = find_unmoved(registry, rows, inputs, wanted)
    for key in unmoved:
        log(f"{kind_of(everyone[key])}={key} state=unchanged reason=inputs")
    computed = [_as_before(each, at_us) for each in unmoved.values()]
    if len(unmoved) < len(wanted):
        wanted = with_former_columns(registry.database, settings.snapshots_dir / space.key, wanted)
        questions = Questions(wanted, [each for each in wanted if each.key not in unmoved], tuple(everyone.values()))
        computed += _compute_moved(settings, registry, space, inputs, questions, rows=rows, log=log)
    places = {key: place for place, key in enumerate(keys)}
    computed.sort(key=lambda each: places[each.key])
    missing = [
        Computed(key, "failed", at_us, error=NotFoundError(f"There is no audience or trait {key!r} in space {space.key!r}."))
        for key in keys
        if key not in everyone
    ]
    waiting = [Computed(audience.key, "waiting", at_us) for audience in asked if audience.id in space.waiting]
    return computed + waiting + missing


def _compute_moved(
    settings: Settings, registry: Registry, space: Space, inputs: Inputs, questions: Questions, *, rows: Sequence[Row], log: Log
) -> list[Computed]:
    shared: list[Addresses] = []

    def open_session() -> FactsSession:
        """Everyone is asked: what sorts the rows of everyone comes first, while the memory that evaluating takes is still free."""
        session = open_facts(settings, space.key, space.facts, at_us=inputs.at_us, known=questions.context)
        if len(questions.moved) > _SHARED_FROM:
            with closed_on_failure(session):
                shared.append(Addresses(session))
                shared[0].share()
        return session

    evaluated = evaluate_space(settings.facts_dir, space.key, inputs.at_us, questions, mapped=space.facts, open_session=open_session)
    log(f"space={space.key} evaluated={'whole' if evaluated.advanced is None else 'onwards'} computations={len(questions.moved)}")
    with evaluated.session as session:
        inputs = replace(inputs, fingerprint=lambda: session.fingerprint)
        by_id = {row.id: row for row in rows}
        suppressed = find_suppressed(session, space.suppressed)
        addresses = shared[0] if shared else Addresses(session)
        some = find_some(evaluated, questions.moved, by_id, inputs, database=registry.database, suppressed=suppressed)
        checked_at = {row.id: row.checked_at for row in rows}
        computing = _Computing(settings, registry, space, session, checked_at, suppressed, inputs, evaluated.clock, log, addresses, some)
        if not shared and len(questions.moved) - len(some) > _SHARED_FROM:
            addresses.share()
        return [computing.finish(audience, evaluated.results[audience.key]) for audience in questions.moved]


def _as_before(each: Unmoved, at_us: int) -> Computed:
    return Computed(each.key, "unchanged", at_us, n=each.n, size=each.size, users=each.users, entered=0, exited=0)


@dataclass(frozen=True, slots=True)
class _Computing:
    """One shared evaluation on its way into versions."""

    settings: Settings
    registry: Registry
    space: Space
    session: FactsSession
    checked_at: Mapping[str, int | None]
    suppressed: Suppressed
    inputs: Inputs
    clock: Clock
    log: Log
    addresses: Addresses
    some: Mapping[str, Some]

    def finish(self, audience: Computation, result: Evaluated) -> Computed:
        """Publish one result; a failure becomes an outcome, so that the others go on."""
        try:
            published = self._publish(audience, result)
        except DatabaseAwayError:
            # there is nobody to tell of it, and the others would fare no better
            raise
        except EngageError as error:
            self._note_failure(audience, error)
            self.log(f"{kind_of(audience)}={audience.key} state=failed")
            return Computed(audience.key, "failed", self.session.at_us, error=error, warnings=result.warnings)
        difference = published.difference
        self.log(f"{kind_of(audience)}={audience.key} state={published.state} version={published.n} members={difference.size}")
        return Computed(
            audience.key,
            published.state,
            self.session.at_us,
            n=published.n,
            size=difference.size,
            users=difference.users,
            entered=difference.entered,
            exited=difference.exited,
            error=StateError(published.reason, "Release or discard it.") if published.state == "held" else None,
            warnings=result.warnings,
            updated=difference.updated if isinstance(audience, TraitComputation) else None,
        )

    def _publish(self, audience: Computation, result: Evaluated) -> Published:
        if result.error is not None:
            raise result.error
        before = self.checked_at.get(audience.id)
        if before is not None and self.session.at_us < before:
            raise StateError(
                "The instant of this evaluation is before that of the current version.", "Set the space's evaluate_at later, or unset it."
            )
        members = result.members
        assert members is not None
        evaluation = Evaluation(
            computation_id=audience.id,
            level=audience.level.value,
            definition=audience.definition,
            evaluated_at_us=self.session.at_us,
            inputs_digest=self.inputs.digest(audience),
            inputs_are_empty=not self.session.fingerprint,
            fresh=lambda: self.addresses.of(self.suppressed.take_out(members), audience.level, result.values),
            has_values=isinstance(audience, TraitComputation),
            next_change_at_us=self.inputs.next_change(audience, self.clock),
            some=self.some.get(audience.id),
        )
        return publish(
            self.session.connection,
            self.registry.database,
            self.folder(audience.key),
            evaluation,
            tell_connections=self._owe_syncs,
        )

    def folder(self, key: str) -> Path:
        return self.settings.snapshots_dir / self.space.key / key

    def _owe_syncs(self, c: sa.Connection, computation_id: str, n: int) -> None:
        stamp = Stamp(now=self.registry.database.now_us(c), actor=self.registry.actor, new_id=self.registry.new_id)
        after_publish(c, computation_id, n, stamp)

    def _note_failure(self, audience: Computation, error: EngageError) -> None:
        noted = sa.update(t.computation).where(t.computation.c.id == audience.id).values(last_error=str(error))
        self.registry.database.tell(lambda c: c.execute(noted))


def kind_of(computation: Computation) -> str:
    return "audience" if isinstance(computation, Audience) else "trait"


def _load(registry: Registry, space_key: str) -> tuple[Space, list[Row], int]:
    def look(c: sa.Connection) -> tuple[Space, list[Row], int]:
        space = c.execute(sa.select(t.space).where(t.space.c.key == space_key)).first()
        if space is None:
            raise NotFoundError(f"There is no space {space_key!r}.", "See `engage space list`.")
        com = t.computation.c
        query = sa.select(t.computation).where(com.space_id == space.id, com.deleted_at.is_(None))
        rows = list(c.execute(query.order_by(com.key)))
        suppressed = tuple((row.kind, row.id) for row in list_suppressed(c, space.id))
        waiting = frozenset(waiting_for_destinations(c, rows))
        return Space(space.id, space.key, space.evaluate_at, suppressed, waiting, space.facts), rows, registry.database.now_us(c)

    return registry.database.ask(look)
