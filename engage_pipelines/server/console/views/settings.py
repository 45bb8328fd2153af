"""Settings of an audience: name, description, cadence, options, on and off; and its copy and its end, each asked for with what it does."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from engage_pipelines.domain.computation import EmptyAccounts, Level, check_key
from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.registry.audience_options import MOST_DAYS, external_ids
from engage_pipelines.registry.audiences import clone_audience, delete_audience, update_audience
from engage_pipelines.registry.cadence import NAMED, check_cadence
from engage_pipelines.registry.computations import connected_destinations
from engage_pipelines.registry.connections import leave_where_said, remove_all
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, number_in, stamp
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.views.audiences import head
from engage_pipelines.server.console.views.connections import exits_first
from engage_pipelines.server.console.visit import Visit
from engage_pipelines.server.console.words import listed

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
            return _stale(visit, values, stale)
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


def _stale(visit: Visit, values: Mapping[str, Any], stale: StaleError) -> Response:
    return render(
        visit,
        "stale.html",
        status=409,
        section="audiences",
        what=stale.what,
        mine=values,
        theirs=stale.theirs,
        stamp=stamp(stale.theirs),
        action=visit.request.url.path,
        back=visit.request.url.path,
    )


# ---- on and off, copied, deleted


def ask_verb(visit: Visit) -> Response:
    """The question before enabling, disabling, copying or deleting."""
    _check_verb(visit, visit.param("verb"))
    with visit.database.read() as c:
        top = head(c, visit, "settings")
        connected = connected_destinations(c, top.row.id)
        users = users_of(c, visit.space.id, top.row.key)
        exits = exits_first(c, visit.space.id, top.row)
    return render(
        visit,
        "audience_ask.html",
        section="audiences",
        head=top,
        verb=visit.param("verb"),
        connected=connected,
        exits=exits,
        users=users,
        problems=Problems(),
        key="",
        name="",
    )


def do_verb(visit: Visit) -> Response:
    verb = visit.param("verb")
    _check_verb(visit, verb)
    if verb == "clone":
        return _clone(visit)
    with visit.registry.change() as change:
        row = visit.audience(change.c)
        if verb == "delete":
            connected = connected_destinations(change.c, row.id)
            if visit.form.get("connected", "") != ",".join(connected):
                raise ConflictError("Its connections changed since you were asked.", "Look at them, and decide again.")
            if leaving := remove_all(change, visit.space, row):
                return go(
                    visit, visit.url("audiences", row.key, "settings"), f"Exits are sent to {', '.join(leaving)} first; delete it then."
                )
            delete_audience(change, visit.space, row.key)
            return go(visit, visit.url("audiences"), f"Audience {row.name} is deleted; what destinations hold stays there.")
        updated = update_audience(change, visit.space, row.key, enabled=verb == "enable")
        leaving = leave_where_said(change, visit.space, updated) if verb == "disable" else []
    said = f" Exits are sent to {listed(leaving)}, as was said." if leaving else ""
    return go(visit, visit.url("audiences", row.key, "settings"), f"Audience {row.name} is {verb}d.{said}")


def _check_verb(visit: Visit, verb: str) -> None:
    """Raises NotFoundError for what cannot be done, ForbiddenError for what takes an administrator."""
    if verb not in _VERBS:
        raise NotFoundError(f"{verb[:40]!r} cannot be done to an audience.", "It can be enabled, disabled, copied and deleted.")
    visit.need(_VERBS[verb])


_VERBS = {"enable": Role.OPERATOR, "disable": Role.OPERATOR, "clone": Role.OPERATOR, "delete": Role.ADMIN}


def _clone(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, ("key", "name"))
    new_key, name = visit.form.get("key", "").strip(), visit.form.get("name", "").strip()
    with problems.within("key"):
        check_key(new_key, "audience key")
    if not problems:
        with problems.within("key"), visit.registry.change() as change:
            clone_audience(change, visit.space, visit.param("key"), new_key, name=name, options={})
    if problems:
        with visit.database.read() as c:
            top = head(c, visit, "settings")
        return render(
            visit,
            "audience_ask.html",
            status=422,
            section="audiences",
            head=top,
            verb="clone",
            connected=[],
            exits=[],
            users=[],
            problems=problems,
            key=new_key,
            name=name,
        )
    return go(visit, visit.url("audiences", new_key), f"Audience {new_key} is made; connect it to the destinations it is for.")
