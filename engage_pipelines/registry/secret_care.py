"""Care of secrets: which there are and how they are kept, and bringing those that are encrypted under the newest key; no values."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.domain.errors import EngageError, NotFoundError, StateError
from engage_pipelines.registry.access_tokens import rotate_token
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.secrets import BULLETS, is_reference
from engage_pipelines.registry.tables import destination, source, space
from engage_pipelines.registry.type_settings import replace_secrets
from engage_pipelines.registry.types import find_type


@dataclass(frozen=True, slots=True)
class SecretRow:
    """One secret; `reference` is None when it is encrypted, `state` is `ok`, `older key`, or why it cannot be used."""

    destination: str
    field: str
    reference: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many destinations were brought under the newest key, how many were there already, and which cannot be."""

    rotated: int
    already: int
    failed: tuple[str, ...]


def list_secrets(registry: Registry) -> list[SecretRow]:
    """Every secret of every destination, removed ones too while they are encrypted, by destination and field."""
    with registry.database.read() as c:
        rows = _destinations(c)
    return [one for row, name in rows for one in _of(registry, row, name)]


def rotate_secrets(registry: Registry) -> Rotated:
    """Encrypt everything under the newest key, a transaction for each destination: ended half way, it goes on where it was.

    Raises StateError when there is no key.
    """
    if not registry.desk.vault.has_keys:
        raise StateError("There is no key to encrypt with.", 'Set ENGAGE_KEYS to "new,old".')
    with registry.database.read() as c:
        rows = _destinations(c)
    rotated, already, failed = 0, 0, list[str]()
    for row, name in rows:
        try:
            with registry.change() as change:
                done = _rotate(change, row.id, name)
        except EngageError as error:
            failed.append(f"{name}: {error}")
        else:
            rotated += done is True
            already += done is False
    return Rotated(rotated, already, tuple(failed))


def _rotate(change: Change, destination_id: str, name: str) -> bool | None:
    """True when the row was written, False when nothing was to be done, None when it has no encrypted secret."""
    row = change.lock(destination, destination_id)
    vault, info = change.registry.desk.vault, change.type_of(row.type)
    encrypted: list[str] = []

    def one(text: str, field: str) -> str:
        encrypted.extend([] if is_reference(text) else [field])
        return vault.rotated(text, field=f"{name}.{field}")

    settings = replace_secrets(info, row.settings, one)
    token_was_older = rotate_token(change.c, vault, destination_id)
    if settings == row.settings and not token_was_older:
        return False if encrypted else None
    # not an update of the destination: what it says is the same, and nothing that waits or stopped has to be looked at again
    change.c.execute(destination.update().where(destination.c.id == row.id).values(settings=settings))
    change.record("rotate", f"secrets of destination {name}", after=dict.fromkeys(encrypted, BULLETS))
    return True


def _of(registry: Registry, row: Row, name: str) -> Iterator[SecretRow]:
    try:
        info = find_type(registry.types, row.type)
    except NotFoundError as error:
        yield SecretRow(name, "settings", None, error.what)
        return
    found: list[tuple[str, str]] = []
    replace_secrets(info, row.settings, lambda text, field: found.append((field, text)) or BULLETS)
    for field, text in sorted(found):
        if row.removed_at is None or not is_reference(text):
            yield SecretRow(name, field, text if is_reference(text) else None, _state(registry, text, field))


def _state(registry: Registry, text: str, field: str) -> str:
    try:
        registry.desk.vault.resolve(text, field=field)
        return "ok" if registry.desk.vault.is_under_newest(text, field=field) else "older key"
    except EngageError as error:
        return error.what


def _destinations(c: sa.Connection) -> list[tuple[Row, str]]:
    joined = destination.join(space).outerjoin(source, source.c.id == destination.c.source_id)
    query = sa.select(destination, space.c.key.label("space_key"), source.c.key.label("source_key")).select_from(joined)
    rows = c.execute(query.order_by(space.c.key, source.c.key, destination.c.key, destination.c.id)).all()
    return [(row, "/".join(part for part in (row.space_key, row.source_key, row.key) if part)) for row in rows]
