"""`engage mapping test`: the exact request that a mapping would come to, shown, or sent for real when that is asked for."""

from collections.abc import Iterator
from typing import Any

import click
import orjson
import sqlalchemy as sa

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import output_option, show_json
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.trial import Trial, try_mapping
from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, DestinationType, Pause, Stop, Target, Verdict
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.access_tokens import settings_for_sending
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.lookup import Row, find_computation, find_space
from engage_pipelines.registry.mappings import NewMapping, find_mapping
from engage_pipelines.registry.matching import live_connections
from engage_pipelines.registry.tables import computation, connection, space
from engage_pipelines.registry.types import find_type
from engage_pipelines.settings import read_settings

_DEADLINE_S = 30.0


@click.command()
@click.argument("destination")
@click.argument("name")
@click.option("--audience", help="Of which connection; not needed for a preset, or when one audience is connected.")
@click.option("--send", is_flag=True, help="Send the entry and then the exit of sample-user for real, and say what was answered.")
@output_option
def test(destination: str, name: str, *, audience: str | None, send: bool, output: str) -> None:
    """Show what the mapping NAME (or id) of DESTINATION makes of an entry and an exit, and the exact request, secrets masked.

    Nothing is sent, unless --send is said. Whom it is about is made up: sample-user and sample-account.
    """
    registry = open_registry()
    with registry.database.read() as c:
        to = find_destination(c, find_space(c, registry.space).id, destination)
        row = find_mapping(c, to, name)
        joined = _connection(c, to, row, audience)
        target = _target(c, joined)
    new = NewMapping(row.name, row.trigger, row.action, row.fields)
    trials = try_mapping(Runtime(read_settings(), registry), joined.id, new)
    shown = [_shown(one) for one in trials]
    if send:
        _send(registry, to, target, row.action, list(zip(trials, shown, strict=True)))
    if output == "json":
        show_json(shown)
    else:
        for one in shown:
            _say(one)


def _connection(c: sa.Connection, to: Row, row: Row, audience: str | None) -> Row:
    wanted = [connection.c.destination_id == to.id]
    if row.connection_id is not None:
        wanted = [connection.c.id == row.connection_id]
    elif audience is not None:
        wanted.append(connection.c.computation_id == find_computation(c, to.space_id, audience).id)
    found = live_connections(c, *wanted)
    if not found:
        raise NotFoundError(
            f"Nothing is connected to {to.key!r} that would send through it.", f"Connect it first: engage connect AUDIENCE {to.key}"
        )
    if len(found) > 1:
        keys = c.execute(sa.select(computation.c.key).where(computation.c.id.in_([one.computation_id for one in found]))).scalars()
        raise UsageError(f"{', '.join(sorted(keys))} are connected to {to.key!r}.", "Say which with --audience.")
    return found[0]


def _target(c: sa.Connection, joined: Row) -> Target:
    query = sa.select(computation.c.key, space.c.key.label("space")).select_from(computation.join(space))
    found = c.execute(query.where(computation.c.id == joined.computation_id)).one()
    return Target(space=found.space, computation=found.key, level="user")


def _shown(trial: Trial) -> dict[str, Any]:
    shown: dict[str, Any] = {"call": trial.call, "entered": trial.entered, "matches": trial.matches}
    if trial.problem:
        return {**shown, "problem": trial.problem}
    if trial.payload is None:
        return shown
    told = [{"method": one.method, "url": one.url, "headers": dict(one.headers), "body": one.body} for one in trial.requests]
    return {**shown, "payload": trial.payload, "requests": told}


def _send(registry: Registry, to: Row, target: Target, action: str, trials: list[tuple[Trial, dict[str, Any]]]) -> None:
    """Entries first, so that the exit takes back what the trial left outside."""
    type_ = find_type(registry.types, to.type)
    settings = settings_for_sending(registry, type_, to)
    if type_.writes_whole_list(settings):
        raise UsageError(f"{to.key!r} keeps whole lists, which a trial would replace.", "Look at the payload without --send.")
    for trial, shown in trials:
        if trial.payload is not None:
            verdict = type_.send([trial.record], action=action, settings=settings, target=target, deadline_s=_DEADLINE_S)
            shown["answer"] = _in_words(type_, verdict)


def _in_words(type_: DestinationType, verdict: Verdict) -> str:
    match verdict:
        case Accepted(rejected) if rejected:
            return f"refused: {rejected[0]}"
        case Accepted():
            return "accepted"
        case Pause(after_s):
            return f"{type_.name} asks to wait {after_s:g} s"
        case Stop(reason, remedy):
            return f"stopped: {reason} {remedy}"
        case Bisect(reason) | Backoff(reason):
            return f"not taken: {reason}"


def _say(one: dict[str, Any]) -> None:
    for line in _lines(one):
        click.echo(line)


def _lines(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['call'].title()} of {'an entry' if one['entered'] else 'an exit'}"
    if "problem" in one:
        yield f"  cannot be sent: {one['problem']}"
    elif not one["matches"]:
        yield "  the trigger does not match: nothing is sent"
    for request in one.get("requests", ()):
        yield f"  {request['method']} {request['url']}"
        yield from (f"  {name}: {value}" for name, value in request["headers"].items())
        yield from (f"    {line}" for line in request["body"].splitlines())
    if "payload" in one and not one.get("requests"):
        yield f"  payload: {orjson.dumps(one['payload']).decode()}"
    if "answer" in one:
        yield f"  {one['answer']}"
