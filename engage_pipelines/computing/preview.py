"""Previews: how many and who would be in an audience as of an instant, beside others, beside its current version, and over time.

Nothing is kept. Everything is as of the instant of the question: traits, links and memberships as they were then. Suppressed people are
left out, whenever they were suppressed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engage_pipelines.computing.addresses import rows_of
from engage_pipelines.computing.history import History, Version
from engage_pipelines.computing.member_names import IDENTIFIERS, names_of
from engage_pipelines.computing.questions import Desk, Question, found_members
from engage_pipelines.computing.suppress import Suppressed, find_suppressed
from engage_pipelines.domain.computation import EmptyAccounts, Level
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.facts.bits import Ids, ids_of
from engage_pipelines.facts.evaluate import Members, evaluate
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.snapshots.compare import Difference, compare

_HOLDERS = """
    SELECT count(*) FILTER (held.kind IS NULL) AS none, {counts}
    FROM (SELECT a.member, i.kind FROM asked a LEFT JOIN identifiers i ON i.member = a.member AND i.current) held"""
_WITHOUT_USERS = "SELECT member FROM accounts WHERE member NOT IN (SELECT account FROM account_users) ORDER BY member"


@dataclass(frozen=True, slots=True)
class WithoutUsers:
    """Accounts without users: how many there are, how many of them are in, and how many would be under each `empty_accounts`."""

    accounts: int
    members: int
    option: EmptyAccounts
    by_option: Mapping[EmptyAccounts, int]


@dataclass(frozen=True, slots=True)
class Details:
    """What a preview says beyond the count.

    `identifiers`: how many members of the audience's level hold a current identifier of each kind, `none` for those without any.
    `users` are those that the audience reaches, for accounts the users of the matching ones, with `user_identifiers` of theirs.
    """

    sample: tuple[str, ...]
    identifiers: Mapping[str, int]
    users: int
    user_identifiers: Mapping[str, int]
    without_users: WithoutUsers | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two audiences as of one instant; of two levels, it is their users that are compared."""

    level: Level
    size: int
    other_size: int
    common: int

    @property
    def share(self) -> float:
        """What part of the first is in the other too; 0 of nothing."""
        return self.common / self.size if self.size else 0.0

    @property
    def other_share(self) -> float:
        return self.common / self.other_size if self.other_size else 0.0


@dataclass(frozen=True, slots=True)
class AgainstVersion:
    """What publishing this would change: who would enter and exit against the current version (None: there is none yet)."""

    version: Version | None
    entered: int
    exited: int
    stay: int
    sample_entered: tuple[str, ...]
    sample_exited: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SizeThen:
    """The size as of one instant, and who came and went since the instant before, None for the first."""

    at_us: int
    size: int
    users: int
    entered: int | None
    exited: int | None


@dataclass(frozen=True, slots=True)
class Preview:
    """One question with its answer, on an open session."""

    session: FactsSession
    question: Question
    members: Members
    warnings: tuple[str, ...]
    suppressed: Suppressed

    @property
    def level(self) -> Level:
        return self.question.audience.level

    @property
    def chosen(self) -> Ids:
        """The members of the audience's own level."""
        return self.members.users if self.level is Level.USER else self.members.accounts

    def names(self) -> list[str]:
        """Every member that has a name, in text order."""
        return sorted(names_of(self.session, self.chosen.tolist()).values())

    def details(self, *, sample: int = 10) -> Details:
        found = self.chosen[np.argsort(_scattered(self.chosen), kind="stable")[:sample]]
        return Details(
            sample=tuple(sorted(names_of(self.session, found.tolist()).values())),
            identifiers=_holders(self.session, self.chosen, self.level),
            users=len(self.members.users),
            user_identifiers=_holders(self.session, self.members.users, Level.USER),
            without_users=_without_users(self) if self.level is Level.ACCOUNT else None,
        )

    def overlap(self, key: str) -> Overlap:
        """With another audience of the space, as of the same instant.

        Raises NotFoundError, or the error of one that cannot be evaluated.
        """
        known = {each.key: each for each in (*self.question.context, self.question.audience)}
        if key not in known:
            raise NotFoundError(f"There is no audience {key!r}.", did_you_mean(key, known, otherwise="See `engage audience list`."))
        other = known[key]
        found = found_members(evaluate(self.session, [other], context=(*self.question.context, self.question.audience))[other.key])
        return overlap_of((self.level, self.members), (other.level, self.suppressed.take_out(found)))

    def compare(self, history: History) -> Difference:
        """With the current version, exactly as publishing compares them."""
        rows = rows_of(self.session, self.members, self.level)
        return compare(self.session.connection, history.chain, rows, level=self.level.value)

    def against(self, history: History, *, sample: int = 10) -> AgainstVersion:
        return self.said_against(history, self.compare(history), sample=sample)

    def said_against(self, history: History, found: Difference, *, sample: int) -> AgainstVersion:
        """What a comparison with the current version found."""

        def who(members: Ids) -> tuple[str, ...]:
            some = members[np.argsort(_scattered(members), kind="stable")[:sample]]
            return tuple(sorted(names_of(self.session, some.tolist()).values()))

        return AgainstVersion(
            version=history.version() if history.current is not None else None,
            entered=found.entered,
            exited=found.exited,
            stay=found.size - found.entered,
            sample_entered=who(found.moved.entered),
            sample_exited=who(found.moved.exited),
        )


def preview(session: FactsSession, question: Question) -> Preview:
    """Who would be in. Raises the EngageError of a definition that cannot be evaluated."""
    found = evaluate(session, [question.audience], context=question.context)[question.audience.key]
    suppressed = find_suppressed(session, question.suppressed)
    return Preview(session, question, suppressed.take_out(found_members(found)), found.warnings, suppressed)


def overlap_of(one: tuple[Level, Members], other: tuple[Level, Members]) -> Overlap:
    """Of two audiences of one level the members are compared, of two levels the users."""
    level = one[0] if one[0] is other[0] else Level.USER
    left, right = (each[1].accounts if level is Level.ACCOUNT else each[1].users for each in (one, other))
    return Overlap(level, len(left), len(right), len(np.intersect1d(left, right, assume_unique=True)))


def sizes_over_time(
    desk: Desk, question: Question, series: Sequence[int], *, on_progress: Callable[[int], object] = lambda _done: None
) -> Iterator[SizeThen]:
    """The back-test: the question as of each instant, with the facts as they were then."""
    before: Ids | None = None
    for done, at_us in enumerate(series):
        on_progress(done)
        with desk.session(at_us) as session:
            found = preview(session, replace(question, at_us=at_us))
        now = found.chosen
        entered = None if before is None else len(np.setdiff1d(now, before, assume_unique=True))
        exited = None if before is None else len(np.setdiff1d(before, now, assume_unique=True))
        yield SizeThen(at_us, len(now), len(found.members.users), entered, exited)
        before = now


def _scattered(ids: Ids) -> Ids:
    """A number for each id by which samples are drawn: the same ones every time, and not the oldest members alone."""
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(1)).astype(np.int64)


def _holders(session: FactsSession, members: Ids, level: Level) -> dict[str, int]:
    kinds = IDENTIFIERS[level]
    counts = ", ".join(f"count(DISTINCT held.member) FILTER (held.kind = '{kind}') AS {kind}" for kind in kinds)
    session.connection.register("asked", {"member": members})
    try:
        (found,) = session.connection.execute(_HOLDERS.format(counts=counts)).fetchall()
    finally:
        session.connection.unregister("asked")
    return {**dict(zip(kinds, found[1:], strict=True)), "none": found[0]}


def _without_users(asked: Preview) -> WithoutUsers:
    empty = ids_of(asked.session.connection.execute(_WITHOUT_USERS).fetchnumpy()["member"])
    audience, context = asked.question.audience, asked.question.context
    variants = {option: replace(audience, key=f"{audience.key}?{option}", empty_accounts=option) for option in EmptyAccounts}
    found = evaluate(asked.session, list(variants.values()), context=context)
    by_option = {
        option: len(np.intersect1d(found_members(found[each.key]).accounts, empty, assume_unique=True)) for option, each in variants.items()
    }
    return WithoutUsers(len(empty), by_option[audience.empty_accounts], audience.empty_accounts, by_option)
