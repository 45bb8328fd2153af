"""An HTTP server on this machine that answers as it is told, well or badly: ground for the receiver, for fake vendors and for faults.

What is answered is a function from a request to a `Reply`. A reply may also misbehave on the wire: close before answering, stop in
mid-answer, never end, take its time.
"""

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, cast

MAX_REQUEST_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came, the body unpacked; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Wire(StrEnum):
    """What happens to a reply on its way back."""

    WHOLE = "whole"
    RESET = "reset"
    """Nothing is answered, the connection is reset."""
    CUT = "cut"
    """Half of the body is sent, then the connection is closed."""
    HALF_HEAD = "half_head"
    """The status line says 200, then the connection is closed within the headers."""
    ENDLESS = "endless"
    """The body never ends."""
    TRICKLE = "trickle"
    """The head comes one byte at a time."""
    NOISE = "noise"
    """Bytes come back that are no HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b'{"success":true}'
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    wire: Wire = Wire.WHOLE
    after_s: float = 0.0


Respond = Callable[[Received], Reply]


class LocalServer:
    """A server on 127.0.0.1 for as long as the `with` block lasts; port 0 takes a free one."""

    def __init__(self, respond: Respond, *, port: int = 0, notices_end_within_s: float = 0.01) -> None:
        self.respond = respond
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(notices_end_within_s,), daemon=True, name="engage-local-server"
        )
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open: of a caller that has gone, every request was answered or given up."""
        return self._server.is_idle

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, and break off what is still open."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.break_off()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: LocalServer

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._open.discard(cast(socket.socket, request))
        super().shutdown_request(request)

    @property
    def is_idle(self) -> bool:
        with self._lock:
            return not self._open

    def break_off(self) -> None:
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] (no other server makes this handler)

    def _serve(self) -> None:
        body = self._body()
        if body is None:
            self._send(Reply(413, b'{"success":false,"message":"the body cannot be taken"}', {"Connection": "close"}))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.owner.respond(Received(self.command, self.path, headers, body)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815 (the names are the base class's)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > MAX_REQUEST_BYTES or self.headers.get("Transfer-Encoding"):
            return None
        body = self.rfile.read(int(length))
        if self.headers.get("Content-Encoding", "").lower() != "gzip":
            return body
        unpacker = zlib.decompressobj(wbits=31)
        try:
            unpacked = unpacker.decompress(body, MAX_REQUEST_BYTES)
        except zlib.error:
            return None
        return unpacked if unpacker.eof else None

    def _send(self, reply: Reply) -> None:
        if reply.after_s and self.server.owner.closing.wait(reply.after_s):
            self.close_connection = True
            return
        match reply.wire:
            case Wire.WHOLE:
                self.wfile.write(_head(reply, len(reply.body)) + (b"" if self.command == "HEAD" else reply.body))
                self.wfile.flush()
                self.close_connection = self.close_connection or reply.headers.get("Connection") == "close"
            case Wire.RESET:
                self._reset()
            case Wire.CUT:
                self.wfile.write(_head(reply, len(reply.body) + 100) + reply.body[: len(reply.body) // 2])
                self._hang_up()
            case Wire.HALF_HEAD:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                self._hang_up()
            case Wire.NOISE:
                self.wfile.write(b"\x00\xff\x16 this is no HTTP \x80\r\n\r\n")
                self._hang_up()
            case Wire.ENDLESS:
                self._until_closed(_head(reply, None), b"x" * 65_536, pause_s=0.0)
            case Wire.TRICKLE:
                self._until_closed(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", pause_s=0.05)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _until_closed(self, head: bytes, part: bytes, *, pause_s: float) -> None:
        self.wfile.write(head)
        while not self.server.owner.closing.is_set():
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(pause_s)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, RUF100 (the name is the base class's)
        """Says nothing: the state is where one looks."""


def _head(reply: Reply, length: int | None) -> bytes:
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unnamed"
    lines = [f"HTTP/1.1 {reply.status} {phrase}"]
    headers = {"Content-Type": "application/json", **reply.headers}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
