"""The audit log: who changed what, when, and the values before and after."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from engage_pipelines.registry.audit_search import search_audit, verbs_used
from engage_pipelines.server.console import words
from engage_pipelines.server.console.pages import render
from engage_pipelines.server.console.visit import PER_PAGE, Visit

_LONGEST = 400


def show(visit: Visit) -> Response:
    """The newest first; whoever reaches one space alone sees what was changed in it."""
    text, verb = visit.query("q"), visit.query("verb")
    space = None if visit.actor.space is None else visit.space.key
    with visit.database.read() as c:
        rows, total = search_audit(c, text=text, verb=verb, space=space, offset=(visit.page - 1) * PER_PAGE, limit=PER_PAGE)
        verbs = verbs_used(c)
    shown = [(row, _changes(row.before or {}, row.after or {})) for row in rows]
    return render(visit, "audit.html", section="audit", rows=shown, total=total, search=text, verb=verb, verbs=verbs)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """By field the value before and after, those that are equal left out."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [(name, _text(before.get(name)), _text(after.get(name))) for name in names]


def _text(value: Any) -> str:
    text = words.NONE if value in (None, "", [], {}) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
