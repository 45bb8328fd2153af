"""The work resource as it runs in production: snapshots compute, delivery syncs."""

from collections.abc import Iterator, Sequence

import dagster as dg

from engage_pipelines.orchestration import work
from engage_pipelines.settings import read_settings


@dg.resource(description="Computes audiences and syncs connections, on the state that ENGAGE_HOME and ENGAGE_DATABASE_URL name.")
def engine_resource(_: dg.InitResourceContext) -> Iterator[work.Work]:
    from engage_pipelines.delivery.runtime import open_runtime  # noqa: PLC0415 - a sensor tick must not pay for duckdb and pyarrow

    yield Engine(open_runtime(read_settings()))


class Engine:
    """Passes on to the rooms that do the work."""

    def __init__(self, runtime) -> None:
        self._runtime = runtime

    def compute(self, space: str, keys: Sequence[str], *, request_id: str | None, run_id: str, log: work.Log) -> Sequence[work.Computed]:
        from engage_pipelines.snapshots.compute import compute_audiences  # noqa: PLC0415

        return compute_audiences(self._runtime, keys, run_id=run_id, log=log)

    def sync(self, connection_id: str, *, request_id: str | None, run_id: str, log: work.Log) -> work.Sync:
        from engage_pipelines.delivery.sync import Sync  # noqa: PLC0415

        return Sync(self._runtime, connection_id, request_id, run_id, log)

    def connection_id(self, space: str, audience: str, destination: str) -> str:
        with self._runtime.database.read() as connection:
            return work.find_connection(connection, space, audience, destination)
