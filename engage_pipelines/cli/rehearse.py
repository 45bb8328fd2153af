"""What `engage connect --dry-run` says."""

from collections.abc import Callable, Iterator

import click

from engage_pipelines.cli.output import note
from engage_pipelines.delivery.rehearsal import Rehearsal, rehearse, rehearse_act
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.domain.connection import CALLS, State
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.connections import Connected, NewConnection
from engage_pipelines.settings import read_settings


def say_rehearsal(registry: Registry, new: NewConnection) -> None:
    """Say what the connection would make and send; nothing is written."""
    found = rehearse(Runtime(read_settings(), registry), new)
    verb, calls = "resume" if found.resumed else "connect", " and ".join(call.title() for call in found.calls)
    click.echo(f"Would {verb} {new.audience} -> {new.destination} with {calls} calls; nothing is written.")
    for preset in found.presets:
        click.echo(f"  mapping on: {preset.name}  when {preset.trigger}")
    for line in sent_lines(found, new.audience):
        click.echo(f"  {line}")
    if found.state == State.AWAITING_MAPPING:
        note(f"No enabled mapping matches: nothing would be delivered. See: engage mapping list {new.destination}")


def exits_of(registry: Registry, act: Callable[[Change], Connected]) -> str:
    """The exits that an act would have sent, in words; nothing is written. Raises what the act would raise."""
    found = rehearse_act(Runtime(read_settings(), registry), act)
    calls = " and ".join(f"{found.exited[call]:,} {call.title()}" for call in CALLS if found.exited[call])
    about = "" if found.is_exact else "about "
    return f"{about}{calls} exits in about {_number(found.requests, 'request')}" if calls else "no exits"


def sent_lines(found: Rehearsal, audience: str) -> Iterator[str]:
    """What a connection would send, for people."""
    if not found.version:
        yield f"{audience} was not computed yet; to see how many would be in it: engage audience preview {audience}"
        return
    about = "" if found.is_exact else "about "
    for counts, what in ((found.entered, "enter"), (found.exited, "exit")):
        if counts:
            calls = " and ".join(f"{counts[call]:,} {call.title()}" for call in CALLS if counts[call])
            yield f"{about}{calls} calls for those who {what}"
    yield _requests(found)
    for level, count in found.skipped.items():
        if count:
            yield f"left out: {_number(count, level)} without an identifier that it can match by"


def _requests(found: Rehearsal) -> str:
    if not found.entered and not found.exited:
        return "nothing is owed now, only later changes are sent"
    if found.whole_list:
        return "the list is written as a whole"
    most = f"at most {found.limits.max_batch_records:,} calls and {found.limits.max_batch_bytes:,} bytes"
    return f"about {_number(found.requests, 'request')}, each of {most}"


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
