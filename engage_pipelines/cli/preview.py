"""`engage audience preview`: how many, and who, would be in an audience as of one instant, without keeping anything."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from engage_pipelines.cli.desk import open_desk
from engage_pipelines.cli.output import ProgressLine, instant_text, note, output_option, show, show_one
from engage_pipelines.computing.preview import AgainstVersion, Details, Overlap, Preview, SizeThen, sizes_over_time
from engage_pipelines.computing.preview import preview as ask
from engage_pipelines.computing.questions import Desk, Draft, Question, instants, read_step
from engage_pipelines.domain.computation import Level, read_level
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.domain.query import parse
from engage_pipelines.domain.query.instants import read_instant


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the answer holds beside the count."""

    members: bool
    details: bool
    sample: int
    overlap: tuple[str, ...]
    against_current: bool
    first: str | None
    last: str | None
    every: str | None


@click.command()
@click.argument("key", required=False)
@click.option("--query", help="A definition in the query language: alone, or what the audience KEY would become.")
@click.option("--type", "level", default="USERS", show_default=True, help="USERS or ACCOUNTS; what a query without KEY is about.")
@click.option("--at", metavar="INSTANT", help="As of this instant; the space's, or now, unless said.")
@click.option("--members", is_flag=True, help="List them: user ids, or group ids for ACCOUNTS.")
@click.option("--details", is_flag=True, help="A sample, the identifiers they have, accounts without users.")
@click.option("--sample", type=click.IntRange(0, 1_000), default=10, show_default=True, help="How many members a sample shows.")
@click.option("--overlap", multiple=True, metavar="OTHER", help="How many are in the audience OTHER too; as often as you like.")
@click.option("--against-current", is_flag=True, help="Who would enter and exit against the current version of KEY.")
@click.option("--from", "first", metavar="INSTANT", help="Sizes over time, as of this instant and later ones.")
@click.option("--to", "last", metavar="INSTANT", help="The end of --from; the instant of the preview unless said.")
@click.option("--every", metavar="TIME", help="The step of --from: 12h, 7d, 2w; 7d unless said.")
@output_option
def preview(key: str | None, *, query: str | None, level: str, at: str | None, output: str, **words: Any) -> None:
    """How many, and who, would be in an audience."""
    wanted = _Wanted(**words)
    if key is None and query is None:
        raise UsageError(
            "Preview takes the KEY of an audience, or a --query.", "Give one of the two, or both: KEY under another definition."
        )
    if wanted.against_current and key is None:
        raise UsageError("--against-current is about an audience.", "Name its KEY; with --query it is seen under that definition.")
    if wanted.first is None and (wanted.last or wanted.every):
        raise UsageError("--to and --every belong to --from.", "Say where to begin: --from INSTANT")
    at_us = None if at is None else read_instant(at)
    draft = None if query is None else Draft(query, read_level(level))
    if draft is not None and key is None:
        parse(draft.definition, level=draft.level)
    desk = open_desk()
    question = desk.question(key=key, draft=draft, at_us=at_us)
    series = _series(wanted, question.at_us)
    with desk.session(question.at_us) as session:
        found = ask(session, question)
        answer = _answer(desk, found, wanted)
    for warning in found.warnings:
        note(f"Warning: {warning}")
    if series:
        answer["sizes"] = _sizes(desk, question, series)
    _show(answer, output)


def _series(wanted: _Wanted, at_us: int) -> Sequence[int]:
    if wanted.first is None:
        return ()
    last = at_us if wanted.last is None else read_instant(wanted.last)
    return instants(read_instant(wanted.first), last, read_step(wanted.every or "7d"))


def _answer(desk: Desk, found: Preview, wanted: _Wanted) -> dict[str, Any]:
    answer: dict[str, Any] = {"count": len(found.chosen)}
    if wanted.members:
        answer["members"] = found.names()
    if wanted.details:
        answer |= {"at": instant_text(found.question.at_us), "level": str(found.level)}
        answer |= _details(found.details(sample=wanted.sample), found.level)
    if wanted.overlap:
        answer["overlap"] = [{"other": other, **overlap_fields(found.overlap(other))} for other in wanted.overlap]
    if wanted.against_current:
        history = desk.history(found.question.audience.key)
        answer["against_current"] = _against(found.against(history, sample=wanted.sample))
    return answer


def _details(details: Details, level: Level) -> dict[str, Any]:
    shown: dict[str, Any] = {"sample": list(details.sample), "identifiers": dict(details.identifiers)}
    if level is Level.USER:
        return shown
    shown |= {"users": details.users, "user_identifiers": dict(details.user_identifiers)}
    empty = details.without_users
    if empty is not None:
        by_option = {str(option): count for option, count in empty.by_option.items()}
        shown["accounts_without_users"] = {
            "accounts": empty.accounts,
            "members": empty.members,
            "empty_accounts": str(empty.option),
            "members_by_option": by_option,
        }
    return shown


def overlap_fields(overlap: Overlap) -> dict[str, Any]:
    """An overlap as commands print it; shares are parts of one."""
    return {
        "level": str(overlap.level),
        "size": overlap.size,
        "other_size": overlap.other_size,
        "common": overlap.common,
        "share": round(overlap.share, 4),
        "other_share": round(overlap.other_share, 4),
    }


def _against(against: AgainstVersion) -> dict[str, Any]:
    shown = asdict(against) | {"version": None, "evaluated_at": None}
    if against.version is not None:
        shown |= {"version": against.version.n, "evaluated_at": instant_text(against.version.evaluated_at_us)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in shown.items()}


def _sizes(desk: Desk, question: Question, series: Sequence[int]) -> list[dict[str, Any]]:
    with ProgressLine() as line:
        found = list(sizes_over_time(desk, question, series, on_progress=lambda done: line.say(f"{done} of {len(series)} instants")))
    return [_size_then(each, question.audience.level) for each in found]


def _size_then(then: SizeThen, level: Level) -> dict[str, Any]:
    users = {} if level is Level.USER else {"users": then.users}
    return {"at": instant_text(then.at_us), "size": then.size, **users, "entered": then.entered, "exited": then.exited}


# ---- for people


def _show(answer: Mapping[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    for one in answer.get("members", ()):
        click.echo(one)
    click.echo(f"{answer['count']:,} {'member' if answer['count'] == 1 else 'members'}")
    about = {name: value for name, value in answer.items() if name not in {"count", "members", "overlap", "against_current", "sizes"}}
    if about:
        click.echo()
        show_one({name: _in_words(value) for name, value in about.items()}, output=output)
    if "overlap" in answer:
        click.echo("\nOverlap")
        show(answer["overlap"], output=output)
    if "against_current" in answer:
        click.echo("\nAgainst the current version")
        show_one(answer["against_current"], output=output)
    if "sizes" in answer:
        click.echo("\nOver time")
        show(answer["sizes"], output=output)


def _in_words(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{name.replace('_', ' ')} {_in_words(each) if isinstance(each, dict) else each}" for name, each in value.items())
