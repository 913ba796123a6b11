"""The body of a request as it arrives: so many bytes, or chunks (RFC 9112, 7.1), read strictly."""

from __future__ import annotations

import re

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_MAX_LINE_BYTES = 4096
_MAX_TRAILERS = 100


class ArrivingBody:
    """What has arrived of a body of ``length`` bytes, or of one in chunks where that is None.

    ``whole`` is set at its end, ``malformed`` where it cannot be understood: nothing more is taken then.
    """

    def __init__(self, length: int | None) -> None:
        self.content = bytearray()
        self.whole = length == 0
        self.malformed = False
        self._in_chunks = length is None
        self._missing = length or 0
        self._ends_chunk = False
        self._trailers: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is taken."""
        return self.whole or self.malformed

    def has(self, most: int) -> bool:
        """Whether no more of it is needed than has arrived, where ``most`` bytes are wanted."""
        return self.is_over or len(self.content) >= most

    def take(self, received: bytearray) -> None:
        """Take what belongs to it from the beginning of ``received``."""
        at = 0
        while not self.is_over:
            if self._missing:
                part = received[at : at + self._missing]
                if not part:
                    break
                self.content += part
                self._missing -= len(part)
                at += len(part)
                self._ends_chunk = self._in_chunks
                self.whole = not self._in_chunks and not self._missing
            else:
                end = received.find(b"\r\n", at, at + _MAX_LINE_BYTES)
                if end < 0:
                    self.malformed = len(received) - at >= _MAX_LINE_BYTES or b"\n" in received[at:]
                    break
                self._take_line(bytes(received[at:end]))
                at = end + 2
        del received[:at]

    def _take_line(self, line: bytes) -> None:
        if self._ends_chunk:
            self._ends_chunk = False
            self.malformed = line != b""
        elif self._trailers is not None:
            self._trailers += 1
            self.whole = line == b""
            self.malformed = not self.whole and (
                self._trailers > _MAX_TRAILERS or not _TRAILER.fullmatch(line)
            )
        else:
            found = _CHUNK.fullmatch(line)
            if found is None:
                self.malformed = True
                return
            self._missing = int(found[1], 16)
            if not self._missing:
                self._trailers = 0
