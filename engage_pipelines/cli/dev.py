"""`engage dev`: the console beside Dagster's UI, daemon and code server on the state of ENGAGE_HOME, until someone ends it."""

import errno
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import click

from engage_pipelines.demo.processes import ended_together, signals_as_exits
from engage_pipelines.domain.errors import StateError
from engage_pipelines.settings import CONSOLE_PORT, child_environment, read_settings

START_WITHIN_S = 180.0


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Where the UI listens.")
@click.option(
    "--console-port", type=click.IntRange(0, 65535), help=f"Where the console listens; {CONSOLE_PORT}, or a free port when that is taken."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address it listens on; the UI has no login.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="DAGSTER_HOME",
    default=Path(),
    help="The folder of dagster.yaml and workspace.yaml.",
)
@click.option("--verbose", is_flag=True, help="Show what Dagster logs, not its warnings alone.")
def dev(port: int, console_port: int | None, host: str, root: Path, *, verbose: bool) -> None:
    """The console, and the Dagster UI with the daemon that computes and syncs. Ctrl-C ends all of it."""
    check_free(host, port)
    url = f"http://{host}:{port}"
    with signals_as_exits(), ended_together() as started:
        started.append(serving := start_console(console_port, url))
        line = said_by(serving)
        options = ["-h", host, "-p", str(port), "--log-level", "info" if verbose else "warning"]
        started.append(process := start(root.resolve(), url, options, console_url=line.split()[1].rstrip("/")))
        try:
            click.echo(line)
            click.echo("Starting Dagster ...", err=True)
            _wait_for(url, process)
            click.echo(f"Dagster UI: {url}  (Ctrl-C ends it)")
            process.wait()
            raise StateError("Dagster ended by itself.", "Look at what it printed, or run `engage dev --verbose`.")
        except KeyboardInterrupt:
            click.echo("Stopping ...", err=True)


def start_console(port: int | None, dagster_url: str) -> subprocess.Popen[bytes]:
    """`engage serve` in a session of its own. Without a port it takes the usual one, or a free one when somebody has that."""
    where = ["--port", str(CONSOLE_PORT), "--else-free"] if port is None else ["--port", str(port)]
    words = [sys.executable, "-c", "from engage_pipelines.cli import main; main()", "serve", *where]
    environment = child_environment(ENGAGE_HOME=str(read_settings().home), ENGAGE_DAGSTER_URL=dagster_url)
    return subprocess.Popen(  # noqa: S603 - our own words
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )


def said_by(serving: subprocess.Popen[bytes]) -> str:
    """The line with its URL that the console says once it listens. Raises StateError when it does not start."""
    assert serving.stdout is not None
    line = serving.stdout.readline().decode().strip()
    if not line:
        raise StateError("The console did not start.", "Read what it said above, or choose another --console-port.")
    return line


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


def start(root: Path, url: str, options: list[str], *, console_url: str) -> subprocess.Popen[bytes]:
    """`dagster dev` in a session of its own, so that its whole tree can be ended. Raises StateError when `root` is not the project."""
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (root / name).is_file():
            raise StateError(f"{root} holds no {name}.", "Run it from the project's folder, or set DAGSTER_HOME to it.")
    settings = read_settings()
    environment = child_environment(
        ENGAGE_HOME=str(settings.home), ENGAGE_DAGSTER_URL=url, ENGAGE_CONSOLE_URL=console_url, DAGSTER_HOME=str(root)
    )
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
