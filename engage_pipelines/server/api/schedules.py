"""Schedules of audiences: Segment's two strategies and our cron line, each told in the words of the other.

An audience has one cadence, so it has one schedule or, evaluated by hand alone, none. Days are numbered from 0, Sunday, as in cron; the
clock is UTC. A cron line that neither strategy can say comes back as SPECIFIC_DAYS without a config, and as `cron`.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.audiences import update_audience
from engage_pipelines.registry.cadence import MANUAL, UNSCHEDULED
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.next_fire import next_fire
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.api.calls import Answer, AtFieldError, Body, Call, Operation, at_field, instant
from engage_pipelines.server.api.things import audience_of

_INTERVAL = re.compile(r"(?:([1-9][0-9]{0,2})h)?(?:([1-9][0-9]{0,3})m)?")
_EVERY_DAY = tuple(range(7))


class Config(Body):
    """What a strategy needs: PERIODIC an interval, SPECIFIC_DAYS days, hours and a time zone."""

    interval: Annotated[str, Field(max_length=20)] | None = None
    days: Annotated[list[Annotated[int, Field(ge=0, le=6)]], Field(min_length=1, max_length=7)] | None = None
    hours: Annotated[list[Annotated[int, Field(ge=0, le=23)]], Field(min_length=1, max_length=24)] | None = None
    timezone: Annotated[str, Field(max_length=60)] | None = None


class AddSchedule(Body):
    """AddAudienceScheduleToAudienceInput."""

    strategy: Literal["PERIODIC", "SPECIFIC_DAYS"]
    config: Config | None = None


class UpdateSchedule(Body):
    """UpdateAudienceScheduleForAudienceInput; `enabled: false` leaves the audience to be evaluated by hand alone."""

    enabled: bool | None = None
    strategy: Literal["PERIODIC", "SPECIFIC_DAYS", "MANUAL"] | None = None
    config: Config | None = None


def schedules_of(row: Row, now_us: int) -> list[dict[str, Any]]:
    """The schedule of an audience as a list of one, or of none."""
    if row.cadence in UNSCHEDULED:
        return []
    strategy, config = _strategy(row.cadence)
    told = {
        "id": schedule_id(row),
        "strategy": strategy,
        "config": config,
        "enabled": row.enabled,
        "nextExecution": instant(next_fire(row.cadence, now_us)) or "",
        "cron": row.cadence,
    }
    return [told]


def schedule_id(row: Row) -> str:
    return f"sch_{row.id.partition('_')[2]}"


def _add(call: Call) -> Answer:
    said = call.said(AddSchedule)
    return Answer({"audienceSchedule": _set(call, _cron(said.strategy, said.config))})


def _update(call: Call) -> Answer:
    said = call.said(UpdateSchedule)
    if said.enabled is False or said.strategy == "MANUAL":
        return Answer({"audienceSchedule": _set(call, MANUAL)})
    if said.strategy is None and said.config is None:
        return _get(call)
    strategy = said.strategy or ("PERIODIC" if said.config is not None and said.config.interval is not None else "SPECIFIC_DAYS")
    return Answer({"audienceSchedule": _set(call, _cron(strategy, said.config))})


def _remove(call: Call) -> Answer:
    _set(call, MANUAL)
    return Answer({"status": "SUCCESS"})


def _list(call: Call) -> Answer:
    with call.registry.database.read() as c:
        row = audience_of(c, call.space(c), call.part("id"))
        return Answer({"audienceSchedules": schedules_of(row, call.registry.database.now_us(c))})


def _get(call: Call) -> Answer:
    with call.registry.database.read() as c:
        row = audience_of(c, call.space(c), call.part("id"))
        return Answer({"audienceSchedule": _one(call, row, call.registry.database.now_us(c))})


def _set(call: Call, cadence: str) -> dict[str, Any]:
    with call.registry.change() as change:
        space = call.space(change.c)
        row = audience_of(change.c, space, call.part("id"))
        if "scheduleId" in call.path:
            _one(call, row, change.now)
        with at_field("config"):
            updated = update_audience(change, space, row.key, cadence=cadence)
        told = schedules_of(updated, change.now)
    manual = {"id": schedule_id(updated), "strategy": "MANUAL", "config": None, "enabled": False, "nextExecution": ""}
    return told[0] if told else manual


def _one(call: Call, row: Row, now_us: int) -> dict[str, Any]:
    told = schedules_of(row, now_us)
    if not told or call.part("scheduleId") != told[0]["id"]:
        raise NotFoundError("The audience has no such schedule.", "See GET .../schedules.")
    return told[0]


def _cron(strategy: str, config: Config | None) -> str:
    """The cron line that a strategy means. Raises AtFieldError for what no cron line can say."""
    if config is None:
        raise AtFieldError(UsageError(f"A {strategy} schedule needs a config.", "Give one."), "config")
    if strategy == "PERIODIC":
        return _interval_cron(config.interval)
    if config.days is None or config.hours is None:
        name = "config.days" if config.days is None else "config.hours"
        raise AtFieldError(UsageError("A SPECIFIC_DAYS schedule needs days and hours.", "Give both."), name)
    if config.timezone not in {None, "UTC", "Etc/UTC"}:
        raise AtFieldError(UsageError(f"Schedules run in UTC, not in {config.timezone}.", "Give the hours in UTC."), "config.timezone")
    days = "*" if len(set(config.days)) == 7 else _joined(config.days)
    return f"0 {_joined(config.hours)} * * {days}"


def _interval_cron(text: str | None) -> str:
    found = _INTERVAL.fullmatch(text or "")
    minutes = 0 if not found else int(found[1] or 0) * 60 + int(found[2] or 0)
    if minutes and minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *"
    if minutes and minutes % 60 == 0 and 24 % (minutes // 60) == 0:
        hours = minutes // 60
        return {1: "0 * * * *", 24: "0 0 * * *"}.get(hours, f"0 */{hours} * * *")
    raise AtFieldError(
        UsageError(f"{text!r} is no interval that a day or an hour is a multiple of.", "Write 5m, 15m, 30m, 1h, 8h, 12h or 24h."),
        "config.interval",
    )


def _strategy(cron: str) -> tuple[str, dict[str, Any] | None]:
    minute, hour, day, month, weekday = cron.split(" ")
    if (day, month) != ("*", "*"):
        return "SPECIFIC_DAYS", None
    if weekday == "*" and hour == "*" and minute.startswith("*/"):
        return "PERIODIC", {"interval": f"{minute[2:]}m"}
    if weekday == "*" and minute == "0" and (hour == "*" or hour.startswith("*/")):
        return "PERIODIC", {"interval": "1h" if hour == "*" else f"{hour[2:]}h"}
    hours, days = _numbers(hour), list(_EVERY_DAY) if weekday == "*" else _numbers(weekday)
    if minute != "0" or hours is None or days is None:
        return "SPECIFIC_DAYS", None
    return "SPECIFIC_DAYS", {"days": sorted({one % 7 for one in days}), "hours": hours, "timezone": "UTC"}


def _numbers(field: str) -> list[int] | None:
    parts = field.split(",")
    return [int(one) for one in parts] if all(one.isdigit() for one in parts) else None


def _joined(values: Sequence[int]) -> str:
    return ",".join(str(value) for value in sorted(set(values)))


_PATH = "/spaces/{spaceId}/audiences/{id}/schedules"
_ONE = f"{_PATH}/{{scheduleId}}"
OPERATIONS = (
    Operation("addAudienceScheduleToAudience", "POST", _PATH, _add, "Set when an audience is evaluated", ("audienceSchedule",),
              role=Role.OPERATOR, body=AddSchedule),
    Operation("listAudienceSchedulesFromSpaceAndAudience", "GET", _PATH, _list, "When an audience is evaluated", ("audienceSchedules",)),
    Operation("getAudienceScheduleFromSpaceAndAudience", "GET", _ONE, _get, "One schedule", ("audienceSchedule",)),
    Operation("updateAudienceScheduleForAudience", "PATCH", _ONE, _update, "Change a schedule", ("audienceSchedule",),
              role=Role.OPERATOR, body=UpdateSchedule),
    Operation("removeAudienceScheduleFromAudience", "DELETE", _ONE, _remove, "Evaluate by hand alone", ("status",), role=Role.OPERATOR),
)  # fmt: skip
