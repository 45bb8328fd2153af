"""Options of audiences: what each may be, and what they mean for an evaluation.

| option | values | meaning |
|---|---|---|
| filter_by_external_ids | list of identifiers | who can be a member: holders of one of them; never changes |
| include_anonymous | true, false | adds anonymous_id to them; never changes |
| include_historical_data | true, false | false: only events from the audience's creation on count, and connecting sends no backfill |
| backfill_event_data_days | 1 to 3650 | events before the creation count for so many days |
| compute_without_destinations | true, false | false: computed only while a destination is connected |
| empty_accounts | default, true, false | what ANY, ALL and ALL NOT say of an account without users |
| literal_account_exits | true, false | Segment's letter for users of several accounts |
"""

from collections.abc import Mapping
from typing import Any, cast

from engage_pipelines.domain.computation import ANONYMOUS_ID, EXTERNAL_IDS, EmptyAccounts, Level
from engage_pipelines.domain.errors import ConfigurationError, ConflictError
from engage_pipelines.registry.nearest import did_you_mean

ADMISSION = ("filter_by_external_ids", "include_anonymous")
"""Fixed when the audience is made: whoever was told of people would otherwise have to forget them."""
_SWITCHES = ("compute_without_destinations", "include_anonymous", "include_historical_data", "literal_account_exits")
OPTIONS = tuple(sorted({*_SWITCHES, *ADMISSION, "backfill_event_data_days", "empty_accounts"}))
KNOWN_IDS = (*EXTERNAL_IDS, ANONYMOUS_ID)
MOST_DAYS = 3650
_DAY_US = 86_400_000_000


def check_options(options: Mapping[str, Any], level: Level) -> dict[str, Any]:
    """The options as they are kept. Raises ConfigurationError for one that is none, or has no meaning at the level or with the others."""
    for name, value in options.items():
        if name not in OPTIONS:
            remedy = did_you_mean(name, OPTIONS, otherwise=f"Known are {', '.join(OPTIONS)}.")
            raise ConfigurationError(f"There is no audience option {name!r}.", remedy)
        _check_value(name, value)
    kept = dict(options)
    if level is Level.ACCOUNT:
        for name in ADMISSION:
            if name in kept:
                raise ConfigurationError(f"{name} is an option of user audiences; this one is of accounts.", "Leave it out.")
    if "backfill_event_data_days" in kept and kept.get("include_historical_data") is False:
        raise ConfigurationError(
            "backfill_event_data_days says how much history counts, and include_historical_data is false.", "Leave one of them out."
        )
    if "filter_by_external_ids" in kept:
        kept["filter_by_external_ids"] = sorted(kept["filter_by_external_ids"])
    return kept


def check_same_admission(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> None:
    """Raises ConflictError when a change would admit other people."""
    if external_ids(before) != external_ids(after):
        raise ConflictError(
            f"Who can be a member of audience {key!r} was decided when it was made: holders of {', '.join(external_ids(before))}.",
            f"Make another audience with: engage audience clone {key} NEWKEY --include-anonymous or --filter-by ID",
        )


def check_admitted(facts: Any, options: Mapping[str, Any], level: Level) -> None:
    """Raises ConfigurationError when the tables that a space maps, if it does, tell nobody by the identifiers that the options ask for."""
    if facts is not None and level is Level.USER:
        # the words of mappings are of no use to everyone else
        from engage_pipelines.domain.warehouse_mapping import check_admission, read_facts  # noqa: PLC0415

        check_admission(read_facts(facts), external_ids(options))


def external_ids(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The identifiers of which a user must hold one, sorted."""
    chosen = set(options.get("filter_by_external_ids", EXTERNAL_IDS))
    return tuple(sorted(chosen | {ANONYMOUS_ID} if options.get("include_anonymous") else chosen))


def events_since_us(options: Mapping[str, Any], *, created_at_us: int) -> int | None:
    """The instant from which events count; None when all do."""
    if not options.get("include_historical_data", True):
        return created_at_us
    days = options.get("backfill_event_data_days")
    return None if days is None else created_at_us - int(days) * _DAY_US


def _check_value(name: str, value: Any) -> None:
    if name in _SWITCHES and not isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r}.", "Write true or false.")
    if name == "empty_accounts" and value not in list(EmptyAccounts):
        raise ConfigurationError(f"empty_accounts is {value!r}.", f"Write one of {', '.join(EmptyAccounts)}.")
    if name == "backfill_event_data_days" and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_DAYS):
        raise ConfigurationError(f"backfill_event_data_days is {value!r}.", f"Write a whole number of days from 1 to {MOST_DAYS}.")
    if name == "filter_by_external_ids":
        _check_ids(value)


def _check_ids(value: Any) -> None:
    if not isinstance(value, list | tuple) or not value:
        raise ConfigurationError(f"filter_by_external_ids is {value!r}.", f"Write a list with some of {', '.join(KNOWN_IDS)}.")
    for one in cast("list[Any]", value):
        if one not in KNOWN_IDS:
            remedy = did_you_mean(str(one), KNOWN_IDS, otherwise=f"Known are {', '.join(KNOWN_IDS)}.")
            raise ConfigurationError(f"filter_by_external_ids names {one!r}, which is no identifier of people.", remedy)
