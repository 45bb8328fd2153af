"""The command that plays seeded histories of the sync protocol and names those that break a promise.

    python -m engage_pipelines.testing.simulate --seeds 0:1000              one line per failure, then a summary
    python -m engage_pipelines.testing.simulate --story 42 [--off RULE]     the history of one seed
    python -m engage_pipelines.testing.simulate --seeds 0:1000 --off RULE   what the rule is there for
    python -m engage_pipelines.testing.simulate --minutes 10                seeds until the time is up

The exit code is 1 when a history failed.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterable

from engage_pipelines.testing.simulation.play import play
from engage_pipelines.testing.simulation.rules import NAMES


def main() -> int:
    """Play what the command line asks for."""
    arguments = _arguments()
    off = tuple(name for name in arguments.off.split(",") if name)
    if arguments.story is not None:
        played = play(arguments.story, off)
        print("\n".join(played.story))
        print(f"=> {played.broken or 'every promise kept'}")
        return int(bool(played.broken))
    until = time.monotonic() + arguments.minutes * 60 if arguments.minutes else None
    first, _, last = arguments.seeds.partition(":")
    return _play_all(range(int(first), int(last)) if last and until is None else itertools.count(int(first)), off, until)


def _play_all(seeds: Iterable[int], off: tuple[str, ...], until: float | None) -> int:
    count = failures = 0
    began = time.monotonic()
    for seed in seeds:
        if until is not None and time.monotonic() > until:
            break
        broken = play(seed, off).broken
        count += 1
        if broken:
            failures += 1
            print(f"seed={seed} {broken}", flush=True)
    print(f"seeds={count} failures={failures} seconds={time.monotonic() - began:.1f}")
    return int(failures > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Plays histories of the sync protocol.")
    parser.add_argument("--seeds", default="0:1000", help="first:last, the last excluded")
    parser.add_argument("--story", type=int, help="print the history of this seed")
    parser.add_argument("--off", default="", help=f"rules to leave out, of {', '.join(NAMES)}")
    parser.add_argument("--minutes", type=float, default=0, help="play seeds until the time is up")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
