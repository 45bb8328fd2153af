"""The run launcher: Dagster's own, which starts a run as a child of the code server, and a way to see that such a run has died.

Without it a run whose whole process tree was killed reads "started" for ever and holds its place in the queue, while its connection waits.
"""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._serdes import ConfigurableClassData

_SERVER_WAIT_S = 5


class EngageRunLauncher(DefaultRunLauncher):
    """Launches like the default; a run is alive while the code server that started it answers.

    A server reports the death of a run's process by itself, so only a server that is gone leaves runs without anyone to speak for them. It
    is not asked for the run: behind `dagster dev` a reloaded server does not know the runs of the one before.
    """

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "EngageRunLauncher":
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            client.get_server_id(timeout=_SERVER_WAIT_S)
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.FAILED, "The code server that ran it is gone.")
        return CheckRunHealthResult(WorkerStatus.RUNNING)
