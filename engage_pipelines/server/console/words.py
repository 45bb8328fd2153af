"""How the console says things: numbers, plurals, tones of states, cadences, and what a rehearsal would send in one sentence."""

from collections.abc import Iterable, Mapping

from engage_pipelines.delivery.rehearsal import Rehearsal
from engage_pipelines.domain.connection import CALLS, Sample
from engage_pipelines.domain.query.values import Json, text_form
from engage_pipelines.registry.cadence import NAMED

NONE = "\N{EN DASH}"
"""Stands where there is no value."""

_TONES = {
    "good": ("Live", "Connected", "Up to date", "published", "delivered", "on", "enabled"),
    "busy": ("Computing", "Preparing", "Backfilling", "Syncing", "Waiting", "Disconnecting", "planning", "open"),
    "wary": ("Awaiting mapping", "Held", "held", "Retrying", "Not computing", "retryable"),
    "bad": ("Failed", "Stopped", "rejected", "failed"),
}
_BY_WORD = {word: tone for tone, several in _TONES.items() for word in several}


def tone(word: str) -> str:
    """The colour of a state; it is always written out beside it."""
    return _BY_WORD.get(word, "off")


def number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def amount(figure: float) -> str:
    """A figure that may have a fraction, to two places."""
    return f"{figure:,.0f}" if figure == int(figure) else f"{figure:,.2f}"


def value(of_trait: Json) -> str:
    """The value of a trait; a dash when there is none, quotes when it is an empty text."""
    return NONE if of_trait is None else text_form(of_trait) or "''"


def counted(count: int, thing: str, things: str = "") -> str:
    """`1 member`, `2 members`."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{100 * share:.1f} %"


def cadence(line: str) -> str:
    """A cadence in the words that people chose it by, or the cron line."""
    return next((word for word, each in NAMED.items() if each == line), line)


def sampled(samples: Iterable[Sample], kind: str) -> str:
    """What a mapping concerns: of an audience entries and exits, of a trait values and their end, each said once."""
    fates = ("with a value", "without one any more") if kind == "trait" else ("entered", "exited")
    return ", ".join(dict.fromkeys(f"{one.call.title()} {fates[0] if one.entered else fates[1]}" for one in samples))


def listed(things: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    several = list(things)
    return f" {last} ".join([", ".join(several[:-1]), several[-1]] if len(several) > 1 else several)


def calls_in_words(counts: Mapping[str, int]) -> str:
    """`1,284 Group and 19,352 Identify calls`."""
    total = sum(counts.values())
    return f"{listed(f'{counts[call]:,} {call.title()}' for call in CALLS if counts.get(call))} {'call' if total == 1 else 'calls'}"


def sending(found: Rehearsal) -> str:
    """What would be sent, in one sentence."""
    if not found.version:
        return "The audience was not computed yet; everyone in its first version will be sent."
    about = "" if found.is_exact else "about "
    if not found.entered and not found.exited:
        return "Nothing is sent now; only later changes will be."
    if found.whole_list:
        return f"The list is written as a whole: {_rows(found)}."
    entered = f"{about}{calls_in_words(found.entered)}" if found.entered else ""
    exited = f"{about}{calls_in_words(found.exited)} for who left" if found.exited else ""
    return f"{listed(part for part in (entered, exited) if part)}, about {counted(found.requests, 'request')}."


def leaving(found: Rehearsal, kind: str = "audience") -> str:
    """What everyone's exit comes to, of a trait the end of every value."""
    if found.whole_list:
        return "the list is written once more, empty"
    if not found.exited:
        return f"nobody {'has a value' if kind == 'trait' else 'is in'} any more, so that is nothing"
    return f"{'' if found.is_exact else 'about '}{calls_in_words(found.exited)}, about {counted(found.requests, 'request')}"


def _rows(found: Rehearsal) -> str:
    """Of a first writing how many rows; later who came and went since."""
    entered, exited = sum(found.entered.values()), sum(found.exited.values())
    return f"{entered:,} more and {exited:,} fewer than it has" if exited else counted(entered, "row")


def left_out(found: Rehearsal) -> str:
    """Who cannot be sent; empty when nobody is left out."""
    parts = [counted(count, level) for level, count in found.skipped.items() if count]
    return f"Left out: {listed(parts)} without an identifier that the destination can match by." if parts else ""
