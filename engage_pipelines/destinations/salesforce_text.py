"""What is written for Salesforce as text: queries (SOQL) with every value escaped, and the rows of bulk jobs (CSV).

Source: https://developer.salesforce.com/docs/platform/salesforce-soql-sosl/guide/sforce-api-calls-soql-select-quotedstringescapes.html and
https://developer.salesforce.com/docs/platform/api-asynch/guide/datafiles-prepare-csv.html (November 2026)
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from engage_pipelines.destinations.fields import UnusableError

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*").fullmatch
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"})
MOST_QUERIED = 100
"""Values that are asked for at once, at most; the address of a query must stay short."""
MOST_CHARACTERS = 4_000


def field_name(name: str) -> str:
    """A field's API name, as it is. Raises UnusableError for what cannot be one."""
    if _FIELD(name) is None:
        raise UnusableError("a field of Salesforce is named by letters, digits and underscores")
    return name


def literal(value: Any) -> str:
    """A value in a query. Raises UnusableError for what cannot be compared."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise UnusableError("records are found by text, numbers, true and false alone")
    return f"'{value.translate(_ESCAPES)}'"


def query_for(sobject: str, matchers: Mapping[str, Any], operator: str) -> str:
    """The query for the ids of the records that these fields match."""
    conditions = (f"{field_name(name)} = {literal(value)}" for name, value in matchers.items())
    return f"SELECT Id FROM {sobject} WHERE {f' {operator} '.join(conditions)}"


def queries_among(sobject: str, field: str, values: Sequence[str]) -> Iterator[str]:
    """Queries for which of these values there are records, a few values each."""
    part: list[str] = []
    for value in values:
        part.append(literal(value))
        if len(part) == MOST_QUERIED or sum(map(len, part)) > MOST_CHARACTERS:
            yield _among(sobject, field, part)
            part = []
    if part:
        yield _among(sobject, field, part)


def _among(sobject: str, field: str, literals: Sequence[str]) -> str:
    return f"SELECT {field_name(field)} FROM {sobject} WHERE {field} IN ({', '.join(literals)})"


def csv_of(records: Sequence[Mapping[str, Any]], id_field: str) -> bytes:
    """The records as CSV, columns in the order of their names and the id last.

    A field that a record lacks stays empty, which leaves it as it is; null is #N/A, which empties it.
    """
    columns = [*sorted({name for record in records for name in record} - {id_field}), id_field]
    lines = [",".join(columns), *(",".join(_cell(record, name) for name in columns) for record in records)]
    return "".join(f"{line}\n" for line in lines).encode()


def _cell(record: Mapping[str, Any], name: str) -> str:
    if name not in record:
        return ""
    value = record[name]
    if value is None:
        return "#N/A"
    text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else orjson.dumps(value).decode()
    return '"' + text.replace('"', '""') + '"'
