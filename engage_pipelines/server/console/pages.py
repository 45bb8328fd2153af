"""Pages and parts of pages: the templates, what they may call, and which frame a page gets.

A page that stands alone has the navigation around it; the same page asked for by a script comes as a dialog: `sheet` in the middle, `panel`
at the side. Everything is escaped unless it is `Markup` of ours.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from engage_pipelines.domain.errors import DefinitionError, EngageError
from engage_pipelines.domain.instants import to_datetime
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.console import words
from engage_pipelines.server.console.visit import Visit

FOLDER = Path(__file__).parent
FRAMES = ("sheet", "panel")
SAID_COOKIE = "engage_said"
"""What the last action came to, for the page that follows it."""
_SAID_S = 30


@cache
def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Any] = {
        "ago": ago,
        "amount": words.amount,
        "cadence": words.cadence,
        "counted": words.counted,
        "json": _json,
        "number": words.number,
        "percent": words.percent,
        "sampled": words.sampled,
        "tone": words.tone,
        "value": words.value,
        "when": when,
    }
    names: dict[str, Any] = {"Role": Role, "static": static, "twice": _twice}
    found.filters.update(filters)
    found.globals.update(names)
    return found


def render(visit: Visit, template: str, *, status: int = 200, said: str = "", **context: Any) -> Response:
    """A page in the frame that was asked for, or a part; `said` is announced at once."""
    target = visit.request.headers.get("hx-target", "")
    frame = target if visit.is_partial and target in FRAMES else "page"
    told = said or (_said(visit) if frame == "page" and not visit.is_partial else "")
    values = {**context, "visit": visit, "frame": f"{frame}.html", "in_dialog": frame != "page", "said": told}
    text = environment().get_template(template).render(values)
    response = HTMLResponse(text, status)
    if told and not said:
        response.delete_cookie(SAID_COOKIE, path="/")
    return response


def go(visit: Visit, to: str, said: str = "") -> Response:
    """On to another page after an action; `said` is announced there."""
    response = Response(status_code=204, headers={"HX-Redirect": to}) if visit.is_partial else RedirectResponse(to, 303)
    if said:
        response.set_cookie(SAID_COOKIE, quote(said[:1_000]), max_age=_SAID_S, path="/", httponly=True, samesite="lax")
    return response


def excerpt(text: str, error: EngageError | None) -> list[str]:
    """The line of the text that the error is about, and below it a caret at the column; empty for one that is about no place in it."""
    if not isinstance(error, DefinitionError):
        return []
    lines = text.splitlines() or [""]
    line = lines[min(error.line, len(lines)) - 1].replace("\t", " ")
    begin = max(0, error.column - 60)
    shown = line[begin : begin + 90]
    return [f"{'…' if begin else ''}{shown}", f"{' ' * (error.column - 1 - begin + (1 if begin else 0))}^"]


def static(name: str) -> str:
    """The address of a file of ours; it changes when the file does."""
    return f"/static/{name}?v={_fingerprint(name)}"


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((FOLDER / "static" / name).read_bytes()).hexdigest()[:12]


def when(at_us: int | None) -> str:
    """An instant for people, UTC to the minute; a dash for none."""
    return words.NONE if at_us is None else f"{to_datetime(at_us):%Y-%m-%d %H:%M}"


def ago(at_us: int | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit that fits."""
    if at_us is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - to_datetime(at_us)).total_seconds()
    for size, unit in ((86_400 * 365, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{words.counted(int(seconds // size), unit)} ago"
    return "just now" if seconds > -60 else "in the future"


def _twice(several: Sequence[str]) -> list[tuple[str, str]]:
    """Choices whose words are their values."""
    return [(each, each) for each in several]


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _said(visit: Visit) -> str:
    return unquote(visit.request.cookies.get(SAID_COOKIE, ""))[:1_000]
