"""What commands print: tables for people, JSON for programs, instants, counts, and a line of progress."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import click

from engage_pipelines.domain import instants

instant_text = instants.instant_text

_Command = TypeVar("_Command", bound=Callable[..., Any])


def output_option(command: _Command) -> _Command:
    """`--output table|json`, given to the command as `output`."""
    choice = click.Choice(["table", "json"])
    return click.option("--output", type=choice, default="table", show_default=True, help="For people or for programs.")(command)


def show(rows: Sequence[Mapping[str, Any]], *, output: str, empty: str = "There are none.") -> None:
    """Print rows as a table, with the keys as headings, or as a JSON list."""
    if output == "json":
        show_json(list(rows))
    elif not rows:
        click.echo(empty)
    else:
        click.echo(_table(rows))


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def show_one(values: Mapping[str, Any], *, output: str) -> None:
    """Print one thing, a line for each of its fields."""
    if output == "json":
        show_json(dict(values))
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}")


def note(text: str) -> None:
    """Something worth knowing, on stderr."""
    click.echo(text, err=True)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    numeric = [all(row[name] is None or _is_number(row[name]) for row in rows) for name in names]
    headings = [name.replace("_", " ").upper() for name in names]
    widths = [max(len(line[column]) for line in [headings, *cells]) for column in range(len(names))]
    lines = ["  ".join(_padded(line, widths, numeric)).rstrip() for line in [headings, *cells]]
    return "\n".join(lines)


def _padded(line: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> list[str]:
    return [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(line, widths, numeric, strict=True)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value).replace("\n", " ")


class ProgressLine:
    """One line on stderr that is written over, when a person looks; nothing otherwise."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def say(self, text: str) -> None:
        if self._shown:
            click.echo(f"\r{text.ljust(self._width)}", err=True, nl=False)
            self._width = len(text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown and self._width:
            click.echo(f"\r{' ' * self._width}\r", err=True, nl=False)
