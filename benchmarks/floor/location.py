"""A code location with nothing in it but a sensor equal to ours and an op that does nothing: the floor that connect.py measures beside."""

import time
from pathlib import Path

import dagster as dg

from engage_pipelines.settings import read_settings

FOLDER = read_settings().home / "floor"


@dg.op
def note_the_time(context: dg.OpExecutionContext) -> None:
    (FOLDER / f"{context.run.tags['floor/try']}.started").write_text(str(time.time()))


@dg.job(executor_def=dg.in_process_executor)
def nothing() -> None:
    note_the_time()


@dg.sensor(job=nothing, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def launch_nothing(_: dg.SensorEvaluationContext) -> list[dg.RunRequest]:
    asked = (path.stem for path in sorted(Path(FOLDER).glob("*.asked")))
    return [dg.RunRequest(run_key=name, tags={"floor/try": name}) for name in asked]


defs = dg.Definitions(jobs=[nothing], sensors=[launch_nothing])
