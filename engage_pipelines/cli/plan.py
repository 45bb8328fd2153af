"""`engage plan`: what applying configuration would change, whom it would gain and lose, and what would be sent."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import instant_text, note, output_option, show_json
from engage_pipelines.registry.owners import default_folder
from engage_pipelines.settings import read_settings

if TYPE_CHECKING:
    from engage_pipelines.planning.plan import AudiencePlan, Plan
    from engage_pipelines.registry.entries import Applied, Edit

_SIGNS = {"created": "+", "imported": "+", "changed": "~", "adopted": "=", "removed": "-"}
_WORDS = {"created": "to add", "imported": "to import", "changed": "to change", "adopted": "to adopt", "removed": "to remove"}
_LONGEST = 90
_INNER = {"key", "computation_id", "destination_id", "state"}
_NOTHING: tuple[Any, ...] = (None, "", [], {})


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to this file, for `engage apply FILE`.")
@click.option("--prune", is_flag=True, help="Plan to remove what the folder owned and no file of it holds any more.")
@click.option(
    "--members",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=10,
    default=None,
    metavar="[N]",
    help="Name those who enter and leave, 10 of each or N; they are personal data, and go into --out too.",
)
@output_option
def plan(folder: Path | None, *, out: Path | None, prune: bool, members: int | None, output: str) -> None:
    """What applying FOLDER would change, exactly who would enter and leave, and the calls that would be sent. Nothing is done.

    Exit code 0 when nothing would change, 2 when something would.
    """
    # these bring DuckDB and all that sends
    from engage_pipelines.delivery.runtime import Runtime  # noqa: PLC0415
    from engage_pipelines.planning.plan import make_plan  # noqa: PLC0415
    from engage_pipelines.planning.plan_file import plan_fields, write_plan  # noqa: PLC0415
    from engage_pipelines.registry.reading import read_configuration  # noqa: PLC0415

    configuration = read_configuration(folder or default_folder())
    found = make_plan(Runtime(read_settings(), open_registry()), configuration, prune=prune, members=members or 0)
    if out is not None:
        write_plan(found, configuration.place, out)
    if output == "json":
        show_json(plan_fields(found, configuration.place))
    else:
        for line in _lines(found):
            click.echo(line)
        if out is not None:
            note(f"The plan is in {out}; apply it with: engage apply {out}")
    if found.pending:
        click.get_current_context().exit(2)


def _lines(found: "Plan") -> Iterator[str]:
    from engage_pipelines.cli.rehearse import sent_lines  # noqa: PLC0415

    for space, changes in groupby(sorted(found.changes, key=lambda one: one.space), key=lambda one: one.space):
        yield f"Space {space}"
        for one in changes:
            yield from _change(one)
    if found.audiences:
        yield "Members"
        for each in found.audiences:
            yield from _members(each)
    if found.connections:
        yield "Calls"
        for one in found.connections:
            yield f"  {one.audience} -> {one.destination} ({one.rehearsal.state.replace('_', ' ')})"
            yield from (f"      {line}" for line in sent_lines(one.rehearsal, one.audience))
    counts = Counter(one.verb for one in found.changes)
    if not counts:
        yield f"Nothing would change: {found.unchanged} unchanged."
        return
    told = ", ".join(f"{counts[verb]} {words}" for verb, words in _WORDS.items() if counts[verb])
    yield f"Plan {found.inputs.hash[:12]}: {told}, {found.unchanged} unchanged. Nothing was done."


def _change(one: "Applied") -> Iterator[str]:
    yield f"  {_SIGNS[one.verb]} {one.kind} {one.name}{f'  ({one.note})' if one.note else ''}"
    for edit in one.edits:
        yield from (f"      {line}" for line in _edit(edit))


def _edit(edit: "Edit") -> Iterator[str]:
    before, after = edit.before or {}, edit.after or {}
    if edit.verb in {"create", "import", "connect"}:
        yield from (f"{name}: {_short(name, value)}" for name, value in after.items() if value not in _NOTHING and name not in _INNER)
        return
    for name in {**before, **after}:
        yield f"{name}: {_short(name, before.get(name))} -> {_short(name, after.get(name))}"


def _short(name: str, value: Any) -> str:
    if name == "evaluate_at":
        return instant_text(value) or "now"
    text = " ".join(str(value).split()) if not isinstance(value, Mapping) else ", ".join(f"{k}={v}" for k, v in value.items())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _members(one: "AudiencePlan") -> Iterator[str]:
    if one.error is not None:
        yield f"  {one.key}: cannot be evaluated: {one.error}"
        return
    against = f"against version {one.version}" if one.version else "never computed before"
    yield f"  {one.key}: {one.entering:,} enter, {one.leaving:,} leave, {one.stay:,} stay ({against}, as of {instant_text(one.at_us)})"
    if one.would_be_held:
        yield "      this version would be held until someone releases it: it loses more than half of its members"
    for names, what in ((one.some_entering, "enter"), (one.some_leaving, "leave")):
        if names:
            yield f"      {what}: {', '.join(names)}"
    yield from (f"      warning: {warning}" for warning in one.warnings)
