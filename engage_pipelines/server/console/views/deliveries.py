"""What was delivered: figures by destination, syncs, and dead letters with their reason, replayed or discarded."""

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from starlette.responses import Response

from engage_pipelines.delivery.dead_letters import DeadLetter, Wanted, discard, find_dead_letters, list_dead_letters
from engage_pipelines.delivery.figures import Figures, delivery_figures, list_generations
from engage_pipelines.delivery.payloads import frozen_record, sweep
from engage_pipelines.delivery.replay import replay
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.lookup import Row, find_computation
from engage_pipelines.server.console import words
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.views.audiences import head
from engage_pipelines.server.console.visit import PER_PAGE, Visit

RANGES = {"1": "last day", "7": "last 7 days", "30": "last 30 days", "365": "last year"}
_DAY_US = 86_400_000_000
_MOST_AT_ONCE = 10_000


def of_space(visit: Visit) -> Response:
    """Every connection of the space."""
    with visit.database.read() as c:
        context = _context(c, visit, None)
    return render(visit, "deliveries.html", section="deliveries", head=None, **context)


def of_audience(visit: Visit) -> Response:
    with visit.database.read() as c:
        top = head(c, visit, "deliveries")
        context = _context(c, visit, top.row)
    return render(visit, "deliveries.html", section=visit.section, head=top, **context)


def _context(c: sa.Connection, visit: Visit, of: Row | None) -> dict[str, Any]:
    days = visit.query("days", "30")
    if days not in RANGES:
        raise UsageError(f"{days[:20]!r} is none of the ranges.", f"They are {words.listed(RANGES)} days.")
    since = visit.database.now_us(c) - int(days) * _DAY_US
    figures = delivery_figures(c, visit.space.id, since_us=since, audience_id=None if of is None else of.id)
    names = {each.connection_id: each for each in figures}
    syncs, total = list_generations(c, list(names), offset=(visit.page - 1) * PER_PAGE, limit=PER_PAGE)
    return {
        "figures": figures,
        "sums": _sums(figures),
        "days": days,
        "ranges": RANGES,
        "syncs": [(names[row.connection_id], row, _fates(row)) for row in syncs],
        "total": total,
    }


def _sums(figures: Sequence[Figures]) -> dict[str, int]:
    names = ("created", "delivered", "left_out", "failed", "retrying", "skipped")
    return {name: sum(getattr(each, name) for each in figures) for name in names}


def _fates(row: Row) -> str:
    """The records of a generation by call and fate, in words."""
    parts = [
        f"{count:,} {call.title()} {fate.replace('_', ' ')}"
        for call, fates in (row.counts or {}).items()
        for fate, count in sorted(fates.items())
    ]
    return ", ".join(parts) or (f"{row.records:,} records" if row.records else "no records")


# ---- dead letters


def dead_letters(visit: Visit) -> Response:
    """What failed, without who it is about."""
    with visit.database.read() as c:
        letters = list_dead_letters(c, visit.space.id, _wanted(c, visit, visit.request.query_params))
    first = (visit.page - 1) * PER_PAGE
    return render(
        visit,
        "dead_letters.html",
        section="deliveries",
        letters=letters[first : first + PER_PAGE],
        total=len(letters),
        audience=visit.query("audience"),
        destination=visit.query("destination"),
        reason=visit.query("reason"),
    )


def dead_letter(visit: Visit) -> Response:
    """One record with its reason; the payload for those who may see it."""
    with visit.database.read() as c:
        (letter,) = find_dead_letters(c, visit.space.id, [visit.param("id")])
    record = frozen_record(letter, visit.settings.generations_dir) if visit.sees_members else None
    payload = None if record is None else orjson.loads(record.body)
    return render(visit, "dead_letter.html", section="deliveries", letter=letter, payload=payload)


def ask_letters(visit: Visit) -> Response:
    """The question before dead letters are replayed or discarded, with how many there are."""
    letters = _chosen(visit)
    places = sorted({f"{letter.audience} → {letter.destination}" for letter in letters})
    return render(visit, "letters_ask.html", section="deliveries", letters=letters, places=places, verb=visit.form.get("verb", "replay"))


def do_letters(visit: Visit) -> Response:
    ids = {one for one in visit.form.get("ids", "").split(",") if one}
    back = visit.url("dead-letters")
    if visit.form.get("verb") == "discard":
        with visit.registry.change() as change:
            gone = discard(change, visit.space.id, ids)
        sweep(visit.database, visit.settings.generations_dir)
        return go(visit, back, f"{words.counted(len(gone), 'record')} discarded, with the payloads.")
    with visit.registry.change() as change:
        done = replay(change, visit.space.id, ids, visit.settings.generations_dir)
    said = f"{words.counted(done.as_it_was + done.anew, 'record')} will be sent again by the next sync."
    if done.anew:
        said += f" {done.anew:,} rendered anew, under a new message id."
    if done.mapping_off:
        said += f" {words.counted(done.mapping_off, 'record')} stayed: no enabled mapping sends them."
    if done.not_sending:
        said += f" Nothing is sent before somebody mends: {words.listed(done.not_sending)}."
    return go(visit, back, said)


def _chosen(visit: Visit) -> list[DeadLetter]:
    """Those that were ticked, or all that the filters name."""
    with visit.database.read() as c:
        ids = visit.several.get("chosen", ())
        if visit.form.get("everything") != "yes":
            if not ids:
                raise UsageError("No record is chosen.", "Tick some, or take all that are listed.")
            return find_dead_letters(c, visit.space.id, set(ids))
        letters = list_dead_letters(c, visit.space.id, _wanted(c, visit, visit.form))
    return letters[:_MOST_AT_ONCE]


def _wanted(c: sa.Connection, visit: Visit, fields: Any) -> Wanted:
    audience, to, reason = (str(fields.get(name, ""))[:500] for name in ("audience", "destination", "reason"))
    return Wanted(
        audience_id=find_computation(c, visit.space.id, audience).id if audience else None,
        destination_id=find_destination(c, visit.space.id, to).id if to else None,
        reason=reason or None,
    )
