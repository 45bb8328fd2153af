"""The command that plays seeded histories of the sync protocol and names those that break a promise.

    python -m engage_pipelines.testing.simulate --seeds 0:1000              one line per failure, then a summary
    python -m engage_pipelines.testing.simulate --story 42 [--off RULE]     the history of one seed
    python -m engage_pipelines.testing.simulate --seeds 0:1000 --off RULE   what the rule is there for
    python -m engage_pipelines.testing.simulate --minutes 10                seeds until the time is up
    python -m engage_pipelines.testing.simulate --seeds 0:100 --database postgresql://... (or sqlite:////tmp/histories.db)

With --database the rows of the connection lie in that database, which must be empty, and the transactions are the product's own; it is
left empty. The exit code is 1 when a history failed, 2 when the command line or the database cannot be used.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from engage_pipelines.domain.errors import EngageError
from engage_pipelines.testing.simulation.play import Played, play
from engage_pipelines.testing.simulation.rules import NAMES, without
from engage_pipelines.testing.simulation.store import MakeStore, Store
from engage_pipelines.testing.simulation.tables import Tables


def main() -> int:
    """Play what the command line asks for."""
    arguments = _arguments()
    off = tuple(name for name in arguments.off.split(",") if name)
    try:
        without(off)
        with _place(arguments.database) as make_store:
            return _play_asked(arguments, off, make_store)
    except (EngageError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


@contextmanager
def _place(database: str | None) -> Generator[MakeStore]:
    """Where the rows of a history lie: in memory, or in the tables of a database."""
    if database is None:
        yield Store
        return
    with Tables(database) as tables:
        yield tables.store


def _play_asked(arguments: argparse.Namespace, off: tuple[str, ...], make_store: MakeStore) -> int:
    if arguments.story is not None:
        played = play(arguments.story, off, make_store=make_store)
        print("\n".join(played.story))
        print(f"=> {played.broken or 'every promise kept'}")
        return int(bool(played.broken))
    until = time.monotonic() + arguments.minutes * 60 if arguments.minutes else None
    first, _, last = arguments.seeds.partition(":")
    seeds = range(int(first), int(last)) if last and until is None else itertools.count(int(first))
    return _play_all((play(seed, off, make_store=make_store) for seed in seeds), until)


def _play_all(histories: Iterable[Played], until: float | None) -> int:
    count = failures = 0
    began = time.monotonic()
    for played in histories:
        count += 1
        if played.broken:
            failures += 1
            print(f"seed={played.seed} {played.broken}", flush=True)
        if until is not None and time.monotonic() > until:
            break
    print(f"seeds={count} failures={failures} seconds={time.monotonic() - began:.1f}")
    return int(failures > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Plays histories of the sync protocol.")
    parser.add_argument("--seeds", default="0:1000", help="first:last, the last excluded")
    parser.add_argument("--story", type=int, help="print the history of this seed")
    parser.add_argument("--off", default="", help=f"rules to leave out, of {', '.join(NAMES)}")
    parser.add_argument("--database", help="an empty database to keep the rows in; it is left empty")
    parser.add_argument("--minutes", type=float, default=0, help="play seeds until the time is up")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
