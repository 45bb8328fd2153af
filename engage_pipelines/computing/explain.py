"""Why a member is in an audience or not: each clause of the definition with the values it saw and its outcome.

The reference meaning is asked about the member's own facts; the property tests hold its verdict to that of the evaluation of everyone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from engage_pipelines.computing.member_names import Named
from engage_pipelines.computing.profiles import Subject, load_subjects, memberships_for
from engage_pipelines.computing.questions import Question
from engage_pipelines.computing.suppress import find_suppressed
from engage_pipelines.domain.computation import EXTERNAL_IDS, Audience, Computation, Level
from engage_pipelines.domain.query import Definition, parse, to_text
from engage_pipelines.domain.query.comparing import bounds
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.meaning import Asked, account_matches, reduced, rows_by_filter, user_matches
from engage_pipelines.domain.query.printer import condition_text, scalar_text
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    Between,
    Comparator,
    Comparison,
    Condition,
    Duration,
    Events,
    Filter,
    Moment,
    Not,
    Or,
    Scalar,
    Trait,
    Within,
)
from engage_pipelines.domain.query.values import Json, walk
from engage_pipelines.facts.session import FactsSession

_DATED = frozenset(
    {
        Comparator.BEFORE_DATE,
        Comparator.AFTER_DATE,
        Comparator.WITHIN_LAST,
        Comparator.WITHIN_NEXT,
        Comparator.BEFORE_LAST,
        Comparator.AFTER_NEXT,
    }
)
_HELD = "SELECT kind, count(*) FROM identifiers WHERE member = $member AND kind IN (SELECT unnest($kinds)) GROUP BY kind"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: arithmetic on UTC alone


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of a definition, or of what stands beside it. `kind` is and, or, not, any, all or comparison; accounts (of a user, who is in
    an audience of accounts through any of them); admission and suppression (who can be a member at all). `seen` holds what was looked at.

    | comparison of | seen |
    |---|---|
    | events | event, rows, filters (each: filter, from, to, rows left), value, first_at and last_at of the rows left |
    | a trait | trait, value (values with `$`), set_at; from and to where the comparator is about time |
    | membership | audience, member |
    | a literal | value |
    | admission | identifiers: of each kind asked for, how many the member has |

    Instants are ISO 8601 in UTC; a bound beyond the years 1 to 9999 is None.
    """

    kind: str
    text: str
    outcome: bool
    seen: Mapping[str, Json] = field(default_factory=dict[str, Json])
    parts: tuple["Clause", ...] = ()
    users: "UsersSeen | None" = None


@dataclass(frozen=True, slots=True)
class Example:
    """One member for whom a clause came out one way."""

    member: int
    clause: Clause


@dataclass(frozen=True, slots=True)
class UsersSeen:
    """What a clause about the users of an account saw: for how many of them it holds, and an example each way."""

    matching: int
    total: int
    example: Example | None
    counterexample: Example | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of one member; `clause.outcome` is the verdict."""

    member: int
    level: Level
    definition: str
    at_us: int
    clause: Clause

    @property
    def verdict(self) -> bool:
        return self.clause.outcome


def explain(
    session: FactsSession,
    audience: Audience,
    member: int,
    *,
    level: Level,
    context: Sequence[Computation] = (),
    is_suppressed: bool = False,
) -> Explanation:
    """Why the member is in or not, as of the session's instant. `level` is that of the member: a user is in an audience of accounts
    through any of their accounts. Raises DefinitionError.
    """
    definition = parse(audience.definition, level=audience.level)
    desk = _Desk(session, definition, audience, tuple(each for each in context if each.key != audience.key))
    parts = [desk.through_accounts(member) if level is not audience.level else desk.of(member)]
    if audience.level is Level.USER and audience.external_ids != EXTERNAL_IDS:
        parts.append(_admission(session, member, audience.external_ids))
    if is_suppressed:
        parts.append(Clause("suppression", "is not suppressed", outcome=False))
    outcome = all(part.outcome for part in parts)
    whole = parts[0] if len(parts) == 1 else Clause("and", parts[0].text, outcome, parts=tuple(parts))
    return Explanation(member, level, to_text(definition), session.at_us, whole)


def why(session: FactsSession, question: Question, named: Named) -> Explanation:
    """Why someone who was named is in the audience of a question, or not."""
    suppressed = named.level is Level.USER and named.member in find_suppressed(session, question.suppressed).members
    return explain(session, question.audience, named.member, level=named.level, context=question.context, is_suppressed=bool(suppressed))


def _admission(session: FactsSession, member: int, external_ids: Sequence[str]) -> Clause:
    found = dict(session.connection.execute(_HELD, {"member": member, "kinds": list(external_ids)}).fetchall())
    seen: dict[str, Json] = {"identifiers": {kind: found.get(kind, 0) for kind in external_ids}}
    return Clause("admission", f"holds one of {', '.join(external_ids)}", bool(found), seen)


@dataclass(frozen=True, slots=True)
class _Desk:
    """One definition, to be explained of one member or of several accounts."""

    session: FactsSession
    definition: Definition
    audience: Audience
    context: tuple[Computation, ...]

    def of(self, *members: int) -> Clause:
        return self._clauses(members)[0]

    def through_accounts(self, user: int) -> Clause:
        query = "SELECT DISTINCT account FROM account_users WHERE member = $1 ORDER BY 1"
        accounts = [row[0] for row in self.session.connection.execute(query, [user]).fetchall()]
        found = list(zip(accounts, self._clauses(accounts), strict=True))
        matching = [Example(*each) for each in found if each[1].outcome]
        others = [Example(*each) for each in found if not each[1].outcome]
        seen = UsersSeen(len(matching), len(found), next(iter(matching), None), next(iter(others), None))
        return Clause("accounts", condition_text(self.definition.condition), bool(matching), users=seen)

    def _clauses(self, members: Sequence[int]) -> list[Clause]:
        memberships = memberships_for(self.session, self.definition, (*self.context, self.audience))
        asked = Asked(self.session.at_us, self.audience.empty_accounts, memberships.of_users, memberships.traits_of_users)
        explainer = _Explainer(asked, self.audience.events_since_us)
        condition, level = self.definition.condition, self.definition.level
        subjects = load_subjects(self.session, members, self.definition, memberships)
        return [explainer.clause(condition, subject, level) for subject in subjects]


@dataclass(frozen=True, slots=True)
class _Explainer:
    """Conditions as they are written are shown; as they are meant, when events count from an instant on, they are judged."""

    asked: Asked
    since_us: int | None

    def _meant(self, condition: Condition, level: Level) -> Condition:
        return count_events_since(Definition(level, condition), self.since_us, at_us=self.asked.at_us).condition

    def _account_matches(self, condition: Condition, account: Subject) -> bool:
        return account_matches(self._meant(condition, Level.ACCOUNT), account.profile, self.asked)

    def clause(self, condition: Condition, subject: Subject, level: Level) -> Clause:
        text = condition_text(condition)
        match condition:
            case And(parts) | Or(parts):
                clauses = tuple(self.clause(part, subject, level) for part in parts)
                outcomes = [each.outcome for each in clauses]
                whole = all(outcomes) if isinstance(condition, And) else any(outcomes)
                return Clause("and" if isinstance(condition, And) else "or", text, whole, parts=clauses)
            case Not(part):
                inner = self.clause(part, subject, level)
                return Clause("not", text, not inner.outcome, parts=(inner,))
            case AnyUser(part) | AllUsers(part):
                outcome = self._account_matches(condition, subject)
                return Clause("any" if isinstance(condition, AnyUser) else "all", text, outcome, users=self._users(part, subject))
            case Comparison():
                if level is Level.ACCOUNT and self._is_about_users(condition):
                    outcome = self._account_matches(condition, subject)
                    return Clause("any", text, outcome, users=self._users(condition, subject))
                return self._comparison(condition, subject, text)

    def _users(self, part: Condition, account: Subject) -> UsersSeen:
        meant = self._meant(part, Level.USER)
        outcomes = [user_matches(meant, user.profile, self.asked) for user in account.users]

        def first(wanted: bool) -> Example | None:
            found = next((user for user, outcome in zip(account.users, outcomes, strict=True) if outcome is wanted), None)
            return None if found is None else Example(found.member, self.clause(part, found, Level.USER))

        return UsersSeen(sum(outcomes), len(outcomes), first(True), first(False))

    def _is_about_users(self, comparison: Comparison) -> bool:
        source = comparison.scalar.source
        if not isinstance(source, Trait):
            return isinstance(source, Events)
        return source.path[0] in self.asked.user_traits or (len(source.path) == 1 and source.path[0] in self.asked.user_audiences)

    def _comparison(self, comparison: Comparison, subject: Subject, text: str) -> Clause:
        source = comparison.scalar.source
        if isinstance(source, Events):
            return self._events(comparison, source, subject, text)
        outcome = user_matches(comparison, replace(subject.profile, users=()), self.asked)
        if isinstance(source, Trait):
            return Clause("comparison", text, outcome, {**self._trait(source, subject), **self._window(comparison)})
        return Clause("comparison", text, outcome, {"value": scalar_text(comparison.scalar)[len("literal(") : -1]})

    def _events(self, comparison: Comparison, events: Events, subject: Subject, text: str) -> Clause:
        assert comparison.scalar.reducer
        meant = self._meant(comparison, Level.USER)
        assert isinstance(meant, Comparison)
        assert isinstance(meant.scalar.source, Events)
        steps = rows_by_filter(meant.scalar.source, subject.profile, self.asked)
        value = reduced(comparison.scalar.reducer, steps[-1])
        filters = [
            {"filter": _filter_text(events, each), **self._filter_window(each), "rows": len(rows)}
            for each, rows in zip(events.filters, steps[1:], strict=False)
        ]
        if self.since_us is not None:
            window = {"from": iso(self.since_us), "to": iso(self.asked.at_us)}
            filters.append({"filter": "the history that the audience counts", **window, "rows": len(steps[-1])})
        stamps = [row.ts for row in steps[-1]]
        seen: dict[str, Json] = {
            "event": events.name,
            "rows": len(steps[0]),
            "filters": filters,
            "value": value,
            "first_at": iso(min(stamps)) if stamps else None,
            "last_at": iso(max(stamps)) if stamps else None,
        }
        outcome = user_matches(meant, subject.profile, self.asked)
        return Clause("comparison", text, outcome, {**seen, **self._window(comparison)})

    def _trait(self, trait: Trait, subject: Subject) -> dict[str, Json]:
        key = trait.path[0]
        if len(trait.path) == 1 and key in subject.profile.audiences:
            return {"audience": key, "member": subject.profile.audiences[key]}
        if key in subject.profile.computed:
            values = list(walk(subject.profile.computed[key], trait.path[1:]))
            shown: dict[str, Json] = {"values": values} if "$" in trait.path else {"value": next(iter(values), None)}
            return {"trait": ".".join(trait.path), **shown, "computed": True, "set_at": None}
        values = list(walk(dict(subject.profile.traits), trait.path))
        set_at = iso(subject.set_at[key]) if key in subject.set_at else None
        shown = {"values": values} if "$" in trait.path else {"value": next(iter(values), None)}
        return {"trait": ".".join(trait.path), **shown, "set_at": set_at}

    def _window(self, comparison: Comparison) -> dict[str, Json]:
        """The instants that a comparator of dates lets through."""
        if comparison.comparator not in _DATED or not isinstance(comparison.arguments[0], Moment | Duration):
            return {}
        first, last = bounds(comparison.comparator, comparison.arguments[0], self.asked.at_us)
        return {"from": iso(first), "to": iso(last)}

    def _filter_window(self, each: Filter) -> dict[str, Json]:
        at = self.asked.at_us
        match each:
            case Within(window, False):
                return {"from": iso(at - window.us), "to": iso(at)}
            case Between(newer, older):
                return {"from": iso(at - older.us), "to": iso(at - newer.us)}
            case _:
                return {}


def iso(at_us: int | None) -> str | None:
    """ISO 8601 in UTC to the microsecond; None where there is no bound, or none that a calendar holds."""
    if at_us is None:
        return None
    try:
        return f"{(_EPOCH + timedelta(microseconds=at_us)).isoformat()}Z"
    except OverflowError:
        return None


def _filter_text(events: Events, each: Filter) -> str:
    bare = scalar_text(Scalar(Events(events.name)))
    return scalar_text(Scalar(Events(events.name, (each,)))).removeprefix(f"{bare}.")
