"""Matching mappings of a connection: added, edited, tried without sending, switched on and off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa
from starlette.responses import Response

from engage_pipelines.delivery.trial import Trial, try_mapping
from engage_pipelines.destinations.base import Action
from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.mappings import NewMapping, add_mapping, disable_mapping, enable_mapping, find_mapping, update_mapping
from engage_pipelines.registry.types import find_action, find_type
from engage_pipelines.server.console import words
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, read_json, stamp
from engage_pipelines.server.console.mapping_fields import Row, fields_in, has_form, rows_in, rows_of
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.connections import Place, place_of, rehearse, render_panel
from engage_pipelines.server.console.visit import Visit

_FIELDS = ("name", "trigger", "action", "fields", "f", "view", "fields_of", "to", "add", "drop", "stamp", "try", "overwrite", "enabled")
_FORM, _JSON = "form", "json"
_PATHS = (
    *("$.userId", "$.anonymousId", "$.groupId", "$.event", "$.messageId", "$.timestamp", "$.traits", "$.traits.email", "$.properties"),
    *("$.context.traits", "$.context.traits.email", "$.context.personas.computation_key", "$.context.personas.computation_id"),
)
"""What every record has, or many: offered while one writes a path."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a form says of a mapping: its lines, which view of the fields is shown, the rows of that, and the fields that it all means."""

    values: Mapping[str, str]
    view: str
    rows: Sequence[Row] = ()
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def text(self) -> str:
        """The fields as they are edited as JSON."""
        return self.values["fields"]


def _shown(values: Mapping[str, str], fields: Mapping[str, Any], action: Action) -> Said:
    """Field by field where that can be."""
    shown = {**values, "fields": as_text(fields)}
    return Said(shown, _FORM, rows_of(fields, action), fields) if has_form(fields) else Said(shown, _JSON, (), fields)


def ask_new(visit: Visit) -> Response:
    """The form of a new mapping, filled from the defaults of an action of the type."""
    with visit.database.read() as c:
        place = place_of(c, visit)
    type_ = find_type(visit.registry.types, place.to.type)
    action = find_action(type_, visit.query("action") or type_.actions[0].key)
    preset = next((one for one in type_.presets if one.action == action.key and one.call in place.row.calls), None)
    trigger = preset.trigger.replace("{key}", place.of.key) if preset else f'context.personas.computation_key = "{place.of.key}"'
    values = {"name": visit.query("name"), "trigger": trigger, "action": action.key}
    return _form(visit, place, None, _shown(values, action.fields, action), Problems())


def ask_edit(visit: Visit) -> Response:
    with visit.database.read() as c:
        place = place_of(c, visit)
        row = find_mapping(c, place.to, visit.param("mapping"))
    values = {"name": row.name, "trigger": row.trigger, "action": row.action}
    return _form(visit, place, row, _shown(values, row.fields, _action(visit, place, row.action)), Problems())


def _action(visit: Visit, place: Place, key: str) -> Action:
    return find_action(find_type(visit.registry.types, place.to.type), key)


def _form(
    visit: Visit, place: Place, row: sa.Row[Any] | None, said: Said, problems: Problems, *, trials: list[Trial] | None = None
) -> Response:
    return render(
        visit,
        "mapping.html",
        status=422 if problems else 200,
        section=visit.section,
        place=place,
        row=row,
        type=find_type(visit.registry.types, place.to.type),
        values=said.values,
        stamp=visit.form.get("stamp") or (stamp(_content(row)) if row is not None else ""),
        trials=trials,
        problems=problems,
        **_fields_shown(said),
    )


def _fields_shown(said: Said, *, changed: bool = False) -> dict[str, Any]:
    can = has_form(said.fields) or said.view == _FORM
    return {
        "action": said.values["action"],
        "view": said.view,
        "rows": said.rows,
        "text": said.text,
        "has_form": can,
        "paths": _PATHS,
        "changed": changed,
    }


def fields_part(visit: Visit) -> Response:
    """The fields again after a choice in them, or in the other view."""
    problems = check_bounds(visit.form, visit.several, _FIELDS)
    with visit.database.read() as c:
        place = place_of(c, visit)
    said = _turned(visit, place, _said(visit, place, problems), problems)
    # while one chooses, what is not filled in yet is no mistake
    shown = problems if said.view == _JSON or visit.form.get("to") else Problems()
    return render(visit, "mapping_fields.html", place=place, problems=shown, **_fields_shown(said, changed=True))


def _said(visit: Visit, place: Place, problems: Problems) -> Said:
    values = {name: visit.form.get(name, "").strip() for name in ("name", "trigger", "action", "fields")}
    if visit.form.get("view") != _FORM:
        fields: Mapping[str, Any] = {}
        with problems.within("fields"):
            fields = read_json(values["fields"], "The fields")
        return Said(values, _JSON, (), fields)
    rows: Sequence[Row] = ()
    with problems.within("action"):
        rows = rows_in(visit.form, _action(visit, place, values["action"]))
    fields = fields_in(rows, problems)
    return Said({**values, "fields": as_text(fields)}, _FORM, rows, fields)


def _turned(visit: Visit, place: Place, said: Said, problems: Problems) -> Said:
    """In the view that was asked for, where what is written can be shown in it."""
    wanted = visit.form.get("to", said.view)
    if wanted == _JSON and said.view == _FORM and not problems:
        return Said(said.values, _JSON, (), said.fields)
    if wanted == _FORM and said.view == _JSON and not problems and has_form(said.fields):
        return Said(said.values, _FORM, rows_of(said.fields, _action(visit, place, said.values["action"])), said.fields)
    return said


def save(visit: Visit) -> Response:
    """Try, make or change a mapping, as the button says that was pressed; other buttons show the form again."""
    problems = check_bounds(visit.form, visit.several, _FIELDS)
    with visit.database.read() as c:
        place = place_of(c, visit)
        row = find_mapping(c, place.to, visit.param("mapping")) if "mapping" in visit.request.path_params else None
    said = _said(visit, place, problems)
    if visit.form.get("fields_of", said.values["action"]) != said.values["action"] and not problems.at("action"):
        # another action was chosen than the fields are of
        action = _action(visit, place, said.values["action"])
        return _form(visit, place, row, _shown(said.values, action.fields, action), Problems())
    if visit.form.keys() & {"to", "add", "drop"}:
        return _form(visit, place, row, _turned(visit, place, said, problems), Problems())
    if visit.form.get("try"):
        return _tried(visit, place, row, said, problems)
    if not problems:
        try:
            with problems.within(WHOLE):
                _write(visit, row, said.values, said.fields)
        except StaleError as stale:
            return _stale(visit, place, said.values, stale)
    if problems:
        return _form(visit, place, row, said, _placed(problems), trials=None)
    what = f"Mapping {said.values['name']} is {'changed' if row is not None else 'added, switched off'}."
    return go(visit, visit.at(place.of, "destinations", place.to.key), what)


def _write(visit: Visit, row: sa.Row[Any] | None, values: Mapping[str, str], fields: Mapping[str, Any]) -> None:
    with visit.registry.change() as change:
        place = place_of(change.c, visit)
        if row is None:
            add_mapping(change, place.to, NewMapping(values["name"], values["trigger"], values["action"], fields))
            return
        fresh = find_mapping(change.c, place.to, row.id)
        if visit.form.get("overwrite") != "yes":
            check_stamp(visit.form, _content(fresh), f"Mapping {fresh.name}")
        update_mapping(change, place.to, fresh, name=values["name"], trigger=values["trigger"], action=values["action"], fields=fields)


def _tried(visit: Visit, place: Place, row: sa.Row[Any] | None, said: Said, problems: Problems) -> Response:
    trials: list[Trial] | None = None
    if not problems:
        new = NewMapping(said.values["name"] or "Trial", said.values["trigger"], said.values["action"], said.fields)
        with problems.within(WHOLE):
            trials = try_mapping(visit.runtime(), place.row.id, new)
    return _form(visit, place, row, said, _placed(problems), trials=trials)


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
    back = visit.at(place.of, "destinations", place.to.key)
    return overtaken(visit, stale.what, mine=values, theirs=theirs, again=stale.theirs, back=back)


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


def _content(row: sa.Row[Any]) -> dict[str, Any]:
    return {"name": row.name, "trigger": row.trigger, "action": row.action, "fields": row.fields}
