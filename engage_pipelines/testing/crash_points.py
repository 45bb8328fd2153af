"""The named points of a run at which it may be killed: before and after each step that something outside the process remembers.

die_at("after open")    SIGKILL as soon as the generation is open
"""

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from engage_pipelines.delivery import generation, ledger, send, sync
from engage_pipelines.delivery.attempt import Attempt
from engage_pipelines.delivery.generation_file import GenerationWriter
from engage_pipelines.delivery.lease import Lease
from engage_pipelines.delivery.plan import Planner
from engage_pipelines.destinations.segment import Segment

_STEPS: Mapping[str, tuple[Any, str]] = {
    "begin": (Attempt, "begin"),
    "take the lease": (sync, "acquire"),
    "give up": (ledger, "abandon"),
    "adopt": (generation, "adopt"),
    "plan": (Planner, "plan"),
    "move the base": (ledger, "move_base"),
    "reserve": (ledger, "reserve"),
    "file in place": (GenerationWriter, "__exit__"),
    "open": (ledger, "open_generation"),
    "request": (Segment, "send"),
    "acknowledge": (send, "acknowledge"),
    "settle": (ledger, "settle"),
    "drop files": (generation, "_drop_files"),
    "let go": (Lease, "__exit__"),
    "finish": (Attempt, "end"),
}
POINTS = tuple(f"{when} {step}" for step in _STEPS for when in ("before", "after"))
"""Every point, in the order in which a run comes by."""


def die_at(point: str) -> None:
    """Have this process killed when it comes by the point. Raises KeyError for a point that does not exist."""
    when, _, step = point.partition(" ")
    place, name = _STEPS[step]
    usual: Callable[..., Any] = getattr(place, name)

    def killed(*arguments: Any, **options: Any) -> Any:
        if when == "after":
            usual(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, killed)
