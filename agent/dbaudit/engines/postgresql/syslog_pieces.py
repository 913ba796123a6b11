"""What a syslog daemon wrote of the server's log (log_destination syslog): its pieces, put together again.

The server sends each line of a record as a message of its own, and a long line as several: `[5-1] ...`,
`[5-2] ...`; a record of one short line as `[5] ...` (elog.c, write_syslog). Without syslog_sequence_numbers
there is no 5. The pieces of several processes lie in the file mixed: what was one record is known by its
process and its numbers alone. Lines of other programs are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise

import msgspec

from dbaudit.engines.postgresql.line_prefix import LinePrefix, line_prefix
from dbaudit.engines.postgresql.records import SyslogForm

LONGEST_PIECE = 900
"""PG_SYSLOG_LIMIT: the server cuts what is longer, before a blank where there is one."""
_SHORTEST_CUT = LONGEST_PIECE - 3
"""A letter of several bytes is not cut."""
REMEMBERED_PROCESSES = 256

MISSING = "a piece of the record is missing"
TOO_LONG = "a message that the server did not split may be cut, and line breaks in it be of a client's own"
NOT_FITTING = "pieces that do not fit together"
TAB_OR_BREAK = "a line break may be a tab"
MAYBE_TYPED = "what the syslog daemon writes for a control character (#011) may have been typed"

_BLANK = re.compile(rb"[ \t\v\f\r]")
_ESCAPED = re.compile(rb"#(0[0-3][0-7]|177)")
_NUMBERED = re.compile(rb"\[(\d{1,19})(?:-(\d{1,9}))?\](?: (.*))?", re.DOTALL)
_REPEATED = re.compile(rb"(?:last )?message repeated (\d{1,9}) times?(?::.*)?", re.DOTALL)
_STAMP = (
    rb"(?:<\d{1,3}>(?:1 )?)?"
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    rb"|(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))) \S{1,255} "
)


class Whole(msgspec.Struct, gc=False):
    """A record: where its first piece starts and its last one ends, its process, the time stamp of the daemon
    where it has a year, its number, that of its latest piece (0 where it has one alone), and its text.
    ``problem`` says why it cannot be read, None where it can; ``unclear`` what of its text cannot be known.
    ``open`` says that a further piece may follow, ``lost`` how many records are missing before it.
    """

    start: int
    end: int
    process: str
    stamp: str | None
    number: int | None
    part: int
    pieces: list[bytes]
    lost: int = 0
    text: bytes = b""
    problem: str | None = None
    unclear: str | None = None
    open: bool = False


class Assembled(msgspec.Struct, gc=False):
    """The records of a part of the file in the order of their first pieces, and the latest number of each
    process.
    """

    records: list[Whole]
    numbers: dict[str, int]


def assemble(
    data: bytes, form: SyslogForm, line_prefixes: tuple[str, ...], numbers: Mapping[str, int]
) -> Assembled:
    """The records whose pieces are in ``data``; ``numbers`` are the latest of each process before it."""
    prefixes = tuple(line_prefix(text) for text in line_prefixes)
    assembly = _Assembly(form, prefixes, dict(numbers))
    # A daemon that writes a tab as it is escapes nothing.
    escaping = b"\t" not in data
    for start, end, found in _lines(data, form.idents):
        assembly.take(start, end, found, data[found.end() : end].removesuffix(b"\n"))
    for record in assembly.records:
        _put_together(record, prefixes, form, escaping=escaping)
    latest = list(assembly.numbers.items())[-REMEMBERED_PROCESSES:]
    return Assembled(assembly.records, dict(latest))


@lru_cache(maxsize=64)
def _line(idents: tuple[str, ...]) -> re.Pattern[bytes]:
    """A line of the server up to its text: `Nov 28 12:00:00 host postgres[123]: `, or in the forms of newer
    standards, with the facility before it or not.
    """
    ident = b"(?:" + b"|".join(re.escape(ident.encode()) for ident in idents) + b")"
    return re.compile(
        _STAMP + rb"(?:(?:[a-z]\w{1,9}\.[a-z]{3,7} )?" + ident + rb"\[(?P<old>\d{1,10})\]: ?|" + ident + rb" "
        rb"(?P<new>\d{1,10}) \S+ (?:-|(?:\[[^\]]*\])+) {1,2}(?:\xef\xbb\xbf)?"
        rb"|(?=last message repeated ))"
    )


def _lines(data: bytes, idents: tuple[str, ...]) -> Iterator[tuple[int, int, re.Match[bytes]]]:
    """Where each line of the server starts and ends, and its head. One that says how often the line before it
    came counts where that one is the server's.
    """
    pattern = _line(idents)
    begin, length, ours = 0, len(data), False
    while begin < length:
        end = data.find(b"\n", begin) + 1 or length
        found = pattern.match(data, begin, end)
        if found is not None and (found["old"] or found["new"] or ours):
            yield begin, end, found
        ours = found is not None
        begin = end


class _Assembly:
    def __init__(self, form: SyslogForm, prefixes: tuple[LinePrefix, ...], numbers: dict[str, int]) -> None:
        self.records: list[Whole] = []
        self.numbers = numbers
        self._form = form
        self._prefixes = prefixes
        self._latest: dict[str, Whole] = {}

    def take(self, start: int, end: int, head: re.Match[bytes], text: bytes) -> None:
        process = (head["old"] or head["new"] or b"").decode()
        stamp = None if head["stamp"] is None else head["stamp"].decode()
        repeated = _REPEATED.fullmatch(text)
        if repeated is not None:
            self.records.append(Whole(start, end, process, stamp, None, 0, [], lost=int(repeated[1])))
            return
        number, part, text = self._numbered(text)
        latest = self._latest.get(process)
        if latest is not None and part > 1 and latest.open and latest.number == number:
            latest.end = end
            if part != latest.part + 1:
                latest.problem = MISSING
            latest.part = part
            latest.pieces.append(text)
            return
        lost = self._lost(process, number, latest)
        record = Whole(start, end, process, stamp, number, part, [text], lost, open=part > 0)
        if part > 1:
            record.problem = MISSING
        elif not _starts(text, self._prefixes):
            record.problem = NOT_FITTING
            if latest is not None and part == 0 and latest.part == 0:
                latest.problem = NOT_FITTING  # both may be pieces of one record, without its number
        if latest is not None:
            latest.open = False
        self._latest[process] = record
        self.records.append(record)

    def _numbered(self, text: bytes) -> tuple[int | None, int, bytes]:
        """The number of a record and of its piece, which is 0 where it has one alone, and the text."""
        if not self._form.numbered and _starts(text, self._prefixes):
            return None, 0, text
        found = _NUMBERED.fullmatch(text)
        if found is None:
            return None, 0, text
        rest = found[3] or b""
        if found[2] is not None:
            return int(found[1]), int(found[2]), rest
        return (int(found[1]), 0, rest) if self._form.numbered else (None, int(found[1]), rest)

    def _lost(self, process: str, number: int | None, latest: Whole | None) -> int:
        """How many records of a process are missing before one. A process with the number of an earlier one
        begins at any number.
        """
        if number is None:
            return 0
        before = self.numbers.pop(process, None)
        self.numbers[process] = number
        if before is None or number <= before + 1:
            return 0
        if latest is not None and latest.part > 0:
            latest.problem = MISSING  # its last pieces may be gone too
        return number - before - 1


def _starts(text: bytes, prefixes: tuple[LinePrefix, ...]) -> bool:
    """Whether a text is the beginning of a record."""
    return any(
        found is not None and found["severity"] is not None
        for found in (prefix.shortest.match(text) for prefix in prefixes)
    )


def _goes_on(text: bytes, prefixes: tuple[LinePrefix, ...]) -> bool:
    """Whether a text is a further line of a record: its detail, its statement ..."""
    return any(
        found is not None and found["part"] is not None
        for found in (prefix.shortest.match(text) for prefix in prefixes)
    )


def _put_together(
    record: Whole, prefixes: tuple[LinePrefix, ...], form: SyslogForm, *, escaping: bool
) -> None:
    pieces = record.pieces
    # At the beginning of a further piece it stands for the tab that the server writes behind a line break.
    if any(_ESCAPED.search(piece, 0 if number == 0 else len(b"#011")) for number, piece in enumerate(pieces)):
        record.unclear = MAYBE_TYPED
        unsplit = record.part == 0 and not form.split
        if unsplit and any(b"#012" in piece for piece in pieces):
            record.problem = record.problem or TOO_LONG
    if escaping:
        pieces = [_ESCAPED.sub(_control_character, piece) for piece in pieces]
    if record.part == 0 and any(len(piece) > LONGEST_PIECE for piece in pieces):
        record.problem = record.problem or TOO_LONG
    text = pieces[:1]
    for before, after in pairwise(pieces):
        joint = _joint(before, after, prefixes)
        if joint is None:
            record.problem = record.problem or NOT_FITTING
            joint = b"\n"
        elif joint == b"\n" and after.startswith(b"\t") and _may_be_cut(before, after):
            record.unclear = TAB_OR_BREAK
        # A daemon may take away the blanks at a line's end, and so all of one.
        text += (joint, after or b"\t")
    record.text = b"".join(text)


def _control_character(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def _joint(before: bytes, after: bytes, prefixes: tuple[LinePrefix, ...]) -> bytes | None:
    """What the server took away between two pieces: a line break or nothing. None where neither fits, or
    where a client may have written what looks like a further line.
    """
    cut = _may_be_cut(before, after)
    if after[:1] in (b"\t", b""):
        return b"\n"
    if _goes_on(after, prefixes):
        return None if cut else b"\n"
    return b"" if cut else None


def _may_be_cut(before: bytes, after: bytes) -> bool:
    """Whether the server can have cut a line in two here, because it is too long."""
    if _BLANK.match(after):
        word = _BLANK.search(after, 1)
        return len(before) + (word.start() if word else len(after)) > _SHORTEST_CUT
    return _SHORTEST_CUT <= len(before) <= LONGEST_PIECE and not _BLANK.search(before, 1)
