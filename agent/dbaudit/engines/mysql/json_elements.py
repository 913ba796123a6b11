"""Where the elements of a JSON audit log begin and end, whatever their layout.

MySQL Enterprise and Percona's JSONL write an element a line, Percona's JSON writes each over many lines. No
line break can stand inside a string, so the beginning of a line is never inside one. A line that opens an
object whose first name is one of an element's own begins an element: objects inside an element, whose names
a client may choose, are opened behind a name on the same line.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_NAMES = rb"(?:timestamp|time|id|class|event|connection_id|audit_record)"
_OPENING = re.compile(rb'\{\s*"' + _NAMES + rb'"\s*:')
_LINE_OPENING = re.compile(rb'^[ \t\[,]*\{\s*"' + _NAMES + rb'"\s*:', re.MULTILINE)
_CUT = rb'\{\s*(?:\Z|"[a-z_]*\Z|"' + _NAMES + rb'"\s*(?::|\Z))'
_OPENING_CUT = re.compile(_CUT)
_LINE_OPENING_CUT = re.compile(rb"^[ \t\[,]*" + _CUT, re.MULTILINE)
_BEFORE = re.compile(rb"[\s,\[]*")
_BEHIND = re.compile(rb"[ \t]*,?[ \t]*\r?\n?")
_BEHIND_LAST = re.compile(rb"[\s,\]]*")
_LINE_BORDER = re.compile(rb"\n(?=[\s,]*(?:\Z|[\[{]|\]\s*\Z))")
_MARKS = b" \t\r\n,[]"
_WINDOW_BYTES = 4 << 10

_scan = json.JSONDecoder().raw_decode


class Element(NamedTuple):
    """A part of the data: an element, or, if not ``whole``, bytes that are malformed or incomplete."""

    begin: int
    end: int
    whole: bool


def begin_in(data: bytes) -> bool:
    """Whether an element begins on a line of its own somewhere in the data."""
    return _LINE_OPENING.search(data) is not None


def first_border(data: bytes) -> int:
    """Where the first element ends, or the rest of one if the data begin inside it; 0 if it is not complete
    yet.
    """
    begin = _BEFORE.match(data).end()  # type: ignore[union-attr]  # it always matches
    following = _LINE_OPENING.search(data, begin + 1)
    if _OPENING_CUT.match(data, begin):
        end = _end_of(data, begin, following.start() if following else len(data))
        if end:
            return _BEHIND.match(data, end).end()  # type: ignore[union-attr]  # it always matches
        return following.start() if following else 0
    if following is not None:
        return following.start()
    border = _LINE_BORDER.search(data, begin)
    return border.end() if border else 0


def last_border(data: bytes) -> int:
    """Where the last complete element ends.

    The comma and the line break between two elements are written in front of the second one: what follows the
    last line break may be a whole element.
    """
    end = data.rfind(b"\n") + 1
    opening = _last_opening(data)
    if opening is None:
        return end
    brace = data.index(b"{", opening)
    behind = _end_of(data, brace, len(data))
    if not behind:
        return opening
    return max(end, _BEHIND_LAST.match(data, behind).end())  # type: ignore[union-attr]  # it always matches


def _last_opening(data: bytes) -> int | None:
    """Where the line begins that opens the last element, perhaps with its first name cut off."""
    window = _WINDOW_BYTES
    while True:
        begin = max(0, len(data) - window)
        openings = [found.start() for found in _LINE_OPENING_CUT.finditer(data, begin)]
        if openings:
            return openings[-1]
        if not begin:
            return None
        window *= 8


def elements_of_lines(data: bytes, start: int) -> tuple[list[Element], int]:
    """The elements from ``start`` up to the end of a line on which an element ends, and where the next line
    begins.
    """
    found: list[Element] = []
    place, size = start, len(data)
    while place < size:
        if data[place] in _MARKS:
            if found and data[place] == 10:
                return found, place + 1
            place += 1
            continue
        following = _LINE_OPENING.search(data, place + 1)
        limit = following.start() if following else size
        end = _end_of(data, place, limit) if data[place] == 123 else 0
        if end:
            found.append(Element(place, end, whole=True))
        else:
            another = _OPENING.search(data, place + 1, limit)
            end = another.start() if another else limit
            if data[place] != 123:
                # No element begins here: only this line is malformed.
                line_end = data.find(b"\n", place, end)
                end = line_end if line_end >= 0 else end
            found.append(Element(place, end, whole=False))
        place = end
    return found, size


def _end_of(data: bytes, begin: int, limit: int) -> int:
    """Return where the JSON value that begins at ``begin`` ends; 0 if it does not end before ``limit``."""
    try:
        # Latin-1 has one letter for each byte, so offsets hold and invalid UTF-8 does not matter here.
        return begin + _scan(data[begin:limit].decode("latin-1"))[1]
    except (ValueError, RecursionError):
        return 0
