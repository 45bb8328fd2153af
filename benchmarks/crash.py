"""What killing costs: a sync that is killed at every named point and N times more, under faults of the network, and what came of it.

python benchmarks/crash.py --kills 100 [--database postgresql://...]
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from engage_pipelines.testing.crash import Ground
from engage_pipelines.testing.crash_points import POINTS
from engage_pipelines.testing.faults import Rates

FAULTS = Rates(p503=0.05, p429=0.03, p_reset=0.05, p_ghost=0.08, p_half=0.04, p_late=0.05, p_slow=0.1, retry_after=0.1, slow_s=0.05, seed=7)


def main() -> None:
    """Kill, rerun, and print one table."""
    parser = argparse.ArgumentParser(description="Kills syncs and counts what the destination got wrong.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--database", default=None, help="a PostgreSQL URL; SQLite by default")
    arguments = parser.parse_args()
    chance, began, killed = random.Random(11), time.monotonic(), 0  # noqa: S311 (chance that repeats)
    people = [f"u{number:03}" for number in range(90)]
    with tempfile.TemporaryDirectory() as home, Ground(Path(home), arguments.database, FAULTS) as ground:
        ground.publish(people)
        at_points = sum(_die_at(ground, point, people, chance) for point in POINTS)
        while killed < arguments.kills:
            if not ground.members or chance.random() < 0.6:
                ground.publish({one for one in people if chance.random() < 0.7})
            how = {"die_at_commit": chance.randint(1, 25)} if chance.random() < 0.5 else {"kill_after_s": chance.uniform(0.05, 1.5)}
            killed += ground.run(**how).code == -9
        ground.run_until_done()
        tally = ground.tally()
        calls = sum(ground.witness.state()["calls"].values())
    print("database    points  kills  calls  lost  doubled under a new id  inversions  resends  seconds")
    name = "PostgreSQL" if arguments.database else "SQLite"
    print(
        f"{name:10}  {at_points:3}/{len(POINTS):2}  {killed:5}  {calls:5}"
        f"  {tally.lost:4}  {tally.doubled:22}  {tally.inversions:10}  {tally.resends:7}"
        f"  {time.monotonic() - began:7.0f}"
    )


def _die_at(ground: Ground, point: str, people: list[str], chance: random.Random) -> bool:
    """Bring about that a run comes by the point, and kill it there; whether it did."""
    ground.run_until_done()
    before = ground.members
    ground.publish({one for one in people if chance.random() < 0.7})
    if point.endswith("move the base"):
        ground.publish(before)
    elif point.endswith("give up"):
        ground.run(die_at="after reserve")
    elif point.endswith("adopt"):
        ground.run(die_at="after request")
    # a run that met a fault of the network before it came there ends by itself
    return any(ground.run(die_at=point).code == -9 for _ in range(5))


if __name__ == "__main__":
    main()
