"""`engage serve`: the console and the API, until someone ends it."""

import errno
import gc
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

import click

from engage_pipelines.domain.errors import ConfigurationError, StateError
from engage_pipelines.settings import CONSOLE_PORT, LOGIN_REQUIRED, Settings, read_settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

_BACKLOG = 512
_GRACE_S = 5
_KEEP_ALIVE_S = 15
_MOST_AT_ONCE = 500


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; another than this machine's needs a login.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=CONSOLE_PORT, show_default=True, help="Where to listen; 0 takes a free port."
)
@click.option("--else-free", is_flag=True, help="Take a free port when that one is taken.")
def serve(host: str, port: int, *, else_free: bool) -> None:
    """The console and the API. It works while Dagster is down: what is asked for is done when it is up."""
    from engage_pipelines.server.app import create_app  # noqa: PLC0415 - brings the server and every destination type

    settings = read_settings()
    app = create_app(settings)
    _check_host(host, settings, app)
    with _listen(host, port, else_free=else_free) as listening:
        _run(app, listening, url_of(host, listening.getsockname()[1]))


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def ready_line(url: str) -> str:
    """What is printed, once, when requests are answered."""
    return f"Console: {url}/  API: {url}/api"


def _check_host(host: str, settings: Settings, app: "Starlette") -> None:
    """Raises ConfigurationError for an address that others reach, unless they have to log in and somebody can."""
    from engage_pipelines.registry.tokens import any_valid_token  # noqa: PLC0415
    from engage_pipelines.server.access import is_loopback  # noqa: PLC0415

    if is_loopback(host):
        return
    if settings.console_login != LOGIN_REQUIRED:
        raise ConfigurationError(
            f"{host} is an address that others reach, and the console asks nobody to log in.",
            f"Set ENGAGE_CONSOLE_LOGIN={LOGIN_REQUIRED}, or listen on 127.0.0.1.",
        )
    database = app.state.registry.database
    with database.read() as c:
        if not any_valid_token(c, database.now_us(c)):
            raise ConfigurationError("There is no token to log in with.", "Make one with: engage token create --role admin")


def _listen(host: str, port: int, *, else_free: bool = False) -> socket.socket:
    """Raises StateError when nobody can listen there. Whether a port is free is known only by taking it: others may start just now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            if else_free:
                return _listen(host, 0)
            raise StateError(
                f"Port {port} of {host} is taken.", "End what listens there, or choose another: engage serve --port"
            ) from error
        raise StateError(
            f"Nothing can listen on port {port} of {host}: {error.strerror or error}.", "Choose another --port or --host."
        ) from error
    return listening


def _run(app: "Starlette", listening: socket.socket, url: str) -> None:
    import uvicorn  # noqa: PLC0415 - brings asyncio

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                click.echo(ready_line(url))

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
        limit_concurrency=_MOST_AT_ONCE,
    )
    server = Server(config)

    def leave(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn ends in good order on either signal and then raises it again for whoever was there before; being asked to end is no failure,
    # and counts too before uvicorn listens for it
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, leave)
    # what is loaded by now stays: going through it now and then would hold up for some 60 ms whatever is being answered
    gc.collect()
    gc.freeze()
    try:
        server.run([listening])
    finally:
        gc.unfreeze()
