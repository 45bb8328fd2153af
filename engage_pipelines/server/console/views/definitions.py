"""The definition of an audience: written as text or in the builder, checked, previewed, saved; and the form of a new audience."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from engage_pipelines.computing.preview import AgainstVersion, Details, Overlap, preview
from engage_pipelines.computing.questions import Draft
from engage_pipelines.domain.computation import EXTERNAL_IDS, EmptyAccounts, Level, check_key
from engage_pipelines.domain.errors import DefinitionError, EngageError
from engage_pipelines.domain.query import parse
from engage_pipelines.registry.audience_options import MOST_DAYS
from engage_pipelines.registry.audiences import NewAudience, create_audience, update_audience
from engage_pipelines.registry.cadence import DEFAULT_CADENCE, NAMED, check_cadence
from engage_pipelines.registry.lookup import find_audience, list_audiences
from engage_pipelines.server.console.building import Builder, read_builder, rows_of
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, number_in, stamp
from engage_pipelines.server.console.pages import excerpt, go, render
from engage_pipelines.server.console.slow import Watch, within
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.audiences import head
from engage_pipelines.server.console.visit import Visit

_NEW_FIELDS = (
    "key",
    "name",
    "description",
    "level",
    "definition",
    "cadence",
    "include_anonymous",
    "include_historical_data",
    "backfill_days",
)
_EDITOR = ("level", "of", "overlap", "b")
"""What the editor sends besides: what a preview is asked with, and the rows of the builder."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Previewed:
    """What a definition would mean."""

    count: int
    level: Level
    details: Details
    warnings: tuple[str, ...]
    overlap: Overlap | None
    against: AgainstVersion | None
    at_us: int


def ask_new(visit: Visit) -> Response:
    values = {
        "key": "",
        "name": "",
        "description": "",
        "level": "user",
        "definition": "",
        "cadence": DEFAULT_CADENCE,
        "include_historical_data": "on",
    }
    return _new_form(visit, values, Problems())


def _new_form(visit: Visit, values: Mapping[str, str], problems: Problems) -> Response:
    level = Level.ACCOUNT if values.get("level") == "account" else Level.USER
    return render(
        visit,
        "audience_new.html",
        status=422 if problems else 200,
        section="audiences",
        values=values,
        problems=problems,
        cadences=NAMED,
        builder=rows_of(values.get("definition", ""), level),
        audiences=_keys(visit),
        error=problems.at("definition"),
        excerpt=excerpt(values.get("definition", ""), problems.at("definition")),
    )


def do_new(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, (*_NEW_FIELDS, *_EDITOR))
    values = {name: visit.form.get(name, "").strip() for name in (*_NEW_FIELDS[:6], *_NEW_FIELDS[6:9])}
    if values["level"] not in list(Level):
        problems.add("level", "An audience is of users or of accounts.", "Choose one of the two.")
        return _new_form(visit, {**values, "level": "user"}, problems)
    level = Level(values["level"])
    with problems.within("key"):
        check_key(values["key"], "audience key")
    with problems.within("cadence"):
        check_cadence(values["cadence"])
    with problems.within("definition"):
        parse(values["definition"], level=level)
    options = _options(visit.form, level, problems)
    if not problems:
        # what is refused here besides is a key that was used, or a definition that leads back to itself
        with problems.within(WHOLE), visit.registry.change() as change:
            create_audience(change, visit.space, _as_new(values, level, options))
    _place(problems)
    if problems:
        return _new_form(visit, values, problems)
    return go(visit, visit.url("audiences", values["key"]), f"Audience {values['name'] or values['key']} is made; it is computed now.")


def _as_new(values: Mapping[str, str], level: Level, options: Mapping[str, Any]) -> NewAudience:
    return NewAudience(
        key=values["key"],
        level=level,
        definition=values["definition"],
        name=values["name"],
        description=values["description"],
        cadence=values["cadence"],
        options=options,
    )


def _place(problems: Problems) -> None:
    error = problems.found.get(WHOLE)
    if isinstance(error, DefinitionError):
        problems.found["definition"] = problems.found.pop(WHOLE)
    elif error is not None and ("Key " in error.what or "has audience" in error.what or "has trait" in error.what):
        problems.found["key"] = problems.found.pop(WHOLE)


def _options(form: Mapping[str, str], level: Level, problems: Problems) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if level is Level.USER and form.get("include_anonymous"):
        options["include_anonymous"] = True
    if not form.get("include_historical_data"):
        options["include_historical_data"] = False
    days = number_in(form, "backfill_days", problems, least=1, most=MOST_DAYS)
    if days is not None:
        options["backfill_event_data_days"] = days
    return options


# ---- editing


def ask_edit(visit: Visit) -> Response:
    with visit.database.read() as c:
        row = visit.audience(c)
    return _edit_form(visit, row.definition, stamp({"definition": row.definition}), Problems())


def _edit_form(visit: Visit, definition: str, shown_stamp: str, problems: Problems) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "definition")
    error = problems.at("definition")
    return render(
        visit,
        "definition.html",
        status=422 if problems else 200,
        section="audiences",
        head=top,
        definition=definition,
        stamp=shown_stamp,
        problems=problems,
        error=error,
        excerpt=excerpt(definition, error),
        builder=rows_of(definition, Level(top.row.level)),
        audiences=[key for key in _keys(visit) if key != top.row.key],
        empty_accounts=list(EmptyAccounts),
        external_ids=EXTERNAL_IDS,
    )


def do_edit(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, ("definition", "stamp", "overwrite", *_EDITOR))
    definition = visit.form.get("definition", "").strip()
    if not problems:
        try:
            with problems.within("definition"), visit.registry.change() as change:
                row = visit.audience(change.c)
                if visit.form.get("overwrite") != "yes":
                    check_stamp(visit.form, {"definition": row.definition}, f"The definition of {row.name}")
                update_audience(change, visit.space, row.key, definition=definition)
        except StaleError as stale:
            return overtaken(visit, stale.what, mine={"definition": definition}, theirs=stale.theirs, again=stale.theirs)
    if problems:
        return _edit_form(visit, definition, visit.form.get("stamp", ""), problems)
    return go(visit, visit.url("audiences", visit.param("key"), "definition"), "The definition is saved; the audience is computed anew.")


# ---- asked while one writes


def look(visit: Visit) -> Response:
    """The preview of a text: size, sample, identifiers, overlap, and who would enter and exit; or what is wrong with it, and where."""
    text = visit.form.get("definition", "").strip()
    key, other = visit.form.get("of") or None, visit.form.get("overlap") or None
    try:
        problems = check_bounds(visit.form, visit.several, (*_NEW_FIELDS, *_EDITOR, "stamp"))
        if problems.at("definition"):
            raise problems.found["definition"]
        level = Level(visit.form.get("level", "user")) if visit.form.get("level") in list(Level) else Level.USER
        if key is not None:
            with visit.database.read() as c:
                level = Level(find_audience(c, visit.space.id, key).level)
        found = within(lambda watch: _preview(visit, watch, Draft(text, level), key, other))
    except EngageError as error:
        return render(visit, "preview.html", found=None, error=error, excerpt=excerpt(text, error))
    return render(visit, "preview.html", found=found, error=None, excerpt=[])


def _preview(visit: Visit, watch: Watch, draft: Draft, key: str | None, other: str | None) -> Previewed:
    desk = visit.desk()
    question = desk.question(key=key, draft=draft)
    with desk.session(question.at_us) as session:
        watch.on(session.connection)
        found = preview(session, question)
        return Previewed(
            count=len(found.chosen),
            level=found.level,
            details=found.details(sample=_SHOWN),
            warnings=found.warnings,
            overlap=found.overlap(other) if other else None,
            against=found.against(desk.history(key), sample=_SHOWN) if key is not None else None,
            at_us=question.at_us,
        )


def build(visit: Visit) -> Response:
    """The builder again after a change in it, with the text that it says."""
    level = Level.ACCOUNT if visit.form.get("level") == "account" else Level.USER
    builder: Builder = read_builder(visit.form, level)
    return render(visit, "builder_answer.html", builder=builder, audiences=_keys(visit), text=builder.text())


def unbuild(visit: Visit) -> Response:
    """The builder for a text that was written by hand."""
    level = Level.ACCOUNT if visit.form.get("level") == "account" else Level.USER
    return render(visit, "builder.html", builder=rows_of(visit.form.get("definition", ""), level), audiences=_keys(visit))


def _keys(visit: Visit) -> list[str]:
    with visit.database.read() as c:
        return [row.key for row in list_audiences(c, visit.space.id)]
