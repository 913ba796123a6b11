"""`log_line_prefix`: what stands before each message of the text log, and what of it a client can write.

The escapes are those of the server's source (elog.c, log_status_format). A user, a database and an
application are named by the client, who may put anything into these names, even the text of a whole
record. So a line is read both ways, with these names as short and as long as they can be: where that differs,
the line does not say which of both the server meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec

from dbaudit.engines.postgresql.labels import PARTS, SEVERITIES, UNKNOWN

_ZONE = rb"[A-Za-z0-9+\-<>_/]{1,40}"
_SECOND = rb"\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d"
_HOST = rb"(?:\[local\]|[0-9A-Za-z._:%-]{1,255})"

_LONGEST_NAME = 63
"""NAMEDATALEN - 1: the server cuts names to so many bytes."""
_LONGEST_APPLICATION = 4 * _LONGEST_NAME
"""From 16 on the server writes what is not ASCII as `\\xNN`."""
_LONGEST_TITLE = 100
_LARGEST_REST = 256
"""More than all that stands in a prefix beside the names."""

_ESCAPES: dict[str, bytes] = {
    "m": _SECOND + rb"\.\d{3} " + _ZONE,
    "t": _SECOND + b" " + _ZONE,
    "s": _SECOND + b" " + _ZONE,
    "n": rb"\d{1,12}\.\d{3}",
    "p": rb"\d{1,10}",
    "P": rb"\d{0,10}",
    "c": rb"[0-9a-f]{1,16}\.[0-9a-f]{1,8}",
    "l": rb"\d{1,19}",
    "v": rb"(?:-?\d{1,10}/\d{1,10})?",
    "x": rb"\d{1,10}",
    "e": rb"[0-9A-Z]{5}",
    "Q": rb"(?:-?\d{1,19})?",
    "b": rb"(?:[A-Za-z][\w ./-]{0,94})?",
    "r": b"(?:" + _HOST + rb"(?:\(\d{1,5}\))?)?",
    "h": _HOST + b"?",
    "L": _HOST + b"?",
}
_OPEN: dict[str, bytes] = {
    "u": b"[^\\n]{0,%d}" % _LONGEST_NAME,
    "d": b"[^\\n]{0,%d}" % _LONGEST_NAME,
    "a": b"[ -~]{0,%d}" % _LONGEST_APPLICATION,
    "i": b"[^\\n@\\[\\]]{0,%d}" % _LONGEST_TITLE,
}
"""What a client can write: the process title names the label of a base backup, else only commands; a label
with a bracket in it cannot be read.
"""
_CAN_BREAK_LINES = {"u": _LONGEST_NAME, "d": _LONGEST_NAME}

_NO_APPLICATION = b"|".join(re.escape(word.encode()) for word in sorted(UNKNOWN))
_SEVERITY = b"|".join(re.escape(word.encode()) for words in SEVERITIES.values() for word in words)
_PART = b"|".join(re.escape(label.encode()) for labels in PARTS.values() for label in labels)
MESSAGE = b"(?:(?P<severity>" + _SEVERITY + b"):  |(?P<part>" + _PART + b"))"

_PIECE = re.compile(r"%(-?\d*)(.)|([^%]+)", re.DOTALL)


class LinePrefix(msgspec.Struct, frozen=True):
    """A log_line_prefix in a form to read with.

    ``says`` are the letters of its escapes, ``names`` those that a client can write, ``padded`` those that
    are filled up with blanks. ``shortest`` and ``longest`` match a line up to its message, with the names as
    short and as long as can be. ``beginning`` matches what stands before the first of them, None where one
    comes first. ``breaks_within`` is how far from a line's start a line break can be that a client put into a
    name, in bytes; 0 where it can put none.
    """

    text: str
    says: frozenset[str]
    names: frozenset[str]
    padded: frozenset[str]
    shortest: re.Pattern[bytes]
    longest: re.Pattern[bytes]
    beginning: re.Pattern[bytes] | None
    breaks_within: int


@lru_cache(maxsize=64)
def line_prefix(text: str) -> LinePrefix:
    """Compile a value of log_line_prefix; what is wrong in it is left out, as the server does."""
    pieces = list(_pieces(text))
    says = frozenset(letter for letter, _width, _literal in pieces if letter in _ESCAPES or letter in _OPEN)
    breaks = sum(_CAN_BREAK_LINES.get(letter, 0) for letter, _width, _literal in pieces)
    return LinePrefix(
        text,
        says,
        says & _OPEN.keys(),
        frozenset(letter for letter, width, _literal in pieces if width),
        re.compile(_pattern(pieces, b"?") + MESSAGE),
        re.compile(_pattern(pieces, b"") + MESSAGE),
        _beginning(pieces),
        breaks and breaks + _LARGEST_REST,
    )


def _pieces(text: str) -> Iterator[tuple[str, int, bytes]]:
    """Each escape with its width, and each text between them."""
    for found in _PIECE.finditer(text):
        if found[3] is not None:
            yield "", 0, found[3].encode()
        elif found[2] == "%" and not found[1]:
            yield "", 0, b"%"
        elif found[2] in _ESCAPES or found[2] in _OPEN or found[2] == "q":
            yield found[2], int(found[1]) if found[1] not in ("", "-") else 0, b""


def sample(text: str, values: Mapping[str, str]) -> str:
    """A log_line_prefix as the server would write it with these values of its escapes."""
    written = ""
    for letter, width, literal in _pieces(text):
        value = values.get(letter, "")
        value = value.rjust(width) if width > 0 else value.ljust(-width)
        written += value if letter else literal.decode()
    return written


def _pattern(pieces: list[tuple[str, int, bytes]], lazy: bytes) -> bytes:
    pattern, optional, named = b"", 0, set()
    for letter, width, literal in pieces:
        if letter == "q":
            pattern, optional = pattern + b"(?:", optional + 1
            continue
        if not letter:
            pattern += re.escape(literal)
            continue
        value = _OPEN[letter] + lazy if letter in _OPEN else _ESCAPES[letter]
        if letter == "a":
            value = _NO_APPLICATION + b"|" + value
        group = b"(?P<%s>" % letter.encode() if letter not in named else b"(?:"
        named.add(letter)
        padded = group + value + b")"
        pattern += (b" *" + padded if width > 0 else padded + b" *") if width else padded
    return pattern + (b")?" + lazy) * optional


def _beginning(pieces: list[tuple[str, int, bytes]]) -> re.Pattern[bytes] | None:
    before: list[tuple[str, int, bytes]] = []
    for piece in pieces:
        if piece[0] in _OPEN or piece[0] == "q":
            break
        before.append(piece)
    return re.compile(_pattern(before, b"")) if any(letter for letter, _w, _l in before) else None
