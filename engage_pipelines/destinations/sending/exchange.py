"""One request and its answer over a connected socket, as HTTP/1.1 says.

The request goes out in as few system calls and copies as there can be; of an answer no more is read than the cap. What an answer holds
that HTTP does not allow is either harmless (a header line without a colon) or makes it unreadable; what breaks off is not whole.
Source: RFC 9112.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_ANSWER_BYTES = 1_000_000
MAX_HEAD_BYTES = 262_144

_CHUNK = 65_536
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_STATUS = re.compile(rb"HTTP/(\d\.\d) +(\d{3})(?:[ \t][^\n]*)?\r?\n")


class UnreadableAnswerError(OSError):
    """Bytes came back that are no HTTP."""


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer as it came: header names in lower case; `whole` False when the body broke off or would not end.

    `keeps` says that the connection may carry another request.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool
    keeps: bool


def exchange(sock: socket.socket, head: bytes, body: bytes, *, method: str = "POST") -> Raw:
    """Send a request and read its answer. Raises OSError when there is none, UnreadableAnswerError when it is no HTTP."""
    is_sent = _send(sock, head, body)
    answer = _Reader(sock).answer(method)
    return answer if is_sent else Raw(answer.status, answer.headers, answer.body, answer.whole, keeps=False)


def _send(sock: socket.socket, head: bytes, body: bytes) -> bool:
    """False when the other side stopped listening: it may have answered already, and the answer says why."""
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.sendall(head + body if len(body) < _CHUNK else head)
            if len(body) >= _CHUNK:
                sock.sendall(body)
            return True
        sent = sock.sendmsg((head, body) if body else (head,))
        if sent < len(head):
            sock.sendall(head[sent:])
            sent = len(head)
        if sent < len(head) + len(body):
            sock.sendall(memoryview(body)[sent - len(head) :])
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


class _Reader:
    """Reads one answer; `_held` is what was received and not looked at yet."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held = bytearray()

    def answer(self, method: str) -> Raw:
        """The first answer that is one: those that only say that the request is being worked on are passed over."""
        while True:
            version, status, headers, is_cut = self._head()
            if is_cut:
                return Raw(status, headers, b"", whole=False, keeps=False)
            if status >= 200 or status == 101:
                break
        stays = version == b"1.1" and "close" not in headers.get("connection", "").lower() and status != 101
        if method == "HEAD" or status in {101, 204, 304}:
            return Raw(status, headers, b"", whole=True, keeps=stays and not self._held)
        body, is_whole, says_its_end = self._body(headers, ends_with_connection=not stays)
        is_whole = is_whole and len(body) <= MAX_ANSWER_BYTES
        return Raw(status, headers, body[:MAX_ANSWER_BYTES], is_whole, keeps=is_whole and says_its_end and stays and not self._held)

    def _head(self) -> tuple[bytes, int, Mapping[str, str], bool]:
        """Version, status and headers, and whether the connection ended within them."""
        looked_at, is_cut = 0, False
        while (end := _HEAD_END.search(self._held, looked_at)) is None:
            looked_at = max(len(self._held) - 3, 0)
            if len(self._held) > MAX_HEAD_BYTES:
                raise UnreadableAnswerError("the headers of the answer do not end")
            if not self._held.startswith(b"HTTP/"[: len(self._held)]):
                raise UnreadableAnswerError("the answer is no HTTP")
            if not self._more():
                is_cut = True
                break
        start = _STATUS.match(self._held)
        if start is None:
            if is_cut:
                raise ConnectionResetError("the connection ended before the answer")
            raise UnreadableAnswerError("the answer has no status")
        # read out before anything is taken away: what was found refers to the bytes in their place
        version, status = bytes(start[1]), int(start[2])
        lines = self._held[start.end() : len(self._held) if end is None else end.start()]
        del self._held[: len(self._held) if end is None else end.end()]
        return version, status, _headers(lines.decode("latin-1")), is_cut

    def _body(self, headers: Mapping[str, str], *, ends_with_connection: bool) -> tuple[bytes, bool, bool]:
        """The body, at most a little above the cap, whether it is whole, and whether it says itself where it ends."""
        body = bytearray()
        length = headers.get("content-length")
        says_its_end = True
        try:
            if "chunked" in headers.get("transfer-encoding", "").lower():
                is_whole = self._chunks_into(body)
            elif length is not None:
                is_whole = self._counted_into(body, length)
            else:
                is_whole, says_its_end = self._rest_into(body) and ends_with_connection, False
        except OSError:
            is_whole = False
        return bytes(body), is_whole, says_its_end

    def _counted_into(self, body: bytearray, length: str) -> bool:
        sizes = {size.strip() for size in length.split(",")}
        size = sizes.pop()
        if sizes or not (size.isascii() and size.isdigit()):
            self._rest_into(body)
            return False
        return self._take_into(body, int(size[:18]))

    def _chunks_into(self, body: bytearray) -> bool:
        while len(body) <= MAX_ANSWER_BYTES:
            size = _CHUNK_SIZE.fullmatch(self._line())
            if size is None:
                raise UnreadableAnswerError("a part of the answer does not say how long it is")
            if not int(size[1], 16):
                while self._line():
                    pass
                return True
            if not self._take_into(body, int(size[1], 16)) or self._line():
                return False
        return False

    def _take_into(self, body: bytearray, count: int) -> bool:
        """Move so many bytes, but never much more than the cap; False when they are not all there."""
        missing = count
        while missing and len(body) <= MAX_ANSWER_BYTES:
            if not self._held and not self._more():
                return False
            taken = self._held[:missing]
            del self._held[: len(taken)]
            body += taken
            missing -= len(taken)
        return not missing

    def _rest_into(self, body: bytearray) -> bool:
        """Move what comes until the connection ends; False when that is more than the cap."""
        while len(body) <= MAX_ANSWER_BYTES:
            body += self._held
            self._held.clear()
            if not self._more():
                return True
        return False

    def _line(self) -> bytes:
        """A line without its end. Raises UnreadableAnswerError for one that does not end."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > _CHUNK:
                raise UnreadableAnswerError("a line of the answer does not end")
            if not self._more():
                raise UnreadableAnswerError("the connection ended within the answer")
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line.removesuffix(b"\r")

    def _more(self) -> bool:
        """Whether more came; False at the end of the connection."""
        part = self._sock.recv(_CHUNK)
        self._held += part
        return bool(part)


def _headers(lines: str) -> Mapping[str, str]:
    """By name in lower case; several of one name are joined with a comma, a line that goes on with the line before it."""
    found: dict[str, str] = {}
    name = ""
    for line in lines.split("\n"):
        text = line.strip()
        if line[:1] in {" ", "\t"} and name:
            found[name] = f"{found[name]} {text}".strip()
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower() if colon else ""
        if name:
            found[name] = f"{found[name]}, {value.strip()}" if name in found else value.strip()
    return found
