"""What killing costs: a sync that is killed at every named point and N times more, under faults of the network, and what came of it.

    python benchmarks/crash.py --kills 100 [--states membership|values] [--database postgresql://...]

Once with an audience and once with a computed trait, whose values change back and forth. Printed are records lost, told under a second id,
told after something newer, and sent again under the same id, beside the most that may be: what had come when a process died and stood in
no ledger yet, and one request for each answer that the network lost. The exit code is 1 when a promise was broken.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engage_pipelines.testing.crash import UNRECORDED, Ground, Members, Tally
from engage_pipelines.testing.crash_points import POINTS
from engage_pipelines.testing.faults import Rates

FAULTS = Rates(p503=0.03, p429=0.02, p_reset=0.02, p_ghost=0.04, p_half=0.02, p_late=0.05, p_slow=0.1, retry_after=0.1, slow_s=0.05, seed=7)
PEOPLE = [f"u{number:03}" for number in range(90)]
VALUES = (0, 1, 2.5, "gold", ["a", "b"], {"plan": "x"})


def main() -> int:
    """Kill, rerun, and print one table."""
    parser = argparse.ArgumentParser(description="Kills syncs and counts what the destination got wrong.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--states", choices=("membership", "values"), help="only what an audience, or only what a trait is told of")
    parser.add_argument("--database", default=None, help="a PostgreSQL URL; SQLite by default")
    arguments = parser.parse_args()
    print("database    states      points  kills  calls  lost  doubled  older  sent again  at most  one kill  at most  seconds")
    broken: list[str] = []
    for states in (arguments.states,) if arguments.states else ("membership", "values"):
        broken += [f"{states}: {words}" for words in _crash(states, arguments.kills, arguments.database).broken]
    for words in broken:
        print(f"BROKEN {words}")
    return int(bool(broken))


def _crash(states: str, kills: int, database: str | None) -> Tally:
    began, chance = time.monotonic(), random.Random(11)  # noqa: S311 (chance that repeats)
    with (
        tempfile.TemporaryDirectory() as home,
        Ground(Path(home), database, FAULTS, has_values=states == "values") as ground,
    ):
        ground.publish(_some(chance, ground, share=1.0))
        at_points = [point for point in POINTS if _die_at(ground, point, chance)]
        for point in POINTS if len(at_points) < len(POINTS) else ():
            if point not in at_points:
                print(f"no run came by {point!r}")
        killed = 0
        while killed < kills:
            if not ground.members or chance.random() < 0.6:
                ground.publish(_some(chance, ground))
            how: dict[str, Any] = (
                {"die_at_commit": chance.randint(1, 25)} if chance.random() < 0.5 else {"kill_after_s": chance.uniform(0.05, 1.5)}
            )
            killed += ground.run(**how).code == -9
        ground.run_until_done()
        tally = ground.tally()
        calls = sum(ground.witness.state()["calls"].values())
    print(
        f"{'PostgreSQL' if database else 'SQLite':10}  {states:10}  {len(at_points):3}/{len(POINTS):2}  {ground.kills:5}  {calls:5}"
        f"  {tally.lost:4}  {tally.doubled:7}  {tally.inversions:5}  {tally.resends:10}  {tally.most_resends:7}"
        f"  {tally.unrecorded:8}  {UNRECORDED:7}  {time.monotonic() - began:7.0f}",
        flush=True,
    )
    return tally


def _some(chance: random.Random, ground: Ground, *, share: float = 0.7) -> Members:
    """Part of the people, of a trait each with some value."""
    return {one: chance.choice(VALUES) if ground.has_values else True for one in PEOPLE if chance.random() < share}


def _die_at(ground: Ground, point: str, chance: random.Random) -> bool:
    """Bring about that a run comes by the point, and kill it there; whether it did."""
    ground.run_until_done()
    before = ground.members
    ground.publish(_some(chance, ground))
    if point.endswith("move the base"):
        ground.publish(before)
    elif point.endswith("give up"):
        ground.run(die_at="after reserve")
    elif point.endswith("adopt"):
        ground.run(die_at="after request")
    # a run that met a fault of the network before it came there ends by itself
    return any(ground.run(die_at=point).code == -9 for _ in range(5))


if __name__ == "__main__":
    sys.exit(main())
