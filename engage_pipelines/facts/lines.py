"""Lines of calls from files, folders and standard input, in blocks of bounded size.

A file may be plain or gzip, told by its first bytes. A line longer than the limit is left out and named; its place stays as an empty
line, so that numbers count the lines of the file. Memory is bounded by one block and one line, whatever the size of the file.
"""

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from engage_pipelines.domain.errors import InputError

# larger ones fall out of the processor's cache and cost twice as much
BLOCK_BYTES = 1024 * 1024
MAX_LINE_BYTES = 10 * 1024 * 1024
SUFFIXES = (".jsonl", ".json", ".ndjson", ".gz")
STDIN = "-"
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class InputFile:
    """One thing to read; `path` is None for standard input, `size` None where it is not known."""

    name: str
    path: Path | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, `lines` of them, empty ones too; `first_line` counts from 1, `too_long` are the numbers of lines that were left out."""

    data: bytes
    first_line: int
    lines: int
    too_long: tuple[int, ...] = ()


def find_files(paths: Sequence[str]) -> list[InputFile]:
    """The files that the words of a command mean, folders looked through in the order of names. Raises InputError."""
    found: list[InputFile] = []
    for text in paths:
        if text == STDIN:
            found.append(InputFile("standard input", None, None))
            continue
        path = Path(text)
        if path.is_dir():
            found.extend(_files_below(path))
        elif path.exists():
            found.append(_input_file(path))
        else:
            raise InputError(f"There is no file or folder {text!r}.", "Check the path.")
    return found


def _files_below(folder: Path) -> list[InputFile]:
    try:
        inside = sorted(
            Path(parent, name) for parent, _, names in os.walk(folder, onerror=_refuse) for name in names if name.lower().endswith(SUFFIXES)
        )
    except OSError as error:
        raise InputError(f"Folder {str(folder)!r} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not inside:
        raise InputError(f"Folder {str(folder)!r} holds no file that ends in {', '.join(SUFFIXES)}.", "Name the files, or another folder.")
    return [_input_file(path) for path in inside]


def _refuse(error: OSError) -> None:
    raise error


def _input_file(path: Path) -> InputFile:
    try:
        return InputFile(str(path), path, path.stat().st_size)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}.", "Check that it is there and readable.") from error


def read_blocks(
    file: InputFile, *, max_line_bytes: int = MAX_LINE_BYTES, on_position: Callable[[int], None] | None = None
) -> Iterator[Block]:
    """The file's lines in order. `on_position` hears how many bytes of the file as it lies there were read.

    Raises InputError: whoever gave the file must mend it.
    """
    try:
        with _opened(file) as (raw, stream):
            for block in _cut_into_lines(stream, max_line_bytes):
                if on_position is not None and file.path is not None:
                    on_position(raw.tell())
                yield block
    except EOFError as error:
        raise InputError(f"{file.name!r} ends in the middle of its gzip data.", "Fetch it again: it was cut off on its way.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{file.name!r} is not sound gzip data: {error}.", "Fetch it again, or take `.gz` off its name if it is plain text."
        ) from error
    except OSError as error:
        raise InputError(f"{file.name!r} cannot be read: {error.strerror}.", "Check that it is a file and readable.") from error


@contextmanager
def _opened(file: InputFile) -> Generator[tuple[IO[bytes], IO[bytes]]]:
    """The raw stream, for its position, and the stream of text."""
    if file.path is None:
        raw: IO[bytes] = (
            sys.stdin.buffer if isinstance(sys.stdin.buffer, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer))
        )
        yield raw, _unpacked(file, raw)
        return
    with file.path.open("rb", buffering=1024 * 1024) as raw:
        yield raw, _unpacked(file, raw)


def _unpacked(file: InputFile, raw: IO[bytes]) -> IO[bytes]:
    start = raw.peek(len(_GZIP_MAGIC))  # type: ignore[attr-defined]
    if start.startswith(_GZIP_MAGIC):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if file.path is not None and file.path.suffix.lower() == ".gz":
        raise InputError(f"{file.name!r} is not gzip data.", "Take `.gz` off its name if it is plain text, or fetch it again.")
    return raw


def _cut_into_lines(stream: IO[bytes], limit: int) -> Iterator[Block]:
    line, rest, skipping = 1, b"", False
    first = True
    while chunk := stream.read(BLOCK_BYTES):
        if first:
            chunk, first = chunk.removeprefix(_BOM), False
        if skipping:
            start = chunk.find(b"\n")
            if start < 0:
                continue
            # the newline stays, as the empty line in place of the one left out
            chunk, skipping = chunk[start:], False
        end = chunk.rfind(b"\n") + 1
        if end:
            block = _without_long_lines(rest + chunk[:end], line, limit)
            yield block
            line += block.lines
            rest = chunk[end:]
        else:
            rest += chunk
        if len(rest) > limit:
            yield Block(b"", line, 0, (line,))
            rest, skipping = b"", True
    if rest:
        yield Block(rest, line, 1)


def _without_long_lines(data: bytes, first_line: int, limit: int) -> Block:
    count = data.count(b"\n")
    if len(data) <= limit:
        return Block(data, first_line, count)
    lines = data.split(b"\n")
    long = [index for index, line in enumerate(lines) if len(line) > limit]
    for index in long:
        lines[index] = b""
    return Block(b"\n".join(lines), first_line, count, tuple(first_line + index for index in long))
