"""An explanation in plain values, as programs read it: the outcome, since when, and each clause with what it saw."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engage_pipelines.computing.explain import Clause, Example, Explanation, UsersSeen, why
from engage_pipelines.computing.kept_members import Standing, standing
from engage_pipelines.computing.member_names import find_member, names_of
from engage_pipelines.computing.questions import Desk
from engage_pipelines.domain.instants import instant_text


@dataclass(frozen=True, slots=True)
class Explained:
    """`told` is for programs; `found` and the names of those who are mentioned are what it was made of."""

    told: Mapping[str, Any]
    found: Explanation
    names: Mapping[int, str]


def explain_member(desk: Desk, key: str, member: str, *, at_us: int | None = None) -> Explained:
    """Why a member is in the audience or not. Raises NotFoundError for an audience or a member that is not there."""
    question = desk.question(key=key, at_us=at_us)
    with desk.session(question.at_us) as session:
        named = find_member(session, member, question.audience)
        found = why(session, question, named)
        names = names_of(session, {named.member, *_mentioned(found.clause)})
    kept = standing(desk.history(key).until(question.at_us), named.member, named.level)
    told = {
        "audience": key,
        "member": names.get(named.member, member),
        "level": str(named.level),
        "at": instant_text(question.at_us),
        "in": found.verdict,
        "kept": None if kept is None else _kept(kept),
        "definition": found.definition,
        "clause": _clause(found.clause, names),
    }
    return Explained(told, found, names)


def examples_of(users: UsersSeen | None) -> list[Example]:
    """Those of an account's users who stand for the others."""
    return [] if users is None else [each for each in (users.example, users.counterexample) if each is not None]


def _kept(kept: Standing) -> dict[str, Any]:
    """What the versions kept say: in or out as of the newest, and since which one."""
    return {
        "version": kept.newest.n,
        "evaluated_at": instant_text(kept.newest.evaluated_at_us),
        "in": kept.is_in,
        "since_version": None if kept.since is None else kept.since.n,
        "since": None if kept.since is None else instant_text(kept.since.evaluated_at_us),
    }


def _mentioned(clause: Clause) -> Iterator[int]:
    for part in clause.parts:
        yield from _mentioned(part)
    for example in examples_of(clause.users):
        yield example.member
        yield from _mentioned(example.clause)


def _clause(clause: Clause, names: Mapping[int, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": clause.kind, "text": clause.text, "outcome": clause.outcome}
    if clause.seen:
        told["seen"] = dict(clause.seen)
    if clause.parts:
        told["parts"] = [_clause(part, names) for part in clause.parts]
    if clause.users is not None:
        told["matching"], told["total"] = clause.users.matching, clause.users.total
        told["examples"] = [{"member": names.get(each.member), **_clause(each.clause, names)} for each in examples_of(clause.users)]
    return told
