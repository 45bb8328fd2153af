"""`engage validate`: configuration files looked through without a database."""

import sys
from collections import Counter
from pathlib import Path

import click

from engage_pipelines.cli.output import note, output_option, show_json
from engage_pipelines.cli.types import InstalledTypes
from engage_pipelines.registry.owners import default_folder
from engage_pipelines.registry.problems import Problem, shown
from engage_pipelines.registry.reading import read_configuration
from engage_pipelines.registry.validate import validate as look_through
from engage_pipelines.settings import read_settings


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@output_option
def validate(folder: Path | None, *, output: str) -> None:
    """Find everything that is wrong in the *.yaml and *.yml files of FOLDER, without a database; exit code 1 when something is.

    FOLDER is ./engage where there is one, else the current folder. What the files refer to must be in them.
    """
    found = look_through(read_configuration(folder or default_folder()), settings=read_settings(), types=InstalledTypes())
    if output == "json":
        show_json({"valid": not found.problems, "problems": [_fields(one) for one in found.problems], "warnings": list(found.warnings)})
    else:
        for problem in found.problems:
            note(str(problem))
        for warning in found.warnings:
            note(f"Warning: {warning}")
        _say(len(found.problems), Counter(one.kind for one in found.entries))
    if found.problems:
        sys.exit(1)


def _say(problems: int, kinds: Counter[str]) -> None:
    if problems:
        note(f"{problems} {'problem' if problems == 1 else 'problems'}.")
        return
    click.echo(f"Valid: {', '.join(f'{count} {kind}{_s(count)}' for kind, count in kinds.items()) or 'nothing in it'}.")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _fields(one: Problem) -> dict[str, object]:
    return {"file": shown(one.file), "line": one.line, "column": one.column, "path": one.path, "problem": one.what, "remedy": one.remedy}
