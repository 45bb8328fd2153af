"""A table in your own database, kept through SQLAlchemy: a row for each member, or a column that says of each person whether they are one.

| mode | table | an entry | an exit |
|---|---|---|---|
| list | the key column and the columns asked for | the row is written, in place of the one with its key | the row is deleted |
| property | the key column, and one truth column named after the audience | true, in a new row when there is none | false |

A table or truth column that is missing is made; in mode `property` the other columns of a table of yours are left alone. A batch is one
transaction, and a repeat leaves the table as it is. In mode `list` the table belongs to one connection, in mode `property` the column does.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import orjson
from pydantic import Field, SecretStr

from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Bisect,
    DestinationType,
    Effect,
    Limits,
    MembershipAs,
    Preset,
    Record,
    Settings,
    Target,
    Verdict,
    refuse_oversize,
)
from engage_pipelines.destinations.sending.redaction import redact

_NAME = "[A-Za-z_][A-Za-z0-9_]{0,62}"

MemberRows = dict[str, tuple[bool, dict[str, str | None]]]
"""By key whether the row is a member's, and the values of its other columns."""


class SqlTableSettings(Settings):
    """Which table, and what it holds."""

    url: SecretStr = Field(min_length=1, description="SQLAlchemy URL, such as postgresql+psycopg2://user:password@host/database.")
    table: str = Field(pattern=rf"^({_NAME}\.)?{_NAME}$", description="Name of the table, with its schema in front if need be.")
    mode: Literal["list", "property"] = Field(
        "list", description="list: a row for each member. property: a truth column for each audience."
    )
    key_column: str = Field("user_id", pattern=f"^{_NAME}$", description="Column that takes the field `id` of the payload.")
    columns: tuple[str, ...] = Field((), description="In mode list: payload fields that are text columns too, such as email.")


class SqlTable(DestinationType):
    """A table of a SQL database."""

    key = "sql_table"
    name = "SQL table"
    description = "Keeps the audience in a table of your database, as rows or as a truth column."
    docs_url = "docs/destinations.md#sql_table"
    membership_as = MembershipAs.USER_LIST
    membership_alone = True  # its columns hold true and false
    effect = Effect.IDEMPOTENT
    settings_model = SqlTableSettings
    actions = (
        Action(
            "write",
            "Write the membership",
            frozenset({"identify"}),
            fields={
                "id": {"@if": {"exists": {"@path": "$.userId"}, "then": {"@path": "$.userId"}, "else": {"@path": "$.anonymousId"}}},
                "email": {"@path": "$.traits.email"},
            },
        ),
    )
    presets = (Preset("Members", "identify", 'type = "identify" and context.personas.computation_key = "{key}"', "write"),)
    limits = Limits(max_batch_records=1_000, max_batch_bytes=8_000_000)

    def takes_membership_as(self, settings: Settings) -> MembershipAs:
        return MembershipAs.USER_LIST if _mine(settings).mode == "list" else MembershipAs.USER_PROPERTY

    def external_target(self, settings: Settings, target: Target) -> str | None:
        mine = _mine(settings)
        column = "" if mine.mode == "list" else f" column {target.computation}"
        return f"table {mine.table}{column} in {_shown(mine.url)}"

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        from engage_pipelines.destinations.sending.sql_writing import write  # noqa: PLC0415 (sqlalchemy is heavy, most commands write no table)

        if not records:
            return Accepted()
        too_much = refuse_oversize(records, self.limits)
        if too_much is not None:
            return too_much
        mine = _mine(settings)
        rows, rejected = _rows(records, mine.columns)
        verdict = write(rows, mine, truth_column=_truth_column(mine, target), deadline_s=deadline_s) if rows else Accepted()
        if isinstance(verdict, Accepted):
            return Accepted(rejected)
        if isinstance(verdict, Bisect):
            return Accepted({0: redact(verdict.reason, (), records[0].body)}) if len(records) == 1 else Bisect(_A_ROW_IS_REFUSED)
        return verdict

    def test(self, settings: Settings) -> Verdict:
        from engage_pipelines.destinations.sending.sql_writing import try_connection  # noqa: PLC0415

        return try_connection(_mine(settings))


_A_ROW_IS_REFUSED = "the database refuses a row of the batch"


def _truth_column(settings: SqlTableSettings, target: Target) -> str | None:
    return target.computation if settings.mode == "property" else None


def _rows(records: Sequence[Record], columns: Sequence[str]) -> tuple[MemberRows, dict[int, str]]:
    """Rows by key, the last record of a key counting; and the records that give no key."""
    rows: MemberRows = {}
    rejected: dict[int, str] = {}
    for index, record in enumerate(records):
        payload: Any = orjson.loads(record.body)
        fields = cast(dict[str, Any], payload) if isinstance(payload, dict) else {}
        key = fields.get("id")
        if not isinstance(key, str | int) or isinstance(key, bool) or key == "":
            rejected[index] = "the mapping gives it no id, so there is no row for it"
            continue
        rows[str(key)] = (record.entered, {column: _text(fields.get(column)) for column in columns})
    return rows, rejected


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _shown(url: SecretStr | str) -> str:
    """Where a database is, without a login; a reference to a secret stands for itself."""
    text = url.get_secret_value() if isinstance(url, SecretStr) else url
    if text.startswith(("env:", "file:")):
        return text
    parts = urlsplit(text)
    if not parts.scheme or "://" not in text:
        return f"a database ({hashlib.sha256(text.encode()).hexdigest()[:12]})"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _mine(settings: Settings) -> SqlTableSettings:
    assert isinstance(settings, SqlTableSettings)
    return settings
