"""Previews: how many a definition would hold, found while the client waits for it; nothing of it is kept in the registry."""

from collections.abc import Mapping
from typing import Any, Literal

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.domain.query import parse
from engage_pipelines.registry.ids import random_id
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.audiences import Definition
from engage_pipelines.server.api.calls import Answer, AtFieldError, Body, Call, Operation, at_field
from engage_pipelines.server.api.evaluations import Kept, Measured

SAMPLE = 20
_TYPES = {"USERS": Level.USER, "ACCOUNTS": Level.ACCOUNT}


class PreviewOptions(Body):
    """Options of a preview; who could be a member is asked of audiences alone."""

    filterByExternalIds: list[str] | None = None
    backfillEventDataDays: int | None = None


class CreatePreview(Body):
    """CreateAudiencePreviewInput."""

    definition: Definition
    audienceType: Literal["USERS", "ACCOUNTS", "LINKED"]
    options: PreviewOptions | None = None


def _create(call: Call) -> Answer:
    said = call.said(CreatePreview)
    if said.audienceType == "LINKED":
        raise AtFieldError(UsageError("Linked audiences are not known here.", "Use USERS or ACCOUNTS."), "audienceType")
    if said.options is not None and said.options.model_dump(exclude_none=True):
        raise AtFieldError(UsageError("A preview takes no options.", "Leave them out."), "options")
    level = _TYPES[said.audienceType]
    with at_field("definition.query"):
        parse(said.definition.query, level=level)
    with call.registry.database.read() as c:
        space = call.space(c)
    preview = Kept(random_id("prv"), space.id, said.audienceType, said.definition.query)
    call.previews.ask(preview, lambda: _measure(call, space.key, preview.query, level))
    return Answer({"audiencePreview": {"id": preview.id}})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        space = call.space(c)
    kept = call.previews.find(call.part("id"))
    if kept is None or kept.space_id != space.id:
        raise NotFoundError("There is no such preview, or it is forgotten.", "Make it again.")
    told: dict[str, Any] = {
        "id": kept.id,
        "audienceType": kept.audience_type,
        "definition": {"query": kept.query, "type": kept.audience_type},
        "options": {"filterByExternalIds": []},
        "status": "RUNNING",
    }
    if kept.failure is not None:
        told |= {"status": "FAILED", "failureReason": kept.failure}
    if kept.found is not None:
        told |= {"status": "COMPLETED", "results": _results(call, kept.found)}
        told["size"] = {"count": kept.found.size, "type": kept.audience_type}
    return Answer({"audiencePreview": told})


def _results(call: Call, found: Measured) -> list[Mapping[str, str]]:
    """Some members, for those who may see them; strict clients allow no key but these."""
    return [{"id": name} for name in found.sample] if call.actor.may_see_members else []


def _measure(call: Call, space_key: str, query: str, level: Level) -> Measured:
    from engage_pipelines.computing.preview import preview  # noqa: PLC0415 - brings DuckDB, and most servers are never asked
    from engage_pipelines.computing.questions import Desk, Draft  # noqa: PLC0415

    desk = Desk(call.settings, call.registry.database, space_key)
    question = desk.question(draft=Draft(query, level))
    with desk.session(question.at_us) as session:
        found = preview(session, question)
        return Measured(len(found.chosen), found.details(sample=SAMPLE).sample)


_PATH = "/spaces/{spaceId}/audiences/previews"
OPERATIONS = (
    Operation("createAudiencePreview", "POST", _PATH, _create, "Evaluate a definition without keeping it", ("audiencePreview",),
              role=Role.OPERATOR, body=CreatePreview),
    Operation("getAudiencePreview", "GET", f"{_PATH}/{{id}}", _get, "How far a preview is, and what it found", ("audiencePreview",)),
)  # fmt: skip
