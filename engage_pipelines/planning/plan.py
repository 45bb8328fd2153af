"""A plan: what applying files would change, exactly who would enter and leave, and which calls would be sent; nothing of it is done.

The files are applied in a transaction that is rolled back. Audiences whose members may change by it are evaluated under their new
definitions and compared with their current versions, as publishing would; what their connections would send then is counted by the
planner that plans the real thing, on versions that lie in a temporary folder.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engage_pipelines.computing.facts_home import open_facts
from engage_pipelines.computing.history import History, load_history
from engage_pipelines.computing.preview import AgainstVersion, Preview
from engage_pipelines.computing.publish import HELD_WHEN_BELOW, HELD_WHEN_FEWER_BY
from engage_pipelines.computing.questions import Question, found_members
from engage_pipelines.computing.suppress import find_suppressed
from engage_pipelines.delivery.rehearsal import Look, Rehearsal, count, look_at
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.domain.computation import Audience, Computation
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.facts.evaluate import Evaluated, evaluate
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import state_errors
from engage_pipelines.planning.inputs import About, Inputs, read_inputs
from engage_pipelines.registry.apply import Applied, apply_in
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import is_computing
from engage_pipelines.registry.connections import list_connections
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.lookup import Row, find_space, list_audiences, list_spaces
from engage_pipelines.registry.reading import Configuration
from engage_pipelines.registry.revisions import revision_name
from engage_pipelines.registry.suppression import list_suppressed
from engage_pipelines.registry.tables import computation, destination
from engage_pipelines.registry.traits import computations_of
from engage_pipelines.snapshots.compare import Difference
from engage_pipelines.snapshots.rows import Chain, VersionFile
from engage_pipelines.snapshots.write import write

_MEANING = {"definition", "options", "enabled"}


@dataclass(frozen=True, slots=True)
class AudiencePlan:
    """Whom one audience would gain and lose; `error` says why that cannot be known."""

    space: str
    key: str
    level: str
    at_us: int
    version: int | None
    size: int = 0
    entering: int = 0
    leaving: int = 0
    stay: int = 0
    some_entering: tuple[str, ...] = ()
    some_leaving: tuple[str, ...] = ()
    would_be_held: bool = False
    warnings: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """What one connection would send."""

    space: str
    audience: str
    destination: str
    rehearsal: Rehearsal


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that applying would come to; `pending` when it is anything at all."""

    changes: tuple[Applied, ...]
    unchanged: int
    audiences: tuple[AudiencePlan, ...]
    connections: tuple[ConnectionPlan, ...]
    inputs: Inputs

    @property
    def pending(self) -> bool:
        return bool(self.changes)


@dataclass(slots=True)
class _Space:
    """A space as it would be, with the audiences that are to be evaluated and their current versions."""

    key: str
    at_us: int
    everyone: tuple[Computation, ...]
    suppressed: tuple[tuple[str, str], ...]
    facts: Mapping[str, Any] | None
    histories: dict[str, History] = field(default_factory=dict[str, History])


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen in the transaction before it was rolled back."""

    done: list[Applied]
    spaces: list[_Space]
    looks: list[Look]
    inputs: Inputs


class _RolledBackError(Exception):
    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self.seen = seen


def make_plan(
    runtime: Runtime, configuration: Configuration, *, prune: bool = False, members: int = 0, at_us: Mapping[str, int] | None = None
) -> Plan:
    """Plan the files; of those who enter and leave at most `members` each are named. `at_us` has an instant for spaces, now unless said.

    Raises ProblemsError, or what applying would raise.
    """
    seen = _look(runtime, configuration, prune=prune, at_us=at_us or {})
    audiences: list[AudiencePlan] = []
    connections: list[ConnectionPlan] = []
    answers: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="engage-plan-") as folder:
        for space in seen.spaces:
            looks = [look for look in seen.looks if look.work.connection.space_key == space.key]
            found = _Evaluating(runtime, space, Path(folder), members)
            audiences.extend(found.audiences())
            connections.extend(found.connections(looks))
            answers.update(found.answers)
    changes = tuple(one for one in seen.done if one.verb != "unchanged")
    return Plan(changes, len(seen.done) - len(changes), tuple(audiences), tuple(connections), replace(seen.inputs, answers=answers))


def _look(runtime: Runtime, configuration: Configuration, *, prune: bool, at_us: Mapping[str, int]) -> _Seen:
    try:
        with runtime.registry.change() as change:
            before = {space.key: (space.evaluate_at, space.facts) for space in list_spaces(change.c)}
            applied = change.c.begin_nested()
            done = apply_in(change, configuration, prune=prune, watch=True)
            spaces = [replace(one, at_us=at_us.get(one.key, one.at_us)) for one in _spaces(runtime, change, done, before)]
            looks = list(_looks(runtime, change, done, spaces))
            applied.rollback()
            about = About(_objects(done, looks), _evaluated(spaces), {one.key for one in spaces if one.facts is not None})
            inputs = read_inputs(change.c, runtime.settings, configuration, about, prune=prune)
            raise _RolledBackError(_Seen(done, spaces, looks, inputs))
    except _RolledBackError as end:
        return end.seen


def _objects(done: Sequence[Applied], looks: Sequence[Look]) -> set[str]:
    named = {revision_name(one.kind, one.space, one.name) for one in done}
    for look in looks:
        row = look.work.connection
        named |= {
            revision_name("connection", row.space_key, f"{row.computation_key} -> {row.destination_key}"),
            revision_name("destination", row.space_key, row.destination_key),
            revision_name(row.kind, row.space_key, row.computation_key),
        }
    return named


def _evaluated(spaces: Iterable[_Space]) -> set[str]:
    return {f"{space.key}/{key}" for space in spaces for key in space.histories}


def _spaces(runtime: Runtime, change: Change, done: Sequence[Applied], before: Mapping[str, tuple[Any, Any]]) -> Iterator[_Space]:
    for key in dict.fromkeys(one.space for one in done):
        row = find_space(change.c, key)
        at_us = row.evaluate_at if row.evaluate_at is not None else change.now
        suppressed = tuple((one.kind, one.id) for one in list_suppressed(change.c, row.id))
        space = _Space(key, at_us, computations_of(change.c, row.id), suppressed, row.facts)
        rows = {one.key: one for one in list_audiences(change.c, row.id)}
        same = before.get(key) == (row.evaluate_at, row.facts)
        moved = _moved(change, row, [one for one in done if one.space == key]) if same else set(rows)
        for audience in sorted(moved & rows.keys()):
            if is_computing(change.c, rows[audience]):
                folder = runtime.settings.snapshots_dir / key / audience
                space.histories[audience] = load_history(change.c, rows[audience], folder)
        yield space


def _moved(change: Change, space: Row, done: Sequence[Applied]) -> set[str]:
    """Keys of the audiences whose members may be others: those whose meaning changes, and all that speak of them."""
    found = {one.name for one in done if one.kind in {"audience", "trait"} and (one.verb == "created" or _changes_meaning(one))}
    waiting = [one.name.partition(" -> ")[0] for one in done if one.kind == "connection" and one.verb == "created"]
    current = {row.key: row.current_version for row in list_audiences(change.c, space.id)}
    # who is connected before it was ever computed is computed for that
    found |= {key for key in waiting if current.get(key) is None}
    reached = list(found)
    while reached:
        for key in users_of(change.c, space.id, reached.pop()):
            if key not in found:
                found.add(key)
                reached.append(key)
    return found


def _changes_meaning(one: Applied) -> bool:
    return any(edit.after and _MEANING & edit.after.keys() for edit in one.edits)


def _looks(runtime: Runtime, change: Change, done: Sequence[Applied], spaces: Sequence[_Space]) -> Iterator[Look]:
    """Every connection that would send something because of this: of audiences that move, and those whose own entries or mappings do."""
    for space in spaces:
        changed = [one for one in done if one.space == space.key and one.verb not in {"unchanged", "adopted"}]
        own = {one.name for one in changed if one.kind == "connection" and one.verb != "removed"}
        mapped = {one.name.partition(": ")[0] for one in changed if one.kind == "mapping"}
        mapped |= {one.name for one in changed if one.kind == "destination"}
        for row in list_connections(change.c, find_space(change.c, space.key).id):
            of, to = change.row(computation, row.computation_id).key, change.row(destination, row.destination_id).key
            if f"{of} -> {to}" in own or to in mapped or of in space.histories:
                yield look_at(runtime, change, row.id)


@dataclass(slots=True)
class _Evaluating:
    """The evaluation of one space's audiences, kept as versions below `folder` for the counting of calls."""

    runtime: Runtime
    space: _Space
    folder: Path
    members: int
    chains: dict[str, Chain] = field(default_factory=dict[str, Chain])
    answers: dict[str, str] = field(default_factory=dict[str, str])

    def audiences(self) -> Iterator[AudiencePlan]:
        wanted = [one for one in self.space.everyone if isinstance(one, Audience) and one.key in self.space.histories]
        if not wanted:
            return
        settings, space = self.runtime.settings, self.space
        with (
            state_errors(settings.facts_dir / space.key),
            open_facts(settings, space.key, space.facts, at_us=space.at_us, known=space.everyone) as session,
        ):
            results = evaluate(session, wanted, context=self.space.everyone)
            for audience in wanted:
                yield self._audience(session, audience, results[audience.key])

    def connections(self, looks: Iterable[Look]) -> Iterator[ConnectionPlan]:
        for look in looks:
            row = look.work.connection
            chain = self.chains.get(row.computation_key)
            if chain is not None:
                at = replace(row, current=chain.versions[-1].n)
                look = replace(look, work=replace(look.work, connection=at, chain=chain))  # noqa: PLW2901 - the same look, later
            yield ConnectionPlan(self.space.key, row.computation_key, row.destination_key, count(look))

    def _audience(self, session: FactsSession, audience: Audience, result: Evaluated) -> AudiencePlan:
        history = self.space.histories[audience.key]
        about = AudiencePlan(self.space.key, audience.key, audience.level.value, self.space.at_us, history.current)
        try:
            members = find_suppressed(session, self.space.suppressed).take_out(found_members(result))
        except EngageError as error:
            self._note(audience.key, str(error).encode())
            return replace(about, error=str(error), warnings=result.warnings)
        self._note(audience.key, members.users.tobytes() + b"/" + members.accounts.tobytes())
        question = Question(audience, self.space.everyone, self.space.at_us, self.space.suppressed)
        asked = Preview(session, question, members, result.warnings, find_suppressed(session, ()))
        found = asked.compare(history)
        against = asked.said_against(history, found, sample=self.members)
        self._keep(history, found)
        size = len(asked.chosen)
        return replace(
            about,
            size=size,
            entering=against.entered,
            leaving=against.exited,
            stay=against.stay,
            some_entering=against.sample_entered,
            some_leaving=against.sample_exited,
            would_be_held=_would_be_held(against, size),
            warnings=result.warnings,
        )

    def _note(self, key: str, answer: bytes) -> None:
        """Remember what the warehouse answered, if it was asked."""
        if self.space.facts is not None:
            self.answers[f"{self.space.key}/{key}"] = f"{self.space.at_us} {hashlib.sha256(answer).hexdigest()}"

    def _keep(self, history: History, found: Difference) -> None:
        """Write what was just compared as the version after the current one, beside links to those there are."""
        folder = self.folder / self.space.key / history.key
        folder.mkdir(parents=True)
        for one in history.published:
            (folder / str(one.n)).symlink_to(history.folder / str(one.n), target_is_directory=True)
        before = Chain(folder, history.chain.versions)
        n = max((one.n for one in history.versions), default=0) + 1
        write(before, n, found, is_full=True)
        self.chains[history.key] = Chain(folder, (*before.versions, VersionFile(n, is_full=True)))


def _would_be_held(against: AgainstVersion, size: int) -> bool:
    before = against.version.size if against.version is not None else 0
    return before - size >= HELD_WHEN_FEWER_BY and size < before * HELD_WHEN_BELOW
