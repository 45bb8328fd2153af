"""The translator: the one place that decides how things are called in Dagster: keys, groups, jobs, partitions, tags and what runs show."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from engage_pipelines.orchestration.catalog import Entry

REQUEST_TAG = "engage/request"
CONNECTION_TAG = "engage/connection"
AUDIENCE_TAG = "engage/audience"
DESTINATION_TAG = "engage/destination"
COMPUTES_TAG = "engage/computes"
"""Names the space that a run computes in; dagster.yaml lets one such run at a time through."""

LAUNCHER = "launch_what_is_owed"
PUBLISHED_CHECK = "published"
ACCEPTED_CHECK = "all_records_accepted"

_MAX_NAME = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")


def facts_key(space: str) -> dg.AssetKey:
    return dg.AssetKey([space, "facts"])


def computation_key(space: str, kind: str, key: str) -> dg.AssetKey:
    return dg.AssetKey([space, kind, key])


def sync_key(space: str, key: str) -> dg.AssetKey:
    return dg.AssetKey([space, "sync", key])


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
    """What the page of an audience shows about it."""
    return {"Name": entry.name, "Who is in it": dg.MetadataValue.md(f"```\n{entry.definition}\n```"), "Computed": cadence_words(entry.cadence)}


def cadence_words(cadence: str) -> str:
    return "on request" if cadence == "manual" else f"{cadence} (cron, UTC)"


def sync_tags(*, request: str, connection: str, audience: str, destination: str) -> dict[str, str]:
    return {REQUEST_TAG: request, CONNECTION_TAG: connection, AUDIENCE_TAG: audience, DESTINATION_TAG: destination}


def instant(at_us: int) -> dg.TimestampMetadataValue:
    return dg.MetadataValue.timestamp(datetime.fromtimestamp(at_us / 1_000_000, UTC))


def short_hash(identifier: str) -> str:
    """An id as people may see it in a UI without a login."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:8]


def counts_metadata(title: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Counts as numbers of their own, so that Dagster plots each: {'group': 3} -> {'Group records sent': 3}."""
    return {f"{call.capitalize()} {title}": number for call, number in sorted(counts.items())}


def warnings_metadata(warnings: Sequence[str]) -> dict[str, Any]:
    return {"Worth a look": dg.MetadataValue.md("\n".join(f"- {warning}" for warning in warnings))} if warnings else {}
