"""Cutting one stream of bytes into JSON objects, whatever is between them and wherever it was split.

How Redis Enterprise separates its notifications is not documented: lines, NUL bytes, objects directly after
each other and objects over several lines are all accepted. The result depends only on the whole stream, never
on how it was split into reads:

1. Where one object ends and another begins (``} {"ts"``) is a border. In valid JSON these characters never
   follow each other inside of an object or a string, so what was torn before a border cannot harm what comes
   after it.
2. Between borders, brackets are matched. A line that ends inside of a string, and an object that begins
   where none may, end what was before them; after too many of these, or brackets nested too deeply, nothing
   of the line is looked at any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

HEAD_BYTES = 4096
"""How many bytes are kept of a record that is too long."""

_BLANK = b" \t\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# NUL, CR, RS and their like stand between records as a line end does; inside of a record they mean nothing.
_SEPARATORS = bytes.maketrans(b"\0\r\v\f\x1e", b"\n\n\n\n\n")

_BORDER = re.compile(rb'\}[ \t\n]{0,64}\{[ \t\n]{0,8}"[A-Za-z_]')
_LONGEST_BORDER = 76
_IN_OBJECT = re.compile(rb'"[^"\\\n]*"|["{}\[\]]')
_IN_TEXT = re.compile(rb'["\\\n]')
_MAY_HOLD_AN_OBJECT = b":[,"
_DEEPEST = 100
_MOST_TORN = 16
"""In a line."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What may be one record: its offset in the stream, its bytes, and its length.

    ``length`` is more than there are bytes where the record was too long to be kept whole.
    """

    offset: int
    data: bytes
    length: int

    @property
    def whole(self) -> bool:
        return self.length == len(self.data)


class Framer:
    """Cuts what one connection sends; holds only the record that is not complete yet."""

    def __init__(self, max_record_bytes: int) -> None:
        self._max_record_bytes = max_record_bytes
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte in the stream
        self._scan = _Scan()
        self._head: Piece | None = None  # of a record that is too long

    @property
    def held_bytes(self) -> int:
        """How much of an incomplete record is held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Piece]:
        """The records that ``data`` completes."""
        buffer, scan = self._buffer, self._scan
        pieces: list[Piece] = []
        search_from = max(0, len(buffer) - _LONGEST_BORDER)
        buffer += data.translate(_SEPARATORS)
        for border in _BORDER.finditer(buffer, search_from):
            self._segment(border.start() + 1, pieces)
        for start, end in scan.units(buffer, len(buffer)):
            self._add(start, end, pieces)
        if scan.depth == 0 and self._head is None:
            scan.skip_blanks(buffer)
        self._forget(max(0, scan.start))
        if self._head is not None or len(buffer) > self._max_record_bytes:
            self.discard()
        return pieces

    def discard(self) -> None:
        """Drop the record that is not complete yet; the rest of it is not kept when it arrives."""
        if self._head is None:
            head = bytes(self._buffer[:HEAD_BYTES])
            self._head = Piece(self._offset + self._scan.start, head, 0)
        # A border may have begun.
        self._forget(max(0, len(self._buffer) - _LONGEST_BORDER))

    def end(self) -> list[Piece]:
        """The stream has ended: what it left incomplete."""
        pieces: list[Piece] = []
        self._add(self._scan.start, len(self._buffer), pieces)
        self._forget(len(self._buffer))
        self._scan = _Scan()
        return pieces

    def _segment(self, end: int, pieces: list[Piece]) -> None:
        """Everything up to the border at ``end``."""
        scan = self._scan
        if scan.fresh and end - scan.start <= self._max_record_bytes:
            # One record, most likely; if it is not, decoding splits it.
            self._add(scan.start, end, pieces)
        else:
            for start, unit_end in scan.units(self._buffer, end):
                self._add(start, unit_end, pieces)
            if scan.start < end:
                self._add(scan.start, end, pieces)
        scan.begin(end)

    def _add(self, start: int, end: int, pieces: list[Piece]) -> None:
        head, self._head = self._head, None
        if head is None:
            _append(pieces, self._offset + start, bytes(self._buffer[start:end]), self._max_record_bytes)
        else:
            length = self._offset + end - head.offset
            pieces.append(Piece(head.offset, head.data[: length - 1], length))

    def _forget(self, length: int) -> None:
        if length:
            self._scan.move(self._buffer, length)
            del self._buffer[:length]
            self._offset += length


def split(piece: Piece) -> list[Piece]:
    """The records in a whole piece that is more than one, or is one with something around it."""
    scan = _Scan()
    pieces: list[Piece] = []
    for start, end in [*scan.units(piece.data, piece.length), (scan.start, piece.length)]:
        _append(pieces, piece.offset + start, piece.data[start:end], piece.length)
    return pieces


def _append(pieces: list[Piece], offset: int, data: bytes, max_record_bytes: int) -> None:
    """Append ``data`` without what may stand around a record, unless nothing is left of it."""
    if not (data.startswith(b"{") and data.endswith(b"}")):
        before = len(data)
        while (rest := data.lstrip(_BLANK).removeprefix(_BYTE_ORDER_MARK)) != data:
            data = rest
        offset += before - len(data)
        data = data.rstrip(_BLANK)
        if not data:
            return
    length = len(data)
    pieces.append(Piece(offset, data if length <= max_record_bytes else data[:HEAD_BYTES], length))


class _Scan:
    """Matches brackets from where it stopped; ``start`` is where the present record begins."""

    def __init__(self) -> None:
        self.start = 0
        self.depth = 0
        self._position = 0
        self._in_text = False
        self._lost = False
        self._torn = 0
        self._before = 0  # the last byte that means something before the buffer

    @property
    def fresh(self) -> bool:
        """Whether nothing after ``start`` was looked at."""
        return self._position <= self.start and self.depth == 0

    def begin(self, at: int) -> None:
        """Start the next unit ``at`` a border."""
        self.start = self._position = at
        self.depth = self._torn = 0
        self._in_text = self._lost = False

    def skip_blanks(self, buffer: bytearray) -> None:
        """Begin after the blanks that end the buffer, where nothing else has come since ``start``."""
        if not buffer[self.start :].strip(_BLANK):
            self.start = len(buffer)

    def move(self, buffer: bytearray, length: int) -> None:
        """The first ``length`` bytes of the buffer are about to be removed."""
        meaning = buffer[:length].rstrip(_BLANK)
        if meaning:
            self._before = meaning[-1]
        self.start -= length
        self._position -= length

    def units(self, buffer: bytes | bytearray, limit: int) -> Iterator[tuple[int, int]]:
        """Start and end of each complete unit before ``limit``: objects, and malformed bytes between them."""
        while self._position < limit:
            if self.depth == 0:
                at = buffer.find(b"{", self._position, limit)
                if at < 0:
                    self._position = limit
                    return
                if at > self.start:
                    yield self.start, at
                self.start, self.depth = at, 1
                self._position = at + 1
            elif self._lost:
                at = buffer.find(b"\n", self._position, limit)
                if at < 0:
                    self._position = limit
                    return
                yield self.start, at
                self.begin(at + 1)
            elif self._in_text:
                found = _IN_TEXT.search(buffer, self._position, limit)
                if found is None:
                    self._position = limit
                    return
                at = found.start()
                self._position = at + 1
                character = buffer[at]
                if character == 0x22:
                    self._in_text = False
                elif character == 0x5C:
                    self._position = at + 2
                else:
                    yield self.start, at
                    self.begin(at + 1)
            else:
                found = _IN_OBJECT.search(buffer, self._position, limit)
                if found is None:
                    self._position = limit
                    return
                at, self._position = found.span()
                character = buffer[at]
                if character == 0x22:
                    self._in_text = self._position == at + 1
                elif character == 0x7B and not self._may_open(buffer, at):
                    yield self.start, at
                    self.start, self.depth = at, 1
                    self._torn += 1
                    self._lost = self._torn > _MOST_TORN
                elif character in b"{[":
                    self.depth += 1
                    self._lost = self.depth > _DEEPEST
                else:
                    self.depth -= 1
                    if self.depth == 0:
                        yield self.start, at + 1
                        self.start = at + 1

    def _may_open(self, buffer: bytes | bytearray, at: int) -> bool:
        before = at - 1
        while before >= 0 and buffer[before] in _BLANK:
            before -= 1
        return (buffer[before] if before >= 0 else self._before) in _MAY_HOLD_AN_OBJECT
