"""Destinations of the space and configurations on sources: made, changed with secrets that are written only, tried, removed."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response

from engage_pipelines.destinations.base import Accepted, Backoff, DestinationType, Pause, Stop
from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import ConflictError, EngageError
from engage_pipelines.registry.access_tokens import settings_for_sending
from engage_pipelines.registry.destinations import (
    NewDestination,
    create_destination,
    find_destination,
    list_destinations,
    remove_destination,
    update_destination,
)
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import list_mappings
from engage_pipelines.registry.sources import list_sources
from engage_pipelines.registry.spaces import ONE_PER_SPACE
from engage_pipelines.registry.tables import computation, connection
from engage_pipelines.registry.type_settings import masked_settings, secret_fields
from engage_pipelines.registry.types import find_type
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, stamp
from engage_pipelines.server.console.model_fields import SettingField, fields_of, place_beside, read_fields
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.slow import within
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.connecting import EFFECTS, INTAKE
from engage_pipelines.server.console.views.connections import imported_from
from engage_pipelines.server.console.visit import PER_PAGE, Visit

PREFIX = "s."


def listing(visit: Visit) -> Response:
    """Those of the space with the audiences they are sent, then what could be imported."""
    search = visit.query("q").casefold()
    with visit.database.read() as c:
        rows = [row for row in list_destinations(c, visit.space.id) if search in f"{row.name} {row.key} {row.type}".casefold()]
        audiences = _audiences(c, visit.space.id)
        sources = [(source, list_destinations(c, visit.space.id, source_id=source.id)) for source in list_sources(c, visit.space.id)]
        imported = {row.id: imported_from(c, row) for row in rows}
    first = (visit.page - 1) * PER_PAGE
    names = {key: type_.name for key, type_ in visit.registry.types.items()}
    return render(
        visit,
        "destinations.html",
        section="destinations",
        rows=rows[first : first + PER_PAGE],
        total=len(rows),
        search=visit.query("q"),
        audiences=audiences,
        sources=sources,
        imported=imported,
        names=names,
    )


def _audiences(c: sa.Connection, space_id: str) -> dict[str, list[str]]:
    joined = connection.join(computation, computation.c.id == connection.c.computation_id)
    live = sa.and_(computation.c.space_id == space_id, connection.c.removed_at.is_(None))
    found: dict[str, list[str]] = {}
    for row in c.execute(
        sa.select(connection.c.destination_id, computation.c.key).select_from(joined).where(live).order_by(computation.c.key)
    ):
        found.setdefault(row.destination_id, []).append(row.key)
    return found


# ---- making one


def choose_type(visit: Visit) -> Response:
    """The types there are; one that the space has already cannot be configured again."""
    with visit.database.read() as c:
        taken = {row.type: row.name for row in list_destinations(c, visit.space.id)}
    if visit.space.one_configuration_per_type != ONE_PER_SPACE:
        taken = {}
    return render(visit, "destination_types.html", section="destinations", types=visit.registry.types.values(), taken=taken, intake=INTAKE)


def ask_new(visit: Visit) -> Response:
    type_ = find_type(visit.registry.types, visit.param("type"))
    return _new_form(visit, type_, {"key": type_.key, "name": type_.name}, {}, Problems())


def _new_form(visit: Visit, type_: DestinationType, values: Mapping[str, str], given: Mapping[str, str], problems: Problems) -> Response:
    return render(
        visit,
        "destination_form.html",
        status=422 if problems else 200,
        section="destinations",
        row=None,
        type=type_,
        fields=_fields(type_, {}, given),
        values=values,
        stamp="",
        problems=problems,
        intake=INTAKE[type_.membership_as],
        effect=EFFECTS[type_.effect],
    )


def do_new(visit: Visit) -> Response:
    type_ = find_type(visit.registry.types, visit.param("type"))
    problems = _bounds(visit, type_)
    values = {name: visit.form.get(name, "").strip() for name in ("key", "name")}
    with problems.within("key"):
        check_key(values["key"], "destination key")
    settings = _read(visit, type_, problems)
    row: Row | None = None
    if not problems:
        with problems.within(WHOLE), visit.registry.change() as change:
            new = NewDestination(values["key"], type_.key, settings, name=values["name"])
            row = create_destination(change, visit.space, new)
    if row is None:
        return _new_form(visit, type_, values, visit.form, _placed(problems, type_))
    audience = visit.query("for")
    to = visit.url("audiences", audience, "connect", row.key) if audience else visit.url("destinations", row.key)
    return go(visit, to, f"Destination {row.name} is there.")


# ---- one that is there


def ask_edit(visit: Visit) -> Response:
    with visit.database.read() as c:
        row = find_destination(c, visit.space.id, visit.param("to"))
    values = {"key": row.key, "name": row.name, "enabled": "on" if row.enabled else ""}
    return _edit_form(visit, row, values, None, stamp(_content(row)), Problems())


def _edit_form(
    visit: Visit, row: Row, values: Mapping[str, str], given: Mapping[str, str] | None, shown_stamp: str, problems: Problems
) -> Response:
    type_ = find_type(visit.registry.types, row.type)
    with visit.database.read() as c:
        mappings = list_mappings(c, row.id)
        audiences = _audiences(c, visit.space.id).get(row.id, [])
        source = imported_from(c, row)
    return render(
        visit,
        "destination_form.html",
        status=422 if problems else 200,
        section="destinations",
        row=row,
        type=type_,
        fields=_fields(type_, masked_settings(type_, row.settings), given),
        values=values,
        stamp=shown_stamp,
        problems=problems,
        mappings=mappings,
        audiences=audiences,
        imported=source,
        intake=INTAKE[type_.membership_as],
        effect=EFFECTS[type_.effect],
    )


def save(visit: Visit) -> Response:
    with visit.database.read() as c:
        row = find_destination(c, visit.space.id, visit.param("to"))
    type_ = find_type(visit.registry.types, row.type)
    problems = _bounds(visit, type_)
    values = {"key": row.key, "name": visit.form.get("name", "").strip(), "enabled": visit.form.get("enabled", "")}
    if not values["name"]:
        problems.add("name", "A destination needs a name.", "Write what people call it.")
    settings = _read(visit, type_, problems)
    if not problems:
        try:
            with problems.within(WHOLE), visit.registry.change() as change:
                fresh = find_destination(change.c, visit.space.id, row.key)
                if visit.form.get("overwrite") != "yes":
                    check_stamp(visit.form, _content(fresh), f"Destination {fresh.name}")
                update_destination(change, visit.space, fresh, name=values["name"], enabled=bool(values["enabled"]), settings=settings)
        except StaleError:
            return _stale(visit, type_)
    if problems:
        return _edit_form(visit, row, values, visit.form, visit.form.get("stamp", ""), _placed(problems, type_))
    return go(visit, visit.url("destinations", row.key), f"Destination {values['name']} is saved.")


def _stale(visit: Visit, type_: DestinationType) -> Response:
    """Both versions, secrets as bullets in both."""
    with visit.database.read() as c:
        row = find_destination(c, visit.space.id, visit.param("to"))
    masked = masked_settings(type_, row.settings)
    theirs = {
        "name": row.name,
        "enabled": "on" if row.enabled else "",
        **{f"s.{each.name}": each.value for each in _fields(type_, masked, None)},
    }
    secret = secret_fields(type_)
    mine = {name: visit.form.get(name, "") for name in theirs}
    shown = {name: "••••••••" if name.removeprefix("s.") in secret and value else value for name, value in mine.items()}
    return overtaken(visit, f"Destination {row.name} was changed by someone else since you opened it.", mine=shown, theirs=theirs)


def try_it(visit: Visit) -> Response:
    """Try the credentials or the place without sending anyone."""
    with visit.database.read() as c:
        row = find_destination(c, visit.space.id, visit.param("to"))
    type_ = find_type(visit.registry.types, row.type)
    try:
        settings = settings_for_sending(visit.registry, type_, row)
        verdict = within(lambda _watch: type_.test(settings))
    except EngageError as error:
        return render(visit, "tried.html", section="destinations", row=row, works=False, what=error.what, remedy=error.remedy)
    match verdict:
        case Accepted():
            works, what, remedy = True, f"{row.name} works.", ""
        case Stop(reason, remedy):
            works, what = False, f"{row.name} refuses: {reason}"
        case Pause(after_s):
            works, what, remedy = False, f"{row.name} asks to wait {after_s:g} s.", "Try again then."
        case Backoff(reason):
            works, what, remedy = False, f"{row.name} does not work: {reason}", "Check its settings, and try again."
        case _:
            works, what, remedy = False, f"{row.name} refuses an empty request: {verdict.reason}", "Check its settings."
    return render(visit, "tried.html", section="destinations", row=row, works=works, what=what, remedy=remedy)


def ask_remove(visit: Visit) -> Response:
    with visit.database.read() as c:
        row = find_destination(c, visit.space.id, visit.param("to"))
        audiences = _audiences(c, visit.space.id).get(row.id, [])
        mappings = list_mappings(c, row.id)
    return render(visit, "destination_remove.html", section="destinations", row=row, audiences=audiences, mappings=mappings)


def do_remove(visit: Visit) -> Response:
    with visit.registry.change() as change:
        row = find_destination(change.c, visit.space.id, visit.param("to"))
        if row.enabled and visit.form.get("confirmed") != "yes":
            raise ConflictError("Removing was not confirmed.", "Open the page again.")
        remove_destination(change, visit.space, row)
    return go(visit, visit.url("destinations"), f"Destination {row.name} is removed.")


# ---- settings as fields


def _fields(type_: DestinationType, masked: Mapping[str, Any], given: Mapping[str, str] | None) -> list[SettingField]:
    return fields_of(type_.settings_model, masked, given, prefix=PREFIX, secret=secret_fields(type_))


def _read(visit: Visit, type_: DestinationType, problems: Problems) -> dict[str, Any]:
    return read_fields(visit.form, _fields(type_, {}, visit.form), problems, prefix=PREFIX)


def _bounds(visit: Visit, type_: DestinationType) -> Problems:
    known = (*("key", "name", "enabled", "stamp", "overwrite"), *(f"{PREFIX}{name}" for name in type_.settings_model.model_fields))
    return check_bounds(visit.form, visit.several, known)


def _placed(problems: Problems, type_: DestinationType) -> Problems:
    """What the type says of a setting, beside that setting."""
    place_beside(problems, type_.settings_model, prefix=PREFIX)
    error = problems.found.get(WHOLE)
    if error is not None and ("destination key" in error.what or ("has a destination" in error.what and "of type" not in error.what)):
        problems.found["key"] = problems.found.pop(WHOLE)
    return problems


def _content(row: Row) -> dict[str, Any]:
    return {"name": row.name, "enabled": row.enabled, "settings": row.settings}
