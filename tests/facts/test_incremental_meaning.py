"""Evaluations that go on from kept ones agree with full ones and with the reference meaning, whatever arrives in between."""

import os
import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.domain.query import Definition, to_text
from engage_pipelines.domain.query.meaning import Asked, account_matches, user_matches
from engage_pipelines.domain.query.tree import (
    Between,
    Comparator,
    Comparison,
    Duration,
    Events,
    Filter,
    Number,
    Or,
    Reduce,
    Reducer,
    Scalar,
    Unit,
    Within,
)
from engage_pipelines.facts.compaction import compact
from engage_pipelines.facts.evaluate import Evaluated, run_plan
from engage_pipelines.facts.incremental import Limits, evaluate_on, keep_advanced, keep_whole
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.facts.kept import Kept, load_kept, save_kept
from engage_pipelines.facts.plan import plan_of
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.facts.store import writing
from engage_pipelines.testing.plain_calls import SPACE, Subject, meaning_of, write_calls
from engage_pipelines.testing.plain_facts import Facts
from engage_pipelines.testing.random_definitions import AT_US, EVENTS, HOUR_US, definitions, event_definitions, facts
from engage_pipelines.testing.random_histories import Call, calls_of, profiles_of

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200"))
_KEYS = (("ua", Level.USER), ("ub", Level.USER), ("aa", Level.ACCOUNT))
_HOUR, _DAY = Duration(1, Unit.HOUR), Duration(24, Unit.HOUR)
_WINDOWS: tuple[Filter, ...] = (Within(_HOUR), Within(_DAY), Between(_HOUR, _DAY), Between(_DAY, Duration(48, Unit.HOUR)))
_STEPS_US = (0, 1, HOUR_US, HOUR_US + 1, 24 * HOUR_US, 48 * HOUR_US)
Found = dict[str, set[Subject]]


@dataclass
class _Space:
    """Facts that grow, and definitions that may change; `arrived` holds what came so far."""

    home: Path
    random: Random
    shelved_from: int
    audiences: list[Audience] = field(default_factory=list)
    read: dict[str, Definition] = field(default_factory=dict)
    arrived: list[Call] = field(default_factory=list)
    went_on: int = 0

    def define(self, key: str, level: Level, definition: Definition) -> None:
        empty = self.random.choice(list(EmptyAccounts))
        self.audiences = [each for each in self.audiences if each.key != key] + [Audience(key, key, level, to_text(definition), empty)]
        self.read[key] = definition

    def take_in(self, calls: list[Call]) -> None:
        source = self.random.choice([None, "web", "it's"])
        self.arrived += [call | {"source": source} for call in calls]
        path = write_calls(self.home / "calls.jsonl", calls)
        ingest([str(path)], facts_dir=self.home, space=SPACE, now_us=0, source=source)

    def merge_files(self) -> None:
        with writing(self.home / SPACE) as write:
            compact(write, max_files=1, left_alone=0)
            write.commit()

    def whole(self, at_us: int) -> tuple[Found, Kept]:
        plan = plan_of(at_us, self.audiences, ())
        with open_session(self.home, SPACE, at_us=at_us) as session:
            outcome = run_plan(session, plan)
            kept = keep_whole(session, outcome, self.home / SPACE, plan)
            assert kept
            return _found(session, outcome.results), kept

    def further(self, at_us: int, kept: Kept) -> tuple[Found, Kept] | None:
        """By way of the disk, as it is between two processes."""
        path = self.home / "kept" / "one.kept"
        save_kept(path, kept)
        read = load_kept(path)
        assert read
        advanced = evaluate_on(self.home, SPACE, at_us, read, self.audiences, limits=Limits(self.shelved_from, most=1.0))
        if advanced is None:
            return None
        self.went_on += advanced.asked
        with advanced.session as session:
            return _found(session, advanced.outcome.results), keep_advanced(advanced, self.home / SPACE)

    def meant(self, at_us: int) -> Found:
        """By the reference meaning, of identity and of definitions."""
        seen = meaning_of(self.arrived, at_us)
        memberships: dict[Subject, dict[str, bool]] = {}
        expected: Found = {}
        for each in sorted(self.audiences, key=lambda one: [key for key, _ in _KEYS].index(one.key)):
            asked = Asked(at_us, each.empty_accounts, frozenset({"ua", "ub"}))
            matches = user_matches if each.level is Level.USER else account_matches
            profiles = profiles_of(seen, self.arrived, each.level, memberships)
            members = {who for who, profile in profiles.items() if matches(self.read[each.key].condition, profile, asked)}
            for who in profiles:
                memberships.setdefault(who, {})[each.key] = who in members
            if each.level is Level.ACCOUNT:
                for user in seen.users:
                    memberships.setdefault(user, {})[each.key] = any((account, user) in seen.account_users for account in members)
            expected[each.key] = members
        return expected


def _found(session: FactsSession, results: dict[str, Evaluated]) -> Found:
    rows = session.connection.execute("SELECT subject, kind, id FROM subjects_known").fetchall()
    names: dict[int, Subject] = {subject: (kind, id_) for subject, kind, id_ in rows}
    found: Found = {}
    for key, each in results.items():
        assert each.members, each.error
        ids = each.members.accounts if key == "aa" else each.members.users
        found[key] = {names[member] for member in ids.tolist()}
    return found


@settings(
    max_examples=max(1, EXAMPLES // 40),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(given_facts=facts(), seed=st.integers(0, 2**32), data=st.data())
def test_going_on_from_what_was_kept_is_as_good_as_asking_everyone(given_facts: Facts, seed: int, data: st.DataObject) -> None:
    random = Random(seed)
    calls = calls_of(given_facts, seed)
    cuts = sorted(random.randint(0, len(calls)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        space = _Space(Path(folder), random, random.choice([1, 1_000]))
        for number, (key, level) in enumerate(_KEYS):
            space.define(key, level, data.draw(_defined(level, [each for each, _ in _KEYS[:number]]), label=key))
        kept: Kept | None = None
        at_us = AT_US - 25 * HOUR_US
        # time alone passes at the end
        for slice_of in (calls[: cuts[0]], calls[cuts[0] : cuts[1]], calls[cuts[1] :], [], []):
            if slice_of:
                space.take_in(slice_of)
            if random.random() < 0.3:
                space.merge_files()
            at_us += random.choice(_STEPS_US)
            note(f"at {at_us}: {[(each.key, each.definition) for each in space.audiences]}")
            expected = space.meant(at_us)
            further = space.further(at_us, kept) if kept else None
            event("went on" if further else "started anew")
            found, whole = space.whole(at_us)
            assert found == expected
            if further:
                assert further[0] == expected
            kept = further[1] if further else whole
            if random.random() < 0.1:
                space.merge_files()
            if random.random() < 0.3:
                space.define("ua", Level.USER, data.draw(_defined(Level.USER, []), label="edited"))


def _defined(level: Level, audiences: list[str]) -> st.SearchStrategy[Definition]:
    if level is Level.ACCOUNT:
        return definitions(level, audiences)
    return st.one_of(definitions(level, audiences), event_definitions(), st.builds(_windowed, st.sampled_from(EVENTS)))


def _windowed(name: str) -> Definition:
    """Somebody for every window of the event, so that whatever time passes somebody may leave."""
    counts = [
        Comparison(Scalar(Events(name, (each,)), Reducer(Reduce.COUNT)), Comparator.EQUALS, (Number(Decimal(1)),)) for each in _WINDOWS
    ]
    return Definition(Level.USER, Or(tuple(counts)))
