"""Evaluation for computing: it goes on from what the last one kept where that pays, and keeps what the next one goes on from.

What is kept is of no more use than time: without it, or when it cannot be used, everything is asked again, with the same result.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from engage_pipelines.domain.computation import Computation
from engage_pipelines.facts.evaluate import Evaluated, evaluate, run_plan
from engage_pipelines.facts.incremental import ORDINARY, Advanced, evaluate_on, keep_advanced, keep_whole
from engage_pipelines.facts.kept import Kept, load_kept, save_kept
from engage_pipelines.facts.next_change import Clock
from engage_pipelines.facts.plan import plan_of
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.shelf_clock import ShelfClock
from engage_pipelines.facts.store import KEPT, Manifest, read_manifest

WORTH_FROM = 300_000
"""Rows of events from which on something is kept: fewer are asked as quickly."""
LIMITS = ORDINARY

Open = Callable[[], FactsSession]


@dataclass(frozen=True, slots=True)
class SpaceEvaluation:
    """Results by key, over a session that is to be closed; `advanced` is how it went on from the `kept` evaluation, if it did."""

    session: FactsSession
    results: Mapping[str, Evaluated]
    clock: Clock
    advanced: Advanced | None = None
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """What is evaluated: `wanted` were asked for, and the `moved` of them need it; `context` is everything that they may refer to."""

    wanted: Sequence[Computation]
    moved: Sequence[Computation]
    context: Sequence[Computation]


def evaluate_space(
    facts_dir: Path, space: str, at_us: int, questions: Questions, *, mapped: Mapping[str, Any] | None, open_session: Open
) -> SpaceEvaluation:
    """Evaluate over the facts of a space; those that are `mapped` onto a warehouse are always asked in full. Raises StateError."""
    folder = facts_dir / space
    if mapped is not None or not _is_worth_keeping(folder, read_manifest(folder)):
        session = open_session()
        with closed_on_failure(session):
            return SpaceEvaluation(session, evaluate(session, questions.moved, context=questions.context), Clock(session))
    path = folder / KEPT / f"{_name(questions.wanted)}.kept"
    kept = load_kept(path)
    # all that were asked for, so that what is kept stays whole
    advanced = kept and evaluate_on(facts_dir, space, at_us, kept, questions.wanted, context=questions.context, limits=LIMITS)
    if kept is not None and advanced is not None:
        return _advanced(advanced, kept, folder, path)
    return _whole(open_session(), folder, path, questions)


def _advanced(advanced: Advanced, before: Kept, folder: Path, path: Path) -> SpaceEvaluation:
    with closed_on_failure(advanced.session):
        kept = keep_advanced(advanced, folder)
        _save(path, kept)
    clock = ShelfClock(advanced.session, shelves=advanced.shelves, hidden_from_us=kept.hidden_from_us)
    return SpaceEvaluation(advanced.session, advanced.outcome.results, clock, advanced, before)


def _whole(session: FactsSession, folder: Path, path: Path, questions: Questions) -> SpaceEvaluation:
    with closed_on_failure(session):
        plan = plan_of(session.at_us, questions.moved, questions.context)
        outcome = run_plan(session, plan)
        kept = keep_whole(session, outcome, folder, plan)
        if kept is not None:
            _save(path, kept)
        return SpaceEvaluation(session, outcome.results, Clock(session))


@contextmanager
def closed_on_failure(session: FactsSession) -> Generator[None]:
    try:
        yield
    except BaseException:
        session.close()
        raise


def _save(path: Path, kept: Kept) -> None:
    # a full disk costs the next evaluation time, and nothing else
    with suppress(OSError):
        save_kept(path, kept)


def _is_worth_keeping(folder: Path, manifest: Manifest) -> bool:
    try:
        return sum(pq.read_metadata(folder / name).num_rows for name in manifest.files("events")) >= WORTH_FROM
    except OSError:
        return False


def _name(wanted: Sequence[Computation]) -> str:
    """Runs that compute different audiences have kept evaluations of their own."""
    return hashlib.sha256("\n".join(sorted(each.id for each in wanted)).encode()).hexdigest()[:16]
