"""Settings of an audience: name, description, cadence, options, on and off; and its copy and its end, each asked for with what it does."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from engage_pipelines.domain.computation import EmptyAccounts, Level
from engage_pipelines.registry.audience_options import MOST_DAYS, external_ids
from engage_pipelines.registry.audiences import update_audience
from engage_pipelines.registry.cadence import NAMED, check_cadence
from engage_pipelines.registry.lookup import Row
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, number_in, stamp
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.audiences import head
from engage_pipelines.server.console.visit import Visit

_FIELDS = ("name", "description", "cadence", "history", "backfill_days", "compute_without_destinations", "empty_accounts")


def ask(visit: Visit) -> Response:
    with visit.database.read() as c:
        values = _content(visit.audience(c))
    return _form(visit, values, stamp(values), Problems())


def _form(visit: Visit, values: Mapping[str, Any], shown_stamp: str, problems: Problems) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "settings")
    return render(
        visit,
        "settings.html",
        status=422 if problems else 200,
        section="audiences",
        head=top,
        values=values,
        stamp=shown_stamp,
        problems=problems,
        cadences=NAMED,
        empty_accounts=list(EmptyAccounts),
        admitted=external_ids(top.row.options),
    )


def save(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, (*_FIELDS, "stamp", "overwrite"))
    values: dict[str, Any] = {name: visit.form.get(name, "").strip() for name in _FIELDS}
    with problems.within("cadence"):
        values["cadence"] = check_cadence(values["cadence"])
    if not values["name"]:
        problems.add("name", "An audience needs a name.", "Write what people call it.")
    days = number_in(visit.form, "backfill_days", problems, least=1, most=MOST_DAYS)
    if not problems:
        try:
            with problems.within(WHOLE):
                _write(visit, values, days)
        except StaleError as stale:
            return overtaken(visit, stale.what, mine=values, theirs=stale.theirs, again=stale.theirs)
    if problems:
        return _form(visit, values, visit.form.get("stamp", ""), problems)
    return go(visit, visit.url("audiences", visit.param("key"), "settings"), "The settings are saved.")


def _write(visit: Visit, values: Mapping[str, Any], days: int | None) -> None:
    with visit.registry.change() as change:
        row = visit.audience(change.c)
        if visit.form.get("overwrite") != "yes":
            check_stamp(visit.form, _content(row), f"Audience {row.name}")
        options = _options(row, values, days)
        update_audience(
            change,
            visit.space,
            row.key,
            name=values["name"],
            description=values["description"],
            cadence=values["cadence"],
            options=options,
        )


def _options(row: Row, values: Mapping[str, Any], days: int | None) -> dict[str, Any]:
    """The options of the row with those of the form; what stands at its default is not kept."""
    options = {name: value for name, value in row.options.items() if name not in _DEFAULTS}
    chosen: dict[str, Any] = {
        "include_historical_data": bool(values["history"]),
        "compute_without_destinations": bool(values["compute_without_destinations"]),
        "backfill_event_data_days": days,
    }
    if row.level == Level.ACCOUNT:
        chosen["empty_accounts"] = values["empty_accounts"] or "default"
    return options | {name: value for name, value in chosen.items() if value != _DEFAULTS[name] or name in row.options}


_DEFAULTS: dict[str, Any] = {
    "include_historical_data": True,
    "compute_without_destinations": True,
    "backfill_event_data_days": None,
    "empty_accounts": "default",
}


def _content(row: Row) -> dict[str, Any]:
    """The fields of the form as the row has them."""
    options = row.options
    return {
        "name": row.name,
        "description": row.description,
        "cadence": row.cadence,
        "history": "on" if options.get("include_historical_data", True) else "",
        "backfill_days": str(options.get("backfill_event_data_days", "")),
        "compute_without_destinations": "on" if options.get("compute_without_destinations", True) else "",
        "empty_accounts": options.get("empty_accounts", "default") if row.level == Level.ACCOUNT else "",
    }
