"""The list of audiences and the pages of one; what traits have in common with them: status, evaluation on demand, held versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from markupsafe import Markup
from starlette.responses import Response, StreamingResponse

from engage_pipelines.computing.export import csv_pieces
from engage_pipelines.computing.held import discard, release
from engage_pipelines.computing.history import load_history
from engage_pipelines.computing.kept_counts import identifiers_held, members_page, overlap_of_versions
from engage_pipelines.computing.kept_members import members_sql, reading
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.registry.audit import creators_of
from engage_pipelines.registry.computations import is_computing
from engage_pipelines.registry.lookup import Row, find_audience
from engage_pipelines.registry.overview import Summary, computed_audiences, list_summaries, list_versions, summarize
from engage_pipelines.registry.runs import request_compute
from engage_pipelines.server.console.chart import size_chart
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.slow import Watch, within
from engage_pipelines.server.console.views.connections import connection_rows
from engage_pipelines.server.console.visit import PER_PAGE, Visit

BUSY = ("Preparing", "Computing")
VERSIONS_SHOWN = 10
CHARTED = 200


@dataclass(frozen=True, slots=True)
class Head:
    """What the top of every page of an audience or a trait shows."""

    summary: Summary
    tab: str

    @property
    def row(self) -> Row:
        return self.summary.row

    @property
    def is_accounts(self) -> bool:
        return self.row.level == Level.ACCOUNT


def head(c: sa.Connection, visit: Visit, tab: str) -> Head:
    (summary,) = summarize(c, visit.space.id, [visit.computation(c)])
    return Head(summary, tab)


def listing(visit: Visit) -> Response:
    """Every audience of the space, found by name or key."""
    search = visit.query("q")
    with visit.database.read() as c:
        rows, total = list_summaries(c, visit.space.id, search=search, offset=(visit.page - 1) * PER_PAGE, limit=PER_PAGE)
    busy = any(row.status in BUSY for row in rows)
    return render(visit, "audiences.html", section="audiences", rows=rows, total=total, search=search, busy=busy)


def overview(visit: Visit) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "overview")
        versions = list_versions(c, top.row.id, limit=CHARTED)
        others = _choices(computed_audiences(c, visit.space.id), besides=top.row.key)
        made = made_by(c, visit, top.row)
        context = connection_rows(c, visit, top.row)
    chart = size_chart([(row.evaluated_at, row.size or 0) for row in reversed(versions) if row.state == "published"])
    shown = versions[:VERSIONS_SHOWN]
    return render(
        visit, "audience.html", section="audiences", head=top, versions=shown, chart=chart, others=others, made_by=made, **context
    )


def _choices(rows: Sequence[tuple[str, str]], *, besides: str) -> Markup:
    """Hundreds of audiences to choose from: one text, since a template takes longer for them than for the rest of the page."""
    return Markup("".join([_choice(key, name) for key, name in rows if key != besides]))  # noqa: S704 - of parts that are escaped each


@lru_cache(maxsize=4096)
def _choice(key: str, name: str) -> str:
    return str(Markup('<option value="{}">{}</option>').format(key, name))


def status_part(visit: Visit) -> Response:
    """The status line alone; it asks again while a run computes, and has the page loaded anew when that ended."""
    with visit.database.read() as c:
        top = head(c, visit, "overview")
    response = render(visit, "audience_status.html", head=top)
    if top.summary.status not in BUSY:
        response.headers["HX-Refresh"] = "true"
    return response


def breakdown(visit: Visit) -> Response:
    """How many members have an identifier of each kind, of the current version."""
    with visit.database.read() as c:
        row = visit.audience(c)
        history = load_history(c, row, visit.desk().folder(row.key))
    if history.current is None:
        return render(visit, "breakdown.html", holders=[])
    n = history.current
    levels = [Level.USER] if history.level is Level.USER else [Level.ACCOUNT, Level.USER]

    def ask(watch: Watch) -> list[Any]:
        with reading(history) as db:
            watch.on(db)
            return [identifiers_held(db, history, n, level) for level in levels]

    return render(visit, "breakdown.html", holders=within(ask))


def overlap(visit: Visit) -> Response:
    """What the current versions of this audience and another have in common."""
    other = visit.query("other")
    if not other:
        return render(visit, "overlap.html", overlap=None, error=None, other=None, row=None)
    with visit.database.read() as c:
        row, second = visit.audience(c), find_audience(c, visit.space.id, other)
        histories = [load_history(c, each, visit.desk().folder(each.key)) for each in (row, second)]

    def ask(watch: Watch) -> Any:
        with reading(histories[0]) as db:
            watch.on(db)
            return overlap_of_versions(db, *histories)

    try:
        return render(visit, "overlap.html", overlap=within(ask), error=None, other=second, row=row)
    except NotFoundError as error:
        return render(visit, "overlap.html", overlap=None, error=error, other=second, row=row)


def members(visit: Visit) -> Response:
    """Members of the current version, or of an audience of accounts their users."""
    search = visit.query("q")
    with visit.database.read() as c:
        top = head(c, visit, "members")
        history = load_history(c, top.row, visit.desk().folder(top.row.key))
    level = Level.USER if visit.query("of") == "users" else history.level
    found = None
    if visit.sees_members and history.current is not None:
        found = within(lambda _watch: members_page(history, level, search=search, offset=(visit.page - 1) * PER_PAGE, limit=PER_PAGE))
    return render(visit, "members.html", section="audiences", head=top, found=found, search=search, level=level)


def download(visit: Visit) -> Response:
    """The current version as CSV, cells that a spreadsheet would run made harmless."""
    visit.need_members()
    with visit.database.read() as c:
        row = visit.audience(c)
        history = load_history(c, row, visit.desk().folder(row.key))
    version = history.version()
    level = Level.USER if visit.query("of") == "users" else history.level
    pieces = csv_pieces(history, members_sql(history, version.n, level))
    name = f"{row.key}-v{version.n}{'-users' if level is not history.level else ''}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


def compute(visit: Visit) -> Response:
    """Ask for an evaluation now."""
    with visit.registry.change() as change:
        row = visit.computation(change.c)
        if not row.enabled:
            raise ConflictError(f"{row.kind.capitalize()} {row.key!r} is disabled.", "Enable it in its settings first.")
        if not is_computing(change.c, row):
            raise ConflictError(
                f"{row.kind.capitalize()} {row.key!r} is computed for destinations alone, and has none.", "Add a destination first."
            )
        request_compute(change, visit.space, [row])
    return go(visit, visit.at(row), "Asked for it to be computed.")


def ask_held(visit: Visit) -> Response:
    """The question whether a held version is released or discarded, with what each would do."""
    with visit.database.read() as c:
        top = head(c, visit, "overview")
        held = next((row for row in list_versions(c, top.row.id) if row.n == top.summary.held), None)
        context = connection_rows(c, visit, top.row)
    if held is None:
        raise NotFoundError(
            f"{top.row.kind.capitalize()} {top.row.key!r} has no version that is held.", "It was released or discarded meanwhile."
        )
    return render(visit, "held.html", section=visit.section, head=top, held=held, **context)


def decide_held(visit: Visit) -> Response:
    verb = visit.form.get("verb")
    with visit.registry.change() as change:
        row = visit.computation(change.c)
        shown = visit.form.get("version", "")
        (summary,) = summarize(change.c, visit.space.id, [row])
        if str(summary.held) != shown:
            raise ConflictError("Another version is held by now.", "Look at it before you decide.")
        n = release(change, row) if verb == "release" else discard(change, row, visit.settings)
    said = f"Version {n} is {'released; its changes are sent' if verb == 'release' else 'discarded'}."
    return go(visit, visit.at(row), said)


def made_by(c: sa.Connection, visit: Visit, row: Row) -> str | None:
    """Who made it, by the audit log; None when that is not known."""
    named = f"{row.kind} {visit.space.key}/{row.key}"
    return creators_of(c, [named]).get(named)
