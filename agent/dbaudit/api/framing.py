"""The framing of HTTP/1.1 requests (RFC 9112), where cheroot is more lenient than what two servers in a row
can agree on: a request that one of them reads in another way than the other is refused.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from cheroot.server import HeaderReader
from werkzeug.exceptions import BadRequest

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]*;[^\r\n]*)?\r\n")
_ONCE = frozenset({b"content-length", b"host", b"transfer-encoding"})
_LONGEST_LINE = 65_537


class Readable(Protocol):
    """What bytes are read from: a socket's file."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class StrictHeaderReader(HeaderReader):
    """Refuses fields whose meaning is not sure: folded, with a blank before the colon, or given twice where
    one counts. Raises ValueError, which cheroot answers with 400.
    """

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = super().__call__(_CheckedLines(rfile), hdict)
        return found


class _CheckedLines:
    def __init__(self, source: Any) -> None:
        self._source = source
        self._once: set[bytes] = set()

    def readline(self) -> bytes:
        line: bytes = self._source.readline()
        if line not in (b"\r\n", b""):
            name = line.partition(b":")[0]
            if not _NAME.fullmatch(name):
                raise ValueError("A header field has no valid name.")
            name = name.lower()
            if name in _ONCE and name in self._once:
                raise ValueError(f"The header field {name.decode().title()} is given twice.")
            self._once.add(name)
        return line


class CheckedChunks:
    """A chunked body for ``cheroot.server.ChunkedRFile``, which reads the size of each chunk with
    ``readline`` and nothing else: a size is hexadecimal digits alone. Raises BadRequest.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source

    def readline(self) -> bytes:
        line = self._source.readline(_LONGEST_LINE)
        if not _CHUNK.fullmatch(line):
            raise BadRequest("The size of a chunk is malformed.")
        return line

    def read(self, size: int) -> bytes:
        return self._source.read(size)
