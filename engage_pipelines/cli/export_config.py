"""`engage export`: everything that the registry holds as configuration files."""

import json
from pathlib import Path

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import note
from engage_pipelines.domain.errors import InputError, NotFoundError, UsageError
from engage_pipelines.registry.config_schema import SCHEMA_FILE, config_schema
from engage_pipelines.registry.export import as_yaml, export_documents
from engage_pipelines.registry.secrets import BULLETS


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def export(folder: Path | None, *, force: bool) -> None:
    """Write the registry as YAML into FOLDER, a file for each space, or to standard output. `engage apply` of it changes nothing.

    Secrets are references; encrypted ones are bullets, which keep what is there.
    """
    registry = open_registry()
    with registry.database.read() as c:
        documents = export_documents(c, registry.types)
    if not documents:
        raise NotFoundError("There is nothing to write: no space was made yet.", "Begin with: engage init")
    texts = {f"{key}.engage.yaml": as_yaml(document, schema=f"./{SCHEMA_FILE}") for key, document in documents.items()}
    if folder is None:
        if len(texts) > 1:
            raise UsageError(f"There are {len(texts)} spaces, which need a file each.", "Name a folder: engage export FOLDER")
        click.echo(next(iter(texts.values())), nl=False)
    else:
        texts[SCHEMA_FILE] = f"{json.dumps(config_schema(registry.types), indent=2, ensure_ascii=False)}\n"
        _write(folder, texts, force=force)
    masked = sum(text.count(BULLETS) for name, text in texts.items() if name != SCHEMA_FILE)
    if masked:
        note(f"{masked} encrypted secrets are written as bullets; for another registry put references in their place.")


def _write(folder: Path, texts: dict[str, str], *, force: bool) -> None:
    there = [name for name in texts if (folder / name).exists()]
    if there and not force:
        raise UsageError(f"{folder} has {', '.join(there)} already.", "Name another folder, or replace them with --force.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}.", "Check the folder and its permissions.") from None
    click.echo(f"Wrote {', '.join(str(folder / name) for name in texts)}.")
