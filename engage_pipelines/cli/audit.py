"""`engage audit`: who changed what, and when."""

from typing import Any

import click

from engage_pipelines.cli.opening import open_database
from engage_pipelines.cli.output import instant_text, output_option, show
from engage_pipelines.registry.audit import list_audit
from engage_pipelines.settings import read_settings


@click.command()
@click.argument("object_", metavar="[OBJECT]", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many, the newest.")
@output_option
def audit(object_: str | None, *, limit: int, output: str) -> None:
    """Who changed what and when, the newest first; OBJECT is a part of what was changed, such as a key."""
    with open_database(read_settings()).read() as c:
        rows = list_audit(c, containing=object_, limit=limit)
    shown = [
        {"at": instant_text(row.at), "actor": row.actor, "verb": row.verb, "object": row.object, **_values(row, output)} for row in rows
    ]
    show(shown, output=output, empty="Nothing was changed yet.")


def _values(row: Any, output: str) -> dict[str, Any]:
    if output == "json":
        return {"before": row.before, "after": row.after}
    return {"change": _difference(row.before or {}, row.after or {})}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The fields that differ, shortly."""
    parts = [
        f"{name}: {_short(before[name])} -> {_short(after[name])}" if name in before and name in after else f"{name}: {_short(value)}"
        for name, value in {**before, **after}.items()
        if before.get(name) != after.get(name)
    ]
    return ", ".join(parts[:4]) + (" ..." if len(parts) > 4 else "")


def _short(value: object) -> str:
    text = "-" if value in (None, "", [], {}) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
