"""One seed played to its end."""

from collections.abc import Iterable
from dataclasses import dataclass

from engage_pipelines.testing.simulation.history import STEPS, History
from engage_pipelines.testing.simulation.outside import BrokenPromiseError
from engage_pipelines.testing.simulation.rules import without
from engage_pipelines.testing.simulation.steady import Steady
from engage_pipelines.testing.simulation.store import MakeStore, Store

STEADY_EVERY = 10
"""Every tenth seed is a world without faults, in which nothing may starve."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a seed came to; `broken` says which promise, and is empty when all were kept. `has_values`: those of a trait were sent."""

    seed: int
    broken: str
    story: list[str]
    has_values: bool


def play(seed: int, off: Iterable[str] = (), *, steps: int = STEPS, make_store: MakeStore = Store) -> Played:
    """Play the history of a seed with some rules left out, in a store of its own."""
    rules, is_steady = without(off), seed % STEADY_EVERY == STEADY_EVERY - 1
    history = Steady(seed, rules, make_store) if is_steady else History(seed, rules, steps, make_store)
    broken = ""
    try:
        history.play()
    except BrokenPromiseError as error:
        broken = str(error)
    except Exception as error:
        # with a rule left out the code may meet what it holds to be impossible: that is a finding too
        broken = f"{type(error).__name__}: {error}"
    return Played(seed, broken, history.story, history.people.values is not None)
