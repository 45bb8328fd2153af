"""Traits made and changed: the definition as text or as a SELECT, its preview, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from engage_pipelines.computing.trait_questions import ask_trait, draft_trait, preview_trait, sample_of
from engage_pipelines.domain.computation import AccountTraitConflict, Level, TraitComputation, TraitType, check_key
from engage_pipelines.domain.errors import ConflictError, DefinitionError, EngageError
from engage_pipelines.domain.query import parse_trait
from engage_pipelines.domain.query.values import Json
from engage_pipelines.registry.cadence import NAMED, check_cadence
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.lookup import Row, find_trait
from engage_pipelines.registry.traits import NewTrait, check_conflict, conflict_of, create_trait, update_trait
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, stamp
from engage_pipelines.server.console.pages import excerpt, go, render
from engage_pipelines.server.console.slow import WITHIN_S, Watch, within
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.audiences import head
from engage_pipelines.server.console.visit import Visit

_NEW_FIELDS = ("key", "name", "description", "level", "language", "definition", "cadence", "conflict")
_CONFLICTS = [
    ("latest", "the value of the account that its latest Group call was about"),
    ("list", "a list of all values, each once"),
    ("skip", "the value where all accounts have the same, otherwise none"),
]
_SHOWN = 10
_SELECT_S = WITHIN_S - 5
"""A SELECT of a preview ends before the preview is given up, so that no process of it is left."""


@dataclass(frozen=True, slots=True)
class Previewed:
    """What a definition would give: how many values, and some of them with whose they are."""

    count: int
    level: Level
    sample: tuple[tuple[str, Json], ...]
    warnings: tuple[str, ...]
    at_us: int


def ask_new(visit: Visit) -> Response:
    values = dict.fromkeys(_NEW_FIELDS, "") | {"level": "user", "language": "computed", "conflict": "latest"}
    return _new_form(visit, values, Problems())


def _new_form(visit: Visit, values: Mapping[str, str], problems: Problems) -> Response:
    error = problems.at("definition")
    return render(
        visit,
        "trait_new.html",
        status=422 if problems else 200,
        section="traits",
        values=values,
        problems=problems,
        cadences=NAMED,
        conflicts=_CONFLICTS,
        error=error,
        excerpt=excerpt(values["definition"], error),
    )


def do_new(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, _NEW_FIELDS)
    values = {name: visit.form.get(name, "").strip() for name in _NEW_FIELDS}
    if values["level"] not in list(Level):
        problems.add("level", "A trait is one of users or of accounts.", "Choose one of the two.")
    if values["language"] not in list(TraitType):
        problems.add("language", "A trait is written in the query language or as a SELECT.", "Choose one of the two.")
    with problems.within("key"):
        check_key(values["key"], "trait key")
    if values["cadence"]:
        with problems.within("cadence"):
            check_cadence(values["cadence"])
    values["conflict"] = values["conflict"] or AccountTraitConflict.LATEST
    if not problems:
        with problems.within("conflict"):
            check_conflict(values["conflict"], Level(values["level"]), TraitType(values["language"]))
    if not problems:
        _make(visit, values, problems)
    if problems:
        return _new_form(visit, values, problems)
    return go(visit, visit.url("traits", values["key"]), f"Trait {values['name'] or values['key']} is made; it is computed now.")


def _make(visit: Visit, values: Mapping[str, str], problems: Problems) -> None:
    level, kind = Level(values["level"]), TraitType(values["language"])
    if not values["definition"]:
        problems.add("definition", "A trait needs a definition.", "Write what its value is.")
    elif kind is TraitType.COMPUTED:
        with problems.within("definition"):
            parse_trait(values["definition"], level)
    if not problems:
        new = NewTrait(
            key=values["key"],
            level=level,
            definition=values["definition"],
            type=kind,
            name=values["name"],
            description=values["description"],
            cadence=values["cadence"],
            account_trait_conflict=AccountTraitConflict(values["conflict"]),
        )
        with problems.within(WHOLE), visit.registry.change() as change:
            create_trait(change, visit.space, new)
        _place(problems)


def _place(problems: Problems) -> None:
    """What the registry refuses beside the field that it speaks of."""
    error = problems.found.get(WHOLE)
    if isinstance(error, DefinitionError):
        problems.found["definition"] = problems.found.pop(WHOLE)
    elif isinstance(error, ConflictError):
        problems.found["key"] = problems.found.pop(WHOLE)
    elif error is not None and "cannot be live" in error.what:
        problems.found["cadence"] = problems.found.pop(WHOLE)


# ---- editing


def ask_edit(visit: Visit) -> Response:
    with visit.database.read() as c:
        row = visit.computation(c)
    return _edit_form(visit, row.definition, stamp({"definition": row.definition}), Problems())


def _edit_form(visit: Visit, definition: str, shown_stamp: str, problems: Problems) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "definition")
    error = problems.at("definition")
    return render(
        visit,
        "trait_definition.html",
        status=422 if problems else 200,
        section="traits",
        head=top,
        language=type_of_trait(top.row),
        definition=definition,
        stamp=shown_stamp,
        problems=problems,
        error=error,
        excerpt=excerpt(definition, error),
    )


def do_edit(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, ("definition", "stamp", "overwrite", "of", "level", "language"))
    definition = visit.form.get("definition", "").strip()
    if not definition:
        problems.add("definition", "A trait needs a definition.", "Write what its value is.")
    if not problems:
        try:
            with problems.within("definition"), visit.registry.change() as change:
                row = visit.computation(change.c)
                if visit.form.get("overwrite") != "yes":
                    check_stamp(visit.form, {"definition": row.definition}, f"The definition of {row.name}")
                update_trait(change, visit.space, row.key, definition=definition)
        except StaleError as stale:
            return overtaken(visit, stale.what, mine={"definition": definition}, theirs=stale.theirs, again=stale.theirs)
    if problems:
        return _edit_form(visit, definition, visit.form.get("stamp", ""), problems)
    return go(visit, visit.url("traits", visit.param("key"), "definition"), "The definition is saved; the trait is computed anew.")


def look(visit: Visit) -> Response:
    """The preview of a text: how many values, and some of them; or what is wrong with it, and where."""
    text, key = visit.form.get("definition", "").strip(), visit.form.get("of") or None
    try:
        problems = check_bounds(visit.form, visit.several, (*_NEW_FIELDS, "of", "stamp"))
        if problems.at("definition"):
            raise problems.found["definition"]
        draft = _draft(visit, text, key)
        found = within(lambda watch: _preview(visit, watch, draft, key))
    except EngageError as error:
        return render(visit, "trait_preview.html", found=None, error=error, excerpt=excerpt(text, error))
    return render(visit, "trait_preview.html", found=found, error=None, excerpt=[])


def _draft(visit: Visit, text: str, key: str | None) -> TraitComputation:
    if key is not None:
        with visit.database.read() as c:
            row = find_trait(c, visit.space.id, key)
        return draft_trait(text, Level(row.level), type_of_trait(row))
    level = Level.ACCOUNT if visit.form.get("level") == Level.ACCOUNT else Level.USER
    return draft_trait(text, level, TraitType.SQL if visit.form.get("language") == TraitType.SQL else TraitType.COMPUTED)


def _preview(visit: Visit, watch: Watch, draft: TraitComputation, key: str | None) -> Previewed:
    desk = visit.desk()
    question = ask_trait(desk, key=key, draft=draft)
    with desk.session(question.at_us) as session:
        watch.on(session.connection)
        found = preview_trait(replace(session, select_s=_SELECT_S), question)
        sample = tuple(sample_of(session, found, _SHOWN)) if visit.sees_members else ()
    return Previewed(found.size, question.trait.level, sample, found.warnings, question.at_us)


# ---- settings


def ask_settings(visit: Visit) -> Response:
    with visit.database.read() as c:
        values = _content(visit.computation(c))
    return _settings_form(visit, values, stamp(values), Problems())


def _settings_form(visit: Visit, values: Mapping[str, Any], shown_stamp: str, problems: Problems) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "settings")
    status = 422 if problems else 200
    context: dict[str, Any] = {"values": values, "stamp": shown_stamp, "problems": problems, "cadences": NAMED, "conflicts": _CONFLICTS}
    return render(visit, "trait_settings.html", status=status, section="traits", head=top, language=type_of_trait(top.row), **context)


def save_settings(visit: Visit) -> Response:
    names = ("name", "description", "cadence", "conflict")
    problems = check_bounds(visit.form, visit.several, (*names, "stamp", "overwrite"))
    values = {name: visit.form.get(name, "").strip() for name in names}
    with visit.database.read() as c:
        row = visit.computation(c)
    values["conflict"] = values["conflict"] or conflict_of(row)
    with problems.within("cadence"):
        values["cadence"] = check_cadence(values["cadence"])
    with problems.within("conflict"):
        check_conflict(values["conflict"], Level(row.level), type_of_trait(row))
    if not values["name"]:
        problems.add("name", "A trait needs a name.", "Write what people call it.")
    if not problems:
        try:
            with problems.within(WHOLE):
                _write_settings(visit, values)
        except StaleError as stale:
            return overtaken(visit, stale.what, mine=values, theirs=stale.theirs, again=stale.theirs)
    if problems:
        _place(problems)
        return _settings_form(visit, values, visit.form.get("stamp", ""), problems)
    return go(visit, visit.at(row, "settings"), "The settings are saved.")


def _write_settings(visit: Visit, values: Mapping[str, str]) -> None:
    with visit.registry.change() as change:
        row = visit.computation(change.c)
        if visit.form.get("overwrite") != "yes":
            check_stamp(visit.form, _content(row), f"Trait {row.name}")
        update_trait(
            change,
            visit.space,
            row.key,
            name=values["name"],
            description=values["description"],
            cadence=values["cadence"],
            account_trait_conflict=AccountTraitConflict(values["conflict"]),
        )


def _content(row: Row) -> dict[str, str]:
    return {"name": row.name, "description": row.description, "cadence": row.cadence, "conflict": str(conflict_of(row))}
