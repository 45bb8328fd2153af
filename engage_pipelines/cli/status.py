"""`engage status`: how the connections are."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from engage_pipelines.cli.opening import open_database
from engage_pipelines.cli.output import instant_text, note, output_option, show
from engage_pipelines.domain.errors import one_line
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import find_computation, find_space, list_spaces
from engage_pipelines.registry.status import Progress, StatusRow, list_status
from engage_pipelines.settings import read_settings

_WATCH_S = 2


@click.command()
@click.argument("audience", required=False)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@output_option
def status(audience: str | None, *, watch: bool, output: str) -> None:
    """How every connection is, or those of one AUDIENCE."""
    settings = read_settings()
    database = open_database(settings)
    rates = Rates()
    while True:
        rows = [rates.since_last_look(row) for row in _rows(database, settings.space, audience)]
        if watch and output == "table":
            click.clear()
        show(
            [(_in_json if output == "json" else _in_table)(row) for row in rows],
            output=output,
            empty="Nothing is connected. Connect with: engage connect AUDIENCE DESTINATION",
        )
        _say_more(rows, output)
        if not watch:
            return
        time.sleep(_WATCH_S)


def _rows(database: Database, space_key: str | None, audience: str | None) -> Sequence[StatusRow]:
    with database.read() as c:
        if audience is None and not list_spaces(c):
            return []
        space = find_space(c, space_key)
        if audience is not None:
            find_computation(c, space.id, audience)
        return list_status(c, space.id, audience=audience, now_us=database.now_us(c))


class Rates:
    """While someone watches, a rate is what was answered between two looks, which follows a change of pace; the first is the average."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last: dict[int, tuple[int, float]] = {}

    def since_last_look(self, row: StatusRow) -> StatusRow:
        progress = row.progress
        if progress is None:
            return row
        now = self._monotonic()
        done, at = self._last.get(progress.generation, (progress.done, now))
        self._last[progress.generation] = (progress.done, now)
        if now <= at:
            return row
        per_s = (progress.done - done) / (now - at)
        left_s = (progress.total - progress.done) / per_s if per_s else None
        return replace(row, progress=replace(progress, per_s=per_s, left_s=left_s))


def progress_words(progress: Progress) -> str:
    """`1,200 of 10,000 sent, 350/s, 25 s left`."""
    words = [f"{progress.done:,} of {progress.total:,} sent"]
    if progress.per_s is not None:
        words.append(f"{progress.per_s:,.0f}/s" if progress.per_s >= 10 or not progress.per_s else f"{progress.per_s:.1f}/s")
    if progress.left_s is not None:
        words.append(f"{duration_words(progress.left_s)} left")
    return ", ".join(words)


def duration_words(seconds: float) -> str:
    """Seconds below two minutes, then minutes, then hours."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _shown(row: StatusRow) -> dict[str, Any]:
    values = asdict(row)
    for name in ("error", "remedy", "note", "id", "calls"):
        del values[name]
    return {**values, "last_sync_at": instant_text(row.last_sync_at)}


def _in_json(row: StatusRow) -> dict[str, Any]:
    return {**_shown(row), "note": row.note}


def _in_table(row: StatusRow) -> dict[str, Any]:
    values = _shown(row)
    del values["progress"], values["pace"]
    return values


def _say_more(rows: Sequence[StatusRow], output: str) -> None:
    """Below the table: how far each sync is, what is wrong with it, and once per destination why it is not sent to as usual."""
    if output != "table":
        return
    for row in rows:
        if row.progress is not None and row.sync_status in {"Syncing", "Backfilling"}:
            note(f"{row.audience} -> {row.destination}: {progress_words(row.progress)}")
        if row.error:
            note(f"{row.audience} -> {row.destination}: {one_line(row.error, row.remedy or '')}")
        if row.note:
            note(f"{row.audience} -> {row.destination}: {row.note}")
    for destination, words in {row.destination: row.pace for row in rows if row.pace}.items():
        note(f"{destination}: {'; '.join(words)}")
