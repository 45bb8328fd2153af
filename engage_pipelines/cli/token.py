"""`engage token`: who may reach the console and the API."""

import re
from typing import Any

import click

from engage_pipelines.cli.opening import open_database, open_registry
from engage_pipelines.cli.output import instant_text, output_option, show, show_json
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.lookup import Row, find_space, list_spaces
from engage_pipelines.registry.tokens import NewToken, Role, create_token, list_tokens, revoke_token
from engage_pipelines.settings import read_settings

_UNITS_US = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 7 * 86_400_000_000}
_LENGTH = re.compile(r"([1-9][0-9]{0,4})([hdw])")


@click.group()
def token() -> None:
    """Who may reach the console and the API."""


@token.command()
@click.option("--role", type=click.Choice([str(role) for role in Role]), required=True, help="Each may do what those before it may.")
@click.option("--name", default="", help="What people and the audit log read; the role unless said.")
@click.option("--members", is_flag=True, help="It may see members and payloads too.")
@click.option("--space", "space_key", metavar="KEY", help="It reaches this space alone.")
@click.option("--expires-in", metavar="TIME", help="When it ends: 12h, 90d, 4w; never unless said.")
@output_option
def create(*, role: str, name: str, members: bool, space_key: str | None, expires_in: str | None, output: str) -> None:
    """Make a token. It is shown once, and kept as a digest alone."""
    length_us = None if expires_in is None else _length_us(expires_in)
    with open_registry().change() as change:
        space_id = None if space_key is None else find_space(change.c, space_key).id
        ends = None if length_us is None else change.now + length_us
        issued = create_token(change, NewToken(name or role, Role(role), members, space_id, ends))
    if output == "json":
        show_json({"token": issued.secret, **_shown(issued.row, {space_id: space_key})})
        return
    click.echo(issued.secret)
    click.echo("It is not shown again. Log in to the console with it, or send it as `Authorization: Bearer`.", err=True)


@token.command("list")
@output_option
def list_(*, output: str) -> None:
    """Every token there ever was, the newest first."""
    with open_database(read_settings()).read() as c:
        spaces: dict[str | None, str | None] = {row.id: row.key for row in list_spaces(c)}
        rows = [_shown(row, spaces) for row in list_tokens(c)]
    show(rows, output=output, empty="There is no token. Make one with: engage token create --role reader")


@token.command()
@click.argument("id")
def revoke(id: str) -> None:
    """End the token ID and the sessions that were opened with it, at once."""
    with open_registry().change() as change:
        row = revoke_token(change, id)
    click.echo(f"Token {row.name} ({row.id}) is revoked.")


def _shown(row: Row, spaces: dict[str | None, str | None]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "members": row.may_see_members,
        "space": spaces.get(row.space_id),
        "created_at": instant_text(row.created_at),
        "created_by": row.created_by,
        "expires_at": instant_text(row.expires_at),
        "last_used_at": instant_text(row.last_used_at),
        "revoked_at": instant_text(row.revoked_at),
    }


def _length_us(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is not a length of time.", "Write hours, days or weeks, such as 12h, 90d or 4w.")
    return int(found[1]) * _UNITS_US[found[2]]
