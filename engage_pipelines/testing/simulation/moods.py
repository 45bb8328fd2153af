"""Moods of a history: what tends to happen in it. Each is there to make some rare misfortune common."""

from dataclasses import dataclass

from engage_pipelines.domain.ownership import LeaseTimes

FATES = ("ok", "lost", "late", "5xx", "429", "400", "twice")
EVENTS = (
    "drive", "time", "launch", "kill", "heart", "churn", "release", "pause", "resync", "toggle", "poison", "clock", "database", "disk",
    "answer",
)  # fmt: skip


USUAL = LeaseTimes()


@dataclass(frozen=True, slots=True)
class Mood:
    """Weights of what may become of a request and of what may happen next, how far time jumps, and how many runs there may be at once."""

    name: str
    fates: tuple[int, ...] = (8, 1, 2, 1, 1, 2, 1)
    events: tuple[int, ...] = (55, 15, 10, 4, 2, 8, 1, 2, 1, 2, 2, 1, 1, 1, 1)
    jumps: tuple[int, ...] = (1, 5, 5, 10, 10, 31, 61, 400)
    times: LeaseTimes = USUAL
    rivals: int = 2


MOODS = (
    Mood("ordinary"),
    Mood("hasty", jumps=(1, 1, 2), events=(80, 5, 10, 3, 1, 10, 1, 2, 1, 2, 2, 0, 2, 1, 2)),
    Mood("stormy", fates=(3, 4, 1, 4, 1, 3, 1), jumps=(31, 61, 400)),
    Mood("late", fates=(6, 0, 9, 0, 0, 1, 1), events=(80, 3, 14, 6, 0, 16, 0, 1, 10, 1, 0, 0, 0, 0, 1), jumps=(1, 1, 3), rivals=3),
    Mood(
        "frozen",
        fates=(5, 1, 8, 0, 0, 0, 1),
        events=(70, 14, 14, 3, 8, 16, 0, 0, 0, 0, 0, 3, 0, 0, 0),
        jumps=(5, 10, 14, 28),
        times=LeaseTimes(45.0, 15.0, 30.0),
        rivals=3,
    ),
    Mood("deadly", fates=(8, 1, 1, 0, 0, 0, 1), events=(60, 12, 20, 14, 4, 14, 0, 0, 0, 0, 0, 0, 1, 2, 1), jumps=(61, 61, 5), rivals=3),
    Mood("switched", events=(80, 3, 14, 1, 0, 6, 0, 0, 2, 8, 0, 0, 0, 0, 0), jumps=(1, 1, 3)),
)

STILL = Mood("still", fates=(3, 4, 0, 6, 0, 1, 1), events=(80, 14, 12, 4, 0, 2, 0, 2, 0, 0, 1, 0, 1, 0, 1), jumps=(10, 61, 400), rivals=1)
"""Few changes and a bad network: what is tried again is tried in the state it was in. For values of traits, which are seldom so else."""
