"""Versions of audiences and of computed traits, under `/x/`: what each held, and what becomes of one that is held back."""

from typing import Any

import sqlalchemy as sa

from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import version
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import PAGINATION, Answer, Call, Operation, instant
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import computation_of


def _versions(call: Call) -> Answer:
    page = read_page(call.query)
    with call.registry.database.read() as c:
        of = computation_of(c, call.space(c), call)
        ended = sa.select(version).where(version.c.computation_id == of.id, version.c.state != "reserved")
        found = page_of(c, ended, version.c.n, page, newest_first=True)
    told = [{**_version(row, of), "current": row.n == of.current_version} for row in found.rows]
    return Answer({"versions": told, "pagination": found.pagination})


def _version(row: Row, of: Row) -> dict[str, Any]:
    told = {
        "version": row.n,
        "state": row.state,
        "evaluatedAt": instant(row.evaluated_at),
        "size": row.size,
        "users": row.users,
        "entered": row.entered,
        "exited": row.exited,
        "definition": row.definition,
        "reason": row.reason,
    }
    return {**told, "updated": row.updated} if of.kind == "trait" else told


def _decide(call: Call, *, publish: bool) -> Answer:
    from engage_pipelines.computing import held  # noqa: PLC0415 - brings what evaluates, and is asked for rarely

    with call.registry.change() as change:
        of = computation_of(change.c, call.space(change.c), call)
        n = held.release(change, of) if publish else held.discard(change, of, call.settings)
    return Answer({"version": {"version": n, "state": "published" if publish else "discarded"}})


def _release(call: Call) -> Answer:
    return _decide(call, publish=True)


def _discard(call: Call) -> Answer:
    return _decide(call, publish=False)


def _of(thing: str, path: str, word: str) -> tuple[Operation, ...]:
    """`thing` stands in the names of the operations, `word` in their summaries."""
    at = f"/x/spaces/{{spaceId}}/{path}/versions"
    return (
        Operation(f"list{thing}Versions", "GET", at, _versions, f"The versions of {word}, the newest first",
                  ("versions", "pagination"), query=(PAGINATION,)),
        Operation(f"release{thing}Version", "POST", f"{at}/release", _release, f"Publish the version of {word} that is held", ("version",),
                  role=Role.OPERATOR),
        Operation(f"discard{thing}Version", "POST", f"{at}/discard", _discard, f"Drop the version of {word} that is held", ("version",),
                  role=Role.OPERATOR),
    )  # fmt: skip


OPERATIONS = (*_of("", "audiences/{audienceId}", "an audience"), *_of("Trait", "computed-traits/{traitId}", "a computed trait"))
