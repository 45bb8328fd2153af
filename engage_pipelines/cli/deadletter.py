"""`engage deadletter`: records that a destination refused or never answered, looked at, sent again or given up."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import orjson
import sqlalchemy as sa

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import instant_text, note, output_option, show, show_json, show_one
from engage_pipelines.delivery.dead_letters import DeadLetter, Wanted, find_dead_letters, list_dead_letters
from engage_pipelines.delivery.dead_letters import discard as discard_in
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.registry.lookup import Row, find_computation, find_space
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.tables import destination as destinations
from engage_pipelines.settings import read_settings

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SHOWN_TO_PEOPLE = 50

_FATES = {"rejected": "the destination refused it", "retryable": "nobody knows: it is sent again at its time"}


def _filters(command: _Command) -> _Command:
    for option in reversed(
        (
            click.option("--audience", metavar="KEY", help="Of this audience."),
            click.option("--destination", metavar="KEY", help="For this destination."),
            click.option("--reason", metavar="TEXT", help="Whose reason contains this text."),
            click.option("--after", metavar="INSTANT", help="That failed last at this instant or later."),
            click.option("--before", metavar="INSTANT", help="That failed last before this instant."),
        )
    ):
        command = option(command)
    return command


_ids = click.argument("ids", nargs=-1, metavar="[ID]...")
_all = click.option("--all", "everything", is_flag=True, help="All there are.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def deadletter() -> None:
    """Records that a destination refused or never answered."""


@deadletter.command("list")
@_filters
@output_option
def list_(*, output: str, **filters: str | None) -> None:
    """What failed, by short id; who it is about is for `show` to say."""
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        letters = list_dead_letters(c, space.id, _wanted(c, space, filters))
    shown = letters if output == "json" else letters[:_SHOWN_TO_PEOPLE]
    show([_row(letter) for letter in shown], output=output, empty="There is no dead letter.")
    if len(shown) < len(letters):
        note(f"... and {len(letters) - len(shown):,} more; narrow it down, or take --output json.")


@deadletter.command("show")
@click.argument("id")
@output_option
def show_(id: str, *, output: str) -> None:
    """One record with the exact payload, which may hold personal data."""
    from engage_pipelines.delivery.payloads import frozen_record  # noqa: PLC0415 - brings pyarrow

    settings = read_settings()
    with open_database(settings).read() as c:
        (letter,) = find_dead_letters(c, find_space(c, settings.space).id, [id])
    record = frozen_record(letter, settings.generations_dir)
    values = {**_row(letter), "address": letter.address, "answer": _FATES[letter.kind], "message_id": letter.message_id}
    if output == "json":
        show_json({**values, "payload": None if record is None else orjson.loads(record.body)})
        return
    show_one(values, output=output)
    click.echo("payload")
    click.echo("-" if record is None else orjson.dumps(orjson.loads(record.body), option=orjson.OPT_INDENT_2).decode())


@deadletter.command()
@_ids
@_filters
@_all
@_yes
def replay(ids: Sequence[str], *, everything: bool, yes: bool, **filters: str | None) -> None:
    """Send the records IDS, or those that the filters name, again on the next sync, with their state of then."""
    from engage_pipelines.delivery.replay import replay as replay_in  # noqa: PLC0415 - brings pyarrow

    registry = open_registry()
    space, chosen = _chosen(ids, filters, everything=everything)
    if not chosen:
        click.echo("There is no dead letter to replay.")
        return
    if not ids and not yes:
        click.confirm(f"Send {_counted(chosen)} again?", abort=True, err=True)
    with registry.change() as change:
        done = replay_in(change, space.id, {letter.id for letter in chosen}, read_settings().generations_dir)
    click.echo(f"{_records(done.as_it_was + done.anew)} will be sent again by the next sync.")
    if done.anew:
        click.echo(f"  {done.anew:,} of them rendered anew, under a new message id: the mapping was changed, or the payload is gone.")
    if done.mapping_off:
        note(f"{_records(done.mapping_off)} stayed: no enabled mapping sends them. Enable it, or discard them.")
    for one in done.not_sending:
        note(f"{one}: nothing is sent before somebody mends that.")


@deadletter.command()
@_ids
@_filters
@_all
@_yes
def discard(ids: Sequence[str], *, everything: bool, yes: bool, **filters: str | None) -> None:
    """Give up the records IDS, or those that the filters name: they are not sent until their membership changes."""
    from engage_pipelines.delivery.payloads import sweep  # noqa: PLC0415 - brings pyarrow

    registry = open_registry()
    space, chosen = _chosen(ids, filters, everything=everything)
    if not chosen:
        click.echo("There is no dead letter to discard.")
        return
    if not yes:
        click.confirm(
            f"Discard {_counted(chosen)}? What the destination holds of them may differ until their membership changes.",
            abort=True,
            err=True,
        )
    with registry.change() as change:
        discarded = discard_in(change, space.id, {letter.id for letter in chosen})
    sweep(registry.database, read_settings().generations_dir)
    click.echo(f"{_records(len(discarded))} discarded, with the payloads.")


def _chosen(ids: Sequence[str], filters: dict[str, str | None], *, everything: bool) -> tuple[Row, list[DeadLetter]]:
    """The space, and the letters that the words of the command name."""
    named = any(value is not None for value in filters.values())
    if bool(ids) + named + everything != 1:
        raise UsageError("Say which dead letters: ids, or filters, or --all.", "See them with: engage deadletter list")
    settings = read_settings()
    with open_database(settings).read() as c:
        space = find_space(c, settings.space)
        if ids:
            return space, find_dead_letters(c, space.id, set(ids))
        return space, list_dead_letters(c, space.id, _wanted(c, space, filters))


def _wanted(c: sa.Connection, space: Row, filters: dict[str, str | None]) -> Wanted:
    audience, to = filters["audience"], filters["destination"]
    return Wanted(
        audience_id=None if audience is None else find_computation(c, space.id, audience).id,
        destination_id=None if to is None else _destination_id(c, space, to),
        reason=filters["reason"],
        after_us=_instant(filters["after"]),
        before_us=_instant(filters["before"]),
    )


def _destination_id(c: sa.Connection, space: Row, key: str) -> str:
    d = destinations.c
    of_space = sa.and_(d.space_id == space.id, d.source_id.is_(None), d.removed_at.is_(None))
    ids = {row.key: row.id for row in c.execute(sa.select(d.key, d.id).where(of_space))}
    if key not in ids:
        raise NotFoundError(f"There is no destination {key!r}.", did_you_mean(key, ids, otherwise="See `engage destination list`."))
    return ids[key]


def _instant(text: str | None) -> int | None:
    return None if text is None else read_instant(text)


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "audience": letter.audience,
        "destination": letter.destination,
        "kind": letter.kind,
        "call": letter.call,
        "change": letter.change,
        "attempts": letter.attempts,
        "failed_at": instant_text(letter.failed_at),
        "retry_at": instant_text(letter.retry_at),
        "reason": letter.reason,
    }


def _counted(letters: Sequence[DeadLetter]) -> str:
    places = sorted({f"{letter.audience} -> {letter.destination}" for letter in letters})
    return f"{_records(len(letters))} of {', '.join(places[:5])}{' and others' if len(places) > 5 else ''}"


def _records(count: int) -> str:
    return f"{count:,} {'record' if count == 1 else 'records'}"
