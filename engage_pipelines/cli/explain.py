"""`engage audience explain`: why a member is in an audience or not, and since when."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.output import instant_text, output_option, show_json
from engage_pipelines.computing.explain import Clause, Example, Explanation, UsersSeen, why
from engage_pipelines.computing.kept_members import Standing, standing
from engage_pipelines.computing.member_names import find_member, names_of
from engage_pipelines.domain.query.values import Json, text_form
from engage_pipelines.registry.configuration import read_instant

_INDENT = "  "
_HEADS = {"and": "all of", "or": "one of", "not": "not"}


@click.command()
@click.argument("key")
@click.argument("member")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@output_option
def explain(key: str, member: str, *, at: str | None, output: str) -> None:
    """Why MEMBER is in the audience KEY or not: every clause with what it saw, and since when.

    MEMBER is a user id, an e-mail address or, of an audience of accounts, a group id.
    """
    desk = open_desk()
    question = desk.question(key=key, at_us=None if at is None else read_instant(at))
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
    if output == "json":
        show_json(told)
    else:
        _show(told, found, names)


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
    for example in _examples(clause.users):
        yield example.member
        yield from _mentioned(example.clause)


def _examples(users: UsersSeen | None) -> list[Example]:
    return [] if users is None else [each for each in (users.example, users.counterexample) if each is not None]


# ---- for programs


def _clause(clause: Clause, names: Mapping[int, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": clause.kind, "text": clause.text, "outcome": clause.outcome}
    if clause.seen:
        told["seen"] = dict(clause.seen)
    if clause.parts:
        told["parts"] = [_clause(part, names) for part in clause.parts]
    if clause.users is not None:
        told["matching"], told["total"] = clause.users.matching, clause.users.total
        told["examples"] = [{"member": names.get(each.member), **_clause(each.clause, names)} for each in _examples(clause.users)]
    return told


# ---- for people


def _show(told: Mapping[str, Any], found: Explanation, names: Mapping[int, str]) -> None:
    click.echo(f"{told['member']} is {'in' if told['in'] else 'not in'} {told['audience']} as of {told['at']}.")
    click.echo(_since(told["kept"]))
    click.echo()
    for line in _lines(found.clause, names, ""):
        click.echo(line)


def _since(kept: Mapping[str, Any] | None) -> str:
    if kept is None:
        return "No version is published yet."
    newest = f"Version {kept['version']}, as of {kept['evaluated_at']},"
    if kept["since_version"] is None:
        return f"{newest} does not have them, nor did any version before it."
    verb, turned = ("has", "entered") if kept["in"] else ("does not have", "left")
    return f"{newest} {verb} them: {turned} in version {kept['since_version']}, as of {kept['since']}."


def _lines(clause: Clause, names: Mapping[int, str], indent: str) -> Iterator[str]:
    outcome = f"{'true' if clause.outcome else 'false':<5}  {indent}"
    deeper = indent + _INDENT
    if clause.users is not None:
        yield f"{outcome}{clause.text}"
        yield f"{'':<5}  {deeper}{_users(clause)}"
        for example in _examples(clause.users):
            yield f"{'':<5}  {deeper}{names.get(example.member, example.member)}:"
            yield from _lines(example.clause, names, deeper + _INDENT)
    elif clause.parts:
        yield f"{outcome}{_HEADS[clause.kind]}"
        for part in clause.parts:
            yield from _lines(part, names, deeper)
    else:
        yield f"{outcome}{clause.text}"
        yield from (f"{'':<5}  {deeper}{line}" for line in _seen(clause.seen))


def _users(clause: Clause) -> str:
    assert clause.users is not None
    whose = "their accounts" if clause.kind == "accounts" else "its users"
    if not clause.users.total:
        return f"no account as of that instant: {whose} are none" if clause.kind == "accounts" else "it has no users"
    return f"true of {clause.users.matching:,} of {clause.users.total:,} of {whose}"


def _seen(seen: Mapping[str, Json]) -> Iterator[str]:
    if "identifiers" in seen:
        held = seen["identifiers"]
        assert isinstance(held, dict)
        yield "has " + ", ".join(f"{count} {kind}" for kind, count in held.items())
    elif "event" in seen:
        yield f"{seen['rows']} {seen['event']!r} in all"
        filters = seen["filters"]
        assert isinstance(filters, list)
        for each in filters:
            assert isinstance(each, dict)
            yield f"{each['rows']} left by {each['filter']}{_window(each)}"
        spread = f", from {seen['first_at']} to {seen['last_at']}" if seen["first_at"] else ""
        yield f"value: {_value(seen['value'])}{spread}{_window(seen)}"
    elif "audience" in seen:
        yield f"{'in' if seen['member'] else 'not in'} {seen['audience']}"
    elif "trait" in seen:
        value = seen["values"] if "values" in seen else seen["value"]
        since = f", set at {seen['set_at']}" if seen["set_at"] else ""
        yield f"value: {_value(value)}{since}{_window(seen)}"
    elif "value" in seen:
        yield f"value: {_value(seen['value'])}"


def _window(seen: Mapping[str, Json]) -> str:
    if "from" not in seen:
        return ""
    return f" ({seen['from'] or 'any time'} to {seen['to'] or 'any time'})"


def _value(value: Json) -> str:
    return "missing" if value is None else repr(value) if isinstance(value, str) else text_form(value) or ""
