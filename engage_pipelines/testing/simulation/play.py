"""One seed played to its end."""

from collections.abc import Iterable
from dataclasses import dataclass

from engage_pipelines.testing.simulation.history import STEPS, History
from engage_pipelines.testing.simulation.late import Late
from engage_pipelines.testing.simulation.outside import BrokenPromiseError
from engage_pipelines.testing.simulation.rules import Rules, without
from engage_pipelines.testing.simulation.steady import Steady
from engage_pipelines.testing.simulation.store import MakeStore, Store

STEADY_EVERY = 10
"""Every tenth seed is a world without faults, in which nothing may starve."""
LATE_EVERY = 25
"""Every twenty-fifth is one in which a request of an owner takes effect late, when the next one is at work."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a seed came to; `broken` says which promise, and is empty when all were kept. `has_values`: those of a trait were sent."""

    seed: int
    broken: str
    story: list[str]
    has_values: bool


def play(seed: int, off: Iterable[str] = (), *, steps: int = STEPS, make_store: MakeStore = Store) -> Played:
    """Play the history of a seed with some rules left out, in a store of its own."""
    history = _world(seed, without(off), steps, make_store)
    broken = ""
    try:
        history.play()
    except BrokenPromiseError as error:
        broken = str(error)
    except Exception as error:
        # with a rule left out the code may meet what it holds to be impossible: that is a finding too
        broken = f"{type(error).__name__}: {error}"
    return Played(seed, broken, history.story, history.people.values is not None)


def _world(seed: int, rules: Rules, steps: int, make_store: MakeStore) -> History | Steady | Late:
    if seed % STEADY_EVERY == STEADY_EVERY - 1:
        return Steady(seed, rules, make_store)
    if seed % LATE_EVERY == LATE_EVERY - 2:
        return Late(seed, rules, make_store)
    return History(seed, rules, steps, make_store)
