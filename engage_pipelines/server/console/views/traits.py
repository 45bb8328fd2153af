"""The list of computed traits, and the pages of one: overview, values, and what the values are like."""

from starlette.responses import Response, StreamingResponse

from engage_pipelines.computing.export import csv_pieces
from engage_pipelines.computing.history import load_history
from engage_pipelines.computing.kept_values import spread_of, values_page, values_sql
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.overview import list_summaries, list_versions
from engage_pipelines.server.console.chart import size_chart
from engage_pipelines.server.console.pages import render
from engage_pipelines.server.console.slow import within
from engage_pipelines.server.console.views.audiences import BUSY, CHARTED, VERSIONS_SHOWN, head, made_by
from engage_pipelines.server.console.views.connections import connection_rows
from engage_pipelines.server.console.visit import PER_PAGE, Visit


def listing(visit: Visit) -> Response:
    """Every computed trait of the space, found by name or key."""
    search = visit.query("q")
    with visit.database.read() as c:
        offset = (visit.page - 1) * PER_PAGE
        rows, total = list_summaries(c, visit.space.id, kind="trait", search=search, offset=offset, limit=PER_PAGE)
    busy = any(row.status in BUSY for row in rows)
    return render(visit, "traits.html", section="traits", rows=rows, total=total, search=search, busy=busy, type_of=type_of_trait)


def overview(visit: Visit) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "overview")
        versions = list_versions(c, top.row.id, limit=CHARTED)
        made = made_by(c, visit, top.row)
        context = connection_rows(c, visit, top.row)
    chart = size_chart([(row.evaluated_at, row.size or 0) for row in reversed(versions) if row.state == "published"])
    return render(
        visit,
        "trait.html",
        section="traits",
        head=top,
        versions=versions[:VERSIONS_SHOWN],
        chart=chart,
        made_by=made,
        type=type_of_trait(top.row),
        **context,
    )


def spread(visit: Visit) -> Response:
    """What the values of the current version are like; values are personal data, so they take the permission."""
    visit.need_members()
    with visit.database.read() as c:
        row = visit.computation(c)
        history = load_history(c, row, visit.desk().folder(row.key))
    found = None if history.current is None else within(lambda _watch: spread_of(history))
    return render(visit, "spread.html", found=found, level=row.level)


def values(visit: Visit) -> Response:
    """The values of the current version, by member."""
    search = visit.query("q")
    with visit.database.read() as c:
        top = head(c, visit, "values")
        history = load_history(c, top.row, visit.desk().folder(top.row.key))
    found = None
    if visit.sees_members and history.current is not None:
        offset = (visit.page - 1) * PER_PAGE
        found = within(lambda _watch: values_page(history, search=search, offset=offset, limit=PER_PAGE))
    return render(visit, "values.html", section="traits", head=top, found=found, search=search)


def download(visit: Visit) -> Response:
    """The current version as CSV, cells that a spreadsheet would run made harmless."""
    visit.need_members()
    with visit.database.read() as c:
        row = visit.computation(c)
        history = load_history(c, row, visit.desk().folder(row.key))
    version = history.version()
    headers = {"Content-Disposition": f'attachment; filename="{row.key}-v{version.n}.csv"'}
    return StreamingResponse(csv_pieces(history, values_sql(history, version.n)), media_type="text/csv; charset=utf-8", headers=headers)
