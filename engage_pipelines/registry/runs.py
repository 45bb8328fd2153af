"""Asking for computations to be evaluated now, by hand."""

from collections.abc import Iterable

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import is_computing
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.requests import owe_compute


def request_compute(change: Change, space: Row, rows: Iterable[Row]) -> str:
    """The id of the request that is owed from now on. Raises UsageError for one that is not computed at all."""
    wanted = list(rows)
    for row in wanted:
        _check_computed(change, row)
    request_id = owe_compute(change.c, space.id, {row.id for row in wanted}, change.stamp)
    for row in wanted:
        change.record("compute", f"{row.kind} {space.key}/{row.key}", after={"request": request_id})
    return request_id


def _check_computed(change: Change, row: Row) -> None:
    what = f"{row.kind.capitalize()} {row.key!r}"
    if not row.enabled:
        raise UsageError(f"{what} is disabled.", f"Enable it: engage {row.kind} enable {row.key}")
    if not is_computing(change.c, row):
        raise UsageError(
            f"{what} is computed for destinations alone, and has none.",
            f"Connect it, or: engage {row.kind} update {row.key} --compute-without-destinations",
        )
