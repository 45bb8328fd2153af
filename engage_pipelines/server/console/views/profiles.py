"""A profile: why somebody is in an audience or not, clause by clause, since when, and what each destination was told of them."""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from engage_pipelines.computing.explain import Clause, Explanation, why
from engage_pipelines.computing.history import History
from engage_pipelines.computing.kept_counts import addresses_of, holds_address
from engage_pipelines.computing.kept_members import Standing, standing
from engage_pipelines.computing.member_names import find_member, names_of
from engage_pipelines.delivery.of_member import Told, told_of
from engage_pipelines.domain.errors import BusyError, EngageError
from engage_pipelines.domain.protocol import EMPTIED
from engage_pipelines.registry.lookup import find_audience, list_audiences
from engage_pipelines.server.console.pages import render
from engage_pipelines.server.console.slow import Watch, within
from engage_pipelines.server.console.visit import Visit

_HEADS = {"and": "all of", "or": "one of", "not": "not"}


@dataclass(frozen=True, slots=True)
class Line:
    """One clause, as deep as it stands; `seen` are the values that it looked at, by what they are."""

    depth: int
    outcome: bool
    text: str
    seen: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything about one member and one audience."""

    name: str
    found: Explanation
    lines: tuple[Line, ...]
    kept: Standing | None
    history: History
    addresses: tuple[str, ...]


def show(visit: Visit) -> Response:
    """The question, and the answer when it is asked."""
    member, key = visit.query("member").strip(), visit.query("audience")
    with visit.database.read() as c:
        keys = [row.key for row in list_audiences(c, visit.space.id)]
    context: dict[str, Any] = {
        "section": "profiles",
        "member": member,
        "audience": key,
        "keys": keys,
        "profile": None,
        "told": [],
        "error": None,
    }
    if not visit.sees_members or not (member and key):
        return render(visit, "profile.html", **context)
    try:
        profile = within(lambda watch: _profile(visit, watch, key, member))
    except BusyError:
        raise
    except EngageError as error:
        context["error"] = error
        return render(visit, "profile.html", status=422, **context)
    with visit.database.read() as c:
        told = told_of(c, visit.registry.types, find_audience(c, visit.space.id, key), str(profile.found.level), profile.addresses)
    context |= {"profile": profile, "told": [(each, _was_told(profile, each)) for each in told]}
    return render(visit, "profile.html", **context)


def _profile(visit: Visit, watch: Watch, key: str, member: str) -> Profile:
    desk = visit.desk()
    question = desk.question(key=key)
    with desk.session(question.at_us) as session:
        watch.on(session.connection)
        named = find_member(session, member, question.audience)
        found = why(session, question, named)
        name = names_of(session, [named.member]).get(named.member, member)
    history = desk.history(key).until(question.at_us)
    kept = standing(history, named.member, named.level)
    return Profile(name, found, tuple(_lines(found.clause, 0)), kept, history, tuple(addresses_of(history, named.member, named.level)))


def _was_told(profile: Profile, each: Told) -> str:
    """What the destination was told last, as far as it is known."""
    if not each.version:
        return "nothing yet"
    if any(attempt.kind == "retryable" for attempt in each.failed):
        return "not known: no answer came"
    if each.version == EMPTIED:
        return "out: it is being disconnected, and everyone's exit was sent"
    kept = [one.n for one in profile.history.published]
    if each.version not in kept:
        return f"as of version {each.version}, which is not kept any more"
    return f"{'in' if holds_address(profile.history, each.version, each.address) else 'out'}, as of version {each.version}"


def _lines(clause: Clause, depth: int) -> list[Line]:
    if clause.users is not None:
        whose = "their accounts" if clause.kind == "accounts" else "its users"
        lines = [
            Line(depth, clause.outcome, clause.text, ((f"true of {clause.users.matching:,} of {clause.users.total:,} of {whose}", ""),))
        ]
        for title, example in (("one for whom it holds", clause.users.example), ("one for whom it does not", clause.users.counterexample)):
            if example is not None:
                lines += [Line(depth + 1, example.clause.outcome, title), *_lines(example.clause, depth + 2)]
        return lines
    if clause.parts:
        return [
            Line(depth, clause.outcome, _HEADS.get(clause.kind, clause.kind)),
            *(line for part in clause.parts for line in _lines(part, depth + 1)),
        ]
    return [Line(depth, clause.outcome, clause.text, tuple(_seen(clause)))]


def _seen(clause: Clause) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    for name, value in clause.seen.items():
        if name == "filters" and isinstance(value, list):
            seen += [(f"{each['rows']} left by", str(each["filter"])) for each in value if isinstance(each, dict)]
        elif value is not None:
            seen.append((name.replace("_", " "), value if isinstance(value, str) else str(value)))
    return seen
