"""Matching mappings of a connection: added, edited, tried without sending, switched on and off."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from engage_pipelines.delivery.trial import Trial, try_mapping
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.mappings import NewMapping, add_mapping, disable_mapping, enable_mapping, find_mapping, update_mapping
from engage_pipelines.registry.types import find_action, find_type
from engage_pipelines.server.console import words
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, read_json, stamp
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.views.connections import Place, place_of, rehearse, render_panel
from engage_pipelines.server.console.visit import Visit

_FIELDS = ("name", "trigger", "action", "fields", "stamp", "try", "overwrite", "enabled")


def ask_new(visit: Visit) -> Response:
    """The form of a new mapping, filled from the defaults of an action of the type."""
    with visit.database.read() as c:
        place = place_of(c, visit)
    type_ = find_type(visit.registry.types, place.to.type)
    action = find_action(type_, visit.query("action") or type_.actions[0].key)
    preset = next((one for one in type_.presets if one.action == action.key and one.call in place.row.calls), None)
    trigger = preset.trigger.replace("{key}", place.of.key) if preset else f'context.personas.computation_key = "{place.of.key}"'
    values = {"name": "", "trigger": trigger, "action": action.key, "fields": as_text(action.fields)}
    return _form(visit, place, None, values, Problems())


def ask_edit(visit: Visit) -> Response:
    with visit.database.read() as c:
        place = place_of(c, visit)
        row = find_mapping(c, place.to, visit.param("mapping"))
    return _form(visit, place, row, {**_content(row), "fields": as_text(row.fields)}, Problems())


def _form(
    visit: Visit, place: Place, row: Row | None, values: Mapping[str, str], problems: Problems, *, trials: list[Trial] | None = None
) -> Response:
    type_ = find_type(visit.registry.types, place.to.type)
    return render(
        visit,
        "mapping.html",
        status=422 if problems else 200,
        section=visit.section,
        place=place,
        row=row,
        type=type_,
        values=values,
        stamp=visit.form.get("stamp") or (stamp(_content(row)) if row is not None else ""),
        trials=trials,
        problems=problems,
    )


def save(visit: Visit) -> Response:
    """Try, make or change a mapping, as the button says that was pressed."""
    problems = check_bounds(visit.form, visit.several, _FIELDS)
    with visit.database.read() as c:
        place = place_of(c, visit)
        row = find_mapping(c, place.to, visit.param("mapping")) if "mapping" in visit.request.path_params else None
    values = {name: visit.form.get(name, "").strip() for name in ("name", "trigger", "action", "fields")}
    fields: dict[str, Any] = {}
    with problems.within("fields"):
        fields = read_json(values["fields"], "The fields")
    if visit.form.get("try"):
        return _tried(visit, place, row, values, fields, problems)
    if not problems:
        try:
            with problems.within(WHOLE):
                _write(visit, row, values, fields)
        except StaleError as stale:
            return _stale(visit, place, values, stale)
    if problems:
        return _form(visit, place, row, values, _placed(problems), trials=None)
    said = f"Mapping {values['name']} is {'changed' if row is not None else 'added, switched off'}."
    return go(visit, visit.at(place.of, "destinations", place.to.key), said)


def _write(visit: Visit, row: Row | None, values: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    with visit.registry.change() as change:
        place = place_of(change.c, visit)
        if row is None:
            add_mapping(change, place.to, NewMapping(values["name"], values["trigger"], values["action"], fields))
            return
        fresh = find_mapping(change.c, place.to, row.id)
        if visit.form.get("overwrite") != "yes":
            check_stamp(visit.form, _content(fresh), f"Mapping {fresh.name}")
        update_mapping(change, place.to, fresh, name=values["name"], trigger=values["trigger"], action=values["action"], fields=fields)


def _tried(
    visit: Visit, place: Place, row: Row | None, values: Mapping[str, str], fields: Mapping[str, Any], problems: Problems
) -> Response:
    trials: list[Trial] | None = None
    if not problems:
        new = NewMapping(values["name"] or "Trial", values["trigger"], values["action"], fields)
        with problems.within(WHOLE):
            trials = try_mapping(visit.runtime(), place.row.id, new)
    return _form(visit, place, row, values, _placed(problems), trials=trials)


def _placed(problems: Problems) -> Problems:
    """What the registry refuses beside the field that it speaks of."""
    error = problems.found.get(WHOLE)
    if error is not None:
        for name, sign in (("fields", "The fields"), ("name", "name for a mapping"), ("name", "has a mapping"), ("action", "no action")):
            if sign in error.what:
                problems.found[name] = problems.found.pop(WHOLE)
                break
        else:
            if hasattr(error, "line"):
                problems.found["trigger"] = problems.found.pop(WHOLE)
    return problems


def _stale(visit: Visit, place: Place, values: Mapping[str, str], stale: StaleError) -> Response:
    theirs = {**stale.theirs, "fields": as_text(stale.theirs["fields"])}
    return render(
        visit,
        "stale.html",
        status=409,
        section=visit.section,
        what=stale.what,
        mine=values,
        theirs=theirs,
        stamp=stamp(stale.theirs),
        action=visit.request.url.path,
        back=visit.at(place.of, "destinations", place.to.key),
    )


# ---- switching


def ask_enable(visit: Visit) -> Response:
    """What switching a mapping on would send."""
    with visit.database.read() as c:
        place = place_of(c, visit)
        row = find_mapping(c, place.to, visit.param("mapping"))
    now = rehearse(visit, lambda change, there: _switch(visit, change, there, on=True))
    return render(visit, "mapping_enable.html", section=visit.section, place=place, row=row, found=now, words=words)


def _switch(visit: Visit, change: Change, place: Place, *, on: bool) -> None:
    row = find_mapping(change.c, place.to, visit.param("mapping"))
    if on:
        enable_mapping(change, place.to, row, backfill=visit.form.get("backfill", "yes") != "no")
    else:
        disable_mapping(change, place.to, row)


def switch(visit: Visit) -> Response:
    if visit.param("to_state") not in {"enable", "disable"}:
        raise NotFoundError("A mapping is switched on or off.", "Use the switch beside it.")
    on = visit.param("to_state") == "enable"
    with visit.registry.change() as change:
        place = place_of(change.c, visit)
        _switch(visit, change, place, on=on)
        name = find_mapping(change.c, place.to, visit.param("mapping")).name
        back = visit.at(place.of, "destinations", place.to.key)
    said = f"Mapping {name} is {'on' if on else 'off'}."
    if visit.is_partial and visit.request.headers.get("hx-target") == "panel":
        return render_panel(visit, said=said)
    return go(visit, back, said)


def as_text(fields: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(fields), option=orjson.OPT_INDENT_2).decode()


def _content(row: Row) -> dict[str, Any]:
    return {"name": row.name, "trigger": row.trigger, "action": row.action, "fields": row.fields}
