"""`engage ingest`: customer data from files into the facts of a space."""

import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from engage_pipelines.cli.events import space_option
from engage_pipelines.settings import read_settings

if TYPE_CHECKING:
    from engage_pipelines.facts.ingest import IngestSummary
    from engage_pipelines.facts.ingest import Progress as Step

_PLAIN_EVERY_S = 10.0


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
@space_option
@click.option("--source", metavar="KEY", help="The source that the calls came from, kept with each event.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def ingest(files: tuple[str, ...], space: str, source: str | None, output: str) -> None:
    """Take in Segment-spec calls: identify, group, track, page, screen and alias, one JSON object a line.

    FILES are files (plain or gzip), folders (every .jsonl, .json, .ndjson and .gz below) or - for standard input. A call counts once by its
    messageId, however often it is taken in. Lines that are no valid calls go to a file of rejects, with their number and the reason.

    It is all or nothing: when it is stopped or fails, the facts are as they were. Exit code 0 when any call was read (rejects are reported)
    or there was nothing to read; 1 when every line was rejected, or a file could not be read.
    """
    from engage_pipelines.facts.ingest import ingest as take_in  # noqa: PLC0415 - brings DuckDB

    facts_dir = read_settings().facts_dir
    with _shown_progress() as on_progress:
        summary = take_in(files, facts_dir=facts_dir, space=space, now_us=time.time_ns() // 1000, source=source, on_progress=on_progress)
    click.echo(json.dumps(_as_json(summary)) if output == "json" else _as_text(summary))
    if summary.rejected and not summary.read:
        sys.exit(1)


def _as_json(summary: "IngestSummary") -> dict[str, object]:
    return {
        "files": summary.files,
        "calls": summary.by_type,
        "read": summary.read,
        "new": summary.new,
        "duplicates": summary.duplicates,
        "rejected": summary.rejected,
        "rejects_path": None if summary.rejects_path is None else str(summary.rejects_path),
        "seconds": round(summary.seconds, 3),
        "calls_per_second": round(_rate(summary)),
    }


def _as_text(summary: "IngestSummary") -> str:
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in summary.by_type.items())
    lines = [
        f"Read {summary.read:,} calls from {summary.files} {'file' if summary.files == 1 else 'files'}{f': {kinds}' if kinds else ''}.",
        f"New {summary.new:,}, duplicates {summary.duplicates:,}, in {summary.seconds:.1f} s ({_rate(summary):,.0f} calls a second).",
    ]
    if summary.rejects_path is not None:
        counted = f"{summary.rejected:,} {'line' if summary.rejected == 1 else 'lines'}"
        lines.append(f"Rejected {counted}; the reasons are in {summary.rejects_path}")
    return "\n".join(lines)


def _rate(summary: "IngestSummary") -> float:
    return summary.read / max(summary.seconds, 1e-9)


@contextmanager
def _shown_progress() -> "Generator[Callable[[Step], None]]":
    """A bar on a terminal, now and then a line elsewhere; both on standard error."""
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    columns = (TextColumn("{task.fields[file]}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[calls]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", file="", calls="", total=None)

        def show(step: "Step") -> None:
            bar.update(task, completed=step.bytes_read, total=step.bytes_total, file=step.file[-40:], calls=f"{step.calls:,} calls")

        yield show


def _plain_lines() -> "Callable[[Step], None]":
    said_at = time.monotonic()

    def say(step: "Step") -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= _PLAIN_EVERY_S:
            said_at = time.monotonic()
            total = "" if step.bytes_total is None else f" of {step.bytes_total / 1e6:,.0f}"
            click.echo(f"{step.file}: {step.calls:,} calls, {step.bytes_read / 1e6:,.0f}{total} MB", err=True)

    return say
