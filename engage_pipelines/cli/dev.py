"""`engage dev`: Dagster's UI, daemon and code server on the state of ENGAGE_HOME, until someone ends it."""

import errno
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import click

from engage_pipelines.demo.processes import signals_as_exits, stop_group
from engage_pipelines.domain.errors import StateError
from engage_pipelines.settings import child_environment, read_settings

START_WITHIN_S = 180.0


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Where the UI listens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address it listens on; the UI has no login.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="DAGSTER_HOME",
    default=Path(),
    help="The folder of dagster.yaml and workspace.yaml.",
)
@click.option("--verbose", is_flag=True, help="Show what Dagster logs, not its warnings alone.")
def dev(port: int, host: str, root: Path, *, verbose: bool) -> None:
    """The Dagster UI, with the daemon that computes and syncs. Ctrl-C ends both."""
    check_free(host, port)
    url = f"http://{host}:{port}"
    # a shell starts its background jobs deaf to Ctrl-C, children inherit that, and Dagster takes SIGTERM for a Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with signals_as_exits():
        process = start(root.resolve(), url, ["-h", host, "-p", str(port), "--log-level", "info" if verbose else "warning"])
        try:
            click.echo("Starting Dagster ...", err=True)
            _wait_for(url, process)
            click.echo(f"Dagster UI: {url}  (Ctrl-C ends it)")
            process.wait()
            raise StateError("Dagster ended by itself.", "Look at what it printed, or run `engage dev --verbose`.")
        except KeyboardInterrupt:
            click.echo("Stopping ...", err=True)
        finally:
            stop_group(process)


def check_free(host: str, port: int) -> None:
    """Raises StateError when nobody could listen there: Dagster itself logs that and goes on without a UI."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StateError(
                    f"Port {port} of {host} is taken.", "End what listens there, or choose another: engage dev --port"
                ) from error
            raise StateError(
                f"Nothing can listen on port {port} of {host}: {error.strerror}.", "Choose another --port or --host."
            ) from error


def start(root: Path, url: str, options: list[str]) -> subprocess.Popen[bytes]:
    """`dagster dev` in a session of its own, so that its whole tree can be ended. Raises StateError when `root` is not the project."""
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (root / name).is_file():
            raise StateError(f"{root} holds no {name}.", "Run it from the project's folder, or set DAGSTER_HOME to it.")
    environment = child_environment(ENGAGE_HOME=str(read_settings().home), ENGAGE_DAGSTER_URL=url, DAGSTER_HOME=str(root))
    words = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "--workspace", "workspace.yaml", *options]
    return subprocess.Popen(words, cwd=root, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own words


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StateError("Dagster did not start.", "Look at what it printed, or run `engage dev --verbose`.")
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=2):  # noqa: S310 - our own child
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise StateError(f"The Dagster UI did not answer at {url} within {START_WITHIN_S:.0f} s.", "Run `engage dev --verbose` to see why.")
