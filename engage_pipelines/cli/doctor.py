"""`engage doctor`: whether the installation is well, a line for each thing, with the remedy where it is not."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from engage_pipelines.cli.output import output_option, show_json
from engage_pipelines.doctor.findings import Finding, State
from engage_pipelines.domain.errors import one_line
from engage_pipelines.settings import read_settings

_COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


@click.command()
@click.option("--sweep", is_flag=True, help="Remove the files that nobody needs any more.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="DAGSTER_HOME",
    default=Path(),
    help="The folder of dagster.yaml and workspace.yaml.",
)
@output_option
def doctor(root: Path, *, sweep: bool, output: str) -> None:
    """Look the installation over, changing nothing; exit code 1 when something does not work."""
    from engage_pipelines.doctor.examine import examine  # noqa: PLC0415 - brings all that it examines

    settings = read_settings()
    if sweep:
        _sweep()
    findings: list[Finding] = []
    for finding in examine(settings, root.resolve()):
        findings.append(finding)
        if output == "table":
            _say(finding)
    if output == "json":
        show_json([asdict(finding) for finding in findings])
    if any(finding.state is State.FAIL for finding in findings):
        sys.exit(1)


def _say(finding: Finding) -> None:
    state = click.style(f"{finding.state:<4}", fg=_COLOURS[finding.state])
    click.echo(f"{state}  {finding.check:<12}  {' '.join(one_line(finding.what, finding.remedy).split())}")


def _sweep() -> None:
    from engage_pipelines.cli.opening import open_database  # noqa: PLC0415 - the examination opens the database in its own way
    from engage_pipelines.doctor.leftovers import sweep  # noqa: PLC0415

    settings = read_settings()
    database = open_database(settings)
    click.echo(f"Removed {sweep(settings, database):,} files that nobody needed.", err=True)
    database.close()
