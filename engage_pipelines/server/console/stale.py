"""The page of an edit that was overtaken: what one wrote beside what is there by now."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from engage_pipelines.server.console.forms import stamp
from engage_pipelines.server.console.pages import render
from engage_pipelines.server.console.visit import Visit


def overtaken(
    visit: Visit,
    what: str,
    *,
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    again: Mapping[str, Any] | None = None,
    back: str | None = None,
) -> Response:
    """Both versions. `again` is the state upon which one may save one's own all the same; without it the form is opened anew at `back`."""
    path = visit.request.url.path
    return render(
        visit,
        "stale.html",
        status=409,
        section=visit.section,
        what=what,
        mine=mine,
        theirs=theirs,
        stamp=None if again is None else stamp(again),
        action=path,
        back=back or path,
    )
