"""The end of processes that were started: all at once, whole, and undisturbed."""

import subprocess
import sys
from pathlib import Path

from engage_pipelines.demo.processes import stop_groups

STARTS = "import os, signal, sys, time; seen = sys.argv[1]; "
READY = "; print('ready', flush=True)\n"
WAITS = "while not os.path.exists(seen): time.sleep(0.01)"
TELLS = "lambda *_: (open(seen, 'w').close(), sys.exit(0))"
ASKS_TWICE = "lambda *_: (os.kill(os.getppid(), signal.SIGINT), os.kill(os.getppid(), signal.SIGTERM), sys.exit(0))"


def started(when_asked: str, seen: Path) -> subprocess.Popen[bytes]:
    words = f"{STARTS}signal.signal(signal.SIGTERM, {when_asked}){READY}{WAITS}"
    process = subprocess.Popen([sys.executable, "-c", words, str(seen)], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


def test_one_that_is_deaf_does_not_keep_the_next_from_being_asked(tmp_path: Path):
    deaf, listening = started("signal.SIG_IGN", tmp_path / "seen"), started(TELLS, tmp_path / "seen")
    stop_groups(deaf, listening, within_s=120)
    assert (deaf.returncode, listening.returncode) == (0, 0)  # the deaf one went when the other had been asked, and was not killed


def test_one_that_stays_deaf_is_killed(tmp_path: Path):
    deaf = started("signal.SIG_IGN", tmp_path / "never")
    stop_groups(deaf, within_s=0.1)
    assert deaf.returncode < 0


def test_asking_again_while_they_are_ended_leaves_none_behind(tmp_path: Path):
    process = started(ASKS_TWICE, tmp_path / "never")
    stop_groups(process, within_s=120)
    assert process.returncode == 0
