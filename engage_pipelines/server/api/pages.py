"""Pages of lists: which part a client asks for, in each spelling that clients use, and the database query for just that part.

    pagination={"count": 2, "cursor": "..."}     pagination[count]=2&pagination[cursor]=...     pagination.count=2

A cursor is opaque: the value of the ordering column at which the page begins. Rows that come and go between two pages are neither shown
twice nor do they hide others.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.server.api.calls import AtFieldError

MOST = 1_000
USUAL = 100
_MOST_CURSOR = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """At most `count` rows from the one on whose ordering value is `start`; None begins at the beginning."""

    count: int = USUAL
    start: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The rows of one page, and what the answer says of it."""

    rows: Sequence[Any]
    pagination: Mapping[str, Any]


def read_page(query: Mapping[str, str]) -> Page:
    """What the query asks for. Raises AtFieldError for a count or cursor that is none."""
    given = _given(query)
    count, cursor = given.get("count", USUAL), given.get("cursor")
    if isinstance(count, str) and count.isascii() and count.isdigit():
        count = int(count[:10])
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise AtFieldError(UsageError(f"count is a whole number from 1 to {MOST}.", "Ask for less and follow `next`."), "pagination.count")
    if cursor is None or cursor == "":
        return Page(count)
    return Page(count, _decode(cursor))


def page_of(c: sa.Connection, query: sa.Select[Any], column: sa.ColumnElement[Any], page: Page, *, newest_first: bool = False) -> Found:
    """One page of the rows of `query`, in the order of `column`, which is unique among them."""
    order, other = (column.desc(), column.asc()) if newest_first else (column.asc(), column.desc())
    total = c.execute(sa.select(sa.func.count()).select_from(query.order_by(None).subquery())).scalar_one()
    name = str(column.key)
    part, previous = query, None
    if page.start is not None:
        start = _as_value(column, page.start)
        ahead, back = (column <= start, column > start) if newest_first else (column >= start, column < start)
        before = c.execute(query.where(back).order_by(other).limit(page.count)).all()
        previous = _encode(getattr(before[-1], name)) if before else None
        part = query.where(ahead)
    rows = c.execute(part.order_by(order).limit(page.count + 1)).all()
    following = _encode(getattr(rows[page.count], name)) if len(rows) > page.count else None
    return Found(rows[: page.count], _told(_encode(page.start), following, previous, total))


def page_of_list(rows: Sequence[Any], names: Sequence[str], page: Page) -> Found:
    """One page of rows that are at hand already, with a name for each; the names are sorted and unique."""
    first = 0 if page.start is None else next((i for i, name in enumerate(names) if name >= page.start), len(rows))
    last = first + page.count
    following = _encode(names[last]) if last < len(rows) else None
    previous = _encode(names[max(first - page.count, 0)]) if first > 0 else None
    return Found(rows[first:last], _told(_encode(page.start), following, previous, len(rows)))


def _told(current: str, following: str | None, previous: str | None, total: int) -> dict[str, Any]:
    told: dict[str, Any] = {"current": current, "totalEntries": total}
    if following is not None:
        told["next"] = following
    if previous is not None:
        told["previous"] = previous
    return told


def _given(query: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if "pagination" in query:
        try:
            said = json.loads(query["pagination"])
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise AtFieldError(UsageError("pagination is not a JSON object.", 'Write {"count": 100}.'), "pagination")
        given = cast("dict[str, Any]", said)
    for name in ("count", "cursor"):
        for spelling in (f"pagination[{name}]", f"pagination.{name}"):
            if spelling in query:
                given[name] = query[spelling]
    unknown = sorted(given.keys() - {"count", "cursor"})
    if unknown:
        raise AtFieldError(UsageError(f"pagination has no {unknown[0][:40]!r}.", "It has count and cursor."), "pagination")
    return given


def _encode(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _decode(cursor: Any) -> str | None:
    try:
        text = cast(str, cursor)
        if len(text) > _MOST_CURSOR:
            raise ValueError
        value = json.loads(base64.urlsafe_b64decode((text + "=" * (-len(text) % 4)).encode("ascii")))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        value = False
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or "\0" in str(value):
        raise AtFieldError(UsageError("The cursor is not one of ours.", "Use `next` of the answer before, or none."), "pagination.cursor")
    return str(value)


def _as_value(column: sa.ColumnElement[Any], start: str) -> Any:
    if not isinstance(column.type, sa.Integer):
        return start
    if not start.lstrip("-").isdecimal() or len(start) > 18:
        raise AtFieldError(UsageError("The cursor is not one of ours.", "Use `next` of the answer before, or none."), "pagination.cursor")
    return int(start)
