"""The translator: the one place that decides how things are called in Dagster: keys, groups, jobs, partitions, tags and what runs show."""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import dagster as dg

from engage_pipelines.orchestration.catalog import Entry
from engage_pipelines.orchestration.work import TOLD, Counts, Run
from engage_pipelines.registry.attempts import OwedCompute, OwedSync
from engage_pipelines.registry.cadence import LIVE, MANUAL

REQUEST_TAG = "engage/request"
ATTEMPT_TAG = "engage/attempt"
CONNECTION_TAG = "engage/connection"
AUDIENCE_TAG = "engage/audience"
DESTINATION_TAG = "engage/destination"
COMPUTES_TAG = "engage/computes"
PLACE_TAG = "engage/place"
"""The destination by its id: one of them never takes all places in the queue, however many connections it has."""
PRIORITY_TAG = "dagster/priority"
DOUBTFUL_TAG = "engage/doubtful"
"""Set where the last tries came to nothing: such runs may take minutes, and share a few places."""
"""Names the space that a run computes in; dagster.yaml lets one such run at a time through."""

LAUNCHER = "launch_what_is_owed"
ARRIVALS = "ask_for_what_is_live"
PUBLISHED_CHECK = "published"
ACCEPTED_CHECK = "all_records_accepted"

_MAX_NAME = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")


Prefix = Sequence[str]
"""What stands before every asset key, for code locations that hold other assets too."""


def facts_key(space: str, prefix: Prefix = ()) -> dg.AssetKey:
    return dg.AssetKey([*prefix, space, "facts"])


def computation_key(space: str, kind: str, key: str, prefix: Prefix = ()) -> dg.AssetKey:
    return dg.AssetKey([*prefix, space, kind, key])


def sync_key(space: str, key: str, prefix: Prefix = ()) -> dg.AssetKey:
    return dg.AssetKey([*prefix, space, "sync", key])


def space_and_audience(key: dg.AssetKey) -> tuple[str, str]:
    """What the key of a sync is about, whatever stands before it."""
    space, _, audience = key.path[-3:]
    return space, audience


def partitions_name(space: str, key: str) -> str:
    """The name under which Dagster keeps the connected destinations of an audience."""
    return f"{space}/{key}"


def group_name(space: str) -> str:
    """One group per space: its facts, its audiences and where they are sent, in one picture."""
    return _UNSAFE.sub("_", space)


def owners(space: str) -> list[str]:
    return [f"team:{space}"]


def compute_step_name(space: str) -> str:
    return name("compute", space)


def schedule_name(space: str, cadence: str) -> str:
    """The cron line is spelled out by a hash: it cannot stand in a name."""
    return name("compute", space, hashlib.sha256(cadence.encode()).hexdigest()[:8])


def name(*parts: str) -> str:
    """A name that Dagster accepts, one for each list of parts and no other, short enough for a file."""
    plain = "__".join(parts)
    legal = _UNSAFE.sub("_", plain)
    # keys that hold the separator themselves, or are cut off, would meet others
    if legal == plain and len(plain) <= _MAX_NAME and not any("__" in part for part in parts):
        return plain
    return f"{legal[:_MAX_NAME]}_{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"


def computation_tags(entry: Entry) -> dict[str, str]:
    return {"engage/level": entry.level}


def computation_metadata(entry: Entry) -> dict[str, Any]:
    """What the page of an audience or a trait shows about it."""
    return {
        "Name": entry.name,
        "Who is in it" if entry.kind == "audience" else "Its value": dg.MetadataValue.md(f"```\n{entry.definition}\n```"),
        "Computed": cadence_words(entry.cadence),
    }


def console_metadata(console_url: str, entry: Entry) -> dict[str, Any]:
    """The page of the audience or the trait in the console; nothing where there is no console."""
    if not console_url:
        return {}
    path = "/".join(quote(part, safe="") for part in ("s", entry.space, f"{entry.kind}s", entry.key))
    return {"Console": dg.MetadataValue.url(f"{console_url}/{path}")}


def cadence_words(cadence: str) -> str:
    return {MANUAL: "on request", LIVE: "when facts arrive"}.get(cadence, f"{cadence} (cron, UTC)")


def sync_tags(owed: OwedSync) -> dict[str, str]:
    """Ids in full: they say nothing of a person, and the queue holds one run per connection by its tag."""
    doubtful = {DOUBTFUL_TAG: "yes", PRIORITY_TAG: "-1"} if owed.is_doubtful else {}
    return {
        **doubtful,
        PLACE_TAG: owed.destination_id,
        REQUEST_TAG: owed.id,
        ATTEMPT_TAG: str(owed.attempt),
        CONNECTION_TAG: owed.connection_id,
        AUDIENCE_TAG: owed.audience,
        DESTINATION_TAG: owed.destination,
        "engage/kind": owed.kind,
    }


def compute_tags(owed: OwedCompute) -> dict[str, str]:
    return {REQUEST_TAG: owed.id, ATTEMPT_TAG: str(owed.attempt), COMPUTES_TAG: owed.space}


def run_key(owed: OwedSync | OwedCompute) -> str:
    """Dagster lets each through once."""
    return f"{owed.id}:{owed.attempt}"


def instant(at_us: int) -> dg.TimestampMetadataValue:
    return dg.MetadataValue.timestamp(datetime.fromtimestamp(at_us / 1_000_000, UTC))


def warnings_metadata(warnings: Sequence[str]) -> dict[str, Any]:
    return {"Worth a look": dg.MetadataValue.md("\n".join(f"- {warning}" for warning in warnings))} if warnings else {}


def told(counts: Counts) -> dict[str, int]:
    """Records that the destination took, by call."""
    return {call: sum(fates.get(fate, 0) for fate in TOLD) for call, fates in counts.items()}


def run_of(run: dg.DagsterRun, log: Callable[[str], None]) -> Run:
    """Whom the engine works for, read from the tags that the launcher gave.

    A run that people execute again in the UI has the tags of the first one, whose attempt is over: it counts as started by hand.
    """
    if run.parent_run_id is not None:
        return Run(run.run_id, log)
    request, attempt = run.tags.get(REQUEST_TAG), run.tags.get(ATTEMPT_TAG)
    return Run(run.run_id, log, (request, int(attempt)) if request and attempt else None)
