"""`engage init`: a starter project that works as it stands."""

import json
from importlib import resources
from pathlib import Path

import click

from engage_pipelines.domain.errors import InputError

FILES = {
    "README.md": "README.md",
    ".gitignore": "gitignore",
    "calls.jsonl": "calls.jsonl",
    "dagster.yaml": "dagster.yaml",
    "workspace.yaml": "workspace.yaml",
    "engage/engage.yaml": "engage/engage.yaml",
    ".github/workflows/engage.yml": "workflow.yml",
}
"""What is written, and which file of the starter it comes from."""

_SCHEMA = "engage/engage.schema.json"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init(folder: Path) -> None:
    """Write a starter project into FOLDER: commented YAML, sample calls, a GitHub workflow. Nothing that is there is touched."""
    there = [name for name in (*FILES, _SCHEMA) if (folder / name).exists()]
    if there:
        raise InputError(f"{folder} has {', '.join(there)} already.", "Name a new folder, or move them away.")
    try:
        _write(folder)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder} cannot be written: {error.strerror}.", "Check the folder and its permissions."
        ) from None
    click.echo(f"A project is in {folder.resolve()}. Go on with:")
    for line in ([] if folder == Path() else [f"cd {folder}"]) + ["engage ingest calls.jsonl", "engage plan", "engage apply"]:
        click.echo(f"  {line}")
    click.echo("README.md there says the rest.")


def _write(folder: Path) -> None:
    from engage_pipelines.destinations.catalog import destination_types  # noqa: PLC0415 - --help needs none of them
    from engage_pipelines.registry.config_schema import config_schema  # noqa: PLC0415

    starter = resources.files("engage_pipelines.cli") / "starter"
    for name, source in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((starter / source).read_text(encoding="utf-8"), encoding="utf-8")
    schema = json.dumps(config_schema(destination_types()), indent=2, ensure_ascii=False)
    (folder / _SCHEMA).write_text(f"{schema}\n", encoding="utf-8")
