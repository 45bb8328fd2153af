"""`engage audience explain`: why a member is in an audience or not, and since when."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.output import output_option, show_json
from engage_pipelines.computing.explain import Clause, Explanation
from engage_pipelines.computing.explained import examples_of, explain_member
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.domain.query.values import Json, text_form

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
    explained = explain_member(open_desk(), key, member, at_us=None if at is None else read_instant(at))
    if output == "json":
        show_json(explained.told)
    else:
        _show(explained.told, explained.found, explained.names)


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
        for example in examples_of(clause.users):
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
