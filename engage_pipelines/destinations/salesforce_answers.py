"""What Salesforce's answers mean where a status alone does not say it, and why a record cannot be made there.

Source: https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.html (November 2026)
"""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.destinations.api import failure
from engage_pipelines.destinations.base import Accepted, Backoff, Pause, Stop, Verdict
from engage_pipelines.destinations.http import Answer

_USED_UP_S = 900.0
_LOCKED = "UNABLE_TO_LOCK_ROW"
_IN_USE = "Salesforce is writing the same record for somebody else"


def failed(answer: Answer, count: int) -> Verdict | None:
    """The verdict on an answer that is no success, with what Salesforce says under a status that means something else elsewhere."""
    if answer.status == 403 and b"REQUEST_LIMIT_EXCEEDED" in answer.body:
        return Pause(_USED_UP_S)
    if answer.status == 400 and _LOCKED.encode() in answer.body:
        return Backoff(_IN_USE)
    if answer.status == 400 and b"INVALID_FIELD" in answer.body:
        verdict = failure(answer, 1)
        reason = verdict.rejected[0] if isinstance(verdict, Accepted) else "Salesforce has no such field"
        return no_such_field(reason)
    return failure(answer, count)


def no_such_field(reason: str) -> Stop:
    return Stop(
        f"a field is missing in Salesforce, or this user may not see it: {reason}",
        "Make the field (Setup, Object Manager; a checkbox for a membership), or name another in the mapping (membership_field).",
    )


def read_problems(problems: Mapping[int, str]) -> Verdict:
    """The verdict on records of which some were refused, each in Salesforce's words: `CODE: message`."""
    if any(_LOCKED in problem for problem in problems.values()):
        return Backoff(_IN_USE)
    lacking = next((problem for problem in problems.values() if problem.startswith("INVALID_FIELD:")), None)
    return Accepted(problems) if lacking is None else no_such_field(lacking)


def cannot_be_made(one: Mapping[str, Any]) -> str | None:
    """Why there can be no record for one that is not there yet."""
    if one["mode"] == "update":
        return f"there is no {one['object']} in Salesforce with these values, and the mapping makes none"
    lacking = [name for name, value in one["new"].items() if not value]
    return f"Salesforce makes no {one['object']} without {' and '.join(lacking)}" if lacking else None
