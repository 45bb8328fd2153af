"""`engage secrets`: how the secrets in settings are kept; never a value."""

import click

from engage_pipelines.cli.opening import open_registry
from engage_pipelines.cli.output import note, output_option, show, show_json
from engage_pipelines.registry.secret_care import list_secrets, rotate_secrets


@click.group()
def secrets() -> None:
    """Secrets in settings: where they are kept, and under which key."""


@secrets.command("list")
@output_option
def list_(*, output: str) -> None:
    """Every secret of every destination by its reference, and whether it can be used; no values."""
    rows = [
        {"destination": one.destination, "field": one.field, "kept": one.reference or "encrypted", "state": one.state}
        for one in list_secrets(open_registry())
    ]
    show(rows, output=output, empty="No destination has a secret.")


@secrets.command()
@output_option
def rotate(*, output: str) -> None:
    """Encrypt every kept secret under the first key of ENGAGE_KEYS, as in ENGAGE_KEYS="new,old".

    A destination at a time: ended half way, run it again. When none is left under the old key, that key may go from ENGAGE_KEYS.
    """
    found = rotate_secrets(open_registry())
    if output == "json":
        show_json({"rotated": found.rotated, "already": found.already, "failed": list(found.failed)})
    else:
        click.echo(f"Rotated the secrets of {found.rotated} destinations; {found.already} were under the newest key already.")
        for one in found.failed:
            note(f"Error: {one}")
        if not found.failed:
            click.echo("The older keys are needed no more: take them out of ENGAGE_KEYS.")
    if found.failed:
        click.get_current_context().exit(1)
